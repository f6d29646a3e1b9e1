#ifndef TESTS_UNIT_POLICY_L1_HOUSE_H
#define TESTS_UNIT_POLICY_L1_HOUSE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "policy/l1.h"
#include "tests/support/unit.h"

/*
 * What the tests of the first-level cache have in common.  All memory is shared with the children.
 */
enum { MIB = 1 << 20, SEED = 4711, NOW_MS = 1000, TEXT_MAX = 64 };

static inline struct l1 *
cache_of(size_t bytes)
{
	void *mem =
	    mmap(NULL, l1_size(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	l1_init(mem, bytes, SEED);
	return mem;
}

static inline void
cache_end(struct l1 *l, size_t bytes)
{
	(void)munmap(l, l1_size(bytes));
}

static inline struct slice
key_of(unsigned n, char text[TEXT_MAX])
{
	return (struct slice){ text, (size_t)snprintf(text, TEXT_MAX, "key number %u", n) };
}

static const struct l1_times an_hour = { NOW_MS, 3600000, 3600000, 3600000, 0 };

static inline enum err
put_tagged(struct l1 *l, struct slice key, struct slice value, const uint64_t *tags, size_t count)
{
	struct l1_tags read;
	uint32_t evicted;

	l1_tags_read(l, tags, count, &read);
	return l1_put(l, key, value, &read, &an_hour, 0, &evicted);
}

static inline enum err
put(struct l1 *l, struct slice key, struct slice value)
{
	return put_tagged(l, key, value, NULL, 0);
}

static inline enum l1_answer
answer_at(struct l1 *l, struct slice key, int64_t now_ms)
{
	struct arena a;
	struct slice value;
	struct l1_times times;
	enum l1_answer answer;

	arena_init(&a, 64 * MIB);
	answer = l1_get(l, key, now_ms, 0, &a, &value, &times);
	arena_free(&a);
	return answer;
}

static inline bool
holds(struct l1 *l, struct slice key, struct slice want)
{
	struct arena a;
	struct slice value;
	struct l1_times times;
	bool same;

	arena_init(&a, 64 * MIB);
	same = l1_get(l, key, NOW_MS, 0, &a, &value, &times) == L1_FRESH && slice_eq(value, want);
	arena_free(&a);
	return same;
}

static inline struct l1_stats
stats(const struct l1 *l)
{
	struct l1_stats s;

	l1_stats_read(l, &s);
	return s;
}

#endif
