/* Goal: `weir top` shows what is urgent first, fits its columns, and no name can move the cursor. */
#include "cmd/top_screen.h"

#include <string.h>

#include "tests/support/unit.h"
#include "tests/unit/runtime/snapshots.h"

static struct config settings;
static struct snapshot *snap;
static struct top_screen screen;

static void
begin(void)
{
	memset(&settings, 0, sizeof settings);
	settings.state_dir = "/srv/weir";
	snap = snapshot_by_hand(&settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(snap);
	screen = TOP_SCREEN_INIT;
}

static void
end(void)
{
	top_screen_free(&screen);
	snapshot_free(&snap);
}

/* The first line that holds ${text}; the number of lines when there is none. */
static size_t
line_with(const char *text)
{
	size_t i = 0;

	for (; i < screen.count; i++) {
		const struct slice line = top_screen_line(&screen, i, SIZE_MAX);

		if (memmem(line.ptr, line.len, text, strlen(text)) != NULL)
			break;
	}
	return i;
}

static void
what_is_urgent_stands_under_the_title_and_is_marked(void)
{
	begin();
	top_screen_fill(snap, &screen);
	CU_ASSERT_EQUAL(line_with("/srv/weir"), 0);
	CU_ASSERT_EQUAL_FATAL(line_with("the consumer has stopped"), 1);
	CU_ASSERT_EQUAL(screen.lines[1].style, TOP_BAD);
	CU_ASSERT_EQUAL(screen.lines[0].style, TOP_TITLE);
	CU_ASSERT_TRUE(line_with("333/s  p50 0.04ms   p99 12ms") < screen.count);
	CU_ASSERT_TRUE(line_with("2 of 16 busy, 5 wait; 3 in hand, 1 parked") < screen.count);
	CU_ASSERT_TRUE(line_with("at once replica-1 7 of 12 reads") < screen.count);
	CU_ASSERT_TRUE(line_with("countries 250ms") < screen.count);
	end();
}

static void
endpoints_that_nobody_asked_for_take_no_line(void)
{
	begin();
	top_screen_fill(snap, &screen);
	CU_ASSERT_EQUAL(line_with("quiet"), screen.count);
	CU_ASSERT_TRUE(line_with("50.0%      0.5") < screen.count);
	end();
}

static void
a_small_pool_fits_eighty_columns_and_twenty_four_lines(void)
{
	begin();
	screen.blocks = true;
	top_screen_fill(snap, &screen);
	CU_ASSERT_TRUE(screen.count <= 23);
	for (size_t i = 0; i < screen.count; i++)
		if (screen.lines[i].style == TOP_HEAD || screen.lines[i].style == TOP_PLAIN)
			CU_ASSERT_EQUAL(top_screen_line(&screen, i, 80).len,
			    top_screen_line(&screen, i, SIZE_MAX).len);
	end();
}

static void
a_line_is_cut_by_characters_not_by_bytes(void)
{
	begin();
	top_screen_say(&screen, TOP_PLAIN, "a\xc3\xa9z");
	CU_ASSERT_EQUAL(top_screen_line(&screen, 0, 1).len, 1);
	CU_ASSERT_EQUAL(top_screen_line(&screen, 0, 2).len, 3);
	CU_ASSERT_EQUAL(top_screen_line(&screen, 0, 9).len, 4);
	end();
}

static void
a_name_cannot_move_the_cursor(void)
{
	begin();
	strcpy(snap->endpoints[0].name, "\033[2Jx");
	top_screen_fill(snap, &screen);
	CU_ASSERT_PTR_NULL(memchr(screen.text.ptr, '\033', screen.text.len));
	end();
}

static void
a_screen_with_more_lines_than_it_holds_keeps_the_first(void)
{
	begin();
	for (int i = 0; i < TOP_LINES_MAX + 5; i++)
		top_screen_say(&screen, TOP_PLAIN, "x");
	CU_ASSERT_EQUAL(screen.count, TOP_LINES_MAX);
	top_screen_clear(&screen);
	CU_ASSERT_EQUAL(screen.count, 0);
	end();
}

UNIT_SUITE(top_screen, TEST(what_is_urgent_stands_under_the_title_and_is_marked),
    TEST(endpoints_that_nobody_asked_for_take_no_line),
    TEST(a_small_pool_fits_eighty_columns_and_twenty_four_lines),
    TEST(a_line_is_cut_by_characters_not_by_bytes), TEST(a_name_cannot_move_the_cursor),
    TEST(a_screen_with_more_lines_than_it_holds_keeps_the_first));
