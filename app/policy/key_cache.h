#ifndef POLICY_KEY_CACHE_H
#define POLICY_KEY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the database said of API keys, in memory shared by all processes of the host: a key's digest, whose
 * it is, and when that was asked.  How long an answer is trusted is the caller's business.
 *
 * Pure: no lock, no clock, no allocation.  A slot proves itself: it holds a hash of all it says under the
 * table's seed, so one that was written by half (its writer was killed or stopped, or another wrote at the same
 * time) says nothing, and is written again.  A key that was never good lies in a table of its own, where a flood
 * of invented keys drives out only others of its kind.  Cost: under 0.2 us.
 */
struct key_cache;

enum { KEY_CACHE_DIGEST_BYTES = 32, KEY_CACHE_TENANT_MAX = 255 };

enum key_state {
	KEY_UNSEEN,
	KEY_GOOD,
	KEY_BAD /* not known to the database, or revoked */
};

struct key_entry {
	enum key_state state;
	/* Monotonic, from before the question went out: what is revoked later is never hidden by it. */
	int64_t asked_ms;
	size_t tenant_len; /* of a GOOD one */
	char tenant[KEY_CACHE_TENANT_MAX];
};

size_t key_cache_size(uint32_t slots); /* a power of two, 8..2^20; 0 otherwise */
/* ${mem} begins a cache line, of key_cache_size(). */
void key_cache_init(void *mem, uint32_t slots, uint64_t seed);

/* The latest answer on this key; KEY_UNSEEN when there is none. */
void key_cache_find(
    const struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES], struct key_entry *out);

/* Keeps an answer, unless a later one is there; the one that was asked longest ago makes room. */
void key_cache_keep(
    struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES], const struct key_entry *e);

/* Of all who would ask about a GOOD key again, one may: true for him, false for the others until the lease
 * is over or the answer is kept.  True for a key that is not there. */
bool key_cache_claim(struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES],
    int64_t now_ms, int64_t lease_ms);

/* How many slots say something, of good keys and of others; returns how many there are.  Looks at all. */
uint32_t key_cache_usage(const struct key_cache *c, uint32_t *used_out);

#endif
