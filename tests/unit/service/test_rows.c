/* Goal: what a database holds becomes the JSON that its column's type promises. */
#include "service/rows.h"

#include <math.h>
#include <stdio.h>

#include "tests/support/unit.h"

static struct cell
text(const char *s)
{
	return (struct cell){ .kind = CELL_TEXT, .bytes = slice_of(s) };
}

static struct cell
blob(const char *s)
{
	return (struct cell){ .kind = CELL_BLOB, .bytes = slice_of(s) };
}

static struct cell
integer(int64_t n)
{
	return (struct cell){ .kind = CELL_INTEGER, .integer = n };
}

static struct cell
real(double d)
{
	return (struct cell){ .kind = CELL_REAL, .real = d };
}

static void
gives(enum cell_form form, struct cell c, const char *want)
{
	struct strbuf out = STRBUF_INIT(4096);
	struct arena scratch;

	arena_init(&scratch, 1 << 16);
	cell_add_json(&out, &c, form, &scratch);
	if (!slice_eq_cstr(strbuf_slice(&out), want))
		(void)printf("got %.*s, want %s\n", (int)out.len, out.ptr, want);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&out), want));
	arena_free(&scratch);
	strbuf_free(&out);
}

static void
a_declared_type_has_its_form(void)
{
	static const struct {
		const char *type;
		enum cell_form form;
	} rows[] = {
		{ NULL, CELL_AS_STORED },
		{ "", CELL_AS_STORED },
		{ "THING", CELL_AS_STORED },
		{ "BOOLEAN", CELL_AS_BOOLEAN },
		{ "bool", CELL_AS_BOOLEAN },
		{ "JSON", CELL_AS_JSON },
		{ "jsonb", CELL_AS_JSON },
		{ "NUMERIC(10,2)", CELL_AS_NUMBER },
		{ "DECIMAL", CELL_AS_NUMBER },
		{ "BIGINT", CELL_AS_INTEGER },
		{ "INTEGER", CELL_AS_INTEGER },
		{ "REAL", CELL_AS_NUMBER },
		{ "DOUBLE PRECISION", CELL_AS_NUMBER },
		{ "TIMESTAMP WITH TIME ZONE", CELL_AS_TIMESTAMP },
		{ "timestamptz", CELL_AS_TIMESTAMP },
		{ "DATETIME", CELL_AS_TIMESTAMP },
		{ "DATE", CELL_AS_DATE },
		{ "INTERVAL", CELL_AS_TEXT },
		{ "VARCHAR(20)", CELL_AS_TEXT },
		{ "UUID", CELL_AS_TEXT },
		{ "BLOB", CELL_AS_BYTES },
		{ "bytea", CELL_AS_BYTES },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CU_ASSERT_EQUAL(cell_form_of_declared(rows[i].type), rows[i].form);
	CU_ASSERT_EQUAL(cell_form_of_rule(VALUE_OBJECT), CELL_AS_JSON);
	CU_ASSERT_EQUAL(cell_form_of_rule(VALUE_UUID), CELL_AS_TEXT);
	CU_ASSERT_EQUAL(cell_form_of_rule(VALUE_TIMESTAMP), CELL_AS_TIMESTAMP);
}

static void
null_is_null_in_every_form(void)
{
	for (enum cell_form f = CELL_AS_STORED; f <= CELL_AS_BYTES; f++)
		gives(f, (struct cell){ .kind = CELL_NULL }, "null");
}

static void
an_expression_is_written_as_what_it_is(void)
{
	gives(CELL_AS_STORED, integer(INT64_MIN), "-9223372036854775808");
	gives(CELL_AS_STORED, real(0.1), "0.1");
	gives(CELL_AS_STORED, text("a\"\n"), "\"a\\\"\\n\"");
	gives(CELL_AS_STORED, blob("ab"), "\"YWI=\"");
}

static void
numbers_are_exact_or_the_shortest(void)
{
	gives(CELL_AS_INTEGER, integer(9223372036854775807), "9223372036854775807");
	gives(CELL_AS_INTEGER, real(5.0), "5");
	gives(CELL_AS_INTEGER, real(5.5), "5.5");
	gives(CELL_AS_INTEGER, real(0x1p63), "9.223372036854776e+18");
	gives(CELL_AS_INTEGER, text("42"), "42");
	gives(CELL_AS_INTEGER, text("4x"), "\"4x\"");
	gives(CELL_AS_NUMBER, text("123456789012345678901234567890.10"),
	    "123456789012345678901234567890.10");
	gives(CELL_AS_NUMBER, text("-0.5e+10"), "-0.5e+10");
	gives(CELL_AS_NUMBER, real(0.1 + 0.2), "0.30000000000000004");
	gives(CELL_AS_NUMBER, real(1.0 / 3), "0.3333333333333333");
	gives(CELL_AS_NUMBER, integer(7), "7");
	gives(CELL_AS_NUMBER, real(INFINITY), "null");
	gives(CELL_AS_NUMBER, real(NAN), "null");
}

static void
text_that_is_no_number_stays_text(void)
{
	static const char *const bad[] = { "", "-", "01", "1.", ".5", "1e", "1e+", "+1", " 1", "1 ",
		"0x1", "NaN" };
	char want[16];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		(void)snprintf(want, sizeof want, "\"%s\"", bad[i]);
		gives(CELL_AS_NUMBER, text(bad[i]), want);
	}
}

static void
booleans_come_from_numbers_and_words(void)
{
	gives(CELL_AS_BOOLEAN, integer(0), "false");
	gives(CELL_AS_BOOLEAN, integer(1), "true");
	gives(CELL_AS_BOOLEAN, text("TRUE"), "true");
	gives(CELL_AS_BOOLEAN, text("f"), "false");
	gives(CELL_AS_BOOLEAN, text("maybe"), "\"maybe\"");
	gives(CELL_AS_BOOLEAN, real(0.5), "0.5");
}

static void
json_is_embedded_and_what_is_none_is_quoted(void)
{
	gives(CELL_AS_JSON, text("{\"a\": [1, null]}"), "{\"a\": [1, null]}");
	gives(CELL_AS_JSON, text("\"x\""), "\"x\"");
	gives(CELL_AS_JSON, integer(5), "5"); /* SQLite stores the text 5 so */
	gives(CELL_AS_JSON, text("{\"a\":}"), "\"{\\\"a\\\":}\"");
	gives(CELL_AS_JSON, text("1],[2"), "\"1],[2\"");
}

static void
timestamps_are_rfc_3339_in_utc(void)
{
	gives(CELL_AS_TIMESTAMP, text("2026-11-24T04:09:44.123400Z"),
	    "\"2026-11-24T04:09:44.1234Z\"");
	gives(CELL_AS_TIMESTAMP, text("2026-11-24 04:09:44"), "\"2026-11-24T04:09:44Z\"");
	gives(CELL_AS_TIMESTAMP, text("2026-11-24 04:09"), "\"2026-11-24T04:09:00Z\"");
	gives(CELL_AS_TIMESTAMP, text("2026-11-24T04:09:44+02:00"), "\"2026-11-24T02:09:44Z\"");
	gives(CELL_AS_TIMESTAMP, text("2026-11-24 04:09:44.5-03"), "\"2026-11-24T07:09:44.5Z\"");
	gives(CELL_AS_TIMESTAMP, integer(0), "\"1970-01-01T00:00:00Z\"");
	gives(CELL_AS_TIMESTAMP, integer(-62135596800), "\"0001-01-01T00:00:00Z\"");
	gives(CELL_AS_TIMESTAMP, real(2461368.5), "\"2026-11-24T00:00:00Z\"");
	gives(CELL_AS_TIMESTAMP, integer(INT64_MAX), "9223372036854775807");
	gives(CELL_AS_TIMESTAMP, real(NAN), "null");
	gives(CELL_AS_TIMESTAMP, text("yesterday"), "\"yesterday\"");
	gives(CELL_AS_TIMESTAMP, text("2026-11-24 04:09:44 and much more text than that"),
	    "\"2026-11-24 04:09:44 and much more text than that\"");
}

static void
dates_are_days(void)
{
	gives(CELL_AS_DATE, text("2026-11-24"), "\"2026-11-24\"");
	gives(CELL_AS_DATE, text("2026-11-24 04:09:44"), "\"2026-11-24\"");
	gives(CELL_AS_DATE, text("2026-02-30"), "\"2026-02-30\"");
	gives(CELL_AS_DATE, text("2026"), "\"2026\"");
	gives(CELL_AS_DATE, integer(5), "5");
}

static void
bytes_are_base64(void)
{
	gives(CELL_AS_BYTES, blob(""), "\"\"");
	gives(CELL_AS_BYTES, blob("f"), "\"Zg==\"");
	gives(CELL_AS_BYTES, blob("fo"), "\"Zm8=\"");
	gives(CELL_AS_BYTES, blob("foo"), "\"Zm9v\"");
	gives(CELL_AS_BYTES, blob("\xff\xfe\xfd\xfc"), "\"//79/A==\"");
	gives(CELL_AS_BYTES, text("foobar"), "\"Zm9vYmFy\"");
}

static void
text_columns_are_strings_whatever_they_hold(void)
{
	gives(CELL_AS_TEXT, integer(-5), "\"-5\"");
	gives(CELL_AS_TEXT, real(0.5), "\"0.5\"");
	gives(CELL_AS_TEXT, blob("ab"), "\"ab\"");
	gives(CELL_AS_TEXT, text("a\xff\xc3z\xe2\x82"),
	    "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\"");
	gives(CELL_AS_TEXT, (struct cell){ .kind = CELL_TEXT, .bytes = SLICE("a\0b") },
	    "\"a\\u0000b\"");
}

static void
bound_timestamps_sort_as_moments_do(void)
{
	char a[MOMENT_BYTES], b[MOMENT_BYTES];

	CU_ASSERT_EQUAL(rows_sortable_timestamp(SLICE("2026-11-24T04:09:44Z"), a), ERR_OK);
	CU_ASSERT_STRING_EQUAL(a, "2026-11-24T04:09:44.000000Z");
	CU_ASSERT_EQUAL(rows_sortable_timestamp(SLICE("2026-11-24T04:09:44.5Z"), b), ERR_OK);
	CU_ASSERT_STRING_EQUAL(b, "2026-11-24T04:09:44.500000Z");
	CU_ASSERT_EQUAL(rows_sortable_timestamp(SLICE("2026-11-24T04:09:44.123456Z"), b), ERR_OK);
	CU_ASSERT_STRING_EQUAL(b, "2026-11-24T04:09:44.123456Z");
	CU_ASSERT_EQUAL(rows_sortable_timestamp(SLICE("2026-11-24"), b), ERR_INVALID);
	CU_ASSERT_EQUAL(rows_sortable_timestamp(SLICE(""), b), ERR_INVALID);
	CU_ASSERT_EQUAL(
	    rows_sortable_timestamp(SLICE("2026-11-24T04:09:44.1234567Z"), b), ERR_INVALID);
}

UNIT_SUITE(rows, TEST(a_declared_type_has_its_form), TEST(null_is_null_in_every_form),
    TEST(an_expression_is_written_as_what_it_is), TEST(numbers_are_exact_or_the_shortest),
    TEST(text_that_is_no_number_stays_text), TEST(booleans_come_from_numbers_and_words),
    TEST(json_is_embedded_and_what_is_none_is_quoted), TEST(timestamps_are_rfc_3339_in_utc),
    TEST(dates_are_days), TEST(bytes_are_base64), TEST(text_columns_are_strings_whatever_they_hold),
    TEST(bound_timestamps_sort_as_moments_do));
