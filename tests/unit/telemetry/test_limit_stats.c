/*
 * Goal: decisions and calls are counted by a bounded set of names.
 */
#include "telemetry/limit_stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/call_stats.h"
#include "tests/support/unit.h"

static void *
zeroed(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (p == NULL)
		abort();
	return p;
}

static uint64_t
counted(const struct limit_stats *l, const char *policy, enum limit_result r)
{
	uint64_t counts[LIMIT_RESULT__COUNT];
	char name[NAME_BYTES];

	for (uint32_t row = 0; row < LIMIT_ROWS; row++)
		if (limit_stats_view(l, row, name, counts) && strcmp(name, policy) == 0)
			return counts[r];
	return UINT64_MAX;
}

static void
a_decision_is_counted_under_its_policy_from_every_member(void)
{
	struct limit_stats *l = zeroed(limit_stats_size());

	limit_stats_init(l);
	for (unsigned member = 0; member < 20; member++)
		limit_stats_count(l, member, SLICE("default"), LIMIT_ALLOWED);
	limit_stats_count(l, 3, SLICE("default"), LIMIT_REFUSED);
	limit_stats_count(l, 3, SLICE("other"), LIMIT_REFUSED);
	CU_ASSERT_EQUAL(counted(l, "default", LIMIT_ALLOWED), 20);
	CU_ASSERT_EQUAL(counted(l, "default", LIMIT_REFUSED), 1);
	CU_ASSERT_EQUAL(counted(l, "default", LIMIT_OBSERVED), 0);
	CU_ASSERT_EQUAL(counted(l, "other", LIMIT_REFUSED), 1);
	CU_ASSERT_EQUAL(counted(l, "nobody", LIMIT_REFUSED), UINT64_MAX);
	free(l);
}

static void
policies_beyond_the_bound_are_other(void)
{
	struct limit_stats *l = zeroed(limit_stats_size());
	char name[32];

	limit_stats_init(l);
	for (int i = 0; i < NAMES_ROWS + 9; i++) {
		(void)snprintf(name, sizeof name, "policy-%d", i);
		limit_stats_count(l, 0, slice_of(name), LIMIT_ALLOWED);
	}
	CU_ASSERT_EQUAL(counted(l, "other", LIMIT_ALLOWED), 9);
	free(l);
}

static void
a_name_too_long_is_cut_and_stays_one_row(void)
{
	struct limit_stats *l = zeroed(limit_stats_size());
	uint64_t counts[LIMIT_RESULT__COUNT];
	char name[NAME_BYTES], policy[200];
	unsigned rows = 0;

	limit_stats_init(l);
	memset(policy, 'p', sizeof policy);
	limit_stats_count(l, 0, (struct slice){ policy, sizeof policy }, LIMIT_ALLOWED);
	limit_stats_count(l, 1, (struct slice){ policy, sizeof policy }, LIMIT_ALLOWED);
	for (uint32_t row = 0; row < NAMES_ROWS; row++) {
		if (!limit_stats_view(l, row, name, counts))
			continue;
		rows++;
		CU_ASSERT_EQUAL(strlen(name), NAME_BYTES - 1);
		CU_ASSERT_EQUAL(counts[LIMIT_ALLOWED], 2);
	}
	CU_ASSERT_EQUAL(rows, 1);
	free(l);
}

static void
a_call_that_was_not_made_took_no_time(void)
{
	struct call_table *t = zeroed(sizeof *t);
	struct call_view v;
	bool seen = false;

	call_table_init(t);
	call_table_count(t, SLICE("l2-get"), CALL_ANSWERED, 150000);
	call_table_count(t, SLICE("l2-get"), CALL_REFUSED, 1);
	call_table_count(t, SLICE("l2-get"), CALL_TIMEOUT, 20000000);
	for (uint32_t row = 0; row < NAMES_ROWS; row++) {
		if (!call_table_view(t, row, &v))
			continue;
		seen = true;
		CU_ASSERT_STRING_EQUAL(v.name, "l2-get");
		CU_ASSERT_EQUAL(v.results[CALL_ANSWERED], 1);
		CU_ASSERT_EQUAL(v.results[CALL_REFUSED], 1);
		CU_ASSERT_EQUAL(v.took.count, 2);
		CU_ASSERT_EQUAL(v.took.sum_ns, 20150000);
	}
	CU_ASSERT_TRUE(seen);
	free(t);
}

UNIT_SUITE(limit_stats, TEST(a_decision_is_counted_under_its_policy_from_every_member),
    TEST(policies_beyond_the_bound_are_other), TEST(a_name_too_long_is_cut_and_stays_one_row),
    TEST(a_call_that_was_not_made_took_no_time));
