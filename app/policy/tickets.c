/*
 * Tickets: a word each, claimed by compare-and-swap.
 */
#include "policy/tickets.h"

#include <stdatomic.h>

struct tickets {
	_Atomic int64_t wanted_until_ms;
	_Atomic uint64_t owners[TICKETS_MAX]; /* 0: free */
};

size_t
tickets_size(void)
{
	return sizeof(struct tickets);
}

void
tickets_init(void *mem)
{
	struct tickets *t = mem;

	atomic_init(&t->wanted_until_ms, 0);
	for (size_t i = 0; i < TICKETS_MAX; i++)
		atomic_init(&t->owners[i], 0);
}

/* Start times count ticks of 10 ms, so 32 bits of them are over a year, far from the next of equal pid. */
uint64_t
tickets_owner(uint32_t pid, uint64_t start_ticks)
{
	return (uint64_t)pid << 32 | (start_ticks & UINT32_MAX);
}

/* Takes ticket ${i} from ${expected}. */
static bool
claim(struct tickets *t, size_t i, uint64_t expected, uint64_t owner)
{
	return atomic_compare_exchange_strong_explicit(
	    &t->owners[i], &expected, owner, memory_order_acq_rel, memory_order_relaxed);
}

/* One whose owner is dead. */
static enum err
take_void(struct tickets *t, size_t limit, uint64_t owner, tickets_alive *alive, size_t *index_out)
{
	uint64_t asked = owner; /* who takes lives */

	for (size_t i = 0; i < limit; i++) {
		const uint64_t held = atomic_load_explicit(&t->owners[i], memory_order_relaxed);

		if (held == asked || (held != 0 && alive(held))) {
			asked = held;
			continue;
		}
		if (claim(t, i, held, owner)) {
			*index_out = i;
			return ERR_OK;
		}
	}
	return ERR_FULL;
}

enum err
tickets_take(
    struct tickets *t, size_t limit, uint64_t owner, tickets_alive *alive, size_t *index_out)
{
	if (limit > TICKETS_MAX)
		limit = TICKETS_MAX;
	for (size_t i = 0; i < limit; i++)
		if (atomic_load_explicit(&t->owners[i], memory_order_relaxed) == 0 &&
		    claim(t, i, 0, owner)) {
			*index_out = i;
			return ERR_OK;
		}
	return alive == NULL ? ERR_FULL : take_void(t, limit, owner, alive, index_out);
}

void
tickets_give(struct tickets *t, size_t index)
{
	atomic_store_explicit(&t->owners[index], 0, memory_order_release);
}

size_t
tickets_held(const struct tickets *t, size_t limit, uint64_t owner)
{
	size_t n = 0;

	for (size_t i = 0; i < limit && i < TICKETS_MAX; i++) {
		const uint64_t held = atomic_load_explicit(&t->owners[i], memory_order_relaxed);

		n += owner == 0 ? held != 0 : held == owner;
	}
	return n;
}

void
tickets_want(struct tickets *t, int64_t now_ms)
{
	atomic_store_explicit(
	    &t->wanted_until_ms, now_ms + TICKETS_WANTED_MS, memory_order_relaxed);
}

bool
tickets_wanted(const struct tickets *t, int64_t now_ms)
{
	return atomic_load_explicit(&t->wanted_until_ms, memory_order_relaxed) > now_ms;
}
