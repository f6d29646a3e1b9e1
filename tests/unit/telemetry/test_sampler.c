/* Goal: whether a trace is exported is a function of its id, of the ratio, and (parent-based) of what the caller says. */
#include "telemetry/sampler.h"

#include <math.h>

#include "telemetry/trace.h"
#include "tests/support/unit.h"

enum { TRACES = 20000 };

static struct trace_context
new_trace(void)
{
	struct trace_context t;

	trace_begin(&t, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	return t;
}

static struct sampler
ratio(double r)
{
	return (struct sampler){ .kind = SAMPLER_RATIO, .threshold = sampler_threshold(r) };
}

static void
test_a_ratio_takes_that_part_of_all_traces(void)
{
	static const double ratios[] = { 0.01, 0.1, 0.5, 0.9 };

	for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
		const struct sampler s = ratio(ratios[i]);
		const double expected = ratios[i] * TRACES;
		int taken = 0;

		for (int n = 0; n < TRACES; n++) {
			const struct trace_context t = new_trace();

			taken += sampler_takes(&s, &t);
		}
		/* Eight standard deviations: it fails once in 10^15. */
		CU_ASSERT_TRUE(fabs(taken - expected) <= 8 * sqrt(expected * (1 - ratios[i])));
	}
}

static void
test_the_decision_is_the_same_everywhere_and_for_higher_ratios(void)
{
	const struct sampler low = ratio(0.2), high = ratio(0.3), same = ratio(0.2);

	for (int n = 0; n < TRACES; n++) {
		const struct trace_context t = new_trace();
		struct trace_context other = t;

		trace_new_span(&other);
		other.sampled = !t.sampled;
		other.has_parent = true;
		CU_ASSERT_EQUAL(sampler_takes(&low, &t), sampler_takes(&same, &other));
		CU_ASSERT_TRUE(!sampler_takes(&low, &t) || sampler_takes(&high, &t));
	}
}

static void
test_zero_takes_none_and_one_takes_all(void)
{
	struct trace_context least = { .trace_id = { 1 } }, most = { 0 };

	for (int i = 0; i < TRACE_ID_BYTES; i++)
		most.trace_id[i] = 0xff;
	CU_ASSERT_FALSE(sampler_takes(&(struct sampler){ .kind = SAMPLER_RATIO }, &least));
	CU_ASSERT_EQUAL(sampler_threshold(0), 0);
	CU_ASSERT_EQUAL(sampler_threshold(-1), 0);
	CU_ASSERT_EQUAL(sampler_threshold(NAN), 0);
	CU_ASSERT_EQUAL(sampler_threshold(2), sampler_threshold(1));
	const struct sampler all = ratio(1);
	CU_ASSERT_TRUE(sampler_takes(&all, &least));
	CU_ASSERT_TRUE(sampler_takes(&all, &most));
}

static void
test_parent_based_does_as_the_caller_says(void)
{
	static const struct {
		enum sampler_kind kind;
		bool parent_based, has_parent, sampled, taken;
	} rows[] = {
		{ SAMPLER_ALWAYS_ON, true, true, false, false },
		{ SAMPLER_ALWAYS_ON, true, true, true, true },
		{ SAMPLER_ALWAYS_ON, true, false, false, true },
		{ SAMPLER_ALWAYS_OFF, true, true, true, true },
		{ SAMPLER_ALWAYS_OFF, true, false, false, false },
		{ SAMPLER_ALWAYS_ON, false, true, false, true },
		{ SAMPLER_ALWAYS_OFF, false, true, true, false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct sampler s = { .kind = rows[i].kind,
			.parent_based = rows[i].parent_based };
		struct trace_context t = new_trace();

		t.has_parent = rows[i].has_parent;
		t.sampled = rows[i].sampled;
		CU_ASSERT_EQUAL(sampler_takes(&s, &t), rows[i].taken);
	}
}

UNIT_SUITE(sampler, TEST(test_a_ratio_takes_that_part_of_all_traces),
    TEST(test_the_decision_is_the_same_everywhere_and_for_higher_ratios),
    TEST(test_zero_takes_none_and_one_takes_all), TEST(test_parent_based_does_as_the_caller_says));
