/* Goal: one of a kind in its time, and one of any kind in a shorter one, whoever asks. */
#include "policy/pace.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/unit.h"

enum { NOW_MS = 5000000, CROWD = 8 };

static const struct pace_rules rules = { .any_ms = 1000, .kind_ms = 60000 };

static void
a_kind_has_its_turn_once_in_its_time(void)
{
	static struct pace p;

	CU_ASSERT_TRUE(pace_take(&p, &rules, 7, NOW_MS));
	CU_ASSERT_FALSE(pace_take(&p, &rules, 7, NOW_MS));
	CU_ASSERT_FALSE(pace_take(&p, &rules, 7, NOW_MS + 59999));
	CU_ASSERT_TRUE(pace_take(&p, &rules, 7, NOW_MS + 60000));
}

static void
all_kinds_together_have_a_turn_now_and_then(void)
{
	static struct pace p;

	CU_ASSERT_TRUE(pace_take(&p, &rules, 7, NOW_MS));
	CU_ASSERT_FALSE(pace_take(&p, &rules, 8, NOW_MS + 999));
	CU_ASSERT_TRUE(pace_take(&p, &rules, 8, NOW_MS + 1000)); /* refused, it has lost nothing */
}

static void
a_kind_that_is_not_due_takes_no_turn_from_others(void)
{
	static struct pace p;

	CU_ASSERT_TRUE(pace_take(&p, &rules, 7, NOW_MS));
	for (int i = 0; i < 100; i++)
		CU_ASSERT_FALSE(pace_take(&p, &rules, 7, NOW_MS + 1000));
	CU_ASSERT_TRUE(pace_take(&p, &rules, 8, NOW_MS + 1000));
}

static struct pace shared;
static _Atomic int taken;

static void *
ask(void *arg)
{
	(void)arg;
	for (int64_t ms = 0; ms < 20000; ms++)
		atomic_fetch_add(&taken, pace_take(&shared, &rules, (uint64_t)ms, NOW_MS + ms));
	return NULL;
}

static void
a_crowd_has_no_more_turns_than_one(void)
{
	pthread_t threads[CROWD];

	for (int i = 0; i < CROWD; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ask, NULL), 0);
	for (int i = 0; i < CROWD; i++)
		(void)pthread_join(threads[i], NULL);
	CU_ASSERT_TRUE(taken > 0 && taken <= 20);
}

UNIT_SUITE(pace, TEST(a_kind_has_its_turn_once_in_its_time),
    TEST(all_kinds_together_have_a_turn_now_and_then),
    TEST(a_kind_that_is_not_due_takes_no_turn_from_others),
    TEST(a_crowd_has_no_more_turns_than_one));
