/*
 * Goal: timers fire once, in order of time, and can be moved and stopped from anywhere.
 */
#include <stdlib.h>

#include "base/container.h"
#include "runtime/timer.h"
#include "tests/support/unit.h"

enum { MANY = 500, FIRED_MAX = 1000 };

static int64_t fired[FIRED_MAX];
static size_t fired_count;

struct probe {
	struct timer t;
	struct timers *ts;
	struct probe *stops; /* stopped when this one fires */
	int64_t again_ms;    /* set anew when this one fires, 0: not */
};

static void
note(struct timer *t)
{
	struct probe *p = CONTAINER_OF(t, struct probe, t);

	fired[fired_count++] = t->at_ms;
	if (p->stops != NULL)
		timers_stop(p->ts, &p->stops->t);
	if (p->again_ms != 0)
		(void)timers_set(p->ts, t, p->again_ms);
	p->again_ms = 0;
}

static void
test_timers_fire_in_order_of_time(void)
{
	struct timers ts = { 0 };
	struct probe p[MANY] = { 0 };

	fired_count = 0;
	srand(7);
	for (int i = 0; i < MANY; i++) {
		p[i].t.fire = note;
		CU_ASSERT_TRUE(timers_set(&ts, &p[i].t, rand() % 1000));
	}
	timers_run(&ts, 999);
	CU_ASSERT_EQUAL(fired_count, MANY);
	for (size_t i = 1; i < fired_count; i++)
		CU_ASSERT_TRUE(fired[i - 1] <= fired[i]);
	timers_free(&ts);
}

static void
test_only_what_is_due_fires(void)
{
	struct timers ts = { 0 };
	struct probe a = { .t.fire = note }, b = { .t.fire = note };

	fired_count = 0;
	(void)timers_set(&ts, &a.t, 10);
	(void)timers_set(&ts, &b.t, 20);
	CU_ASSERT_EQUAL(timers_wait_ms(&ts, 4, 500), 6);
	timers_run(&ts, 10);
	CU_ASSERT_EQUAL(fired_count, 1);
	CU_ASSERT_EQUAL(a.t.place, 0);
	CU_ASSERT_EQUAL(timers_wait_ms(&ts, 10, 5), 5);
	CU_ASSERT_EQUAL(timers_wait_ms(&ts, 30, 5), 0);
	timers_stop(&ts, &b.t);
	CU_ASSERT_EQUAL(timers_wait_ms(&ts, 30, 5), 5);
	timers_free(&ts);
}

static void
test_a_moved_timer_fires_at_its_new_time_only(void)
{
	struct timers ts = { 0 };
	struct probe p[3] = { { .t.fire = note }, { .t.fire = note }, { .t.fire = note } };

	fired_count = 0;
	for (int i = 0; i < 3; i++)
		(void)timers_set(&ts, &p[i].t, 10 + i);
	(void)timers_set(&ts, &p[0].t, 100);
	timers_run(&ts, 50);
	CU_ASSERT_EQUAL(fired_count, 2);
	timers_run(&ts, 100);
	CU_ASSERT_EQUAL(fired_count, 3);
	CU_ASSERT_EQUAL(fired[2], 100);
	timers_free(&ts);
}

static void
test_a_firing_timer_may_stop_another_and_set_itself_again(void)
{
	struct timers ts = { 0 };
	struct probe b = { .t.fire = note };
	struct probe a = { .t.fire = note, .ts = &ts, .stops = &b, .again_ms = 30 };

	fired_count = 0;
	(void)timers_set(&ts, &a.t, 10);
	(void)timers_set(&ts, &b.t, 10);
	timers_run(&ts, 20);
	CU_ASSERT_EQUAL(fired_count, 1);
	timers_run(&ts, 30);
	CU_ASSERT_EQUAL(fired_count, 2);
	CU_ASSERT_EQUAL(ts.count, 0);
	timers_free(&ts);
}

static void
test_random_stops_keep_the_order(void)
{
	struct timers ts = { 0 };
	struct probe p[MANY] = { 0 };
	size_t stopped = 0;

	fired_count = 0;
	srand(11);
	for (int i = 0; i < MANY; i++) {
		p[i].t.fire = note;
		(void)timers_set(&ts, &p[i].t, rand() % 1000);
	}
	for (int i = 0; i < MANY; i += 3, stopped++)
		timers_stop(&ts, &p[i].t);
	timers_run(&ts, 1000);
	CU_ASSERT_EQUAL(fired_count, MANY - stopped);
	for (size_t i = 1; i < fired_count; i++)
		CU_ASSERT_TRUE(fired[i - 1] <= fired[i]);
	timers_free(&ts);
}

static void
test_thousands_that_are_due_at_once_leave_room_for_others(void)
{
	enum { CROWD = FIRED_MAX };
	struct timers ts = { 0 };
	struct probe *p = calloc(CROWD, sizeof *p);
	size_t left;

	for (int i = 0; i < CROWD; i++) {
		p[i].t.fire = note;
		(void)timers_set(&ts, &p[i].t, 10);
	}
	for (left = ts.count; left > 0; left = ts.count) {
		CU_ASSERT_EQUAL(timers_wait_ms(&ts, 10, 500), 0);
		fired_count = 0;
		timers_run(&ts, 10);
		CU_ASSERT_TRUE(fired_count > 0 && fired_count < CROWD);
		CU_ASSERT_EQUAL_FATAL(ts.count, left - fired_count);
	}
	timers_free(&ts);
	free(p);
}

UNIT_SUITE(timer, TEST(test_timers_fire_in_order_of_time), TEST(test_only_what_is_due_fires),
    TEST(test_a_moved_timer_fires_at_its_new_time_only),
    TEST(test_a_firing_timer_may_stop_another_and_set_itself_again),
    TEST(test_random_stops_keep_the_order),
    TEST(test_thousands_that_are_due_at_once_leave_room_for_others));
