/*
 * How far the database was at each tag's last purge.
 */
#include "policy/positions.h"

#include <stdlib.h>

#include "tests/support/unit.h"

enum { ALIGN = 64, SLOTS = 4096 };

static struct positions *
positions_make(void)
{
	void *mem = aligned_alloc(ALIGN, (positions_size() + ALIGN - 1) / ALIGN * ALIGN);

	CU_ASSERT_PTR_NOT_NULL_FATAL(mem);
	positions_init(mem);
	return mem;
}

static uint64_t
of(const struct positions *p, uint64_t tag)
{
	return positions_of(p, &tag, 1);
}

static void
a_position_only_grows(void)
{
	struct positions *p = positions_make();

	CU_ASSERT_EQUAL(of(p, 3), 0);
	positions_raise(p, 3, 100);
	positions_raise(p, 3, 90);
	CU_ASSERT_EQUAL(of(p, 3), 100);
	CU_ASSERT_EQUAL(of(p, 4), 0);
	free(p);
}

static void
a_copy_of_many_tags_counts_from_the_newest(void)
{
	static const uint64_t tags[] = { 1, 2, 3 };
	struct positions *p = positions_make();

	positions_raise(p, 1, 10);
	positions_raise(p, 2, 30);
	CU_ASSERT_EQUAL(positions_of(p, tags, 3), 30);
	CU_ASSERT_EQUAL(positions_of(p, tags, 0), 0);
	CU_ASSERT_EQUAL(positions_newest(p), 30);
	free(p);
}

static void
all_tags_are_raised_at_once(void)
{
	struct positions *p = positions_make();

	positions_raise(p, 1, 10);
	positions_raise_all(p, 20);
	CU_ASSERT_EQUAL(of(p, 1), 20);
	CU_ASSERT_EQUAL(of(p, 7), 20);
	positions_raise(p, 1, 30);
	CU_ASSERT_EQUAL(of(p, 1), 30);
	CU_ASSERT_EQUAL(of(p, 7), 20);
	CU_ASSERT_EQUAL(positions_newest(p), 30);
	free(p);
}

static void
who_shares_a_word_counts_from_the_newer(void)
{
	struct positions *p = positions_make();

	positions_raise(p, 5, 10);
	CU_ASSERT_EQUAL(of(p, 5 + SLOTS), 10);
	free(p);
}

UNIT_SUITE(positions, TEST(a_position_only_grows), TEST(a_copy_of_many_tags_counts_from_the_newest),
    TEST(all_tags_are_raised_at_once), TEST(who_shares_a_word_counts_from_the_newer));
