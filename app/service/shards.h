#ifndef SERVICE_SHARDS_H
#define SERVICE_SHARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/guard.h"

/*
 * The Redis servers of REDIS_URL: which one keeps what, kept connections to each, and a guard before each.
 *
 * A key's owner (the tenant, or the address) chooses its shard by rendezvous hash, so all of one owner's keys lie
 * together and a shard that is gone moves nobody else's.  Any thread may call; a call takes a kept connection
 * or makes one, within its deadline.  A shard that missed a deadline is suspended for the whole host; a thread of
 * this module probes it outside of any request.  Names are resolved by another, never by a request.
 *
 * Shards are known by host, port and database (or path), so every host must spell them alike; their order is free.
 */
struct call_table; /* telemetry/call_stats.h */
struct shards;
struct redis;	     /* client/redis.h */
struct redis_reply;  /* client/redis.h */
struct redis_script; /* client/redis.h */

enum { SHARDS_MAX = 16 };

struct shards_options {
	const char *urls;   /* REDIS_URL: service/shard_url.h */
	int64_t timeout_ms; /* REDIS_TIMEOUT: budget of one whole operation, connect included */
	struct guards *guards;
	const struct breaker_rules *rules;
	const struct retries *retries; /* service/retries.h; NULL: nothing bounds them.  Copied. */
	size_t max_connections;	       /* of this process, to each shard; at least 1 */
	struct call_table *calls;      /* counts them by script or command; NULL: nobody does */
};

/* ERR_INVALID: the urls; ERR_FULL: no row is left for a guard; ERR_NOMEM. */
enum err shards_open(const struct shards_options *o, struct shards **out);
void shards_close(struct shards **sp); /* no call may be going on */
size_t shards_count(const struct shards *s);
size_t shards_of(const struct shards *s, struct slice owner);

/* One script or command (which must be one that may be given twice) on one shard, within timeout_ms from ${now_ms} (monotonic).  ERR_UNAVAILABLE at once when the shard
 * is suspended or its breaker open; ERR_OVERLOADED: no connection became free in time.  *${out} is the caller's:
 * redis_reply_free(). */
enum err shards_eval(struct shards *s, size_t shard, const struct redis_script *script,
    const struct slice *keys, size_t key_count, const struct slice *args, size_t arg_count,
    int64_t now_ms, struct redis_reply **out);
enum err shards_call(struct shards *s, size_t shard, const struct slice *argv, size_t argc,
    int64_t now_ms, struct redis_reply **out);
/* Whether a call would be tried now: one load. */
bool shards_is_up(const struct shards *s, size_t shard);
/* For what every request does: as guard_admits(). */
bool shards_admits(const struct shards *s, size_t shard, int64_t now_ms);
const char *shards_url(const struct shards *s, size_t shard); /* without its password */

/*
 * A connection of the caller's own, outside of the pool and the guard: for a subscriber, which holds it for as
 * long as it lives, in a thread of its own.  redis_close() it.
 */
enum err shards_connect(struct shards *s, size_t shard, int64_t deadline_ms, struct redis **out);

/* Waits until every name has been looked up once: for commands, which begin with a call. */
enum err shards_wait(struct shards *s, int64_t deadline_ms);

#endif
