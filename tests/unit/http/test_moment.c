/* Goal: only moments that exist are taken, and equal moments become equal bytes. */
#include "http/moment.h"

#include "tests/unit/http/check.h"

static void
test_only_days_of_the_calendar_are_dates(void)
{
	static const struct {
		const char *text;
		bool good;
		const char *why;
	} rows[] = {
		{ "2026-11-24", true, NULL },
		{ "0001-01-01", true, NULL },
		{ "9999-12-31", true, NULL },
		{ "2024-02-29", true, NULL },
		{ "2000-02-29", true, NULL },
		{ "2026-02-29", false, " in the calendar" },
		{ "1900-02-29", false, " in the calendar" },
		{ "2026-04-31", false, " in the calendar" },
		{ "2026-13-01", false, " in the calendar" },
		{ "2026-00-01", false, " in the calendar" },
		{ "2026-01-00", false, " in the calendar" },
		{ "0000-01-01", false, " in the calendar" },
		{ "2026-1-1", false, NULL },
		{ "20261124", false, NULL },
		{ "2026-11-24T", false, NULL },
		{ "2026-11-24 ", false, NULL },
		{ "-026-11-24", false, NULL },
		{ "", false, NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why = "untouched";
		const enum err rc = moment_check_date(slice_of(rows[i].text), &why);

		CHECK_ROW(rows[i].text, rc == (rows[i].good ? ERR_OK : ERR_INVALID));
		CHECK_TEXT(rows[i].text, slice_of(why), rows[i].why);
	}
}

static void
test_timestamps_become_utc(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "2026-11-24T04:09:44Z", "2026-11-24T04:09:44Z" },
		{ "2026-11-24t04:09:44z", "2026-11-24T04:09:44Z" },
		{ "2026-11-24 04:09:44Z", "2026-11-24T04:09:44Z" },
		{ "2026-11-24T04:09:44+00:00", "2026-11-24T04:09:44Z" },
		{ "2026-11-24T04:09:44-00:00", "2026-11-24T04:09:44Z" },
		{ "2026-11-24T04:09:44+01:00", "2026-11-24T03:09:44Z" },
		{ "2026-11-24T00:30:00+05:30", "2026-11-23T19:00:00Z" },
		{ "2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z" },
		{ "2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z" },
		{ "2024-03-01T00:00:00+23:59", "2024-02-29T00:01:00Z" },
		{ "2024-02-28T23:59:59-23:59", "2024-02-29T23:58:59Z" },
		{ "2026-03-01T00:00:00+00:01", "2026-02-28T23:59:00Z" },
		{ "2026-11-24T04:09:44.5Z", "2026-11-24T04:09:44.5Z" },
		{ "2026-11-24T04:09:44.123456Z", "2026-11-24T04:09:44.123456Z" },
		{ "2026-11-24T04:09:44.123456999Z", "2026-11-24T04:09:44.123456Z" },
		{ "2026-11-24T04:09:44.1234567Z", "2026-11-24T04:09:44.123456Z" },
		{ "2026-11-24T04:09:44.120000Z", "2026-11-24T04:09:44.12Z" },
		{ "2026-11-24T04:09:44.000Z", "2026-11-24T04:09:44Z" },
		{ "2026-11-24T04:09:44.000000001Z", "2026-11-24T04:09:44Z" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char got[MOMENT_BYTES] = "";
		const char *why;

		CHECK_ROW(rows[i].text, moment_to_utc(slice_of(rows[i].text), got, &why) == ERR_OK);
		CHECK_TEXT(rows[i].text, slice_of(got), rows[i].want);
	}
}

static void
test_what_is_no_timestamp_says_why(void)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "2026-11-24T04:09:44", ", with its offset from UTC" },
		{ "2026-11-24T04:09:44 01:00", " (in a query, + is written %2B)" },
		{ "2026-02-30T04:09:44Z", " in the calendar" },
		{ "2026-11-24T24:00:00Z", " on the clock (00:00:00 to 23:59:59)" },
		{ "2026-11-24T04:60:00Z", " on the clock (00:00:00 to 23:59:59)" },
		{ "2026-12-31T23:59:60Z", " on the clock (00:00:00 to 23:59:59)" },
		{ "0001-01-01T00:00:00+00:01", " in the calendar" },
		{ "9999-12-31T23:59:59-00:01", " in the calendar" },
		{ "2026-11-24T04:09:44.Z", NULL },
		{ "2026-11-24T04:09:44+24:00", NULL },
		{ "2026-11-24T04:09:44+01:60", NULL },
		{ "2026-11-24T04:09:44+0100", NULL },
		{ "2026-11-24T04:09Z", NULL },
		{ "2026-11-24T04:09:44Zx", NULL },
		{ "2026-11-24", NULL },
		{ "1764000000", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why = "untouched";
		char got[MOMENT_BYTES];

		CHECK_ROW(
		    rows[i].text, moment_to_utc(slice_of(rows[i].text), got, &why) == ERR_INVALID);
		CHECK_TEXT(rows[i].text, slice_of(why), rows[i].why);
	}
}

UNIT_SUITE(moment, TEST(test_only_days_of_the_calendar_are_dates), TEST(test_timestamps_become_utc),
    TEST(test_what_is_no_timestamp_says_why));
