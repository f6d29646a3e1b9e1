#ifndef SERVICE_SQLITE_POOL_H
#define SERVICE_SQLITE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sqlite;
struct sqlite_fault;
struct store_options;

/*
 * Read-only connections to one database file, lent to any thread.
 *
 * Opened when first needed, kept when given back until they have been idle for idle_timeout_ms; never more than
 * max_connections of store_options, idle ones counted.  Only store_sqlite.c comes in.
 */
struct sqlite_pool;

/* Opens no connection yet.  ERR_INVALID: no path. */
enum err sqlite_pool_open(
    const char *path, const struct store_options *o, struct sqlite_pool **out);
void sqlite_pool_close(struct sqlite_pool **pp); /* all have been returned */
size_t sqlite_pool_max_response(const struct sqlite_pool *p);

/* Waits for a free one.  ERR_TIMEOUT: the deadline; ERR_UNAVAILABLE: it cannot be opened (logged). */
enum err sqlite_pool_borrow(struct sqlite_pool *p, int64_t deadline_ms, struct sqlite **out);
/* ${rc}: how it went.  What met a bad moment or a broken file is closed, and not lent again. */
void sqlite_pool_return(struct sqlite_pool *p, struct sqlite **dbp, enum err rc);

/* A call to the database begins, told by what begin() gave when it ends, and how. */
int64_t sqlite_pool_begin(struct sqlite_pool *p);
void sqlite_pool_end(struct sqlite_pool *p, int64_t begun_ns, enum err rc);
/* As store_room(). */
size_t sqlite_pool_room(const struct sqlite_pool *p);

/* Closes those that have been idle too long at ${now_ms}. */
void sqlite_pool_expire(struct sqlite_pool *p, int64_t now_ms);

/* One beside the pool that logs nothing; the caller closes it. */
enum err sqlite_pool_open_one(
    const struct sqlite_pool *p, struct sqlite **out, struct sqlite_fault *why_out);

#endif
