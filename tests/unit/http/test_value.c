/* Goal: a value is taken in its canonical form, or refused with what was expected. */
#include "http/value.h"

#include <string.h>

#include "tests/unit/http/check.h"

static struct arena arena;

static void
setup(void)
{
	arena_free(&arena);
	arena_init(&arena, 65536);
}

static struct slice currencies[] = { { "EUR", 3 }, { "USD", 3 } };
static struct slice sizes[] = { { "1", 1 }, { "10", 2 } };

static const struct param plain[VALUE__COUNT] = {
	[VALUE_TEXT] = { .type = VALUE_TEXT },
	[VALUE_INTEGER] = { .type = VALUE_INTEGER },
	[VALUE_NUMBER] = { .type = VALUE_NUMBER },
	[VALUE_BOOLEAN] = { .type = VALUE_BOOLEAN },
	[VALUE_DATE] = { .type = VALUE_DATE },
	[VALUE_TIMESTAMP] = { .type = VALUE_TIMESTAMP },
	[VALUE_UUID] = { .type = VALUE_UUID },
	[VALUE_JSON] = { .type = VALUE_JSON },
	[VALUE_OBJECT] = { .type = VALUE_OBJECT },
	[VALUE_ARRAY] = { .type = VALUE_ARRAY },
	[VALUE_ANY] = { .type = VALUE_ANY },
};

static const struct param text_max_3 = { .type = VALUE_TEXT, .has_max = true, .max = 3 };
static const struct param text_min_1 = { .type = VALUE_TEXT, .has_min = true, .min = 1 };
static const struct param text_2_to_3 = {
	.type = VALUE_TEXT, .has_min = true, .min = 2, .has_max = true, .max = 3
};
static const struct param text_length_2 = { .type = VALUE_TEXT, .has_length = true, .length = 2 };
static const struct param text_choice = {
	.type = VALUE_TEXT, .choices = currencies, .choice_count = 2
};
static const struct param integer_choice = {
	.type = VALUE_INTEGER, .choices = sizes, .choice_count = 2
};
static const struct param integer_min_1 = { .type = VALUE_INTEGER, .has_min = true, .min_int = 1 };
static const struct param integer_max_9 = { .type = VALUE_INTEGER, .has_max = true, .max_int = 9 };
static const struct param integer_1_to_100 = {
	.type = VALUE_INTEGER, .has_min = true, .min_int = 1, .has_max = true, .max_int = 100
};
/* Above 2^53, where doubles would no longer tell neighbours apart. */
static const struct param integer_exact = {
	.type = VALUE_INTEGER, .has_min = true, .min_int = 9007199254740993
};
static const struct param number_half_to_2 = {
	.type = VALUE_NUMBER, .has_min = true, .min = 0.5, .has_max = true, .max = 2
};
static const struct param optional_text = { .type = VALUE_TEXT, .optional = true };
static const struct param optional_json = { .type = VALUE_JSON, .optional = true };

static void
test_every_type_is_known_by_its_name(void)
{
	for (enum value_type t = VALUE_TEXT; t < VALUE__COUNT; t++) {
		enum value_type got = VALUE__COUNT;

		CU_ASSERT_TRUE(value_type_parse(slice_of(value_type_name(t)), &got));
		CU_ASSERT_EQUAL(got, t);
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const words[] = { "Text", "int", "" };
		enum value_type got;

		CHECK_ROW(words[i], !value_type_parse(slice_of(words[i]), &got));
	}
}

static void
test_raw_text_becomes_canonical(void)
{
	static const struct {
		const struct param *p;
		const char *raw, *want;
	} rows[] = {
		{ &plain[VALUE_TEXT], "", "" },
		{ &plain[VALUE_TEXT], "a\nb", "a\nb" },
		{ &text_max_3, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac",
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac" },
		{ &text_2_to_3, "ab", "ab" },
		{ &text_length_2, "\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa",
		    "\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa" },
		{ &text_choice, "USD", "USD" },
		{ &integer_choice, "010", "10" },
		{ &plain[VALUE_INTEGER], "0", "0" },
		{ &plain[VALUE_INTEGER], "-0", "0" },
		{ &plain[VALUE_INTEGER], "007", "7" },
		{ &plain[VALUE_INTEGER], "9223372036854775807", "9223372036854775807" },
		{ &plain[VALUE_INTEGER], "-9223372036854775808", "-9223372036854775808" },
		{ &integer_1_to_100, "1", "1" },
		{ &integer_1_to_100, "100", "100" },
		{ &integer_exact, "9007199254740993", "9007199254740993" },
		{ &plain[VALUE_NUMBER], "1.50", "1.5" },
		{ &plain[VALUE_NUMBER], "-0.0", "0" },
		{ &plain[VALUE_NUMBER], "1e2", "100" },
		{ &plain[VALUE_NUMBER], "0.1", "0.1" },
		{ &plain[VALUE_NUMBER], "0.30000000000000004", "0.30000000000000004" },
		{ &number_half_to_2, "2", "2" },
		{ &plain[VALUE_BOOLEAN], "true", "true" },
		{ &plain[VALUE_BOOLEAN], "false", "false" },
		{ &plain[VALUE_DATE], "2026-11-24", "2026-11-24" },
		{ &plain[VALUE_TIMESTAMP], "2026-11-24T04:09:44+01:00", "2026-11-24T03:09:44Z" },
		{ &plain[VALUE_UUID], "0198F3D2-0000-7ABC-8000-0123456789AB",
		    "0198f3d2-0000-7abc-8000-0123456789ab" },
		{ &plain[VALUE_JSON], " {\"b\":1, \"a\":2}", " {\"b\":1, \"a\":2}" },
		{ &plain[VALUE_OBJECT], "{}", "{}" },
		{ &plain[VALUE_ARRAY], "[1]", "[1]" },
		{ &plain[VALUE_ANY], "null", "null" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *expected = NULL;
		struct value v;

		setup();
		CHECK_ROW(rows[i].raw,
		    value_parse(rows[i].p, slice_of(rows[i].raw), &arena, &v, &expected) == ERR_OK);
		CHECK_TEXT(rows[i].raw, v.text, rows[i].want);
		CHECK_ROW(rows[i].raw, v.type == rows[i].p->type && !v.null);
	}
}

static void
test_numbers_are_there_as_numbers_too(void)
{
	const char *expected;
	struct value v;

	setup();
	CU_ASSERT_EQUAL(
	    value_parse(&plain[VALUE_INTEGER], SLICE("-42"), &arena, &v, &expected), ERR_OK);
	CU_ASSERT_EQUAL(v.integer, -42);
	CU_ASSERT_EQUAL(
	    value_parse(&plain[VALUE_NUMBER], SLICE("2.5"), &arena, &v, &expected), ERR_OK);
	CU_ASSERT_EQUAL(v.number, 2.5);
	CU_ASSERT_EQUAL(
	    value_parse(&plain[VALUE_BOOLEAN], SLICE("true"), &arena, &v, &expected), ERR_OK);
	CU_ASSERT_EQUAL(v.integer, 1);
	CU_ASSERT_EQUAL(
	    value_parse(&plain[VALUE_BOOLEAN], SLICE("false"), &arena, &v, &expected), ERR_OK);
	CU_ASSERT_EQUAL(v.integer, 0);
}

static void
test_a_refusal_says_what_was_expected(void)
{
	static const struct {
		const struct param *p;
		struct slice raw;
		const char *expected;
	} rows[] = {
		{ &plain[VALUE_TEXT], { "\xff", 1 }, "text in UTF-8" },
		{ &plain[VALUE_TEXT], { "a\0b", 3 }, "text without NUL" },
		{ &text_max_3, { "abcd", 4 }, "text of at most 3 characters" },
		{ &text_min_1, { "", 0 }, "text of at least 1 character" },
		{ &text_2_to_3, { "a", 1 }, "text of 2 to 3 characters" },
		{ &text_length_2, { "abc", 3 }, "text of exactly 2 characters" },
		{ &text_choice, { "eur", 3 }, "one of EUR, USD" },
		{ &text_choice, { "\xff", 1 }, "one of EUR, USD in UTF-8" },
		{ &integer_choice, { "2", 1 }, "one of 1, 10" },
		{ &plain[VALUE_INTEGER], { "", 0 }, "an integer" },
		{ &plain[VALUE_INTEGER], { "-", 1 }, "an integer" },
		{ &plain[VALUE_INTEGER], { "1.0", 3 }, "an integer" },
		{ &plain[VALUE_INTEGER], { "+1", 2 }, "an integer" },
		{ &plain[VALUE_INTEGER], { " 1", 2 }, "an integer" },
		{ &plain[VALUE_INTEGER], { "0x1", 3 }, "an integer" },
		{ &plain[VALUE_INTEGER], { "9223372036854775808", 19 },
		    "an integer within 64 bits" },
		{ &plain[VALUE_INTEGER], { "-9223372036854775809", 20 },
		    "an integer within 64 bits" },
		{ &integer_min_1, { "abc", 3 }, "an integer of at least 1" },
		{ &integer_min_1, { "0", 1 }, "an integer of at least 1" },
		{ &integer_min_1, { "99999999999999999999", 20 },
		    "an integer of at least 1 within 64 bits" },
		{ &integer_max_9, { "10", 2 }, "an integer of at most 9" },
		{ &integer_1_to_100, { "101", 3 }, "an integer from 1 to 100" },
		{ &integer_exact, { "9007199254740992", 16 },
		    "an integer of at least 9007199254740993" },
		{ &number_half_to_2, { "2.1", 3 }, "a number from 0.5 to 2" },
		{ &plain[VALUE_NUMBER], { "nan", 3 }, "a number" },
		{ &plain[VALUE_NUMBER], { "inf", 3 }, "a number" },
		{ &plain[VALUE_NUMBER], { "0x1p3", 5 }, "a number" },
		{ &plain[VALUE_NUMBER], { ".5", 2 }, "a number" },
		{ &plain[VALUE_NUMBER], { "5.", 2 }, "a number" },
		{ &plain[VALUE_NUMBER], { "1e", 2 }, "a number" },
		{ &plain[VALUE_NUMBER], { "1e+", 3 }, "a number" },
		{ &plain[VALUE_NUMBER], { "1.e5", 4 }, "a number" },
		{ &plain[VALUE_NUMBER], { "1e999", 5 }, "a number within the range of a double" },
		{ &plain[VALUE_BOOLEAN], { "TRUE", 4 }, "true or false" },
		{ &plain[VALUE_BOOLEAN], { "1", 1 }, "true or false" },
		{ &plain[VALUE_DATE], { "2026-02-29", 10 },
		    "a date such as 2026-11-24 in the calendar" },
		{ &plain[VALUE_TIMESTAMP], { "now", 3 },
		    "a timestamp such as 2026-11-24T04:09:44Z" },
		{ &plain[VALUE_UUID], { "0198f3d2-0000-7abc-8000-0123456789a", 35 }, "a UUID" },
		{ &plain[VALUE_UUID], { "0198f3d2-0000-7abc-8000-0123456789ag", 36 }, "a UUID" },
		{ &plain[VALUE_UUID], { "0198f3d200000-7abc-8000-0123456789ab", 36 }, "a UUID" },
		{ &plain[VALUE_UUID], { "0198f3d2-0000-7abc-8000-0123456789\0b", 36 }, "a UUID" },
		{ &plain[VALUE_JSON], { "{\"a\":1,\"a\":2}", 13 },
		    "JSON (duplicate member at byte 7)" },
		{ &plain[VALUE_OBJECT], { "[]", 2 }, "a JSON object" },
		{ &plain[VALUE_ARRAY], { "{}", 2 }, "a JSON array" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *expected = NULL;
		struct value v;

		setup();
		CHECK_ROW(rows[i].raw.ptr,
		    value_parse(rows[i].p, rows[i].raw, &arena, &v, &expected) == ERR_INVALID);
		CHECK_TEXT(rows[i].raw.ptr, slice_of(expected), rows[i].expected);
	}
}

static void
test_a_json_body_writes_each_type_its_own_way(void)
{
	static const struct {
		const struct param *p;
		const char *raw, *want; /* NULL: null */
	} rows[] = {
		{ &plain[VALUE_TEXT], "\"a\\u00e9\\n\"", "a\xc3\xa9\n" },
		{ &text_length_2, "\"\\ud83d\\ude00x\"", "\xf0\x9f\x98\x80x" },
		{ &plain[VALUE_INTEGER], "-12", "-12" },
		{ &plain[VALUE_NUMBER], "12", "12" },
		{ &plain[VALUE_NUMBER], "1.25e1", "12.5" },
		{ &plain[VALUE_BOOLEAN], "true", "true" },
		{ &plain[VALUE_DATE], "\"2026-11-24\"", "2026-11-24" },
		{ &plain[VALUE_TIMESTAMP], "\"2026-11-24T04:09:44+00:30\"",
		    "2026-11-24T03:39:44Z" },
		{ &plain[VALUE_UUID], "\"0198F3D2-0000-7ABC-8000-0123456789AB\"",
		    "0198f3d2-0000-7abc-8000-0123456789ab" },
		{ &plain[VALUE_OBJECT], "{ \"a\" : 1 }", "{ \"a\" : 1 }" },
		{ &plain[VALUE_ARRAY], "[ ]", "[ ]" },
		{ &plain[VALUE_ANY], "\"x\"", "\"x\"" },
		{ &plain[VALUE_ANY], "null", "null" },
		{ &plain[VALUE_JSON], "null", "null" },
		{ &optional_json, "null", NULL },
		{ &optional_text, "null", NULL },
		{ &optional_text, "\"null\"", "null" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *expected = NULL;
		struct value v;

		setup();
		CHECK_ROW(rows[i].raw, value_parse_json(rows[i].p, slice_of(rows[i].raw), &arena,
					   &v, &expected) == ERR_OK);
		CHECK_TEXT(rows[i].raw, v.text, rows[i].want);
		CHECK_ROW(rows[i].raw, v.null == (rows[i].want == NULL));
	}
}

static void
test_a_json_value_of_another_type_is_refused(void)
{
	static const struct {
		const struct param *p;
		const char *raw, *expected;
	} rows[] = {
		{ &plain[VALUE_TEXT], "12", "text (a JSON string)" },
		{ &plain[VALUE_TEXT], "null", "text (a JSON string)" },
		{ &text_choice, "true", "one of EUR, USD (a JSON string)" },
		{ &plain[VALUE_INTEGER], "\"12\"", "an integer (a JSON number)" },
		{ &plain[VALUE_INTEGER], "12.0", "an integer" },
		{ &plain[VALUE_INTEGER], "1e1", "an integer" },
		{ &integer_min_1, "[1]", "an integer of at least 1 (a JSON number)" },
		{ &plain[VALUE_BOOLEAN], "\"true\"", "true or false (a JSON boolean)" },
		{ &plain[VALUE_BOOLEAN], "1", "true or false (a JSON boolean)" },
		{ &plain[VALUE_DATE], "20261124", "a date such as 2026-11-24 (a JSON string)" },
		{ &plain[VALUE_OBJECT], "[]", "a JSON object" },
		{ &plain[VALUE_OBJECT], "null", "a JSON object" },
		{ &plain[VALUE_ARRAY], "{}", "a JSON array" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *expected = NULL;
		struct value v;

		setup();
		CHECK_ROW(rows[i].raw, value_parse_json(rows[i].p, slice_of(rows[i].raw), &arena,
					   &v, &expected) == ERR_INVALID);
		CHECK_TEXT(rows[i].raw, slice_of(expected), rows[i].expected);
	}
}

static struct slice
canonical_of(const struct param *p, const char *raw, struct strbuf *b)
{
	const char *expected;
	struct value v;

	CU_ASSERT_EQUAL(value_parse(p, slice_of(raw), &arena, &v, &expected), ERR_OK);
	CU_ASSERT_EQUAL(value_canonical(&v, &arena, b), ERR_OK);
	return strbuf_slice(b);
}

static void
test_equal_values_have_equal_bytes_and_others_do_not(void)
{
	static const struct {
		const struct param *a;
		const char *a_raw;
		const struct param *b;
		const char *b_raw;
		bool same;
	} rows[] = {
		{ &plain[VALUE_INTEGER], "7", &plain[VALUE_INTEGER], "007", true },
		{ &plain[VALUE_NUMBER], "1.0", &plain[VALUE_NUMBER], "1", true },
		{ &plain[VALUE_TIMESTAMP], "2026-11-24T04:09:44Z", &plain[VALUE_TIMESTAMP],
		    "2026-11-24T05:09:44.000+01:00", true },
		{ &plain[VALUE_JSON], "{\"a\":1,\"b\":[2]}", &plain[VALUE_JSON],
		    "{ \"b\": [ 2 ], \"a\": 1 }", true },
		{ &plain[VALUE_TEXT], "7", &plain[VALUE_INTEGER], "7", false },
		{ &plain[VALUE_TEXT], "a", &plain[VALUE_TEXT], "b", false },
		{ &plain[VALUE_JSON], "[1,2]", &plain[VALUE_JSON], "[2,1]", false },
		{ &plain[VALUE_JSON], "\"7\"", &plain[VALUE_JSON], "7", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct strbuf a = STRBUF_INIT(1024), b = STRBUF_INIT(1024);

		setup();
		CHECK_ROW(
		    rows[i].a_raw, slice_eq(canonical_of(rows[i].a, rows[i].a_raw, &a),
				       canonical_of(rows[i].b, rows[i].b_raw, &b)) == rows[i].same);
		strbuf_free(&a);
		strbuf_free(&b);
	}
}

static void
test_canonical_bytes_carry_type_and_length(void)
{
	const struct value null = { .type = VALUE_TEXT, .null = true };
	struct strbuf b = STRBUF_INIT(64);

	setup();
	(void)canonical_of(&plain[VALUE_INTEGER], "42", &b);
	CU_ASSERT_EQUAL(value_canonical(&null, &arena, &b), ERR_OK);
	CU_ASSERT_TRUE(slice_eq(strbuf_slice(&b), (struct slice){ "i\2\0\0\0"
								  "42"
								  "T\0\0\0\0",
						      12 }));
	strbuf_free(&b);
}

static void
test_a_full_buffer_is_said(void)
{
	struct strbuf b = STRBUF_INIT(6);
	const struct value v = { .type = VALUE_TEXT, .text = SLICE("ab") };

	setup();
	CU_ASSERT_EQUAL(value_canonical(&v, &arena, &b), ERR_NOMEM);
	strbuf_free(&b);
}

static void
test_a_full_arena_is_said(void)
{
	static const struct {
		const struct param *p;
		const char *raw;
	} rows[] = {
		{ &plain[VALUE_INTEGER], "007" },
		{ &plain[VALUE_INTEGER], "x" },
		{ &plain[VALUE_NUMBER], "1.5" },
		{ &plain[VALUE_UUID], "0198f3d2-0000-7abc-8000-0123456789ab" },
		{ &plain[VALUE_TIMESTAMP], "2026-11-24T04:09:44Z" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *expected = NULL;
		struct value v;

		arena_free(&arena);
		arena_init(&arena, 0);
		CHECK_ROW(rows[i].raw, value_parse(rows[i].p, slice_of(rows[i].raw), &arena, &v,
					   &expected) == ERR_NOMEM);
	}
	arena_free(&arena);
}

UNIT_SUITE(value, TEST(test_every_type_is_known_by_its_name), TEST(test_raw_text_becomes_canonical),
    TEST(test_numbers_are_there_as_numbers_too), TEST(test_a_refusal_says_what_was_expected),
    TEST(test_a_json_body_writes_each_type_its_own_way),
    TEST(test_a_json_value_of_another_type_is_refused),
    TEST(test_equal_values_have_equal_bytes_and_others_do_not),
    TEST(test_canonical_bytes_carry_type_and_length), TEST(test_a_full_buffer_is_said),
    TEST(test_a_full_arena_is_said));
