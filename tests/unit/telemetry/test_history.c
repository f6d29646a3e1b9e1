/* Goal: whoever begins to look is told the last ten minutes, in order, each second once. */
#include "telemetry/history.h"

#include <stdlib.h>

#include "tests/support/unit.h"

static struct history *
fresh(void)
{
	struct history *h = aligned_alloc(64, (history_size() + 63) / 64 * 64);

	CU_ASSERT_PTR_NOT_NULL_FATAL(h);
	history_init(h);
	return h;
}

static void
add(struct history *h, int64_t at_ms)
{
	struct history_row row = { .at_ms = at_ms };

	for (size_t i = 0; i < HISTORY__COUNT; i++)
		row.values[i] = at_ms + (int64_t)i;
	history_add(h, &row);
}

static void
a_new_history_is_empty(void)
{
	static struct history_row rows[HISTORY_ROWS];
	struct history *h = fresh();

	CU_ASSERT_EQUAL(history_read(h, rows, HISTORY_ROWS), 0);
	free(h);
}

static void
rows_are_read_oldest_first_with_all_their_columns(void)
{
	static struct history_row rows[HISTORY_ROWS];
	struct history *h = fresh();

	for (int64_t at_ms = 1000; at_ms <= 3000; at_ms += 1000)
		add(h, at_ms);
	CU_ASSERT_EQUAL_FATAL(history_read(h, rows, HISTORY_ROWS), 3);
	CU_ASSERT_EQUAL(rows[0].at_ms, 1000);
	CU_ASSERT_EQUAL(rows[2].at_ms, 3000);
	CU_ASSERT_EQUAL(rows[2].values[0], 3000);
	CU_ASSERT_EQUAL(rows[2].values[HISTORY__COUNT - 1], 3000 + HISTORY__COUNT - 1);
	CU_ASSERT_EQUAL_FATAL(history_read(h, rows, 2), 2);
	CU_ASSERT_EQUAL(rows[0].at_ms, 2000);
	free(h);
}

static void
a_second_is_kept_once_however_often_it_is_offered(void)
{
	static struct history_row rows[HISTORY_ROWS];
	struct history *h = fresh();

	add(h, 1000);
	add(h, 1100);
	add(h, 1999);
	add(h, 2000);
	CU_ASSERT_EQUAL_FATAL(history_read(h, rows, HISTORY_ROWS), 2);
	CU_ASSERT_EQUAL(rows[1].at_ms, 2000);
	free(h);
}

static void
only_the_last_ten_minutes_are_there_however_long_it_goes_on(void)
{
	static struct history_row rows[HISTORY_ROWS];
	struct history *h = fresh();

	for (int64_t s = 1; s <= 5000; s++)
		add(h, s * 1000);
	CU_ASSERT_EQUAL_FATAL(history_read(h, rows, HISTORY_ROWS), HISTORY_ROWS);
	for (int64_t i = 0; i < HISTORY_ROWS; i++)
		CU_ASSERT_EQUAL(rows[i].at_ms, (5000 - HISTORY_ROWS + 1 + i) * 1000);
	free(h);
}

UNIT_SUITE(history, TEST(a_new_history_is_empty),
    TEST(rows_are_read_oldest_first_with_all_their_columns),
    TEST(a_second_is_kept_once_however_often_it_is_offered),
    TEST(only_the_last_ten_minutes_are_there_however_long_it_goes_on));
