/* Goal: what is asked for often is made anew before it ends, what is not is left alone, and live work goes first. */
#include "policy/refresh.h"

#include <math.h>

#include "tests/support/unit.h"

enum { DRAWS = 200000, COST_MS = 100 };

static uint32_t seed;

static uint32_t
draw(void)
{
	/* Marsaglia's xorshift: the same draws each time. */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

/* Of all hits with ${left_ms} to go, the share that refreshes. */
static double
share(int64_t left_ms, uint32_t cost_us)
{
	unsigned due = 0;

	seed = 2463534242u;
	for (int i = 0; i < DRAWS; i++) {
		const uint32_t r = draw();

		due += refresh_is_near(left_ms, cost_us) && refresh_is_due(left_ms, cost_us, r);
	}
	return (double)due / DRAWS;
}

static void
the_share_that_refreshes_falls_off_by_the_cost(void)
{
	static const int64_t lefts_ms[] = { 10, 50, 100, 200, 300, 500 };

	for (size_t i = 0; i < sizeof lefts_ms / sizeof *lefts_ms; i++) {
		const double want = exp(-(double)lefts_ms[i] / COST_MS);

		/* Within five standard deviations. */
		CU_ASSERT_TRUE(fabs(share(lefts_ms[i], COST_MS * 1000) - want) <
			       5 * sqrt(want * (1 - want) / DRAWS));
	}
}

static void
what_has_ended_is_always_due_and_what_has_long_to_go_never(void)
{
	CU_ASSERT_EQUAL(share(0, COST_MS * 1000), 1);
	CU_ASSERT_EQUAL(share(-5, COST_MS * 1000), 1);
	CU_ASSERT_EQUAL(share(23 * COST_MS, COST_MS * 1000), 0);
	CU_ASSERT_FALSE(refresh_is_near(23 * COST_MS, COST_MS * 1000));
	CU_ASSERT_FALSE(refresh_is_due(INT64_MAX / 2000, UINT32_MAX, UINT32_MAX));
	/* The comparison never forbids what the draw would allow. */
	CU_ASSERT_TRUE(refresh_is_due(22 * COST_MS, COST_MS * 1000, 0));
	CU_ASSERT_FALSE(refresh_is_due(23 * COST_MS, COST_MS * 1000, 0));
}

static void
a_copy_whose_cost_is_not_known_is_never_due(void)
{
	CU_ASSERT_FALSE(refresh_is_due(1, 0, 0));
	CU_ASSERT_FALSE(refresh_is_near(0, 0));
}

/* Hits every ${every_ms} on a copy of ten seconds; when the first of them refreshes, -1: none does. */
static int64_t
refreshed_with(int64_t every_ms)
{
	for (int64_t left_ms = 10000 - (int64_t)(draw() % (uint32_t)every_ms); left_ms > 0;
	     left_ms -= every_ms)
		if (refresh_is_near(left_ms, COST_MS * 1000) &&
		    refresh_is_due(left_ms, COST_MS * 1000, draw()))
			return left_ms;
	return -1;
}

static void
a_hot_copy_is_made_in_time_and_not_much_before(void)
{
	int in_time = 0, early = 0;

	seed = 1234567;
	for (int i = 0; i < 2000; i++) {
		const int64_t left_ms = refreshed_with(1);

		in_time += left_ms >= COST_MS;	 /* it lands before the old one ends */
		early += left_ms > 12 * COST_MS; /* out of a life of 100 */
	}
	CU_ASSERT_TRUE(in_time > 1990);
	CU_ASSERT_TRUE(early < 20);
}

static void
a_copy_that_is_seldom_asked_for_is_seldom_made_early(void)
{
	int refreshed = 0;

	seed = 7654321;
	for (int i = 0; i < 2000; i++)
		refreshed += refreshed_with(10000) >= 0;
	/* One hit somewhere in its life: the integral of exp(-left / cost), a hundredth. */
	CU_ASSERT_TRUE(refreshed > 5 && refreshed < 50);
}

static void
refreshes_have_a_quarter_of_the_lane_and_nothing_while_somebody_waits(void)
{
	CU_ASSERT_TRUE(refresh_has_room(0, 16, 0));
	CU_ASSERT_TRUE(refresh_has_room(3, 16, 0));
	CU_ASSERT_FALSE(refresh_has_room(4, 16, 0));
	CU_ASSERT_FALSE(refresh_has_room(0, 16, 1));
	CU_ASSERT_TRUE(refresh_has_room(0, 1, 0));
	CU_ASSERT_FALSE(refresh_has_room(1, 3, 0));
	CU_ASSERT_EQUAL(refresh_limit(16), 4);
	CU_ASSERT_EQUAL(refresh_limit(1), 1);
}

UNIT_SUITE(refresh, TEST(the_share_that_refreshes_falls_off_by_the_cost),
    TEST(what_has_ended_is_always_due_and_what_has_long_to_go_never),
    TEST(a_copy_whose_cost_is_not_known_is_never_due),
    TEST(a_hot_copy_is_made_in_time_and_not_much_before),
    TEST(a_copy_that_is_seldom_asked_for_is_seldom_made_early),
    TEST(refreshes_have_a_quarter_of_the_lane_and_nothing_while_somebody_waits));
