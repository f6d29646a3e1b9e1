/* Goal: a sample is confirmed when all that it holds is applied, not before, and does not wait for what will never be. */
#include "service/forward_sample.h"

#include "client/kafka.h"
#include "tests/support/unit.h"

static enum forward_verdict
judge(struct kafka_place then, struct kafka_place now)
{
	const struct kafka_place all_then[] = {
		{ .topic = "quiet", .partition = 0, .committed = -1 }, then
	};
	const struct kafka_place all_now[] = { now,
		{ .topic = "quiet", .partition = 0, .committed = -1 } };

	return forward_sample_judge(all_then, 2, all_now, 2);
}

static const struct kafka_place then = {
	.topic = "t", .partition = 1, .low = 10, .high = 20, .committed = 12
};

static void
what_is_not_committed_is_waited_for(void)
{
	struct kafka_place now = then;

	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_WAITS);
	now.high = 30;
	now.committed = 19;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_WAITS);
	now.committed = -1;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_WAITS);
}

static void
what_is_committed_is_applied_whatever_has_come_since(void)
{
	struct kafka_place now = then;

	now.high = 30;
	now.committed = 20;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_APPLIED);
	CU_ASSERT_EQUAL(forward_sample_judge(NULL, 0, &now, 1), FORWARD_SAMPLE_APPLIED);
}

static void
what_kafka_has_removed_is_not_waited_for(void)
{
	struct kafka_place now = then;

	now.low = 19;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_WAITS);
	now.low = 20;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_APPLIED);
}

/* Else nothing would ever be confirmed again, and the keys of the spool would fill it. */
static void
a_topic_that_was_made_anew_or_is_gone_makes_the_sample_void(void)
{
	struct kafka_place now = then;

	now.low = 0;
	now.high = 3;
	now.committed = 3;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_VOID);
	now.partition = 2;
	CU_ASSERT_EQUAL(judge(then, now), FORWARD_SAMPLE_VOID);
}

UNIT_SUITE(forward_sample, TEST(what_is_not_committed_is_waited_for),
    TEST(what_is_committed_is_applied_whatever_has_come_since),
    TEST(what_kafka_has_removed_is_not_waited_for),
    TEST(a_topic_that_was_made_anew_or_is_gone_makes_the_sample_void));
