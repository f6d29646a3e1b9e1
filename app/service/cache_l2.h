#ifndef SERVICE_CACHE_L2_H
#define SERVICE_CACHE_L2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"
#include "policy/l1.h"
#include "service/cache.h"

struct purges;
struct shards;

/*
 * The second-level cache: copies in Redis, shared by all hosts, and one query among them for all who miss.
 *
 *   l2_begin   l2_get --FRESH, STALE--> answer, and keep it in L1
 *                 |----LEAD--> the query --> l2_put, or l2_release when it failed
 *                 |----WAIT--> another host queries: look again, in a moment
 *                 +----OFF---> there is no L2 now: query, and tell nobody
 *
 * Only who leads the host's flight for the key asks, so a host is one asker, and takes a lock over that another
 * process of its own has left.  A lock is a lease in Redis; a copy carries the generations of its tags as they
 * stood before its query began (see service/purges.h) and is a miss as soon as one differs.
 *
 * On a lane's thread: each call but l2_begin() is one round trip within REDIS_TIMEOUT, and none at all to a shard that
 * is suspended.  Whatever fails is a miss.
 */
struct l2 {
	struct shards *shards;
	struct purges *purges;
	char host[17];		/* of this segment, in hex: who holds a lock */
	size_t max_block_bytes; /* a larger copy is not taken from Redis */
};

enum l2_answer { L2_OFF, L2_FRESH, L2_STALE, L2_LEAD, L2_WAIT };

/* One key of one exchange; everything lies in its arena. */
struct l2_fill {
	size_t shard;
	struct slice keys[4];		    /* copy, lock, generations, positions */
	struct slice slots[CACHE_MAX_TAGS]; /* of its tags */
	size_t slot_count;
	struct slice generations;   /* as they stood at the last l2_get() that leads */
	uint64_t position;	    /* likewise: what a copy must show that is to be kept */
	int64_t redis_us, asked_ms; /* Redis's clock, and ours, at that moment */
	uint32_t cost_us;	    /* l2_put(): what the query has taken */
	bool leading;
};

struct l2_hit {
	struct slice block;    /* absent: nothing was found */
	struct l1_times times; /* by our monotonic clock */
};

/* ${key} is cache_key()'s, ${tenant} the caller's.  ERR_TOO_LARGE, ERR_NOMEM: not to be kept in Redis. */
enum err l2_begin(const struct l2 *l, const struct endpoint *e, const struct value *values,
    struct slice key, struct slice tenant, struct arena *a, struct l2_fill *out);

/*
 * ${least_ms}: for how long a copy must be fresh to do; 0: a stale one does not, for it is to be refreshed; L2_STALE_DOES:
 * any that may be answered.  ${lock_ms}: longer than the query may take.
 * LEAD and WAIT: an old copy that may stand in if the query fails is in *${hit_out}, with LEAD only.
 */
enum { L2_STALE_DOES = -1 };
enum l2_answer l2_get(const struct l2 *l, struct l2_fill *f, int64_t least_ms, int64_t lock_ms,
    int64_t now_ms, struct arena *a, struct l2_hit *hit_out);

/* Stores the answer under the endpoint's `cache:` unless a purge came meanwhile (ERR_CONFLICT) or it is more than
 * 1 MiB when packed (ERR_TOO_LARGE), and gives the lock back. */
enum err l2_put(const struct l2 *l, struct l2_fill *f, const struct cache_rule *rule,
    struct slice block, int64_t now_ms);
/* The query failed, or its answer is not to be kept.  Fine, and nothing, when we do not lead. */
void l2_release(const struct l2 *l, struct l2_fill *f, int64_t now_ms);

#endif
