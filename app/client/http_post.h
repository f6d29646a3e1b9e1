#ifndef CLIENT_HTTP_POST_H
#define CLIENT_HTTP_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * POST to one URL, by libcurl, over one kept connection (of HTTP/2 without TLS: a new one each time).  A deadline covers the whole operation: name, connect, TLS,
 * sending, and the answer to its last byte.  No redirect is followed, no proxy of the environment is asked, nothing is
 * tried twice.  One thread uses a handle at a time.  Failures are logged here, at most once a second, without headers
 * (they hold secrets).
 */
struct http_post;

enum http_post_version {
	HTTP_POST_1_1,
	HTTP_POST_2 /* over http:// without asking first (prior knowledge), over https:// by ALPN */
};

struct http_post_options { /* texts are copied */
	const char *url;   /* http:// or https:// */
	enum http_post_version version;
	const char *const *headers; /* "Name: value" */
	size_t header_count;
	const char *ca_file;				/* NULL: the system's */
	const char *client_cert_file, *client_key_file; /* NULL: none */
	size_t reply_bytes_max;				/* a longer answer is ERR_TOO_LARGE */
};

struct http_reply { /* valid until the next post */
	int status;
	struct slice body;
	struct slice retry_after; /* absent when not sent, as the next two */
	/* Of gRPC, from the headers or the trailers. */
	struct slice grpc_status, grpc_details;
};

/* ERR_INVALID: libcurl takes no such URL, or no such file. */
enum err http_post_open(const struct http_post_options *o, struct http_post **out);
void http_post_close(struct http_post **pp);

/*
 * ERR_OK: there is an answer, of whatever status.  ERR_TIMEOUT, ERR_UNAVAILABLE (cannot connect, cut off, TLS),
 * ERR_TOO_LARGE, ERR_NOMEM.  ${stop} NULL, or a word that ends the call within a second once it is not 0
 * (ERR_UNAVAILABLE).
 */
enum err http_post_send(struct http_post *p, struct slice body, int64_t deadline_ms,
    const _Atomic uint32_t *stop, struct http_reply *out);

#endif
