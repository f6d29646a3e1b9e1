/*
 * Circuit breaker over shared memory: one word that decides, and a window of ten words, each the
 * counts of one second.
 *
 * Who changes the state swaps the whole word, with the next serial number.  A call carries the serial
 * under which it was begun, so what a stopped process reports an hour later meets another number
 * and is dropped, and of two that would make the same change one finds the word changed.
 */
#include "policy/breaker.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

enum {
	SECONDS = BREAKER_WINDOW_MS / 1000,
	SECOND_COUNT_MAX = 0xffff, /* a second counts that many calls: enough to know its rate */
	CACHE_LINE_BYTES = 64,
};

/* control: state, force, serial, whether it is on its ramp, and a moment (ms; 41 bits are 69 years). */
enum { FORCE_AT = 2, SERIAL_AT = 4, SERIAL_MASK = (1 << 18) - 1, RAMPS_AT = 22, MOMENT_AT = 23 };

/* A second's word: which one (modulo 2^32), its calls, and how many of them failed. */
enum { SECOND_AT = 32, CALLS_AT = 16 };

struct breaker {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t control;
	/* Written by who has changed the state, after that; only looked at. */
	_Atomic int64_t left_closed_ms;
	_Atomic int64_t ramp_end_ms;
	_Atomic uint64_t opened, entered[BREAKER__COUNT];
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t seconds[SECONDS];
	_Atomic uint64_t slow[SECONDS]; /* which second, and its slow calls; only looked at */
};

struct control {
	enum breaker_state state;
	enum breaker_force force;
	uint32_t serial;
	/* CLOSED, OPEN: since then.  HALF_OPEN, SUSPENDED: from then on the next probe is due. */
	int64_t moment_ms;
	bool
	    ramps; /* CLOSED: since a half-open one's probe, so the rules' ramp counts from the moment on */
};

#define BIT(state) (1u << (state))

static const unsigned allowed_next[] = {
	[BREAKER_CLOSED] = BIT(BREAKER_OPEN) | BIT(BREAKER_SUSPENDED),
	[BREAKER_OPEN] = BIT(BREAKER_HALF_OPEN),
	[BREAKER_HALF_OPEN] = BIT(BREAKER_HALF_OPEN) | BIT(BREAKER_CLOSED) | BIT(BREAKER_OPEN) |
			      BIT(BREAKER_SUSPENDED),
	[BREAKER_SUSPENDED] = BIT(BREAKER_SUSPENDED) | BIT(BREAKER_CLOSED),
};

size_t
breaker_size(void)
{
	return sizeof(struct breaker);
}

void
breaker_init(void *mem)
{
	memset(mem, 0, sizeof(struct breaker));
}

/*
 * The word that decides.
 */
static uint64_t
pack(struct control c)
{
	return (uint64_t)c.state | (uint64_t)c.force << FORCE_AT |
	       (uint64_t)(c.serial & SERIAL_MASK) << SERIAL_AT | (uint64_t)c.ramps << RAMPS_AT |
	       (uint64_t)c.moment_ms << MOMENT_AT;
}

static struct control
read_control(const struct breaker *b)
{
	const uint64_t word = atomic_load(&b->control);

	return (struct control){
		.state = (enum breaker_state)(word & 3),
		.force = (enum breaker_force)(word >> FORCE_AT & 3),
		.serial = (uint32_t)(word >> SERIAL_AT & SERIAL_MASK),
		.moment_ms = (int64_t)(word >> MOMENT_AT),
		.ramps = (word >> RAMPS_AT & 1) != 0,
	};
}

static bool
swap(struct breaker *b, struct control seen, struct control next)
{
	uint64_t expected = pack(seen);

	return atomic_compare_exchange_strong(&b->control, &expected, pack(next));
}

static bool
move(struct breaker *b, struct control seen, enum breaker_state to, int64_t moment_ms,
    int64_t now_ms)
{
	const bool ramps = to == BREAKER_CLOSED && seen.state == BREAKER_HALF_OPEN;
	const struct control next = { to, seen.force, seen.serial + 1, moment_ms, ramps };

	assert(allowed_next[seen.state] & BIT(to));
	if (!swap(b, seen, next))
		return false;
	if (seen.state != to)
		atomic_fetch_add(&b->entered[to], 1);
	if (seen.state == BREAKER_CLOSED) {
		atomic_store(&b->left_closed_ms, now_ms);
		atomic_fetch_add(&b->opened, 1);
	}
	return true;
}

/*
 * The window.
 */
struct window {
	uint64_t calls, failures, slow;
};

static uint32_t
second_of(int64_t ms)
{
	return (uint32_t)(ms / 1000);
}

/* Adds ${more} to ${second}'s word among ${words}, which forgets the second that it held before. */
static void
count_in(_Atomic uint64_t words[SECONDS], uint32_t second, uint64_t more)
{
	_Atomic uint64_t *word = &words[second % SECONDS];
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed), next;

	do {
		const uint32_t held = (uint32_t)(seen >> SECOND_AT);

		if ((int32_t)(held - second) > 0)
			return; /* the call ended a whole window ago */
		next = held == second ? seen : (uint64_t)second << SECOND_AT;
		if ((next >> CALLS_AT & SECOND_COUNT_MAX) == SECOND_COUNT_MAX)
			return;
		next += more;
	} while (!atomic_compare_exchange_weak_explicit(
	    word, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

static void
count(struct breaker *b, enum breaker_outcome outcome, int64_t now_ms)
{
	const uint64_t one = UINT64_C(1) << CALLS_AT;

	count_in(b->seconds, second_of(now_ms), outcome == BREAKER_ANSWERED ? one : one | 1);
	if (outcome == BREAKER_SLOW)
		count_in(b->slow, second_of(now_ms), one | 1);
}

/* The first second that counts.  Closed again, it is the next whole one: the second in which it closed also
 * holds what had opened it. */
static uint32_t
first_second(struct control c, int64_t now_ms)
{
	const uint32_t oldest = second_of(now_ms) - (SECONDS - 1);
	const uint32_t closed = second_of(c.moment_ms + 999);

	return c.state == BREAKER_CLOSED && (int32_t)(closed - oldest) > 0 ? closed : oldest;
}

static bool
counts(uint64_t word, uint32_t first, uint32_t last)
{
	return (uint32_t)(word >> SECOND_AT) - first <= last - first;
}

static struct window
read_window(const struct breaker *b, struct control c, int64_t now_ms)
{
	const uint32_t last = second_of(now_ms), first = first_second(c, now_ms);
	struct window w = { 0 };

	if ((int32_t)(last - first) < 0)
		return w;
	for (size_t i = 0; i < SECONDS; i++) {
		const uint64_t all = atomic_load_explicit(&b->seconds[i], memory_order_relaxed);
		const uint64_t slow = atomic_load_explicit(&b->slow[i], memory_order_relaxed);

		if (counts(all, first, last)) {
			w.calls += all >> CALLS_AT & SECOND_COUNT_MAX;
			w.failures += all & SECOND_COUNT_MAX;
		}
		if (counts(slow, first, last))
			w.slow += slow & SECOND_COUNT_MAX;
	}
	if (w.slow > w.failures)
		w.slow = w.failures; /* counted between our two looks */
	return w;
}

static bool
is_over(const struct breaker_rules *r, struct window w)
{
	return w.calls >= r->volume && w.failures * 100 >= (uint64_t)r->failure_pct * w.calls;
}

/*
 * Calls.
 */
static struct breaker_change
no_change(struct control c)
{
	return (struct breaker_change){ .from = c.state, .to = c.state };
}

static struct breaker_change
change(struct control from, enum breaker_state to, struct window w)
{
	return (struct breaker_change){ from.state, to, w.calls, w.failures, w.slow };
}

bool
breaker_allow(const struct breaker *b, struct breaker_ticket *out)
{
	const struct control c = read_control(b);

	*out = (struct breaker_ticket){ .serial = c.serial };
	if (c.force != BREAKER_AUTO)
		return c.force == BREAKER_FORCED_CLOSED;
	return c.state == BREAKER_CLOSED;
}

/* Of 100. */
static unsigned
ramp_pct(int64_t from_ms, int64_t end_ms, int64_t now_ms)
{
	const int64_t more = 100 - BREAKER_RAMP_LEAST_PCT;

	if (now_ms >= end_ms)
		return 100;
	if (now_ms <= from_ms)
		return BREAKER_RAMP_LEAST_PCT;
	return BREAKER_RAMP_LEAST_PCT + (unsigned)(more * (now_ms - from_ms) / (end_ms - from_ms));
}

bool
breaker_admits(
    const struct breaker *b, const struct breaker_rules *r, int64_t now_ms, uint32_t random32)
{
	const struct control c = read_control(b);
	unsigned pct;

	if (c.force != BREAKER_AUTO)
		return c.force == BREAKER_FORCED_CLOSED;
	if (c.state != BREAKER_CLOSED || !c.ramps)
		return c.state == BREAKER_CLOSED;
	pct = ramp_pct(c.moment_ms, c.moment_ms + r->ramp_ms, now_ms);
	return (uint64_t)random32 * 100 >> 32 < pct;
}

static bool
probe_is_due(struct control c, const struct breaker_rules *r, int64_t now_ms)
{
	if (c.force != BREAKER_AUTO || c.state == BREAKER_CLOSED)
		return false;
	return now_ms - c.moment_ms >= (c.state == BREAKER_OPEN ? r->reset_ms : 0);
}

bool
breaker_probe(struct breaker *b, const struct breaker_rules *r, int64_t now_ms,
    struct breaker_ticket *out, struct breaker_change *change_out)
{
	struct control c;
	enum breaker_state to;

	do { /* once more only when another has changed it meanwhile */
		c = read_control(b);
		*out = (struct breaker_ticket){ .serial = (c.serial + 1) & SERIAL_MASK,
			.probe = true };
		*change_out = no_change(c);
		if (!probe_is_due(c, r, now_ms))
			return false;
		to = c.state == BREAKER_SUSPENDED ? BREAKER_SUSPENDED : BREAKER_HALF_OPEN;
	} while (!move(b, c, to, now_ms + r->probe_lease_ms, now_ms));
	*change_out = change(c, to, read_window(b, c, now_ms));
	return true;
}

struct verdict {
	enum breaker_state to;
	int64_t moment_ms;
};

static struct verdict
after_probe(struct control c, enum breaker_outcome outcome, int64_t now_ms)
{
	if (outcome == BREAKER_ANSWERED)
		return (struct verdict){ BREAKER_CLOSED, now_ms };
	if (outcome == BREAKER_STALLED || c.state == BREAKER_SUSPENDED)
		return (struct verdict){ BREAKER_SUSPENDED, now_ms + BREAKER_PAUSE_MS };
	return (struct verdict){ BREAKER_OPEN, now_ms };
}

static struct verdict
after_call(const struct breaker_rules *r, struct control c, struct window w,
    enum breaker_outcome outcome, int64_t now_ms)
{
	if (c.state == BREAKER_CLOSED && outcome == BREAKER_STALLED)
		return (struct verdict){ BREAKER_SUSPENDED, now_ms };
	if (c.state == BREAKER_CLOSED && is_over(r, w))
		return (struct verdict){ BREAKER_OPEN, now_ms };
	return (struct verdict){ c.state, c.moment_ms };
}

struct breaker_change
breaker_report(struct breaker *b, const struct breaker_rules *r, const struct breaker_ticket *t,
    enum breaker_outcome outcome, int64_t now_ms)
{
	struct control c = read_control(b);
	struct verdict v;
	struct window w;

	if (c.serial == t->serial && !t->probe)
		count(b, outcome, now_ms);
	if (outcome == BREAKER_ANSWERED && !t->probe)
		return no_change(c);
	do {
		c = read_control(b);
		if (c.serial != t->serial || c.force != BREAKER_AUTO)
			return no_change(c);
		w = read_window(b, c, now_ms);
		v = t->probe ? after_probe(c, outcome, now_ms)
			     : after_call(r, c, w, outcome, now_ms);
		if (v.to == c.state && !t->probe)
			return no_change(c);
	} while (!move(b, c, v.to, v.moment_ms, now_ms));
	if (v.to == BREAKER_CLOSED)
		atomic_store(&b->ramp_end_ms, now_ms + r->ramp_ms);
	return change(c, v.to, w);
}

void
breaker_withdraw(struct breaker *b, const struct breaker_ticket *t, int64_t now_ms)
{
	const struct control c = read_control(b);

	/* Should the swap be lost, somebody is just forcing it, and the lease ends by itself. */
	if (t->probe && c.serial == t->serial)
		(void)move(b, c, c.state, now_ms, now_ms);
}

/*
 * People.
 */
void
breaker_force(struct breaker *b, enum breaker_force force, int64_t now_ms)
{
	struct control c, next;

	do {
		c = next = read_control(b);
		next.force = force;
		if (c.force == BREAKER_FORCED_CLOSED && force == BREAKER_AUTO &&
		    c.state != BREAKER_CLOSED)
			next =
			    (struct control){ BREAKER_CLOSED, force, c.serial + 1, now_ms, false };
	} while (!swap(b, c, next));
}

static unsigned
admitted_pct(const struct breaker *b, struct control c, int64_t now_ms)
{
	const bool all =
	    c.force == BREAKER_AUTO ? c.state == BREAKER_CLOSED : c.force == BREAKER_FORCED_CLOSED;

	if (all && c.force == BREAKER_AUTO && c.ramps)
		return ramp_pct(c.moment_ms, atomic_load(&b->ramp_end_ms), now_ms);
	return all ? 100 : 0;
}

void
breaker_look(const struct breaker *b, int64_t now_ms, struct breaker_view *out)
{
	const struct control c = read_control(b);
	const struct window w = read_window(b, c, now_ms);

	*out = (struct breaker_view){
		.state = c.state,
		.force = c.force,
		.since_ms =
		    c.state == BREAKER_CLOSED ? c.moment_ms : atomic_load(&b->left_closed_ms),
		.calls = w.calls,
		.failures = w.failures,
		.slow = w.slow,
		.opened = atomic_load(&b->opened),
		.admitted_pct = admitted_pct(b, c, now_ms),
	};
	for (size_t i = 0; i < BREAKER__COUNT; i++)
		out->entered[i] = atomic_load(&b->entered[i]);
}

const char *
breaker_word(enum breaker_state state, enum breaker_force force)
{
	static const char *const words[] = {
		[BREAKER_CLOSED] = "closed",
		[BREAKER_OPEN] = "open",
		[BREAKER_HALF_OPEN] = "half-open",
		[BREAKER_SUSPENDED] = "suspended",
	};

	if (force == BREAKER_AUTO)
		return words[state];
	return force == BREAKER_FORCED_OPEN ? "forced-open" : "forced-closed";
}
