/*
 * Positions: a word for each slot of tags, and one for all of them, each of which only grows.
 */
#include "policy/positions.h"

#include <stdatomic.h>

enum { POSITION_SLOTS = 4096 };

struct positions {
	_Atomic uint64_t all; /* of every tag */
	_Atomic uint64_t slots[POSITION_SLOTS];
};

size_t
positions_size(void)
{
	return sizeof(struct positions);
}

void
positions_init(void *mem)
{
	struct positions *p = mem;

	atomic_init(&p->all, 0);
	for (size_t i = 0; i < POSITION_SLOTS; i++)
		atomic_init(&p->slots[i], 0);
}

static void
raise_word(_Atomic uint64_t *word, uint64_t position)
{
	uint64_t seen = atomic_load(word);

	while (seen < position && !atomic_compare_exchange_weak(word, &seen, position))
		continue;
}

void
positions_raise(struct positions *p, uint64_t tag, uint64_t position)
{
	raise_word(&p->slots[tag % POSITION_SLOTS], position);
}

void
positions_raise_all(struct positions *p, uint64_t position)
{
	raise_word(&p->all, position);
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t
positions_of(const struct positions *p, const uint64_t *tags, size_t count)
{
	uint64_t newest = atomic_load(&p->all);

	for (size_t i = 0; i < count; i++)
		newest = larger(newest, atomic_load(&p->slots[tags[i] % POSITION_SLOTS]));
	return newest;
}

uint64_t
positions_newest(const struct positions *p)
{
	uint64_t newest = atomic_load(&p->all);

	for (size_t i = 0; i < POSITION_SLOTS; i++)
		newest = larger(newest, atomic_load(&p->slots[i]));
	return newest;
}
