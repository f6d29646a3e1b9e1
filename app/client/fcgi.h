#ifndef CLIENT_FCGI_H
#define CLIENT_FCGI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/*
 * FastCGI 1.0 over one accepted connection, by libfcgi.
 *
 * libfcgi blocks inside read() and, after a bad record, accepts a connection by itself.  So fcgi_look()
 * peeks first, and the library is called only when a whole request (or, for a large body, all its
 * parameters) lies in the socket; it never gets the listening socket.  Replies are framed here and
 * sent without blocking, since the library can only write blocking.
 *
 * One thread at a time may use a connection.  Only fcgi_close() closes the descriptor, but for a
 * request that libfcgi itself found broken.
 */
struct fcgi;

enum fcgi_arrival {
	FCGI_NOTHING, /* no bytes at all */
	FCGI_PARTIAL, /* wait for more bytes */
	FCGI_WHOLE,   /* fcgi_accept(), fcgi_body() will not block */
	FCGI_LARGE, /* parameters are whole, the body is not: fcgi_accept() will not block, fcgi_body() may */
	FCGI_TOO_LARGE, /* parameters over 64 KiB */
	FCGI_ANSWERED,	/* was a management record: answered here, look again */
	FCGI_CLOSED,	/* the peer has closed between requests, or inside one */
	FCGI_BAD	/* not FastCGI 1.0, or a role or order that weir does not serve */
};

void fcgi_init(void); /* once a process */

enum err fcgi_open(int fd, struct fcgi **out); /* owns ${fd}, which may be blocking */
void fcgi_close(struct fcgi **cp);
int fcgi_fd(const struct fcgi *c);

enum fcgi_arrival fcgi_look(struct fcgi *c);

/* Takes the parameters: "NAME=value" strings, NULL-terminated, owned by ${c} until fcgi_end().  ERR_INVALID: the
 * request is broken, close. */
enum err fcgi_accept(struct fcgi *c, const char *const **envp_out);

/* Reads the body to its end: up to ${cap} bytes are kept, the rest is dropped.  *${total_out} counts
 * all.  ERR_IO: the peer closed, or shutdown() by a timer.  ERR_TOO_LARGE: over 64 MiB were dropped and no end is
 * in sight; the rest stays unread.  Must be called, also for an empty body. */
enum err fcgi_body(struct fcgi *c, char *out, size_t cap, size_t *total_out);
bool fcgi_body_taken(const struct fcgi *c);

/*
 * The reply: fcgi_reply() lends ${head} and ${body} until fcgi_send() says ERR_OK or fails.
 *   ERR_OK       all handed to the kernel
 *   ERR_TIMEOUT  the socket is full: call again when it is writable
 *   ERR_IO       the peer is gone
 * ${last}: the caller is going to close the connection, so the front must not keep it, or its next request may meet the
 * close on its way.  FastCGI has no word for that; a record behind the end is none for Apache, which closes what it finds
 * closed, and for all others what makes them close.
 */
enum err fcgi_reply(struct fcgi *c, struct slice head, struct slice body, bool last);
enum err fcgi_send(struct fcgi *c);

/* Whether bytes lie in the socket: with ${last}, a front that was quicker than our close. */
bool fcgi_has_more(const struct fcgi *c);

/* Ends the request, frees its parameters.  True: the connection may carry another one. */
bool fcgi_end(struct fcgi *c);

/*
 * After a reply to a request that was not read to its end.  A front that is cut off while it still sends takes that for a
 * failure and never reads our reply: so say that nothing more comes, and drop what it sends (64 MiB at most) until it
 * closes.  fcgi_discard() does not block; false: the front has closed, or it is enough.
 */
void fcgi_finish_sending(struct fcgi *c);
bool fcgi_discard(struct fcgi *c);

/* Before any request was accepted: a bare reply for FCGI_TOO_LARGE; fcgi_finish_sending() then. */
void fcgi_refuse(struct fcgi *c, struct slice head, struct slice body);

/* A listening socket is told to its processes on descriptor 0: is ${fd} one? */
bool fcgi_is_listening(int fd);

#endif
