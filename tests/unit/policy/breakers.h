#ifndef TESTS_UNIT_POLICY_BREAKERS_H
#define TESTS_UNIT_POLICY_BREAKERS_H

#include <stdlib.h>
#include <sys/mman.h>

#include "policy/breaker.h"
#include "tests/support/unit.h"

/*
 * A breaker in shared memory, and calls through it at a time that the test moves.
 */
enum { START_MS = 5000000, RESET_MS = 4000, LEASE_MS = 700, VOLUME = 10, RAMP_MS = 2000 };

static const struct breaker_rules rules = { .slow_ms = 100,
	.failure_pct = 50,
	.reset_ms = RESET_MS,
	.volume = VOLUME,
	.probe_lease_ms = LEASE_MS,
	.ramp_ms = RAMP_MS };

static inline struct breaker *
breaker_make(void)
{
	void *mem =
	    mmap(NULL, breaker_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	breaker_init(mem);
	return mem;
}

static inline void
breaker_end(struct breaker *b)
{
	(void)munmap(b, breaker_size());
}

static inline struct breaker_view
view(const struct breaker *b, int64_t now_ms)
{
	struct breaker_view v;

	breaker_look(b, now_ms, &v);
	return v;
}

/* Enters as a request may: an ordinary call, else the probe. */
static inline bool
enter(struct breaker *b, int64_t now_ms, struct breaker_ticket *t)
{
	struct breaker_change c;

	return breaker_allow(b, t) || breaker_probe(b, &rules, now_ms, t, &c);
}

static inline bool
probe(struct breaker *b, int64_t now_ms, struct breaker_ticket *t)
{
	struct breaker_change c;

	return breaker_probe(b, &rules, now_ms, t, &c);
}

/* ${n} calls that begin and end at ${now_ms}; returns how many passed. */
static inline unsigned
call(struct breaker *b, enum breaker_outcome outcome, unsigned n, int64_t now_ms)
{
	struct breaker_ticket t;
	unsigned passed = 0;

	for (unsigned i = 0; i < n; i++)
		if (enter(b, now_ms, &t)) {
			(void)breaker_report(b, &rules, &t, outcome, now_ms);
			passed++;
		}
	return passed;
}

/* How many of 1000 calls are let through, drawn evenly. */
static inline unsigned
admitted(const struct breaker *b, int64_t now_ms)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < 1000; i++)
		n += breaker_admits(b, &rules, now_ms, i * (UINT32_MAX / 1000));
	return n;
}

/* Open since ${now_ms}. */
static inline struct breaker *
breaker_opened(int64_t now_ms)
{
	struct breaker *b = breaker_make();

	CU_ASSERT_EQUAL_FATAL(call(b, BREAKER_FAILED, VOLUME, now_ms), VOLUME);
	CU_ASSERT_EQUAL_FATAL(view(b, now_ms).state, BREAKER_OPEN);
	return b;
}

static inline struct breaker *
breaker_suspended(int64_t now_ms)
{
	struct breaker *b = breaker_make();

	CU_ASSERT_EQUAL_FATAL(call(b, BREAKER_STALLED, 1, now_ms), 1);
	CU_ASSERT_EQUAL_FATAL(view(b, now_ms).state, BREAKER_SUSPENDED);
	return b;
}

#endif
