#ifndef POLICY_L1_SHARD_H
#define POLICY_L1_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/*
 * One shard of the first-level cache: records of { head, key, value } in chained blocks, found by hash
 * and whole key, evicted by SIEVE.  What a head means is the business of policy/l1.c, its only caller.
 *
 * A shard_view is made for one operation, on the caller's stack; shard_find() to shard_store() want it
 * held.  What cannot be true in the segment marks the view as damaged, and shard_release() then empties the
 * shard: a bad shard costs its records, never a crash or a loop.
 */
enum { SHARD_BLOCK_BYTES = 512, SHARD_HEAD_MAX = 256, SHARD_NONE = 0 /* no record */ };

/* Written once, by who makes the segment; offsets from the shard's beginning. */
struct shard_layout {
	uint32_t blocks, buckets;
	size_t buckets_at, next_at, entries_at, data_at, bytes;
};

struct shard_view {
	struct shard *s;
	uint32_t *buckets, *next;
	struct shard_entry *entries;
	char *data;
	uint32_t block_count, bucket_count;
	size_t bytes_max; /* of a key, and of a value */
	bool damaged;
};

struct shard_stats {
	uint64_t entries, bytes_used, emptied;
};

struct shard_layout shard_layout_for(size_t bytes); /* of blocks; at least 64 KiB, at most 1 TiB */
size_t shard_bytes_max(const struct shard_layout *lay);
struct shard_view shard_at(void *mem, const struct shard_layout *lay);
void shard_init(struct shard_view *v);

/* ${wait_ms} 0: some tries; else waits that long (-1: for ever).  Empties what a dead holder left. */
bool shard_hold(struct shard_view *v, int64_t wait_ms);
void shard_release(struct shard_view *v);

/* The record's number, SHARD_NONE when there is none. */
uint32_t shard_find(struct shard_view *v, uint64_t hash, struct slice key);
/* Its head, copied to ${head_out}; returns the length, 0 when damaged. */
size_t shard_head(struct shard_view *v, uint32_t number, char head_out[SHARD_HEAD_MAX]);
/* Its value, copied into the arena; counts as a visit.  False: damaged, or the arena is full. */
bool shard_value(struct shard_view *v, uint32_t number, struct arena *a, struct slice *value_out);
void shard_drop(struct shard_view *v, uint32_t number);

/* Stores or replaces; key and value at most shard_bytes_max() each.  Returns how many records were
 * evicted for it. */
uint32_t shard_store(
    struct shard_view *v, uint64_t hash, struct slice head, struct slice key, struct slice value);

/* Without the lock. */
void shard_stats_read(const void *mem, struct shard_stats *out);

#endif
