#ifndef CLIENT_CGI_H
#define CLIENT_CGI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * CGI 1.1 (RFC 3875): one request in the environment and on standard input, one reply on standard output.
 *
 * A program that the front starts this way must not look at its arguments: of a query string without "=" the front makes
 * arguments, so they are a client's.
 */
struct cgi {
	int in_fd, out_fd;
	bool has_body;
	uint64_t body_bytes; /* of it to come; UINT64_MAX: up to the end of the input */
};

/* Whether the environment is that of a CGI request. */
bool cgi_is_asked(const char *const *envp);

/* ${in_fd} and ${out_fd} are lent; the latter becomes non-blocking. */
void cgi_open(struct cgi *c, const char *const *envp, int in_fd, int out_fd);

/* As fcgi_body(): reads to the end, keeps ${cap} bytes, *${total_out} counts all.  ERR_TIMEOUT: it did not come by ${deadline_ms}
 * (monotonic); ERR_IO: it ended early; ERR_TOO_LARGE: over 64 MiB would have been dropped. */
enum err cgi_body(struct cgi *c, char *out, size_t cap, int64_t deadline_ms, size_t *total_out);

/* ERR_TIMEOUT: it was not all taken by then; ERR_IO: nobody is there to take it. */
enum err cgi_reply(struct cgi *c, struct slice head, struct slice body, int64_t deadline_ms);

/* A front waits until a program's output and errors are both closed; what it writes from now on goes nowhere. */
void cgi_let_go(struct cgi *c);

#endif
