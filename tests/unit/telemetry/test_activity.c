/* Goal: who looks at a worker from outside sees what it does, and never half of a name. */
#include "telemetry/activity.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

enum { MEMBER = 7, TURNS = 200000 };

static struct activity *
fresh(void)
{
	struct activity *a = aligned_alloc(64, (activity_size() + 63) / 64 * 64);

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	activity_init(a);
	return a;
}

static void
a_new_row_does_nothing(void)
{
	struct activity *a = fresh();
	struct activity_view v;

	activity_view(a, MEMBER, &v);
	CU_ASSERT_FALSE(v.waits);
	CU_ASSERT_EQUAL(v.oldest.place, ACTIVITY_NOWHERE);
	for (size_t i = 0; i < ACTIVITY_LANES; i++)
		CU_ASSERT_EQUAL(v.lanes[i].work, ACTIVITY_IDLE);
	free(a);
}

static void
a_thread_shows_its_endpoint_until_it_lets_go(void)
{
	struct activity *a = fresh();
	struct activity_row *r = activity_of(a, MEMBER);
	struct activity_view v;

	activity_begin(r, 3, ACTIVITY_STEPS, SLICE("countries"), 12345);
	activity_begin(r, 4, ACTIVITY_BODY, SLICE("event-create"), 12400);
	activity_view(a, MEMBER, &v);
	CU_ASSERT_EQUAL(v.lanes[3].work, ACTIVITY_STEPS);
	CU_ASSERT_EQUAL(v.lanes[3].since_ms, 12345);
	CU_ASSERT_STRING_EQUAL(v.lanes[3].endpoint, "countries");
	CU_ASSERT_EQUAL(v.lanes[4].work, ACTIVITY_BODY);
	activity_end(r, 3);
	activity_view(a, MEMBER, &v);
	CU_ASSERT_EQUAL(v.lanes[3].work, ACTIVITY_IDLE);
	CU_ASSERT_STRING_EQUAL(v.lanes[4].endpoint, "event-create");
	activity_view(a, MEMBER + 1, &v);
	CU_ASSERT_EQUAL(v.lanes[4].work, ACTIVITY_IDLE);
	free(a);
}

static void
threads_past_those_that_are_shown_disturb_nobody(void)
{
	struct activity *a = fresh();
	struct activity_view v;

	activity_begin(activity_of(a, MEMBER), ACTIVITY_LANES, ACTIVITY_STEPS, SLICE("x"), 1);
	activity_end(activity_of(a, MEMBER), 255);
	activity_view(a, MEMBER, &v);
	for (size_t i = 0; i < ACTIVITY_LANES; i++)
		CU_ASSERT_EQUAL(v.lanes[i].work, ACTIVITY_IDLE);
	activity_view(a, MEMBER + 1, &v);
	CU_ASSERT_EQUAL(v.oldest.place, ACTIVITY_NOWHERE);
	free(a);
}

static void
a_name_that_is_too_long_is_cut_and_never_inside_a_character(void)
{
	struct activity *a = fresh();
	char name[2 * ACTIVITY_NAME_BYTES];
	struct activity_view v;

	memset(name, 'n', sizeof name);
	activity_begin(
	    activity_of(a, MEMBER), 0, ACTIVITY_STEPS, (struct slice){ name, sizeof name }, 1);
	memcpy(name + ACTIVITY_NAME_BYTES - 2, "\xc3\xa9", 2);
	activity_begin(
	    activity_of(a, MEMBER), 1, ACTIVITY_STEPS, (struct slice){ name, sizeof name }, 1);
	activity_view(a, MEMBER, &v);
	CU_ASSERT_EQUAL(strlen(v.lanes[0].endpoint), ACTIVITY_NAME_BYTES - 1);
	CU_ASSERT_EQUAL(v.lanes[1].work, ACTIVITY_STEPS);
	CU_ASSERT_STRING_EQUAL(v.lanes[1].endpoint, "");
	free(a);
}

static void
who_joins_clears_what_its_forerunner_did(void)
{
	const struct activity_counts c = { .busy = 3, .threads = 4, .threads_max = 16 };
	struct activity *a = fresh();
	struct activity_row *r = activity_of(a, MEMBER);
	struct activity_view v;

	activity_waits(r, true);
	activity_begin(r, 0, ACTIVITY_STEPS, SLICE("countries"), 1);
	activity_publish(r, &c, ACTIVITY_QUEUE, 5, SLICE("event-create"));
	activity_view(a, MEMBER, &v);
	CU_ASSERT_TRUE(v.waits);
	CU_ASSERT_EQUAL(v.counts.busy, 3);
	CU_ASSERT_EQUAL(v.oldest.place, ACTIVITY_QUEUE);
	CU_ASSERT_EQUAL(v.oldest.since_ms, 5);
	CU_ASSERT_STRING_EQUAL(v.oldest.endpoint, "event-create");
	activity_clear(r);
	activity_view(a, MEMBER, &v);
	CU_ASSERT_EQUAL(v.counts.busy, 0);
	CU_ASSERT_EQUAL(v.oldest.place, ACTIVITY_NOWHERE);
	CU_ASSERT_EQUAL(v.lanes[0].work, ACTIVITY_IDLE);
	free(a);
}

static void *
writes(void *arg)
{
	struct activity_row *r = arg;

	for (int i = 0; i < TURNS; i++) {
		activity_begin(r, 0, ACTIVITY_STEPS, SLICE("aaaaaaaaaaaaaaaaaaaaaaaa"), 2 * i + 1);
		activity_begin(r, 0, ACTIVITY_STEPS, SLICE("bbbbbbbbbbbbbbbbbbbbbbbb"), 2 * i + 2);
	}
	return NULL;
}

static void
a_name_that_is_being_written_is_not_read_by_half(void)
{
	struct activity *a = fresh();
	pthread_t writer;
	int mixed = 0;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, writes, activity_of(a, MEMBER)), 0);
	for (int i = 0; i < TURNS / 100; i++) {
		struct activity_view v;
		char want;

		activity_view(a, MEMBER, &v);
		want = v.lanes[0].since_ms % 2 == 1 ? 'a' : 'b';
		for (const char *p = v.lanes[0].endpoint;
		     v.lanes[0].work != ACTIVITY_IDLE && *p != '\0'; p++)
			mixed += *p != want;
	}
	CU_ASSERT_EQUAL(pthread_join(writer, NULL), 0);
	CU_ASSERT_EQUAL(mixed, 0);
	free(a);
}

UNIT_SUITE(activity, TEST(a_new_row_does_nothing),
    TEST(a_thread_shows_its_endpoint_until_it_lets_go),
    TEST(threads_past_those_that_are_shown_disturb_nobody),
    TEST(a_name_that_is_too_long_is_cut_and_never_inside_a_character),
    TEST(who_joins_clears_what_its_forerunner_did),
    TEST(a_name_that_is_being_written_is_not_read_by_half));
