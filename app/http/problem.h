#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct response;

/*
 * RFC 9457 problem details: the one place where a failure becomes a status and a body.
 * `type` is about:blank (then `title` is the status phrase) or the registered one for 429/503.
 */
struct problem {
	int status;
	const char
	    *detail; /* for the client, arena or constant; NULL: what can be said of the status */
	const char *param;     /* extension member: which parameter; may be NULL */
	struct slice list;     /* extension: ready JSON array bytes ... */
	const char *list_name; /* ... under this name, such as "fields"; may be NULL */
	int64_t
	    retry_after_s; /* > 0: Retry-After (and `retryAfter` on 429); 429, 503, 504: at least 1 */
	const char *allow;  /* 405: Allow */
	const char *accept; /* 415: Accept */
};

#define PROBLEM(code, text) ((struct problem){ .status = (code), .detail = (text) })

/* The problem for a failure that has no better words: ERR_TIMEOUT is 504, ERR_UNAVAILABLE 503 ... */
struct problem problem_of(enum err e);

/* Fills ${r}: status, application/problem+json, no-store, body with type, title, status, detail,
 * instance (the request's path, as a URI reference, at most 1024 bytes of it) and requestId.  Headers
 * that are there already stay.  With a full arena the body is `{}`. */
void problem_respond(const struct problem *p, struct slice path, struct slice request_id,
    struct arena *a, struct response *r);

const char *http_status_phrase(int status); /* RFC 9110 */

#endif
