/*
 * Goal: wherever in a call or a probe its process is killed or stopped, nobody else gets a probe within its lease, and
 * after it somebody does.
 */
#include <string.h>

#include "tests/unit/policy/breakers.h"
#include "tests/unit/policy/step.h"

enum { STOPS = 2000, PROBED_MS = START_MS + RESET_MS };

/* A process that calls, and how far it has come. */
struct walk {
	struct breaker *breaker;
	enum breaker_outcome outcome;
	volatile bool probing, reporting;
};

static struct walk *
walk_of(struct breaker *b, enum breaker_outcome outcome)
{
	struct walk *w =
	    mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		abort();
	w->breaker = b;
	w->outcome = outcome;
	return w;
}

static void
walk_end(struct walk *w)
{
	breaker_end(w->breaker);
	(void)munmap(w, sizeof *w);
}

/* The call that opens it, then the probe that closes it or does not. */
static void
call_and_probe(void *arg)
{
	struct walk *w = arg;
	struct breaker_ticket t;
	struct breaker_change c;

	(void)breaker_allow(w->breaker, &t);
	(void)breaker_report(w->breaker, &rules, &t, BREAKER_FAILED, START_MS);
	if (!breaker_probe(w->breaker, &rules, PROBED_MS, &t, &c))
		return;
	w->probing = true;
	for (int i = 0; i < 5; i++) /* the call takes its time */
		(void)view(w->breaker, PROBED_MS);
	w->reporting = true;
	(void)breaker_report(w->breaker, &rules, &t, w->outcome, PROBED_MS);
}

/* One failure short of opening. */
static struct breaker *
nearly_open(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_FAILED, VOLUME - 1, START_MS);
	return b;
}

/* What others find when the walker goes no further. */
static bool
others_go_on(const struct walk *w, struct breaker *copy)
{
	const int64_t later_ms = PROBED_MS + LEASE_MS + RESET_MS + BREAKER_PAUSE_MS;
	struct breaker_ticket t;
	bool good;

	memcpy(copy, w->breaker, breaker_size());
	good = !(w->probing && !w->reporting) || !probe(copy, PROBED_MS + LEASE_MS - 1, &t);
	if (!enter(copy, later_ms, &t))
		return false;
	(void)breaker_report(copy, &rules, &t, BREAKER_ANSWERED, later_ms);
	return good && view(copy, later_ms).state == BREAKER_CLOSED &&
	       admitted(copy, later_ms) >= 100 && admitted(copy, later_ms + RAMP_MS) == 1000;
}

static void
killed_at_any_instruction_a_caller_leaves_no_breaker_stuck(void)
{
	static const enum breaker_outcome outcomes[] = { BREAKER_ANSWERED, BREAKER_FAILED,
		BREAKER_STALLED };
	struct breaker *copy = breaker_make();

	for (size_t i = 0; i < 3; i++) {
		struct walk *measured = walk_of(nearly_open(), outcomes[i]);
		struct walk *w = walk_of(nearly_open(), outcomes[i]);
		const unsigned stride = step_count(call_and_probe, measured) / STOPS + 1;
		struct step s = step_start(call_and_probe, w);
		unsigned bad = 0, looks = 0;

		for (; step_on(&s, stride); looks++)
			bad += !others_go_on(w, copy);
		CU_ASSERT_TRUE(s.well);
		CU_ASSERT_TRUE(w->reporting);
		CU_ASSERT_TRUE(looks > 100);
		CU_ASSERT_EQUAL(bad, 0);
		walk_end(measured);
		walk_end(w);
	}
	breaker_end(copy);
}

/* The walker stops after ${steps} within its probe; another takes over when the lease is over. */
static bool
taken_over_after(unsigned steps)
{
	struct walk *w = walk_of(nearly_open(), BREAKER_ANSWERED);
	struct step s = step_start(call_and_probe, w);
	struct breaker_ticket t = { 0 };
	const int64_t later_ms = PROBED_MS + LEASE_MS + RESET_MS;
	bool good = true, taken;

	(void)step_on(&s, steps);
	taken = probe(w->breaker, later_ms, &t);
	step_to_end(&s);
	if (taken) { /* the walker changes nothing any more */
		good = view(w->breaker, later_ms).state == BREAKER_HALF_OPEN;
		(void)breaker_report(w->breaker, &rules, &t, BREAKER_ANSWERED, later_ms);
	}
	good = good && s.well && view(w->breaker, later_ms).state == BREAKER_CLOSED;
	walk_end(w);
	return good;
}

static void
stopped_at_any_instruction_a_prober_that_was_replaced_changes_nothing(void)
{
	struct walk *measured = walk_of(nearly_open(), BREAKER_ANSWERED);
	const unsigned count = step_count(call_and_probe, measured), stops = 300;
	unsigned bad = 0;

	for (unsigned i = 0; i <= stops; i++)
		bad += !taken_over_after(count * i / stops);
	CU_ASSERT_EQUAL(bad, 0);
	walk_end(measured);
}

UNIT_SUITE(breaker_walk, TEST(killed_at_any_instruction_a_caller_leaves_no_breaker_stuck),
    TEST(stopped_at_any_instruction_a_prober_that_was_replaced_changes_nothing));
