/*
 * Goal: waits grow, stay under their cap, differ between those who wait, and are never nothing.
 */
#include "policy/backoff.h"
#include "tests/support/unit.h"

static void
without_a_failure_nobody_waits(void)
{
	CU_ASSERT_EQUAL(backoff_next_ms(0, 100, 1000, UINT32_MAX), 0);
	CU_ASSERT_EQUAL(backoff_respawn_ms(0), 0);
}

static void
the_wait_doubles_with_each_failure_up_to_the_cap(void)
{
	static const uint32_t most[] = { 100, 200, 400, 800, 1600, 3000, 3000 };

	for (uint32_t i = 0; i < 7; i++) {
		CU_ASSERT_EQUAL(backoff_next_ms(i + 1, 100, 3000, UINT32_MAX), most[i]);
		CU_ASSERT_EQUAL(backoff_next_ms(i + 1, 100, 3000, 0), most[i] / 2);
	}
	CU_ASSERT_EQUAL(backoff_next_ms(UINT32_MAX, 100, 3000, UINT32_MAX), 3000);
	CU_ASSERT_EQUAL(backoff_next_ms(33, UINT32_MAX, UINT32_MAX, UINT32_MAX), UINT32_MAX);
}

static void
the_random_word_spreads_the_waits_evenly_over_the_upper_half(void)
{
	unsigned seen[201] = { 0 }, outside = 0, rare = 0;

	for (uint32_t i = 0; i < 101 * 100; i++) {
		const uint32_t wait = backoff_next_ms(2, 100, 5000, i * (UINT32_MAX / (101 * 100)));

		outside += wait < 100 || wait > 200;
		seen[wait <= 200 ? wait : 0]++;
	}
	CU_ASSERT_EQUAL(outside, 0);
	for (uint32_t wait = 100; wait <= 200; wait++)
		rare += seen[wait] < 99;
	CU_ASSERT_EQUAL(rare, 0);
}

static void
even_the_smallest_figures_make_a_wait(void)
{
	CU_ASSERT_EQUAL(backoff_next_ms(1, 0, 0, UINT32_MAX), 1);
	CU_ASSERT_EQUAL(backoff_next_ms(9, 0, 1000, 5), 1);
	CU_ASSERT_EQUAL(backoff_next_ms(1, 1, 1, 0), 1);
	CU_ASSERT_EQUAL(backoff_next_ms(5, 50, 1, 0), 1);
}

static void
a_worker_that_cannot_start_is_tried_ever_more_rarely_down_to_once_a_minute(void)
{
	static const uint32_t want[] = { 0, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };

	for (uint32_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(backoff_respawn_ms(i), want[i]);
	CU_ASSERT_EQUAL(backoff_respawn_ms(UINT32_MAX), 60000);
}

UNIT_SUITE(backoff, TEST(without_a_failure_nobody_waits),
    TEST(the_wait_doubles_with_each_failure_up_to_the_cap),
    TEST(the_random_word_spreads_the_waits_evenly_over_the_upper_half),
    TEST(even_the_smallest_figures_make_a_wait),
    TEST(a_worker_that_cannot_start_is_tried_ever_more_rarely_down_to_once_a_minute));
