/* Goal: every reason has a name of its own, and lost time is what a front server's own clock cannot have made up. */
#include "policy/admission.h"

#include <string.h>

#include "tests/support/unit.h"

enum { US = 1000000 };

static const int64_t seen_us = INT64_C(1764000000) * US;

static void
every_reason_has_a_name_and_words_of_its_own(void)
{
	for (int i = 0; i < SHED__COUNT; i++) {
		CU_ASSERT_TRUE(strlen(shed_reason_name((enum shed_reason)i)) > 0);
		CU_ASSERT_EQUAL(strlen(shed_reason_detail((enum shed_reason)i)) > 0, i > 0);
		for (int k = 0; k < i; k++)
			CU_ASSERT_STRING_NOT_EQUAL(shed_reason_name((enum shed_reason)i),
			    shed_reason_name((enum shed_reason)k));
	}
	CU_ASSERT_STRING_EQUAL(shed_reason_name(SHED_TENANT_SHARE), "tenant_share");
}

static void
those_refused_together_do_not_come_back_together(void)
{
	unsigned seconds[8] = { 0 };

	for (uint64_t i = 0; i < 400; i++) {
		const int64_t s = admission_retry_after_s(i * UINT64_C(0x9e3779b97f4a7c15) >> 7);

		CU_ASSERT_TRUE_FATAL(s >= 1 && s < 8);
		seconds[s]++;
	}
	CU_ASSERT_TRUE(seconds[1] > 50 && seconds[2] > 50 && seconds[3] > 50 && seconds[4] > 50);
}

static void
a_front_on_this_host_is_believed(void)
{
	struct front_clocks c = { 0 };

	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 0, seen_us - 250000, seen_us, 1), 250000);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 0, 0, seen_us, 1), 0); /* it does not say */
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 0, seen_us + 1000, seen_us, 1), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 0, seen_us - 3600 * INT64_C(1000000), seen_us, 1),
	    0); /* a clock that was set, not a wait */
}

static void
of_another_host_the_smallest_difference_is_its_clock(void)
{
	struct front_clocks c = { 0 };
	const int64_t wrong_us = 7 * US;

	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - wrong_us - 2000, seen_us, 1), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - wrong_us - 1000, seen_us, 2), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - wrong_us - 51000, seen_us, 3), 50000);
	/* Fast ones too: its clock is ahead of ours. */
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 8, seen_us + 500000, seen_us, 4), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 8, seen_us + 480000, seen_us, 5), 20000);
}

static void
what_a_front_once_had_is_forgotten_after_a_minute(void)
{
	struct front_clocks c = { 0 };

	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us, seen_us, 0), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - 5000, seen_us, 59999), 5000);
	/* The window before still counts, */
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - 5000, seen_us, 60001), 5000);
	/* and then no more. */
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - 5000, seen_us, 120002), 0);
	/* Long unheard of, it begins anew. */
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 9, seen_us - 9000, seen_us, 999999), 0);
}

static void
of_too_many_fronts_the_one_unheard_of_the_longest_is_forgotten(void)
{
	struct front_clocks c = { 0 };

	for (uint64_t front = 1; front <= FRONTS_MAX + 1; front++)
		CU_ASSERT_EQUAL(
		    front_clocks_lost_us(&c, front, seen_us, seen_us, (int64_t)front), 0);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 2, seen_us - 1000, seen_us, 100), 1000);
	CU_ASSERT_EQUAL(front_clocks_lost_us(&c, 1, seen_us - 1000, seen_us, 100), 0);
}

UNIT_SUITE(admission, TEST(every_reason_has_a_name_and_words_of_its_own),
    TEST(those_refused_together_do_not_come_back_together), TEST(a_front_on_this_host_is_believed),
    TEST(of_another_host_the_smallest_difference_is_its_clock),
    TEST(what_a_front_once_had_is_forgotten_after_a_minute),
    TEST(of_too_many_fronts_the_one_unheard_of_the_longest_is_forgotten));
