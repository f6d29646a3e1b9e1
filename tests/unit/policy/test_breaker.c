/* Goal: the breaker opens on the rate of failures and not before, and what time, probes and people do to that. */
#include "policy/breaker.h"

#include "tests/support/unit.h"
#include "tests/unit/policy/breakers.h"

/*
 * The window.
 */
static void
below_the_volume_nothing_opens(void)
{
	struct breaker *b = breaker_make();

	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, VOLUME - 1, START_MS), VOLUME - 1);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, 5, START_MS), 1);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_OPEN);
	CU_ASSERT_EQUAL(view(b, START_MS).failures, VOLUME);
	breaker_end(b);
}

static void
below_the_rate_nothing_opens(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_ANSWERED, 50, START_MS);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, 60, START_MS), 50);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_OPEN);
	breaker_end(b);
}

static void
a_slow_answer_is_a_failure_and_counted_as_slow(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_SLOW, VOLUME / 2, START_MS);
	(void)call(b, BREAKER_FAILED, VOLUME / 2, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_OPEN);
	CU_ASSERT_EQUAL(view(b, START_MS).calls, VOLUME);
	CU_ASSERT_EQUAL(view(b, START_MS).failures, VOLUME);
	CU_ASSERT_EQUAL(view(b, START_MS).slow, VOLUME / 2);
	breaker_end(b);
}

static void
an_answer_opens_nothing_even_when_the_rate_is_over(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_FAILED, VOLUME - 1, START_MS);
	(void)call(b, BREAKER_ANSWERED, 5, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_CLOSED);
	(void)call(b, BREAKER_FAILED, 1, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_OPEN);
	breaker_end(b);
}

static void
the_window_rolls_by_the_second(void)
{
	struct breaker *b = breaker_make();

	for (int i = 0; i < 10; i++) {
		(void)call(b, BREAKER_ANSWERED, 100, START_MS + i * 1000);
		CU_ASSERT_EQUAL(view(b, START_MS + i * 1000).calls, 100 * (unsigned)(i + 1));
	}
	CU_ASSERT_EQUAL(view(b, START_MS + 9999).calls, 1000);
	CU_ASSERT_EQUAL(view(b, START_MS + 10000).calls, 900);
	CU_ASSERT_EQUAL(view(b, START_MS + 15500).calls, 400);
	CU_ASSERT_EQUAL(view(b, START_MS + 19000).calls, 0);
	breaker_end(b);
}

static void
failures_that_rolled_out_of_the_window_do_not_open(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_FAILED, VOLUME - 1, START_MS);
	CU_ASSERT_EQUAL(
	    call(b, BREAKER_FAILED, VOLUME - 1, START_MS + BREAKER_WINDOW_MS), VOLUME - 1);
	CU_ASSERT_EQUAL(view(b, START_MS + BREAKER_WINDOW_MS).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(view(b, START_MS + BREAKER_WINDOW_MS).failures, VOLUME - 1);
	breaker_end(b);
}

static void
a_report_from_a_process_that_was_stopped_for_a_window_is_not_counted(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_ANSWERED, 7, START_MS + BREAKER_WINDOW_MS);
	(void)call(b, BREAKER_FAILED, 3, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS + BREAKER_WINDOW_MS).calls, 7);
	CU_ASSERT_EQUAL(view(b, START_MS + BREAKER_WINDOW_MS).failures, 0);
	breaker_end(b);
}

static void
more_calls_than_a_second_counts_neither_open_nor_spill_over(void)
{
	struct breaker *b = breaker_make();

	(void)call(b, BREAKER_ANSWERED, 200000, START_MS);
	(void)call(b, BREAKER_FAILED, 200000, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(view(b, START_MS).calls, 65535);
	CU_ASSERT_EQUAL(view(b, START_MS).failures, 0);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, 200000, START_MS + 1000), 65535);
	CU_ASSERT_EQUAL(view(b, START_MS + 1000).state, BREAKER_OPEN);
	breaker_end(b);
}

/*
 * Open and half-open.
 */
static void
open_refuses_until_the_reset_and_then_lets_exactly_one_probe_through(void)
{
	struct breaker *b = breaker_opened(START_MS);
	struct breaker_ticket t;

	CU_ASSERT_FALSE(enter(b, START_MS + RESET_MS - 1, &t));
	CU_ASSERT_TRUE(enter(b, START_MS + RESET_MS, &t));
	CU_ASSERT_TRUE(t.probe);
	CU_ASSERT_EQUAL(view(b, START_MS + RESET_MS).state, BREAKER_HALF_OPEN);
	for (int i = 0; i < 100; i++)
		CU_ASSERT_FALSE(enter(b, START_MS + RESET_MS + i, &(struct breaker_ticket){ 0 }));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, START_MS + RESET_MS + 100);
	CU_ASSERT_EQUAL(view(b, START_MS + RESET_MS + 100).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(call(b, BREAKER_ANSWERED, 100, START_MS + RESET_MS + 101), 100);
	breaker_end(b);
}

static void
a_probe_that_fails_or_is_slow_opens_it_again(void)
{
	static const enum breaker_outcome outcomes[] = { BREAKER_FAILED, BREAKER_SLOW };
	int64_t now_ms = START_MS;
	struct breaker *b = breaker_opened(now_ms);

	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(call(b, outcomes[i], 5, now_ms + RESET_MS), 1);
		now_ms += RESET_MS;
		CU_ASSERT_EQUAL(view(b, now_ms).state, BREAKER_OPEN);
		CU_ASSERT_EQUAL(call(b, BREAKER_ANSWERED, 5, now_ms + RESET_MS - 1), 0);
	}
	CU_ASSERT_EQUAL(view(b, now_ms).since_ms, START_MS);
	CU_ASSERT_EQUAL(view(b, now_ms).opened, 1);
	breaker_end(b);
}

static void
a_dead_prober_holds_the_breaker_for_its_lease_and_no_longer(void)
{
	struct breaker *b = breaker_opened(START_MS);
	const int64_t probed_ms = START_MS + RESET_MS;
	struct breaker_ticket dead, next;

	CU_ASSERT_TRUE(enter(b, probed_ms, &dead));
	CU_ASSERT_FALSE(enter(b, probed_ms + LEASE_MS - 1, &next));
	CU_ASSERT_TRUE(enter(b, probed_ms + LEASE_MS, &next));
	/* It was only slow: what it says now no longer counts. */
	(void)breaker_report(b, &rules, &dead, BREAKER_ANSWERED, probed_ms + LEASE_MS + 1);
	CU_ASSERT_EQUAL(view(b, probed_ms + LEASE_MS + 1).state, BREAKER_HALF_OPEN);
	(void)breaker_report(b, &rules, &next, BREAKER_FAILED, probed_ms + LEASE_MS + 2);
	CU_ASSERT_EQUAL(view(b, probed_ms + LEASE_MS + 2).state, BREAKER_OPEN);
	(void)breaker_report(b, &rules, &dead, BREAKER_ANSWERED, probed_ms + LEASE_MS + 3);
	CU_ASSERT_EQUAL(view(b, probed_ms + LEASE_MS + 3).state, BREAKER_OPEN);
	breaker_end(b);
}

static void
a_probe_that_was_not_sent_is_due_again_at_once(void)
{
	struct breaker *b = breaker_opened(START_MS);
	const int64_t now_ms = START_MS + RESET_MS;
	struct breaker_ticket t, next;

	CU_ASSERT_TRUE(enter(b, now_ms, &t));
	breaker_withdraw(b, &t, now_ms + 1);
	CU_ASSERT_EQUAL(view(b, now_ms + 1).state, BREAKER_HALF_OPEN);
	CU_ASSERT_TRUE(enter(b, now_ms + 1, &next));
	breaker_withdraw(b, &t, now_ms + 2); /* no longer its own */
	CU_ASSERT_FALSE(enter(b, now_ms + 2, &t));
	breaker_end(b);
}

static void
an_ordinary_call_that_was_not_made_is_not_counted(void)
{
	struct breaker *b = breaker_make();
	struct breaker_ticket t;

	CU_ASSERT_TRUE(enter(b, START_MS, &t));
	breaker_withdraw(b, &t, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).calls, 0);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_CLOSED);
	breaker_end(b);
}

static void
calls_that_were_in_hand_when_it_opened_change_nothing_afterwards(void)
{
	struct breaker *b = breaker_make();
	struct breaker_ticket old[2 * VOLUME];
	struct breaker_ticket t;

	for (size_t i = 0; i < 2 * VOLUME; i++)
		CU_ASSERT_TRUE(enter(b, START_MS, &old[i]));
	(void)call(b, BREAKER_FAILED, VOLUME, START_MS + 1);
	(void)breaker_report(b, &rules, &old[0], BREAKER_STALLED, START_MS + 2);
	CU_ASSERT_EQUAL(view(b, START_MS + 2).state, BREAKER_OPEN);
	CU_ASSERT_EQUAL(view(b, START_MS + 2).calls, VOLUME);
	CU_ASSERT_TRUE(enter(b, START_MS + RESET_MS + 1, &t));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, START_MS + RESET_MS + 1);
	for (size_t i = 0; i < 2 * VOLUME; i++)
		(void)breaker_report(b, &rules, &old[i], BREAKER_STALLED, START_MS + 2 * RESET_MS);
	CU_ASSERT_EQUAL(view(b, START_MS + 2 * RESET_MS).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(view(b, START_MS + 2 * RESET_MS).failures, 0);
	breaker_end(b);
}

static void
closed_again_it_has_forgotten_what_opened_it(void)
{
	const struct breaker_rules soon = { .slow_ms = 100,
		.failure_pct = 50,
		.reset_ms = 1,
		.volume = VOLUME,
		.probe_lease_ms = 1 };
	struct breaker *b = breaker_opened(START_MS);
	struct breaker_ticket t;
	struct breaker_change c;

	CU_ASSERT_TRUE(breaker_probe(b, &soon, START_MS + 1, &t, &c));
	(void)breaker_report(b, &soon, &t, BREAKER_ANSWERED, START_MS + 2);
	CU_ASSERT_EQUAL(view(b, START_MS + 2).calls, 0);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, VOLUME - 1, START_MS + 1000), VOLUME - 1);
	CU_ASSERT_EQUAL(view(b, START_MS + 1000).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, 3, START_MS + 1001), 1);
	CU_ASSERT_EQUAL(view(b, START_MS + 1001).state, BREAKER_OPEN);
	CU_ASSERT_EQUAL(view(b, START_MS + 1001).opened, 2);
	breaker_end(b);
}

static void
a_change_is_told_once_and_with_its_figures(void)
{
	struct breaker *b = breaker_make();
	struct breaker_ticket first, second;
	struct breaker_change c;

	(void)call(b, BREAKER_ANSWERED, 3, START_MS);
	(void)call(b, BREAKER_SLOW, 2, START_MS);
	(void)call(b, BREAKER_FAILED, 4, START_MS);
	CU_ASSERT_TRUE(enter(b, START_MS, &first) && enter(b, START_MS, &second));
	c = breaker_report(b, &rules, &first, BREAKER_FAILED, START_MS);
	CU_ASSERT_TRUE(c.from == BREAKER_CLOSED && c.to == BREAKER_OPEN);
	CU_ASSERT_TRUE(c.calls == 10 && c.failures == 7 && c.slow == 2);
	c = breaker_report(b, &rules, &second, BREAKER_FAILED, START_MS);
	CU_ASSERT_EQUAL(c.from, c.to);
	CU_ASSERT_TRUE(breaker_probe(b, &rules, START_MS + RESET_MS, &first, &c));
	CU_ASSERT_TRUE(c.from == BREAKER_OPEN && c.to == BREAKER_HALF_OPEN);
	CU_ASSERT_TRUE(breaker_probe(b, &rules, START_MS + RESET_MS + LEASE_MS, &first, &c));
	CU_ASSERT_EQUAL(c.from, c.to); /* the next probe is no news */
	c = breaker_report(b, &rules, &first, BREAKER_ANSWERED, START_MS + RESET_MS + LEASE_MS);
	CU_ASSERT_TRUE(c.from == BREAKER_HALF_OPEN && c.to == BREAKER_CLOSED);
	breaker_end(b);
}

/*
 * Suspended.
 */
static void
one_missed_deadline_suspends_and_no_request_passes_however_long(void)
{
	struct breaker *b = breaker_suspended(START_MS);
	struct breaker_ticket t;

	CU_ASSERT_FALSE(breaker_allow(b, &t));
	CU_ASSERT_EQUAL(view(b, START_MS).opened, 1);
	CU_ASSERT_EQUAL(view(b, START_MS).since_ms, START_MS);
	breaker_end(b);
}

static void
a_suspended_one_is_probed_at_once_and_then_at_intervals(void)
{
	struct breaker *b = breaker_suspended(START_MS);
	int64_t now_ms = START_MS;
	struct breaker_ticket t;

	for (int i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(probe(b, now_ms, &t));
		CU_ASSERT_FALSE(probe(b, now_ms + LEASE_MS - 1, &(struct breaker_ticket){ 0 }));
		(void)breaker_report(
		    b, &rules, &t, i % 2 == 0 ? BREAKER_STALLED : BREAKER_FAILED, now_ms + 20);
		CU_ASSERT_EQUAL(view(b, now_ms + 20).state, BREAKER_SUSPENDED);
		CU_ASSERT_FALSE(probe(b, now_ms + 20 + BREAKER_PAUSE_MS - 1, &t));
		now_ms += 20 + BREAKER_PAUSE_MS;
	}
	CU_ASSERT_TRUE(probe(b, now_ms, &t));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, now_ms + 1);
	CU_ASSERT_EQUAL(view(b, now_ms + 1).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(view(b, now_ms + 1).opened, 1);
	breaker_end(b);
}

static void
a_killed_prober_of_a_suspended_one_is_followed_by_another(void)
{
	struct breaker *b = breaker_suspended(START_MS);
	struct breaker_ticket dead, next;

	CU_ASSERT_TRUE(probe(b, START_MS, &dead));
	CU_ASSERT_FALSE(probe(b, START_MS + LEASE_MS - 1, &next));
	CU_ASSERT_TRUE(probe(b, START_MS + LEASE_MS, &next));
	(void)breaker_report(b, &rules, &dead, BREAKER_ANSWERED, START_MS + LEASE_MS);
	CU_ASSERT_EQUAL(view(b, START_MS + LEASE_MS).state, BREAKER_SUSPENDED);
	breaker_end(b);
}

static void
a_half_open_probe_that_stalls_suspends(void)
{
	struct breaker *b = breaker_opened(START_MS);
	const int64_t now_ms = START_MS + RESET_MS;

	CU_ASSERT_EQUAL(call(b, BREAKER_STALLED, 1, now_ms), 1);
	CU_ASSERT_EQUAL(view(b, now_ms).state, BREAKER_SUSPENDED);
	breaker_end(b);
}

static void
nothing_is_probed_while_nothing_is_wrong(void)
{
	struct breaker *b = breaker_make();
	struct breaker_ticket t;

	CU_ASSERT_FALSE(probe(b, START_MS, &t));
	(void)call(b, BREAKER_FAILED, VOLUME - 1, START_MS);
	CU_ASSERT_FALSE(probe(b, START_MS + 100000, &t));
	breaker_end(b);
}

/*
 * The ramp.
 */
static struct breaker *
breaker_closed_again(int64_t now_ms)
{
	struct breaker *b = breaker_opened(now_ms - RESET_MS);
	struct breaker_ticket t;

	CU_ASSERT_TRUE_FATAL(probe(b, now_ms, &t));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, now_ms);
	return b;
}

static bool
is_about(unsigned n, unsigned want)
{
	return n + 2 >= want && n <= want + 2;
}

static void
closed_again_it_lets_a_growing_share_of_the_calls_through(void)
{
	struct breaker *b = breaker_closed_again(START_MS);

	CU_ASSERT_TRUE(is_about(admitted(b, START_MS), 100));
	CU_ASSERT_TRUE(is_about(admitted(b, START_MS + RAMP_MS / 4), 320));
	CU_ASSERT_TRUE(is_about(admitted(b, START_MS + RAMP_MS / 2), 550));
	CU_ASSERT_TRUE(is_about(admitted(b, START_MS + RAMP_MS - 1), 990));
	CU_ASSERT_EQUAL(admitted(b, START_MS + RAMP_MS), 1000);
	CU_ASSERT_EQUAL(view(b, START_MS).admitted_pct, 10);
	CU_ASSERT_EQUAL(view(b, START_MS + RAMP_MS / 2).admitted_pct, 55);
	CU_ASSERT_EQUAL(view(b, START_MS + RAMP_MS).admitted_pct, 100);
	CU_ASSERT_EQUAL(view(b, START_MS).entered[BREAKER_OPEN], 1);
	CU_ASSERT_EQUAL(view(b, START_MS).entered[BREAKER_HALF_OPEN], 1);
	CU_ASSERT_EQUAL(view(b, START_MS).entered[BREAKER_CLOSED], 1);
	breaker_end(b);
}

static void
a_clock_that_is_behind_its_closers_lets_the_least_share_through(void)
{
	struct breaker *b = breaker_closed_again(START_MS);

	CU_ASSERT_TRUE(is_about(admitted(b, START_MS - 5), 100));
	breaker_end(b);
}

static void
who_fails_on_the_ramp_is_open_again_and_begins_from_the_bottom(void)
{
	struct breaker *b = breaker_closed_again(START_MS);
	const int64_t late_ms = START_MS + RAMP_MS - 1, again_ms = late_ms + RESET_MS;
	struct breaker_ticket t;

	(void)call(b, BREAKER_FAILED, VOLUME, late_ms);
	CU_ASSERT_EQUAL(view(b, late_ms).state, BREAKER_OPEN);
	CU_ASSERT_EQUAL(admitted(b, late_ms), 0);
	CU_ASSERT_EQUAL(view(b, late_ms).admitted_pct, 0);
	CU_ASSERT_TRUE(probe(b, again_ms, &t));
	CU_ASSERT_EQUAL(admitted(b, again_ms), 0); /* the leased probe, and nobody beside it */
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, again_ms);
	CU_ASSERT_TRUE(is_about(admitted(b, again_ms), 100));
	breaker_end(b);
}

static void
a_new_one_and_one_that_was_only_suspended_have_no_ramp(void)
{
	struct breaker *fresh = breaker_make(), *b = breaker_suspended(START_MS);
	struct breaker_ticket t;

	CU_ASSERT_EQUAL(admitted(fresh, 0), 1000);
	CU_ASSERT_EQUAL(admitted(b, START_MS), 0);
	CU_ASSERT_TRUE(probe(b, START_MS, &t));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, START_MS);
	CU_ASSERT_EQUAL(admitted(b, START_MS), 1000);
	CU_ASSERT_EQUAL(view(b, START_MS).admitted_pct, 100);
	breaker_end(b);
	breaker_end(fresh);
}

static void
what_a_person_orders_goes_before_the_ramp(void)
{
	struct breaker *b = breaker_closed_again(START_MS), *given = breaker_opened(START_MS);

	breaker_force(b, BREAKER_FORCED_CLOSED, START_MS);
	CU_ASSERT_EQUAL(admitted(b, START_MS), 1000);
	breaker_force(b, BREAKER_FORCED_OPEN, START_MS);
	CU_ASSERT_EQUAL(admitted(b, START_MS), 0);
	breaker_force(given, BREAKER_FORCED_CLOSED, START_MS);
	breaker_force(given, BREAKER_AUTO, START_MS + 1); /* all have passed already */
	CU_ASSERT_EQUAL(admitted(given, START_MS + 1), 1000);
	breaker_end(given);
	breaker_end(b);
}

/*
 * Forced.
 */
static void
forced_open_nothing_passes_and_given_back_it_goes_on_as_before(void)
{
	struct breaker *b = breaker_make(), *suspended = breaker_suspended(START_MS);
	struct breaker_ticket t;

	breaker_force(b, BREAKER_FORCED_OPEN, START_MS);
	breaker_force(suspended, BREAKER_FORCED_OPEN, START_MS);
	CU_ASSERT_EQUAL(call(b, BREAKER_ANSWERED, 10, START_MS + 100000), 0);
	CU_ASSERT_FALSE(probe(suspended, START_MS + 100000, &t));
	CU_ASSERT_EQUAL(view(b, START_MS).force, BREAKER_FORCED_OPEN);
	CU_ASSERT_EQUAL(view(b, START_MS).state, BREAKER_CLOSED);
	breaker_force(b, BREAKER_AUTO, START_MS + 200000);
	breaker_force(suspended, BREAKER_AUTO, START_MS + 200000);
	CU_ASSERT_EQUAL(call(b, BREAKER_ANSWERED, 10, START_MS + 200000), 10);
	CU_ASSERT_FALSE(breaker_allow(suspended, &t));
	CU_ASSERT_TRUE(probe(suspended, START_MS + 200000, &t));
	breaker_end(suspended);
	breaker_end(b);
}

static void
forced_closed_all_passes_and_is_counted_but_nothing_opens(void)
{
	struct breaker *b = breaker_opened(START_MS);

	breaker_force(b, BREAKER_FORCED_CLOSED, START_MS + 1);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, 100, START_MS + 1), 100);
	CU_ASSERT_EQUAL(call(b, BREAKER_STALLED, 100, START_MS + 1), 100);
	CU_ASSERT_EQUAL(view(b, START_MS + 1).failures, 200 + VOLUME);
	CU_ASSERT_EQUAL(view(b, START_MS + 1).state, BREAKER_OPEN);
	breaker_force(b, BREAKER_AUTO, START_MS + 2);
	CU_ASSERT_EQUAL(view(b, START_MS + 2).state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(call(b, BREAKER_FAILED, VOLUME + 1, START_MS + 1000), VOLUME);
	CU_ASSERT_EQUAL(view(b, START_MS + 1000).state, BREAKER_OPEN);
	breaker_end(b);
}

static void
forcing_in_the_middle_of_a_probe_leaves_nothing_stuck(void)
{
	struct breaker *b = breaker_opened(START_MS);
	const int64_t now_ms = START_MS + RESET_MS;
	struct breaker_ticket t;

	CU_ASSERT_TRUE(enter(b, now_ms, &t));
	breaker_force(b, BREAKER_FORCED_OPEN, now_ms);
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, now_ms + 1);
	CU_ASSERT_FALSE(enter(b, now_ms + LEASE_MS, &t));
	breaker_force(b, BREAKER_AUTO, now_ms + 2);
	CU_ASSERT_FALSE(enter(b, now_ms + LEASE_MS - 1, &t));
	CU_ASSERT_TRUE(enter(b, now_ms + LEASE_MS, &t));
	(void)breaker_report(b, &rules, &t, BREAKER_ANSWERED, now_ms + LEASE_MS);
	CU_ASSERT_EQUAL(view(b, now_ms + LEASE_MS).state, BREAKER_CLOSED);
	breaker_end(b);
}

static void
words_say_what_a_call_meets(void)
{
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_CLOSED, BREAKER_AUTO), "closed");
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_OPEN, BREAKER_AUTO), "open");
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_HALF_OPEN, BREAKER_AUTO), "half-open");
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_SUSPENDED, BREAKER_AUTO), "suspended");
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_CLOSED, BREAKER_FORCED_OPEN), "forced-open");
	CU_ASSERT_STRING_EQUAL(breaker_word(BREAKER_OPEN, BREAKER_FORCED_CLOSED), "forced-closed");
}

UNIT_SUITE(breaker, TEST(below_the_volume_nothing_opens), TEST(below_the_rate_nothing_opens),
    TEST(a_slow_answer_is_a_failure_and_counted_as_slow),
    TEST(an_answer_opens_nothing_even_when_the_rate_is_over), TEST(the_window_rolls_by_the_second),
    TEST(failures_that_rolled_out_of_the_window_do_not_open),
    TEST(a_report_from_a_process_that_was_stopped_for_a_window_is_not_counted),
    TEST(more_calls_than_a_second_counts_neither_open_nor_spill_over),
    TEST(open_refuses_until_the_reset_and_then_lets_exactly_one_probe_through),
    TEST(a_probe_that_fails_or_is_slow_opens_it_again),
    TEST(a_dead_prober_holds_the_breaker_for_its_lease_and_no_longer),
    TEST(a_probe_that_was_not_sent_is_due_again_at_once),
    TEST(an_ordinary_call_that_was_not_made_is_not_counted),
    TEST(calls_that_were_in_hand_when_it_opened_change_nothing_afterwards),
    TEST(closed_again_it_has_forgotten_what_opened_it),
    TEST(a_change_is_told_once_and_with_its_figures),
    TEST(one_missed_deadline_suspends_and_no_request_passes_however_long),
    TEST(a_suspended_one_is_probed_at_once_and_then_at_intervals),
    TEST(a_killed_prober_of_a_suspended_one_is_followed_by_another),
    TEST(a_half_open_probe_that_stalls_suspends), TEST(nothing_is_probed_while_nothing_is_wrong),
    TEST(closed_again_it_lets_a_growing_share_of_the_calls_through),
    TEST(a_clock_that_is_behind_its_closers_lets_the_least_share_through),
    TEST(who_fails_on_the_ramp_is_open_again_and_begins_from_the_bottom),
    TEST(a_new_one_and_one_that_was_only_suspended_have_no_ramp),
    TEST(what_a_person_orders_goes_before_the_ramp),
    TEST(forced_open_nothing_passes_and_given_back_it_goes_on_as_before),
    TEST(forced_closed_all_passes_and_is_counted_but_nothing_opens),
    TEST(forcing_in_the_middle_of_a_probe_leaves_nothing_stuck), TEST(words_say_what_a_call_meets));
