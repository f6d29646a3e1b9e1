#ifndef CLIENT_REDIS_H
#define CLIENT_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One connection to one Redis, by hiredis under our own poll loop: a deadline covers the whole
 * operation, also against a server that sends a byte now and then.  For one thread at a time.  After ERR_TIMEOUT,
 * ERR_UNAVAILABLE or ERR_IO the connection is dead and only to be closed: a late reply would answer the next
 * call.  Failures are logged here, at most once a second.  No retry, no fallback.
 *
 * An address is what stands behind the names: numeric, resolved ahead of need by who opens.
 * Deadlines are monotonic milliseconds.
 */
struct redis;

struct redis_address {
	const char *host; /* numeric, or NULL */
	uint16_t port;
	const char *path;	     /* of a unix socket, or NULL */
	const char *user, *password; /* NULL: none */
	unsigned database;
};

/* Connected, authenticated, and in its database.  ERR_TIMEOUT; ERR_UNAVAILABLE: nobody listens there, or who does
 * refuses us. */
enum err redis_connect(const struct redis_address *a, int64_t deadline_ms, struct redis **out);
void redis_close(struct redis **rp);
bool redis_is_dead(const struct redis *r);
/* For a connection that was kept: alive, and nobody has closed it or said what nobody asked for.  A system call. */
bool redis_is_quiet(const struct redis *r);
int redis_fd(const struct redis *r); /* for who waits for messages */

/* One reply has at most so many bytes, and a million parts nested at most seven deep; more is ERR_IO. */
enum { REDIS_REPLY_BYTES_MAX = 64 << 20 };

enum redis_type { REDIS_NIL, REDIS_INTEGER, REDIS_TEXT, REDIS_STATUS, REDIS_ERROR, REDIS_ARRAY };
struct redis_reply; /* owned by the caller: redis_reply_free() */

/* All of these take NULL, which is a nil. */
void redis_reply_free(struct redis_reply **rp);
enum redis_type redis_reply_type(const struct redis_reply *r);
int64_t redis_reply_integer(const struct redis_reply *r);   /* also of a text that is one; else 0 */
struct slice redis_reply_text(const struct redis_reply *r); /* text, status or error; else absent */
size_t redis_reply_count(const struct redis_reply *r);	    /* of an array; else 0 */
/* Lent; NULL when there is none. */
const struct redis_reply *redis_reply_at(const struct redis_reply *r, size_t i);

/*
 * One command; arguments are bytes.  ERR_OK also for an error that Redis answered: look at the type; OOM,
 * READONLY, LOADING, BUSY, MISCONF, NOREPLICAS, MASTERDOWN and CLUSTERDOWN answers are ERR_UNAVAILABLE with the
 * connection alive.  *${out} is NULL unless ERR_OK.
 */
enum err redis_call(struct redis *r, const struct slice *argv, size_t argc, int64_t deadline_ms,
    struct redis_reply **out);

/* A Lua script by its SHA-1 (EVALSHA), sent whole when Redis does not have it (any more).  A script lives as long
 * as every connection that has sent it. */
struct redis_script {
	const char *name, *text;
	bool repeatable; /* run twice, it does what it does once */
};
enum err redis_eval(struct redis *r, const struct redis_script *s, const struct slice *keys,
    size_t key_count, const struct slice *args, size_t arg_count, int64_t deadline_ms,
    struct redis_reply **out);

/* For a subscriber: the next message that has come, or ERR_TIMEOUT with the connection alive. */
enum err redis_message(struct redis *r, int64_t deadline_ms, struct redis_reply **out);

#endif
