#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"
#include "http/problem.h"

/*
 * A request as CGI parameters tell it (RFC 3875), read once into plain fields.  All slices are
 * borrowed from the parameters or the arena and live as long as the exchange.
 */
struct request {
	enum http_method method; /* HTTP_METHOD__COUNT when not known */
	bool method_known;
	struct slice method_text;
	struct slice path;  /* raw, of REQUEST_URI up to '?', as sent */
	struct slice query; /* raw, after '?' */
	struct slice content_type;
	bool has_length;
	uint64_t content_length;
	struct slice remote_addr;
	struct slice forwarded_for; /* every X-Forwarded-For line, joined by ", " */
	struct slice tenant;	    /* TENANT_ID, absent when not set or empty */
	struct slice authorization; /* HTTP_AUTHORIZATION or REDIRECT_HTTP_AUTHORIZATION */
	struct slice api_key;	    /* X-API-Key; two lines are joined, and then no good key */
	struct slice
	    request_id; /* REQUEST_ID of the front; made by weir when absent or not [A-Za-z0-9_.-]{1,128} */
	bool request_id_from_front;
	/* REQUEST_START as wall time, 0 unknown: seconds with up to six decimals, or whole milliseconds or microseconds, each
	 * also behind "t=". */
	int64_t start_us;
	struct slice accept;	    /* lines joined by ", " */
	struct slice if_none_match; /* the same */
	struct slice consistency;   /* X-Weir-Consistency, the same */
	struct slice
	    cookie; /* the same: two lines are two cookies of one line, but for the comma */
	struct slice idempotency_key;
	unsigned idempotency_key_lines;
	struct slice traceparent, tracestate;
	unsigned traceparent_lines;
	struct slice script_name; /* for the base path */
	struct slice body;
};

/*
 * Reads ${envp} ("NAME=value", NULL-terminated; a repeated header is a repeated name: its lines are
 * joined by ", ").  A header that is empty counts as not sent; of a parameter that only the front
 * server sets, the last one counts.  About 0.3 microseconds for what nginx sends.
 * ERR_INVALID with *${problem_out}: no REQUEST_URI or method, a Content-Length that is not a number.
 * ERR_NOMEM also has its problem.  ${r} is filled all the same, its request id too unless the arena
 * is full.
 */
enum err request_read(
    struct request *r, const char *const *envp, struct arena *a, struct problem *problem_out);

/*
 * All lines of the header that the front server passes as ${param} ("HTTP_ACCEPT_LANGUAGE"), joined by
 * ", ", trimmed; absent when it was not sent or is empty.  For headers that only an endpoint's `vary:` knows: one
 * pass over ${envp}.  ERR_TOO_LARGE: over ${max} bytes; ERR_NOMEM.
 */
enum err request_header(
    const char *const *envp, struct slice param, size_t max, struct arena *a, struct slice *out);

/*
 * Binds path, query and body to the endpoint's params: ${values} has one for each, in order.
 * Undeclared query parameters are ignored (they never reach a cache key); `fields` is left to
 * request_fields().  Refused: a repeated declared one, a bad escape, bad UTF-8 or NUL in a declared
 * one, an undeclared or missing body member, another content type than application/json (415).
 * An endpoint without body parameters takes an empty body, or `{}`; with them, an empty one is `{}`.
 * Values may borrow from the parameters, the body and the endpoint.  ERR_INVALID: *${problem_out}
 * names the parameter and shows at most 64 code points of what was sent; ERR_NOMEM has one too.
 */
enum err request_bind(const struct request *r, const struct endpoint *e,
    const struct slice *decoded_segments, struct arena *a, struct value *values,
    struct problem *problem_out);

/* The raw, decoded value of `fields`, absent when not there; ERR_INVALID as request_bind(). */
enum err request_fields(
    const struct request *r, struct arena *a, struct slice *out, struct problem *problem_out);

/* True when If-None-Match names ${etag} (with its quotes): weak comparison, `*`, and a "-gzip" or
 * "-br" that Apache put before the closing quote is forgiven. */
bool request_etag_matches(struct slice if_none_match, struct slice etag);

#endif
