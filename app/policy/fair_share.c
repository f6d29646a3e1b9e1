/*
 * A fading count-min sketch, the greatest of its clients, and how many there are.
 */
#include "policy/fair_share.h"

#include <stdatomic.h>
#include <string.h>

enum {
	ROWS = 4,
	CELLS = 1024, /* of a row: ten bits of the client's hash */
	CELL_BITS = 10,
	HALF_MS = 1000,
	MAPS = 3, /* of who was there: this second's, the last one's, and the one to be cleared */
	MAP_WORDS = CELLS / 64,
	LEAST_US = 100, /* a call that costs nothing still counts */
	TYPICAL_PART = 16,
	TRIES = 8, /* of a swap; a cell that is that busy may lose a charge */
};

/* In a steady state a fading sum is what came in a second, over ln 2. */
static const double sum_of_second = 1.4427;

struct map {
	_Atomic int64_t second;
	_Atomic uint64_t bits[MAP_WORDS];
};

struct fair_share {
	_Atomic uint64_t greatest, served; /* as cells */
	_Atomic int64_t typical_us;	   /* what a call costs */
	_Atomic uint64_t
	    cells[ROWS][CELLS]; /* what was asked, and when that was written, 32 bits each */
	struct map maps[MAPS];
};

size_t
fair_share_size(void)
{
	return sizeof(struct fair_share);
}

void
fair_share_init(void *mem)
{
	memset(mem, 0, sizeof(struct fair_share)); /* all words of it may be zero */
}

/* What is left of it at ${now}; 32 bits of milliseconds go round in 49 days, and what is that old is gone. */
static uint64_t
faded(uint64_t cell, uint32_t now)
{
	const uint64_t sum = cell >> 32;
	uint32_t age = now - (uint32_t)cell;

	if (age > INT32_MAX)
		age = 0; /* another process wrote it a moment ahead */
	if (age / HALF_MS >= 32)
		return 0;
	return (sum >> (age / HALF_MS)) * (2 * HALF_MS - age % HALF_MS) / (2 * HALF_MS);
}

static uint64_t
as_cell(uint64_t sum, uint32_t now)
{
	return (sum < UINT32_MAX ? sum : UINT32_MAX) << 32 | now;
}

static uint64_t
add(_Atomic uint64_t *cell, uint64_t cost, uint32_t now)
{
	uint64_t was = atomic_load_explicit(cell, memory_order_relaxed), sum = 0;

	for (int i = 0; i < TRIES; i++) {
		sum = faded(was, now) + cost;
		if (atomic_compare_exchange_weak_explicit(
			cell, &was, as_cell(sum, now), memory_order_relaxed, memory_order_relaxed))
			break;
	}
	return sum;
}

static void
raise(_Atomic uint64_t *cell, uint64_t sum, uint32_t now)
{
	uint64_t was = atomic_load_explicit(cell, memory_order_relaxed);

	for (int i = 0; i < TRIES && faded(was, now) < sum; i++)
		if (atomic_compare_exchange_weak_explicit(
			cell, &was, as_cell(sum, now), memory_order_relaxed, memory_order_relaxed))
			break;
}

static uint64_t
charge(struct fair_share *f, uint64_t client, uint64_t cost, uint32_t now)
{
	uint64_t least = UINT64_MAX;

	for (size_t row = 0; row < ROWS; row++) {
		const uint64_t sum =
		    add(&f->cells[row][client >> (row * CELL_BITS) & (CELLS - 1)], cost, now);

		if (sum < least)
			least = sum;
	}
	return least;
}

static void
note_presence(struct fair_share *f, uint64_t client, int64_t now_ms)
{
	const int64_t second = now_ms / 1000;
	struct map *m = &f->maps[second % MAPS];
	int64_t was = atomic_load_explicit(&m->second, memory_order_relaxed);
	const size_t bit = client >> (ROWS * CELL_BITS) & (CELLS - 1);

	/* Who is told late of a new second sets a bit that is cleared: one client less, for a second. */
	if (was != second && atomic_compare_exchange_strong(&m->second, &was, second))
		for (size_t i = 0; i < MAP_WORDS; i++)
			atomic_store_explicit(&m->bits[i], 0, memory_order_relaxed);
	if ((atomic_load_explicit(&m->bits[bit / 64], memory_order_relaxed) >> bit % 64 & 1) == 0)
		(void)atomic_fetch_or_explicit(
		    &m->bits[bit / 64], UINT64_C(1) << bit % 64, memory_order_relaxed);
}

static uint32_t
count_map(const struct map *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < MAP_WORDS; i++)
		n += (uint32_t)__builtin_popcountll(
		    atomic_load_explicit(&m->bits[i], memory_order_relaxed));
	return n;
}

/* In this second or the last one, whichever saw more; of many clients some share a bit, so it is a few less. */
static uint32_t
count_clients(const struct fair_share *f, int64_t now_ms)
{
	uint32_t most = 1;

	for (int64_t second = now_ms / 1000 - 1; second <= now_ms / 1000; second++) {
		const struct map *m = &f->maps[second % MAPS];
		const bool is_it = atomic_load_explicit(&m->second, memory_order_relaxed) == second;
		const uint32_t n = is_it ? count_map(m) : 0;

		if (n > most)
			most = n;
	}
	return most;
}

bool
fair_share_ask(
    struct fair_share *f, uint64_t client, int64_t now_ms, uint64_t random, int64_t *asked_us_out)
{
	const uint32_t now = (uint32_t)now_ms;
	const int64_t cost_us = atomic_load_explicit(&f->typical_us, memory_order_relaxed);
	uint64_t asked, served;

	*asked_us_out = cost_us > LEAST_US ? cost_us : LEAST_US;
	asked = charge(f, client, (uint64_t)*asked_us_out, now);

	raise(&f->greatest, asked, now);
	note_presence(f, client, now_ms);
	if (2 * asked >= faded(atomic_load_explicit(&f->greatest, memory_order_relaxed), now))
		return true;
	served = faded(atomic_load_explicit(&f->served, memory_order_relaxed), now);
	/* Within the share with the chance of share to what was asked. */
	return random % asked >= served / count_clients(f, now_ms);
}

/* One call that costs a hundred times as much moves it no further than one that costs twice as much: most calls are what
 * is typical, not their sum. */
static void
learn_typical(struct fair_share *f, int64_t cost_us)
{
	const int64_t typical_us = atomic_load_explicit(&f->typical_us, memory_order_relaxed);
	int64_t step_us = cost_us - typical_us;

	if (typical_us > 0 && step_us > typical_us)
		step_us = typical_us;
	/* Two at once may lose one of two steps. */
	atomic_store_explicit(&f->typical_us,
	    typical_us == 0 ? cost_us : typical_us + step_us / TYPICAL_PART, memory_order_relaxed);
}

void
fair_share_served(
    struct fair_share *f, uint64_t client, int64_t cost_us, int64_t asked_us, int64_t now_ms)
{
	learn_typical(f, cost_us);
	(void)add(&f->served, (uint64_t)cost_us, (uint32_t)now_ms);
	if (cost_us > asked_us)
		(void)charge(f, client, (uint64_t)(cost_us - asked_us), (uint32_t)now_ms);
}

void
fair_share_look(const struct fair_share *f, int64_t now_ms, struct fair_share_view *out)
{
	const uint32_t now = (uint32_t)now_ms;
	const double served = (double)faded(atomic_load(&f->served), now);
	const double greatest = (double)faded(atomic_load(&f->greatest), now);

	*out = (struct fair_share_view){ .clients = count_clients(f, now_ms),
		.served_us = (uint64_t)(served / sum_of_second),
		.greatest_us = (uint64_t)(greatest / sum_of_second) };
}
