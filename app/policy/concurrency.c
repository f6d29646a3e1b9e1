/*
 * Finding the knee: levels, what came of each, and when to look at a neighbour's.
 */
#include "policy/concurrency.h"

#include <stdatomic.h>
#include <string.h>

enum {
	LEVELS = 24, /* 1 2 3 4 6 8 ... 6144 */
	WINDOW_MS = 100,
	WINDOW_MOST_MS = 2000, /* then as many calls as there were must do */
	WINDOW_CALLS = 20,
	FEWEST_CALLS = 4,
	STAY_LEAST = 4, /* windows at the best level between two looks elsewhere */
	STAY_MOST = 32,
	TAKEN = UINT32_MAX, /* of a row whose name is just being written */
	NAMED = 1,
};

struct concurrency {
	_Atomic uint32_t named;
	char name[CONCURRENCY_NAME_BYTES];
	_Atomic uint32_t most;
	_Atomic uint32_t level, best; /* where we are, and where it was best */
	_Atomic uint32_t stay, stays; /* windows left there; how many next time */
	_Atomic uint32_t upward;      /* the last look was at the higher neighbour */
	_Atomic uint32_t calls;
	_Atomic int64_t began_ms; /* of the window; not before */
	_Atomic uint64_t busy_us;
	_Atomic float worth[LEVELS]; /* 0: not known */
	_Atomic uint32_t running[CONCURRENCY_MEMBERS];
};

struct concurrencies {
	struct concurrency rows[CONCURRENCIES_MAX];
};

size_t
concurrencies_size(void)
{
	return sizeof(struct concurrencies);
}

void
concurrencies_init(void *mem)
{
	memset(mem, 0, sizeof(struct concurrencies)); /* all words of it may be zero */
}

/* ---- Levels -------------------------------------------------------------------- */

/* 1 2 3 4 6 8 12 16 24 ... */
static uint32_t
level_calls(uint32_t level)
{
	if (level < 2)
		return level + 1;
	return (level % 2 == 0 ? 3U : 4U) << (level / 2 - 1);
}

static uint32_t
load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void
store(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

/* The first level that allows ${most}. */
static uint32_t
top_level(uint32_t most)
{
	uint32_t level = 0;

	while (level + 1 < LEVELS && level_calls(level) < most)
		level++;
	return level;
}

/* One at a time is no concurrency: when two may be had, two are never too many to try. */
static uint32_t
bottom_level(uint32_t most)
{
	return most > 1 ? 1 : 0;
}

static uint32_t
limit_of(const struct concurrency *c)
{
	const uint32_t most = load(&c->most), calls = level_calls(load(&c->level));

	return calls < most ? calls : most;
}

static float
worth_of(const struct concurrency *c, uint32_t level)
{
	return atomic_load_explicit(&c->worth[level], memory_order_relaxed);
}

/* ---- Rows ---------------------------------------------------------------------- */

static void
name_row(struct concurrency *c, const char *name, uint32_t most)
{
	const uint32_t top = top_level(most);

	memcpy(c->name, name, strlen(name) + 1);
	store(&c->most, most);
	store(&c->level, top);
	store(&c->best, top);
	atomic_store_explicit(&c->named, NAMED, memory_order_release);
}

/* What a row says of its name: a claim by one who died before it was written is a row that is lost. */
static bool
is_named(const struct concurrency *c, const char *name)
{
	return atomic_load_explicit(&c->named, memory_order_acquire) == NAMED &&
	       strcmp(c->name, name) == 0;
}

/* The pool has another size than when the row was made. */
static void
resize(struct concurrency *c, uint32_t most)
{
	if (load(&c->most) == most)
		return;
	store(&c->most, most);
	store(&c->level, top_level(most));
	store(&c->best, top_level(most));
	for (size_t i = 0; i < LEVELS; i++)
		atomic_store_explicit(&c->worth[i], 0, memory_order_relaxed);
}

enum err
concurrency_open(
    struct concurrencies *all, const char *name, uint32_t most, struct concurrency **out)
{
	if (strlen(name) >= CONCURRENCY_NAME_BYTES)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < CONCURRENCIES_MAX; i++) {
		struct concurrency *c = &all->rows[i];
		uint32_t unnamed = 0;

		*out = c;
		if (is_named(c, name)) {
			resize(c, most);
			return ERR_OK;
		}
		if (atomic_compare_exchange_strong(&c->named, &unnamed, TAKEN)) {
			name_row(c, name, most);
			return ERR_OK;
		}
		while (atomic_load(&c->named) == TAKEN && unnamed == TAKEN &&
		       i + 1 < CONCURRENCIES_MAX)
			break; /* another is being named: at worst a name has two rows */
		if (is_named(c, name))
			return ERR_OK;
	}
	return ERR_FULL;
}

void
concurrencies_forget(struct concurrencies *all, unsigned member)
{
	for (size_t i = 0; i < CONCURRENCIES_MAX; i++)
		store(&all->rows[i].running[member], 0);
}

size_t
concurrencies_look(const struct concurrencies *all, struct concurrency_view out[CONCURRENCIES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < CONCURRENCIES_MAX; i++) {
		const struct concurrency *c = &all->rows[i];

		if (atomic_load_explicit(&c->named, memory_order_acquire) != NAMED)
			continue;
		out[n] = (struct concurrency_view){ .limit = limit_of(c), .most = load(&c->most) };
		memcpy(out[n].name, c->name, CONCURRENCY_NAME_BYTES);
		for (size_t m = 0; m < CONCURRENCY_MEMBERS; m++)
			out[n].running += load(&c->running[m]);
		n++;
	}
	return n;
}

/* ---- Learning ------------------------------------------------------------------ */

/* What this window says of the level, beside what is remembered of it. */
static void
remember(struct concurrency *c, uint32_t level, float worth)
{
	const float before = worth_of(c, level);

	atomic_store_explicit(&c->worth[level],
	    before == 0 ? worth : before + (worth - before) * 0.5F, memory_order_relaxed);
}

static void
go_to(struct concurrency *c, uint32_t level)
{
	store(&c->level, level);
}

/* A neighbour of the best level: one of which nothing is known, else the one that was not looked at last. */
static void
look_elsewhere(struct concurrency *c, uint32_t best, uint32_t bottom, uint32_t top)
{
	bool up = load(&c->upward) == 0;

	if (best > bottom && worth_of(c, best - 1) == 0)
		up = false;
	else if (best < top && worth_of(c, best + 1) == 0)
		up = true;
	if (best >= top)
		up = false;
	if (best <= bottom)
		up = true;
	if ((up && best >= top) || (!up && best <= bottom))
		return;
	store(&c->upward, up);
	go_to(c, up ? best + 1 : best - 1);
}

static void
stay_at(struct concurrency *c, uint32_t level, uint32_t windows)
{
	store(&c->best, level);
	store(&c->stays, windows < STAY_MOST ? windows : STAY_MOST);
	store(&c->stay, load(&c->stays));
	go_to(c, level);
}

/* A look at a neighbour is over: go on the same way when it was better, else back. */
static void
after_look(struct concurrency *c, uint32_t level, uint32_t best, uint32_t bottom, uint32_t top)
{
	if (worth_of(c, level) <= worth_of(c, best)) {
		stay_at(c, best, load(&c->stays) * 2);
		return;
	}
	stay_at(c, level, STAY_LEAST);
	if (level > best ? level < top : level > bottom)
		go_to(c, level > best ? level + 1 : level - 1);
}

static bool
knows_neighbours(const struct concurrency *c, uint32_t best, uint32_t bottom, uint32_t top)
{
	return (best <= bottom || worth_of(c, best - 1) != 0) &&
	       (best >= top || worth_of(c, best + 1) != 0);
}

static void
decide(struct concurrency *c)
{
	const uint32_t most = load(&c->most), top = top_level(most), bottom = bottom_level(most);
	const uint32_t level = load(&c->level), best = load(&c->best);
	const uint32_t stay = load(&c->stay);

	if (level != best)
		after_look(c, level, best, bottom, top);
	else if (stay > 0 && knows_neighbours(c, best, bottom, top))
		store(&c->stay, stay - 1);
	else
		look_elsewhere(c, best, bottom, top);
}

/* By the one who has closed the window. */
static int64_t
learn(struct concurrency *c, int64_t elapsed_ms)
{
	const float calls = (float)atomic_exchange(&c->calls, 0);
	const float busy_us = (float)atomic_exchange(&c->busy_us, 0);
	const float running = busy_us / 1000 / (float)elapsed_ms; /* Little's law */
	const float per_ms = calls / (float)elapsed_ms, took_ms = busy_us / 1000 / calls;
	const uint32_t before = load(&c->level);

	if (calls < 1 || running < 0.75F * (float)limit_of(c))
		return 0; /* there was less to do than might have been done */
	remember(c, before, per_ms * per_ms * per_ms / (took_ms + 0.001F));
	decide(c);
	return load(&c->level) == before ? 0 : (int64_t)took_ms + 1;
}

void
concurrency_begin(struct concurrency *c, unsigned member)
{
	(void)atomic_fetch_add_explicit(&c->running[member], 1, memory_order_relaxed);
}

void
concurrency_end(
    struct concurrency *c, unsigned member, bool answered, int64_t took_us, int64_t now_ms)
{
	int64_t began_ms = atomic_load_explicit(&c->began_ms, memory_order_relaxed);
	uint32_t calls;
	int64_t settle_ms;

	(void)atomic_fetch_sub_explicit(&c->running[member], 1, memory_order_relaxed);
	if (!answered || now_ms < began_ms)
		return; /* begun at another level */
	(void)atomic_fetch_add_explicit(&c->busy_us, (uint64_t)took_us, memory_order_relaxed);
	calls = atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed) + 1;
	if (now_ms - began_ms < WINDOW_MS ||
	    (calls < WINDOW_CALLS && now_ms - began_ms < WINDOW_MOST_MS) || calls < FEWEST_CALLS)
		return;
	if (!atomic_compare_exchange_strong(&c->began_ms, &began_ms, now_ms))
		return;
	settle_ms = learn(c, now_ms - began_ms);
	if (settle_ms > 0)
		atomic_store(&c->began_ms, now_ms + settle_ms);
}

uint32_t
concurrency_room(const struct concurrency *c, unsigned member)
{
	const uint32_t limit = limit_of(c);
	uint32_t others = 0, members = 1, part;

	for (unsigned m = 0; m < CONCURRENCY_MEMBERS; m++) {
		const uint32_t running = m == member ? 0 : load(&c->running[m]);

		others += running;
		members += running > 0;
	}
	part = limit / members > 0 ? limit / members : 1;
	return limit > others && limit - others > part ? limit - others : part;
}
