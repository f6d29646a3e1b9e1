#ifndef SERVICE_QUOTA_REDIS_H
#define SERVICE_QUOTA_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct shards;

/*
 * The buckets and windows in Redis: one Lua script for each thing that is done with them, by Redis's own clock
 * in microseconds, so that hosts need not agree on the time.
 *
 * A token bucket is GCRA: its key holds the moment at which the bucket is full again, and ends then.  A sliding
 * window is the two-counter estimate.  Every rounding is against the client.  Errors are those of shards_eval();
 * a reply of another shape is ERR_IO.
 */
struct quota_bucket {
	size_t shard;
	struct slice key; /* of Redis */
	uint64_t quota;	  /* per window */
	int64_t window_us;
	uint64_t burst; /* of a token bucket */
	bool sliding;
};

struct quota_grant {
	uint64_t granted;   /* 0..what was wanted */
	uint64_t remaining; /* behind that */
	int64_t retry_us;   /* without any remaining: when one more comes, at the earliest */
	int64_t reset_us;   /* until the bucket is full, or the window ends */
};

/* Takes up to ${want}, as many as there are; with 0 it only looks. */
enum err quota_redis_take(struct shards *s, const struct quota_bucket *b, uint64_t want,
    int64_t now_ms, struct quota_grant *out);

/* Gives back what was taken from a token bucket and not used: never more than full. */
enum err quota_redis_give_back(
    struct shards *s, const struct quota_bucket *b, uint64_t tokens, int64_t now_ms);

enum { QUOTA_HOST_BYTES = 16, QUOTA_BEAT_MS = 2000, QUOTA_HOST_GONE_MS = 10000 };

/* Says that ${host} is there, and how many hosts have said so lately. */
enum err quota_redis_beat(struct shards *s, size_t shard, const char host[QUOTA_HOST_BYTES],
    int64_t now_ms, uint64_t *hosts_out);

#endif
