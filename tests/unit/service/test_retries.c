/* Goal: what is asked again is bounded by the host's budget and the caller's deadline, and counted. */
#include "service/retries.h"

#include <stdlib.h>

#include "base/clock.h"
#include "policy/retry_budget.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

struct desk {
	void *budgets;
	struct scoreboard *scoreboard;
	struct retries database, redis;
};

static struct desk
desk_make(void)
{
	struct desk d = { aligned_alloc(64, retries_size()),
		aligned_alloc(64, (scoreboard_size() + 63) / 64 * 64), { 0 }, { 0 } };
	unsigned member;

	CU_ASSERT_TRUE_FATAL(d.budgets != NULL && d.scoreboard != NULL);
	retries_init(d.budgets);
	scoreboard_init(d.scoreboard);
	CU_ASSERT_EQUAL_FATAL(
	    scoreboard_join(d.scoreboard, MEMBER_WORKER, clock_mono_ms(), &member), ERR_OK);
	d.database =
	    (struct retries){ retries_budget(d.budgets, RETRY_DATABASE), d.scoreboard, member };
	d.redis = (struct retries){ retries_budget(d.budgets, RETRY_REDIS), d.scoreboard, member };
	return d;
}

static void
desk_end(struct desk *d)
{
	free(d->budgets);
	free(d->scoreboard);
}

static unsigned
granted(const struct retries *r, unsigned n)
{
	const int64_t deadline_ms = clock_mono_ms() + 60000;
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += retries_again(r, 1, 0, deadline_ms);
	return count;
}

static void
a_budget_that_is_used_up_refuses_and_both_are_counted(void)
{
	struct desk d = desk_make();

	CU_ASSERT_EQUAL(granted(&d.database, RETRIES_FLOOR + 7), RETRIES_FLOOR);
	CU_ASSERT_EQUAL(scoreboard_total(d.scoreboard, METRIC_RETRIES), RETRIES_FLOOR);
	CU_ASSERT_EQUAL(scoreboard_total(d.scoreboard, METRIC_RETRIES_REFUSED), 7);
	desk_end(&d);
}

static void
calls_of_one_kind_pay_for_no_retries_of_another(void)
{
	struct desk d = desk_make();

	for (int i = 0; i < 1000; i++)
		retries_call(&d.redis, clock_mono_ms());
	CU_ASSERT_EQUAL(granted(&d.database, 150), RETRIES_FLOOR);
	CU_ASSERT_EQUAL(granted(&d.redis, 150), 150); /* of 200 */
	desk_end(&d);
}

static void
what_would_end_after_the_deadline_is_not_begun_and_costs_nothing(void)
{
	struct desk d = desk_make();
	struct retry_view v;

	CU_ASSERT_FALSE(retries_again(&d.database, 1, 50, clock_mono_ms() + 25));
	CU_ASSERT_FALSE(retries_again(&d.database, 1, 0, clock_mono_ms()));
	retry_budget_look(d.database.budget, clock_mono_ms(), &v);
	CU_ASSERT_EQUAL(v.retries, 0);
	CU_ASSERT_EQUAL(scoreboard_total(d.scoreboard, METRIC_RETRIES_REFUSED), 0);
	desk_end(&d);
}

static void
a_command_that_joins_no_segment_is_not_bounded(void)
{
	const struct retries r = { 0 };

	retries_call(&r, clock_mono_ms());
	CU_ASSERT_EQUAL(granted(&r, 3), 3);
}

UNIT_SUITE(retries, TEST(a_budget_that_is_used_up_refuses_and_both_are_counted),
    TEST(calls_of_one_kind_pay_for_no_retries_of_another),
    TEST(what_would_end_after_the_deadline_is_not_begun_and_costs_nothing),
    TEST(a_command_that_joins_no_segment_is_not_bounded));
