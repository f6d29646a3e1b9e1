#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/str.h"

/*
 * A reply before it is written: status, headers in order, body.  Everything borrowed from the
 * exchange's arena.  Header values are checked here: a CR, LF or NUL in one is replaced by a space.
 */
enum { RESPONSE_MAX_HEADERS = 32 };

struct response_header {
	const char *name;
	struct slice value;
};

struct response {
	int status; /* 0: not answered yet */
	struct response_header headers[RESPONSE_MAX_HEADERS];
	size_t header_count;
	struct slice body;
	bool head_only; /* HEAD: headers as for GET (with its Content-Length), no body */
};

/* Adds one header after those that are there.  Left out: an absent value, one that a full arena cannot
 * hold, and what is past RESPONSE_MAX_HEADERS. */
void response_header(struct response *r, struct arena *a, const char *name, struct slice value);
void response_headerf(struct response *r, struct arena *a, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
struct slice response_find(
    const struct response *r, const char *name); /* first, no case; or absent */

/* The CGI header block ("Status: 200 OK\r\n...\r\n\r\n"), in the arena; absent when the arena is full.
 * Content-Length is added, but for 204 and 304. */
struct slice response_head(const struct response *r, struct arena *a);

#endif
