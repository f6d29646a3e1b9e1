#ifndef TESTS_UNIT_SERVICE_L2_HOUSE_H
#define TESTS_UNIT_SERVICE_L2_HOUSE_H

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/l1.h"
#include "policy/positions.h"
#include "service/cache_l2.h"
#include "service/purges_room.h"
#include "service/shards.h"
#include "tests/support/unit.h"

/*
 * A host whose Redis servers are all away: what is decided without them.  With a real Redis it is tried in
 * tests/integration.
 */
enum { L2_L1_BYTES = 1 << 20, L2_ALIGN = 64, L2_SEED = 77, L2_NOW_MS = 5000, L2_LIFE_MS = 1000 };

struct l2_house {
	struct guards *guards;
	struct shards *shards;
	struct purges_shared *shared;
	struct l1 *l1;
	struct positions *positions;
	struct purges *purges;
	struct l2 l2;
	struct arena a;
};

static inline void *
l2_house_memory(size_t bytes)
{
	void *mem = aligned_alloc(L2_ALIGN, (bytes + L2_ALIGN - 1) / L2_ALIGN * L2_ALIGN);

	if (mem == NULL)
		abort();
	return memset(mem, 0, bytes);
}

/* ${before}: whose segment it shares; NULL: a new one. */
static inline void
l2_house_open(struct l2_house *h, const char *urls, const struct l2_house *before)
{
	static const struct breaker_rules rules = { .slow_ms = 3000,
		.failure_pct = 50,
		.reset_ms = 200,
		.volume = 20,
		.probe_lease_ms = 100 };
	struct shards_options shards = {
		.urls = urls, .timeout_ms = 20, .rules = &rules, .max_connections = 2
	};
	struct purges_options purges = { .seed = L2_SEED, .state_dir_fd = -1, .timeout_ms = 20 };

	*h = (struct l2_house){ .guards = l2_house_memory(guards_size()) };
	guards_init(h->guards);
	shards.guards = h->guards;
	CU_ASSERT_EQUAL_FATAL(shards_open(&shards, &h->shards), ERR_OK);
	h->shared = before != NULL ? before->shared : l2_house_memory(purges_shared_size());
	h->l1 = before != NULL ? before->l1 : l2_house_memory(l1_size(L2_L1_BYTES));
	h->positions = before != NULL ? before->positions : l2_house_memory(positions_size());
	if (before == NULL) {
		purges_shared_init(h->shared);
		l1_init(h->l1, L2_L1_BYTES, L2_SEED);
	}
	purges.shards = h->shards;
	purges.shared = h->shared;
	purges.l1 = h->l1;
	purges.positions = h->positions;
	CU_ASSERT_EQUAL_FATAL(purges_open(&purges, &h->purges), ERR_OK);
	h->l2 = (struct l2){ .shards = h->shards,
		.purges = h->purges,
		.host = "0123456789abcdef",
		.max_block_bytes = 1 << 20 };
	arena_init(&h->a, 1 << 20);
}

/* ${keep}: the segment lives on, with another. */
static inline void
l2_house_close(struct l2_house *h, bool keep)
{
	purges_close(&h->purges);
	shards_close(&h->shards);
	free(h->guards);
	if (!keep) {
		free(h->shared);
		free(h->l1);
		free(h->positions);
	}
	arena_free(&h->a);
}

/* A copy in L1 under one tag, and whether it still is there. */
static inline void
l2_house_put(struct l2_house *h, const char *tag)
{
	const uint64_t hash = hash64(L2_SEED, tag, strlen(tag));
	const struct l1_times times = { L2_NOW_MS, L2_NOW_MS + L2_LIFE_MS, 0, 0, 0 };
	struct l1_tags tags;
	uint32_t evicted;

	l1_tags_read(h->l1, &hash, 1, &tags);
	CU_ASSERT_EQUAL(
	    l1_put(h->l1, slice_of(tag), SLICE("copy"), &tags, &times, 0, &evicted), ERR_OK);
}

static inline bool
l2_house_has(struct l2_house *h, const char *tag)
{
	struct l1_times times;
	struct slice value;

	return l1_get(h->l1, slice_of(tag), L2_NOW_MS, 0, &h->a, &value, &times) == L1_FRESH;
}

#endif
