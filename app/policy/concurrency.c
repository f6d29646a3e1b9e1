/*
 * Finding the knee: levels, and trials of one beside another.
 */
#include "policy/concurrency.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum {
	LEVELS = 24, /* 1 2 3 4 6 8 ... 6144 */
	WINDOW_MS = 100,
	WINDOW_MOST_MS = 2000, /* then as many calls as there were must do */
	WINDOW_CALLS = 32,
	FEWEST_CALLS = 4,
	STAY_LEAST = 3, /* windows between two trials */
	STAY_MOST = 32,
	PAIRS_MOST = 8,
	NOISE_PART = 4,
	NAME_WORDS = CONCURRENCY_NAME_BYTES / 8,
};

/* How much the rate must grow with the level, as powers of each other: 1 is all of it, 0 none.  And how clear it must be. */
static const float worth_while = 0.3F, clear = 0.12F;
/* Of the noise from window to window.  Fewer may lose what is there to be done, so that must be surer than the other way. */
static const float surer_down = 2, surer_up = 1;

struct concurrency {
	_Atomic uint64_t key; /* hash of the name; 0: a free row */
	_Atomic uint64_t name[NAME_WORDS];
	_Atomic uint32_t most;
	_Atomic uint32_t level, base; /* where we are; where we stay */
	_Atomic uint32_t target;      /* what is tried beside it; base: nothing */
	_Atomic uint32_t stay, stays; /* windows until the next trial; how many after that one */
	_Atomic uint32_t staying;     /* windows since the last one, and still */
	_Atomic uint32_t upward;      /* the way of the trial */
	_Atomic uint32_t pairs;	      /* of it so far */
	_Atomic float score;	      /* of them, as logarithms: over 0, the target is better */
	_Atomic float base_rate;      /* logarithm of calls a ms, in the window before */
	_Atomic float noise;	      /* how far such windows differ at one level */
	_Atomic uint32_t calls;
	_Atomic int64_t began_ms; /* of the window; not before */
	_Atomic uint64_t busy_us;
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

/* ---- Rows ---------------------------------------------------------------------- */

static void
stay_at(struct concurrency *c, uint32_t level, uint32_t windows)
{
	store(&c->base, level);
	store(&c->target, level);
	store(&c->level, level);
	store(&c->stay, windows);
	store(&c->staying, windows);
}

/* The pool has another size than when the row was made, or it is just being made. */
static void
resize(struct concurrency *c, uint32_t most)
{
	if (load(&c->most) == most)
		return;
	store(&c->most, most);
	store(&c->stays, STAY_LEAST);
	stay_at(c, top_level(most), 0);
}

/* All who come by that name write the same, so it does not matter who does, nor how often. */
static void
write_name(struct concurrency *c, const char *name)
{
	uint64_t words[NAME_WORDS] = { 0 };

	memcpy(words, name, strlen(name));
	for (size_t i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(&c->name[i], words[i], memory_order_relaxed);
}

enum err
concurrency_open(
    struct concurrencies *all, const char *name, uint32_t most, struct concurrency **out)
{
	const uint64_t key = hash64(0, name, strlen(name)) | 1;

	if (strlen(name) >= CONCURRENCY_NAME_BYTES)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < CONCURRENCIES_MAX; i++) {
		struct concurrency *c = &all->rows[i];
		uint64_t is = 0;

		if (!atomic_compare_exchange_strong(&c->key, &is, key) && is != key)
			continue;
		write_name(c, name);
		resize(c, most);
		*out = c;
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

		if (atomic_load(&c->key) == 0)
			continue;
		out[n] = (struct concurrency_view){ .limit = limit_of(c), .most = load(&c->most) };
		for (size_t w = 0; w < NAME_WORDS; w++) {
			const uint64_t word =
			    atomic_load_explicit(&c->name[w], memory_order_relaxed);

			memcpy(out[n].name + w * sizeof word, &word, sizeof word);
		}
		for (size_t m = 0; m < CONCURRENCY_MEMBERS; m++)
			out[n].running += load(&c->running[m]);
		n++;
	}
	return n;
}

/* ---- Learning ------------------------------------------------------------------ */

static float
load_float(const _Atomic float *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void
store_float(_Atomic float *word, float value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

/* Half as many, or the next level: going down is the larger step, for what it gains is the smaller one. */
static uint32_t
neighbour(uint32_t base, bool up, uint32_t bottom, uint32_t top)
{
	if (up)
		return base < top ? base + 1 : base;
	return base >= bottom + 2 ? base - 2 : bottom;
}

/* The window that has just ended, at the base, is the first of the trial's. */
static void
begin_trial(struct concurrency *c, float rate, uint32_t bottom, uint32_t top)
{
	const uint32_t base = load(&c->base);
	const bool up = load(&c->upward);
	const uint32_t target = neighbour(base, up, bottom, top);

	if (target == base) { /* the other way next time */
		store(&c->upward, !up);
		return;
	}
	store(&c->target, target);
	store(&c->pairs, 0);
	store_float(&c->score, 0);
	store_float(&c->base_rate, rate);
	store(&c->level, target);
}

static void
end_trial(struct concurrency *c, bool won, float rate, uint32_t bottom, uint32_t top)
{
	const uint32_t stays = load(&c->stays);

	if (won) {
		store(&c->stays, STAY_LEAST);
		stay_at(c, load(&c->target), 0);
		begin_trial(c, rate, bottom, top);
		return;
	}
	store(&c->upward, !load(&c->upward));
	stay_at(c, load(&c->base), stays);
	store(&c->stays, 2 * stays < STAY_MOST ? 2 * stays : STAY_MOST);
}

/* A pair of windows: the base's and then the target's, which had the same weather. */
static void
judge_pair(struct concurrency *c, float rate, uint32_t bottom, uint32_t top)
{
	const float from = (float)level_calls(load(&c->base));
	const float to = (float)level_calls(load(&c->target));
	const float score = load_float(&c->score) + rate - load_float(&c->base_rate) -
			    worth_while * logf(to / from);
	const uint32_t pairs = load(&c->pairs) + 1;

	store_float(&c->score, score);
	store(&c->pairs, pairs);
	const float noise = load_float(&c->noise) * sqrtf((float)pairs);
	const bool won = score > clear && score > noise * (to < from ? surer_down : surer_up);

	if (won || (score < -clear && score < -noise) || pairs >= PAIRS_MOST)
		end_trial(c, won, rate, bottom, top);
	else
		store(&c->level, load(&c->base));
}

/* Two windows at the base, one after the other. */
static void
learn_noise(struct concurrency *c, float rate)
{
	const float noise = load_float(&c->noise);

	store_float(
	    &c->noise, noise + (fabsf(rate - load_float(&c->base_rate)) - noise) / NOISE_PART);
	store_float(&c->base_rate, rate);
}

static void
decide(struct concurrency *c, float rate)
{
	const uint32_t most = load(&c->most), top = top_level(most), bottom = bottom_level(most);
	const uint32_t base = load(&c->base), stay = load(&c->stay);

	if (load(&c->level) != base) {
		judge_pair(c, rate, bottom, top);
	} else if (load(&c->target) != base) { /* the first half of the next pair */
		store_float(&c->base_rate, rate);
		store(&c->level, load(&c->target));
	} else if (stay > 0) {
		if (stay < load(&c->staying)) /* the window before was at the base, too */
			learn_noise(c, rate);
		store_float(&c->base_rate, rate);
		store(&c->stay, stay - 1);
	} else {
		begin_trial(c, rate, bottom, top);
	}
}

static void
leave_off(struct concurrency *c)
{
	stay_at(c, load(&c->base), load(&c->stays));
}

/* By the one who has closed the window.  Returns for how long what ends still belongs to the level before. */
static int64_t
learn(struct concurrency *c, int64_t elapsed_ms)
{
	const float calls = (float)atomic_exchange(&c->calls, 0);
	const float busy_us = (float)atomic_exchange(&c->busy_us, 0);
	const float running = busy_us / 1000 / (float)elapsed_ms; /* Little's law */
	const uint32_t before = load(&c->level);

	if (calls < 1)
		return 0;
	if (running < 0.75F * (float)limit_of(c))
		leave_off(c); /* there is less to do than might be done */
	else
		decide(c, logf(calls / (float)elapsed_ms));
	return load(&c->level) == before ? 0 : (int64_t)(busy_us / 1000 / calls) + 1;
}

void
concurrency_begin(struct concurrency *c, unsigned member)
{
	(void)atomic_fetch_add_explicit(&c->running[member], 1, memory_order_relaxed);
}

/* Never below nothing, also when it was forgotten meanwhile. */
static void
went(_Atomic uint32_t *running)
{
	uint32_t n = load(running);

	while (n > 0 && !atomic_compare_exchange_weak_explicit(
			    running, &n, n - 1, memory_order_relaxed, memory_order_relaxed))
		;
}

void
concurrency_end(
    struct concurrency *c, unsigned member, bool answered, int64_t took_us, int64_t now_ms)
{
	int64_t began_ms = atomic_load_explicit(&c->began_ms, memory_order_relaxed);
	uint32_t calls;
	int64_t settle_ms;

	went(&c->running[member]);
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
concurrency_running(const struct concurrency *c, unsigned member)
{
	return load(&c->running[member]);
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
