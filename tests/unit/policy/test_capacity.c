/*
 * Goal: one number tells how much capacity is wanted, why, soon when it is too little, and without flapping.
 */
#include "policy/capacity.h"

#include <math.h>

#include "tests/support/unit.h"

static struct capacity_signals
quiet(void)
{
	return (struct capacity_signals){ .threads = 32, .requests = 1000, .lag_s = -1 };
}

static double
wanted(const struct capacity_signals *s, enum capacity_reason expected)
{
	enum capacity_reason reason;
	const double ratio = capacity_wanted(s, &reason);

	CU_ASSERT_EQUAL(reason, expected);
	return ratio;
}

/* ${seconds} of one look a second. */
static struct capacity_state
after(const struct capacity_state *from, const struct capacity_signals *s, int seconds)
{
	struct capacity_state state = *from;

	for (int i = 0; i < seconds; i++)
		capacity_step(&state, s, 1000, &state);
	return state;
}

static struct capacity_state
first(const struct capacity_signals *s)
{
	struct capacity_state state;

	capacity_step(NULL, s, 0, &state);
	return state;
}

static void
an_idle_host_wants_the_least(void)
{
	const struct capacity_signals s = quiet();

	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LANES), 0.1, 1e-9);
}

static void
three_quarters_of_the_lanes_are_enough(void)
{
	struct capacity_signals s = quiet();

	s.busy = 24;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LANES), 1, 1e-9);
	s.busy = 32;
	s.waiting = 16;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LANES), 2, 1e-9);
}

static void
half_shed_wants_more_than_twice_as_much(void)
{
	struct capacity_signals s = quiet();

	s.busy = 32;
	s.shed = 500;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_SHED), 2 / 0.75, 1e-9);
	s.shed = 1000;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_SHED), 4, 1e-9);
}

static void
lag_that_another_host_could_help_counts_and_other_lag_does_not(void)
{
	struct capacity_signals s = quiet();

	s.lag_s = 60;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LAG), 2, 1e-9);
	s.lag_s = -1;
	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LANES), 0.1, 1e-9);
}

static void
no_signal_at_all_is_the_least_and_no_division_by_nothing(void)
{
	const struct capacity_signals s = { .lag_s = -1 };

	CU_ASSERT_DOUBLE_EQUAL(wanted(&s, CAPACITY_LANES), 0.1, 1e-9);
}

static void
a_lasting_overload_is_told_within_half_a_minute(void)
{
	struct capacity_signals s = quiet();
	struct capacity_state state = first(&s);

	s.busy = 32;
	s.waiting = 64;
	state = after(&state, &s, 5);
	CU_ASSERT_TRUE(state.ratio > 1);
	state = after(&state, &s, 25);
	CU_ASSERT_TRUE(state.ratio > 3.5);
	CU_ASSERT_EQUAL(state.reason, CAPACITY_LANES);
}

static void
a_peak_of_a_second_is_no_reason_to_grow(void)
{
	struct capacity_signals s = quiet();
	struct capacity_state state;

	s.busy = 12;
	state = first(&s);
	s.busy = 32;
	s.waiting = 64;
	state = after(&state, &s, 1);
	CU_ASSERT_TRUE(state.ratio < 1);
}

static void
it_falls_ten_times_as_slowly(void)
{
	struct capacity_signals s = quiet();
	struct capacity_state state;

	s.busy = 32;
	s.waiting = 16;
	state = first(&s);
	s.busy = s.waiting = 0;
	state = after(&state, &s, 30);
	CU_ASSERT_TRUE(state.ratio > 1.5);
	state = after(&state, &s, 600);
	CU_ASSERT_TRUE(state.ratio < 0.3);
}

/* What a scaler would see over ten minutes of a load that trembles around the bound. */
static void
a_ratio_that_trembles_is_told_as_one_number(void)
{
	struct capacity_signals s = quiet();
	struct capacity_state state;
	int changes = 0;

	s.busy = 24;
	state = first(&s);
	for (int i = 0; i < 600; i++) {
		const double before = state.ratio;

		s.busy = i % 2 == 0 ? 22 : 25;
		capacity_step(&state, &s, 1000, &state);
		changes += fabs(state.ratio - before) > 0;
	}
	CU_ASSERT_EQUAL(changes, 0);
}

static void
the_number_depends_on_time_and_not_on_how_often_it_is_reckoned(void)
{
	struct capacity_signals s = quiet();
	struct capacity_state often = first(&s), once = often;

	s.busy = 32;
	for (int i = 0; i < 100; i++)
		capacity_step(&often, &s, 100, &often);
	capacity_step(&once, &s, 10000, &once);
	CU_ASSERT_DOUBLE_EQUAL(often.smoothed, once.smoothed, 1e-9);
}

UNIT_SUITE(capacity, TEST(an_idle_host_wants_the_least),
    TEST(three_quarters_of_the_lanes_are_enough), TEST(half_shed_wants_more_than_twice_as_much),
    TEST(lag_that_another_host_could_help_counts_and_other_lag_does_not),
    TEST(no_signal_at_all_is_the_least_and_no_division_by_nothing),
    TEST(a_lasting_overload_is_told_within_half_a_minute),
    TEST(a_peak_of_a_second_is_no_reason_to_grow), TEST(it_falls_ten_times_as_slowly),
    TEST(a_ratio_that_trembles_is_told_as_one_number),
    TEST(the_number_depends_on_time_and_not_on_how_often_it_is_reckoned));
