/*
 * Goal: no message on the channel of purges crashes who listens, and one that nobody understands purges everything.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/l1.h"
#include "policy/positions.h"
#include "service/purges_room.h"

enum { L1_BYTES = 1 << 20, ALIGN = 64, SEED = 7 };

/* A copy that only a purge of everything drops, and one more that its tag does. */
static void
put(struct l1 *l1, const char *tag)
{
	const uint64_t hash = hash64(SEED, tag, strlen(tag));
	const struct l1_times times = { 1, 1000, 0, 0, 0 };
	struct l1_tags tags;
	uint32_t evicted;

	l1_tags_read(l1, &hash, 1, &tags);
	if (l1_put(l1, slice_of(tag), SLICE("copy"), &tags, &times, 0, &evicted) != ERR_OK)
		abort();
}

static bool
has(struct l1 *l1, const char *tag)
{
	struct l1_times times;
	struct slice value;
	struct arena a;
	bool there;

	arena_init(&a, 4096);
	there = l1_get(l1, slice_of(tag), 10, 0, &a, &value, &times) == L1_FRESH;
	arena_free(&a);
	return there;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct purges_shared shared;
	static struct positions *positions;
	static struct l1 *l1;
	struct purges p = { .rows[0] = &shared.rows[0] };

	if (l1 == NULL) {
		l1 = aligned_alloc(ALIGN, (l1_size(L1_BYTES) + ALIGN - 1) / ALIGN * ALIGN);
		positions = aligned_alloc(ALIGN, (positions_size() + ALIGN - 1) / ALIGN * ALIGN);
		if (l1 == NULL || positions == NULL)
			abort();
		positions_init(positions);
		l1_init(l1, L1_BYTES, SEED);
	}
	put(l1, "some tag");
	p.o = (struct purges_options){ .l1 = l1, .positions = positions, .seed = SEED };
	atomic_store(&shared.rows[0].last, 0);
	purges_hear(&p, 0, (struct slice){ (const char *)data, size });
	if (has(l1, "some tag") && (size == 0 || data[0] != '2'))
		abort();
	return 0;
}
