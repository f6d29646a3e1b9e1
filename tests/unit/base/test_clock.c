/* Goal: moments are written right, from the first year to the last. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/unit.h"

static const int64_t second_us = 1000000;

static void
known_moments_are_written_in_rfc3339(void)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00.000000Z" },
		{ 1, "1970-01-01T00:00:00.000001Z" },
		{ -1, "1969-12-31T23:59:59.999999Z" },
		{ 951782400000000, "2000-02-29T00:00:00.000000Z" },
		{ 1709164800123456, "2024-02-29T00:00:00.123456Z" },
		{ 1703980800000000, "2023-12-31T00:00:00.000000Z" },
		{ 4107542400000000, "2100-03-01T00:00:00.000000Z" },
		{ -2203977600000000, "1900-02-28T00:00:00.000000Z" },
	};
	char out[CLOCK_RFC3339_BYTES];

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CU_ASSERT_STRING_EQUAL(clock_rfc3339(rows[i].us, out), rows[i].text);
}

static void
years_of_more_than_four_digits_stay_inside_the_buffer(void)
{
	char out[CLOCK_RFC3339_BYTES];

	CU_ASSERT_STRING_EQUAL(clock_rfc3339(INT64_MAX, out), "9999-12-31T23:59:59.999999Z");
	CU_ASSERT_STRING_EQUAL(clock_rfc3339(INT64_MIN, out), "0000-01-01T00:00:00.000000Z");
}

static void
the_calendar_agrees_with_libc_for_ten_thousand_years(void)
{
	const int64_t step = 86400 * 11 + 3607; /* so that hours and minutes move too */
	char ours[CLOCK_RFC3339_BYTES], theirs[64];
	size_t wrong = 0;

	for (int64_t t = -62167219200; t <= 253402300799; t += step) {
		const time_t seconds = (time_t)t;
		struct tm tm;

		(void)gmtime_r(&seconds, &tm);
		(void)snprintf(theirs, sizeof theirs, "%04d-%02d-%02dT%02d:%02d:%02d.000000Z",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		wrong += strcmp(clock_rfc3339(t * second_us, ours), theirs) != 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static bool
parses_to(const char *text, int64_t want_us)
{
	int64_t us;

	return clock_rfc3339_parse(text, strlen(text), &us) && us == want_us;
}

static void
what_is_written_is_read_back_and_nothing_else_is(void)
{
	static const char *const bad[] = { "", "2026-11-24T04:09:44.12345Z",
		"2026-11-24T04:09:44.1234567Z", "2026-11-24t04:09:44.123456Z",
		"2026-11-24T04:09:44.123456z", "2026-11-24 04:09:44.123456Z",
		"2026-02-29T00:00:00.000000Z", "2026-13-01T00:00:00.000000Z",
		"2026-00-10T00:00:00.000000Z", "2026-01-00T00:00:00.000000Z",
		"2026-01-01T24:00:00.000000Z", "2026-01-01T00:60:00.000000Z",
		"2026-01-01T00:00:60.000000Z", "2026-01-01T00:00:-1.000000Z",
		"+026-01-01T00:00:00.000000Z" };
	const int64_t step_us = (86400 * 11 + 3607) * second_us + 7;
	char text[CLOCK_RFC3339_BYTES];
	size_t wrong = 0;

	for (int64_t us = -62167219200 * second_us; us <= 253402300799 * second_us; us += step_us)
		wrong += !parses_to(clock_rfc3339(us, text), us);
	CU_ASSERT_EQUAL(wrong, 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t us;

		CU_ASSERT_FALSE(clock_rfc3339_parse(bad[i], strlen(bad[i]), &us));
	}
}

static void
the_clocks_agree_with_the_system(void)
{
	const int64_t ns = clock_mono_ns(), ms = clock_mono_ms(), us = clock_wall_us();
	const int64_t now_s = (int64_t)time(NULL);

	CU_ASSERT_TRUE(ns > 0);
	CU_ASSERT_TRUE(ms >= ns / 1000000);
	CU_ASSERT_TRUE(clock_mono_ns() >= ns);
	CU_ASSERT_TRUE(us / second_us <= now_s + 1);
	CU_ASSERT_TRUE(us / second_us >= now_s - 3600);
}

UNIT_SUITE(clock, TEST(known_moments_are_written_in_rfc3339),
    TEST(years_of_more_than_four_digits_stay_inside_the_buffer),
    TEST(the_calendar_agrees_with_libc_for_ten_thousand_years),
    TEST(what_is_written_is_read_back_and_nothing_else_is), TEST(the_clocks_agree_with_the_system));
