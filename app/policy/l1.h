#ifndef POLICY_L1_H
#define POLICY_L1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * The first-level cache: copies in memory shared by all processes of the host.
 *
 * Sharded by key hash.  A shard has a robust mutex, a hash index, chained blocks of fixed size (no
 * fragmentation) and SIEVE eviction (Zhang et al., NSDI'24).  A holder's death empties its shard.
 * The whole key is stored and compared: nobody can craft a key that reads another's copy.
 * No clock: the caller passes monotonic milliseconds.
 *
 * Tags are generations in a fixed table of words: a purge is one atomic add.  A copy carries the
 * generations as they stood before its query began and is a miss as soon as one differs, so a purge
 * during a fill leaves nothing old behind.  Two tags that share a word purge too much, never too little.
 */
struct l1;

enum {
	L1_MAX_TAGS = 16, /* of one copy, with the one that l1_purge_all() moves */
	L1_TAG_WORDS = 65536
};

struct l1_tags {
	uint32_t word[L1_MAX_TAGS];
	uint32_t generation[L1_MAX_TAGS];
	size_t count;
};

/* Monotonic ms.  From the later of fresh and stale until ${error_until} a copy may answer only when the
 * database fails. */
struct l1_times {
	int64_t stored, fresh_until, stale_until, error_until;
	uint32_t cost_us; /* what making it has taken; 0: not known */
};

enum l1_answer {
	L1_MISS,
	L1_BUSY, /* the shard's lock was not to be had: treat as a miss, look again in a lane */
	L1_FRESH,
	L1_STALE, /* within stale_until: answer, refresh after */
	L1_ERROR_ONLY
};

/* Of the region for ${bytes} of cache; 0: out of range (1 MiB .. 1 TiB). */
size_t l1_size(size_t bytes);
/* Once, by who makes the segment; ${mem} begins a cache line. */
void l1_init(void *mem, size_t bytes, uint64_t seed);
size_t l1_max_value_bytes(const struct l1 *l); /* also the longest key */

/* The generations now.  More than L1_MAX_TAGS - 1 tags: such a copy is never stored. */
void l1_tags_read(
    const struct l1 *l, const uint64_t *tag_hashes, size_t count, struct l1_tags *out);
void l1_purge(struct l1 *l, uint64_t tag_hash);
void l1_purge_all(struct l1 *l);

/* ${wait_ms} 0: a few tries (reactor); more: waits (lane).  Found: the value is copied into the arena
 * (arena full: a miss).  A copy that is past all its times or whose tags have moved on is dropped. */
enum l1_answer l1_get(struct l1 *l, struct slice key, int64_t now_ms, int64_t wait_ms,
    struct arena *a, struct slice *value_out, struct l1_times *times_out);

/* Stores or replaces, unless a tag has moved on since ${tags} was read (ERR_CONFLICT).
 * ERR_TOO_LARGE: key, value or number of tags; ERR_TIMEOUT: lock not to be had.
 * *${evicted_out} counts the copies that had to go for room. */
enum err l1_put(struct l1 *l, struct slice key, struct slice value, const struct l1_tags *tags,
    const struct l1_times *times, int64_t wait_ms, uint32_t *evicted_out);

struct l1_stats {
	uint64_t entries, bytes_used, bytes_total;
	uint64_t emptied; /* shards lost to a killed holder, or damaged */
};
void l1_stats_read(const struct l1 *l, struct l1_stats *out);

#endif
