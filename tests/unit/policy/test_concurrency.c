/*
 * Goal: the limit finds the knee of whatever stands behind it, from above and below, and stays there; members share it, and
 * who dies holds nothing.
 */
#include "policy/concurrency.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

enum { MOST = 32, ME = 3, OTHER = 7, STEP_US = 100 };

/* A downstream with so many hands; what is more only makes each slower.  All that may be running, is. */
struct downstream {
	unsigned hands;
	double work_us; /* of a call on a hand of its own */
	double noise;	/* of that: 0 none, 0.5: from half to one and a half */
	double weather; /* how much of each tenth of a second others take at most, at random */
	double taken;
	double demand; /* running at most so many */
	double left_us[MOST];
	int64_t began_us[MOST];
	unsigned running;
	int64_t now_us;
	unsigned long done;
	unsigned seed;
};

static struct concurrencies *all;
static struct concurrency *c;

static void
fresh(void)
{
	all = aligned_alloc(64, (concurrencies_size() + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(all);
	concurrencies_init(all);
	CU_ASSERT_EQUAL_FATAL(concurrency_open(all, "db", MOST, &c), ERR_OK);
}

static double
chance(struct downstream *d)
{
	d->seed = d->seed * 1664525 + 1013904223;
	return (d->seed >> 8) / (double)(1 << 24);
}

static void
begin_calls(struct downstream *d)
{
	while (
	    d->running < concurrency_room(c, ME) && d->running < d->demand && d->running < MOST) {
		concurrency_begin(c, ME);
		d->left_us[d->running] = d->work_us * (1 + d->noise * (2 * chance(d) - 1));
		d->began_us[d->running++] = d->now_us;
	}
}

static void
end_call(struct downstream *d, unsigned i)
{
	concurrency_end(c, ME, true, d->now_us - d->began_us[i], d->now_us / 1000);
	d->running--;
	d->left_us[i] = d->left_us[d->running];
	d->began_us[i] = d->began_us[d->running];
	d->done++;
}

/* Returns calls a second. */
static double
run(struct downstream *d, int seconds)
{
	const int64_t until_us = d->now_us + seconds * INT64_C(1000000);
	const unsigned long before = d->done;

	for (; d->now_us < until_us; d->now_us += STEP_US) {
		const double each =
		    d->running > d->hands ? STEP_US * (double)d->hands / d->running : STEP_US;

		for (unsigned i = d->running; i > 0; i--) {
			d->left_us[i - 1] -= each;
			if (d->left_us[i - 1] <= 0)
				end_call(d, i - 1);
		}
		begin_calls(d);
	}
	return (double)(d->done - before) / seconds;
}

static uint32_t
limit(void)
{
	struct concurrency_view v[CONCURRENCIES_MAX];

	CU_ASSERT_EQUAL_FATAL(concurrencies_look(all, v), 1);
	CU_ASSERT_STRING_EQUAL(v[0].name, "db");
	CU_ASSERT_EQUAL(v[0].most, MOST);
	return v[0].limit;
}

/* Both the limit and what is done under it, for a while. */
static void
settles(struct downstream *d, uint32_t least, uint32_t most, double rate)
{
	unsigned within = 0;

	for (int i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(run(d, 1) > 0.85 * rate);
		within += limit() >= least && limit() <= most;
	}
	CU_ASSERT_TRUE(within >= 16);
}

static void
what_only_waits_is_given_all_there_is(void)
{
	struct downstream d = { .hands = 1000, .work_us = 10000, .noise = 0.3, .demand = 1000 };

	fresh();
	CU_ASSERT_EQUAL(limit(), MOST);
	settles(&d, 24, MOST, 3200);
	free(all);
}

static void
what_computes_on_two_hands_is_given_little_more_than_two(void)
{
	struct downstream d = { .hands = 2, .work_us = 10000, .noise = 0.3, .demand = 1000 };

	fresh();
	(void)run(&d, 5);
	settles(&d, 2, 4, 200);
	free(all);
}

static void
eight_hands_are_found_too(void)
{
	struct downstream d = { .hands = 8, .work_us = 10000, .noise = 0.5, .demand = 1000 };

	fresh();
	(void)run(&d, 5);
	settles(&d, 6, 16, 800);
	free(all);
}

static void
the_limit_follows_the_knee_up_and_down(void)
{
	struct downstream d = { .hands = 2, .work_us = 5000, .noise = 0.3, .demand = 1000 };

	fresh();
	(void)run(&d, 5);
	CU_ASSERT_TRUE(limit() <= 4);
	d.hands = 16;
	(void)run(&d, 10);
	CU_ASSERT_TRUE(limit() >= 12);
	d.hands = 4;
	(void)run(&d, 10);
	CU_ASSERT_TRUE(limit() <= 8);
	free(all);
}

static void
calls_that_become_slower_for_other_reasons_do_not_lower_it(void)
{
	struct downstream d = { .hands = 1000, .work_us = 2000, .noise = 0.3, .demand = 1000 };

	fresh();
	(void)run(&d, 5);
	d.work_us = 50000;
	(void)run(&d, 5);
	settles(&d, 24, MOST, 640);
	free(all);
}

static void
weather_is_not_taken_for_the_limits_doing(void)
{
	struct downstream waits = {
		.hands = 1000, .work_us = 10000, .noise = 0.3, .demand = 1000, .weather = 0.8
	};
	struct downstream computes = {
		.hands = 2, .work_us = 10000, .noise = 0.3, .demand = 1000, .weather = 0.8
	};

	fresh();
	(void)run(&waits, 5);
	settles(&waits, 16, MOST, 1900); /* three fifths of 3200 */
	free(all);
	fresh();
	(void)run(&computes, 15);
	settles(&computes, 2, 8, 120);
	free(all);
}

static void
a_limit_that_is_not_in_use_is_left_alone(void)
{
	struct downstream d = { .hands = 2, .work_us = 10000, .noise = 0.3, .demand = 5 };

	fresh();
	(void)run(&d, 20);
	CU_ASSERT_EQUAL(limit(), MOST);
	free(all);
}

static void
failures_teach_nothing(void)
{
	fresh();
	for (int i = 0; i < 2000; i++) {
		concurrency_begin(c, ME);
		concurrency_end(c, ME, false, 3000000, i * 10);
	}
	CU_ASSERT_EQUAL(limit(), MOST);
	free(all);
}

static void
each_member_has_its_part_and_what_others_leave(void)
{
	fresh();
	CU_ASSERT_EQUAL(concurrency_room(c, ME), MOST);
	concurrency_begin(c, OTHER);
	CU_ASSERT_EQUAL(concurrency_room(c, ME), MOST - 1); /* it leaves so many */
	for (unsigned i = 1; i < MOST; i++)
		concurrency_begin(c, OTHER);
	CU_ASSERT_EQUAL(
	    concurrency_room(c, ME), MOST / 2); /* a late comer has his half all the same */
	CU_ASSERT_EQUAL(concurrency_room(c, OTHER), MOST);
	concurrency_begin(c, ME);
	CU_ASSERT_EQUAL(concurrency_room(c, OTHER), MOST - 1);
	free(all);
}

static void
what_the_dead_had_running_is_forgotten(void)
{
	fresh();
	for (unsigned i = 0; i < MOST; i++)
		concurrency_begin(c, OTHER);
	concurrencies_forget(all, OTHER);
	CU_ASSERT_EQUAL(concurrency_room(c, ME), MOST);
	concurrency_end(c, OTHER, true, 1, 1); /* it was only thought to be dead */
	CU_ASSERT_EQUAL(concurrency_running(c, OTHER), 0);
	free(all);
}

static void
rows_are_found_by_name_until_there_are_none(void)
{
	struct concurrency *again, *other;
	char name[16];

	fresh();
	CU_ASSERT_EQUAL(concurrency_open(all, "db", MOST, &again), ERR_OK);
	CU_ASSERT_PTR_EQUAL(again, c);
	CU_ASSERT_EQUAL(
	    concurrency_open(all, "a name that is far too long", 1, &other), ERR_TOO_LARGE);
	for (int i = 1; i < CONCURRENCIES_MAX; i++) {
		name[0] = (char)('a' + i);
		name[1] = '\0';
		CU_ASSERT_EQUAL(concurrency_open(all, name, 1, &other), ERR_OK);
		CU_ASSERT_EQUAL(concurrency_room(other, ME), 1);
	}
	CU_ASSERT_EQUAL(concurrency_open(all, "one more", 1, &other), ERR_FULL);
	free(all);
}

static void
a_pool_of_another_size_begins_anew(void)
{
	struct concurrency *again;

	fresh();
	CU_ASSERT_EQUAL(concurrency_open(all, "db", 5, &again), ERR_OK);
	CU_ASSERT_EQUAL(concurrency_room(c, ME), 5); /* no level is 5, and 6 would be too many */
	free(all);
}

UNIT_SUITE(concurrency, TEST(what_only_waits_is_given_all_there_is),
    TEST(what_computes_on_two_hands_is_given_little_more_than_two), TEST(eight_hands_are_found_too),
    TEST(the_limit_follows_the_knee_up_and_down),
    TEST(calls_that_become_slower_for_other_reasons_do_not_lower_it),
    TEST(weather_is_not_taken_for_the_limits_doing), TEST(a_limit_that_is_not_in_use_is_left_alone),
    TEST(failures_teach_nothing), TEST(each_member_has_its_part_and_what_others_leave),
    TEST(what_the_dead_had_running_is_forgotten), TEST(rows_are_found_by_name_until_there_are_none),
    TEST(a_pool_of_another_size_begins_anew));
