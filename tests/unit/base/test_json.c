/* Goal: the scanner takes what RFC 8259 allows and refuses the rest, with reason and place. */
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { ARENA_BYTES = 64 * 1024 };

static enum err
scan(struct slice text, size_t arena_bytes, enum json_type *type_out, struct json_fault *fault_out)
{
	struct arena a;
	enum err rc;

	arena_init(&a, arena_bytes);
	rc = json_scan_value(text, &a, type_out, fault_out);
	arena_free(&a);
	return rc;
}

static void
takes(struct slice text, enum json_type want)
{
	struct json_fault fault = { 0, NULL };
	enum json_type type = JSON_NULL;
	const enum err rc = scan(text, ARENA_BYTES, &type, &fault);

	if (rc != ERR_OK || type != want)
		(void)printf("%.*s: %s at %zu\n", (int)text.len, text.ptr,
		    fault.why == NULL ? "other type" : fault.why, fault.offset);
	CU_ASSERT_EQUAL(rc, ERR_OK);
	CU_ASSERT_EQUAL(type, want);
}

static void
refuses(struct slice text, const char *why, size_t offset)
{
	struct json_fault fault = { 0, "accepted" };
	enum json_type type;
	const enum err rc = scan(text, ARENA_BYTES, &type, &fault);
	const bool same =
	    rc == ERR_INVALID && strcmp(fault.why, why) == 0 && fault.offset == offset;

	if (!same)
		(void)printf("%.*s: %s at %zu, expected %s at %zu\n", (int)text.len, text.ptr,
		    fault.why, fault.offset, why, offset);
	CU_ASSERT_TRUE(same);
}

static void
each_type_is_recognized(void)
{
	takes(SLICE("null"), JSON_NULL);
	takes(SLICE("false"), JSON_FALSE);
	takes(SLICE("true"), JSON_TRUE);
	takes(SLICE("12"), JSON_INTEGER);
	takes(SLICE("1.5"), JSON_NUMBER);
	takes(SLICE("1e2"), JSON_NUMBER);
	takes(SLICE("\"\""), JSON_STRING);
	takes(SLICE("[]"), JSON_ARRAY);
	takes(SLICE("{}"), JSON_OBJECT);
	takes(SLICE(" \t\r\n[ 1 , { \"a\" : [ ] } ] \n"), JSON_ARRAY);
}

static void
text_that_is_not_one_value_is_refused(void)
{
	refuses((struct slice){ NULL, 0 }, "expected a value", 0);
	refuses(SLICE("  "), "expected a value", 2);
	refuses(SLICE("1 2"), "text after the end", 2);
	refuses(SLICE("nul"), "expected a value", 0);
	refuses(SLICE("nullx"), "text after the end", 4);
	refuses(SLICE("True"), "expected a value", 0);
	refuses(SLICE("NaN"), "expected a value", 0);
	refuses(SLICE("\xef\xbb\xbf[]"), "expected a value", 0);
	refuses(SLICE("'a'"), "expected a value", 0);
	refuses(SLICE("[]\0"), "text after the end", 2);
	refuses(SLICE("\v1"), "expected a value", 0);
	refuses(SLICE("/**/1"), "expected a value", 0);
}

static void
arrays_and_objects_are_refused_where_they_break(void)
{
	refuses(SLICE("["), "expected a value", 1);
	refuses(SLICE("[1"), "expected ',' or ']'", 2);
	refuses(SLICE("[1,]"), "expected a value", 3);
	refuses(SLICE("[,1]"), "expected a value", 1);
	refuses(SLICE("[1 2]"), "expected ',' or ']'", 3);
	refuses(SLICE("[1}"), "expected ',' or ']'", 2);
	refuses(SLICE("{"), "expected a member name", 1);
	refuses(SLICE("{a:1}"), "expected a member name", 1);
	refuses(SLICE("{'a':1}"), "expected a member name", 1);
	refuses(SLICE("{1:1}"), "expected a member name", 1);
	refuses(SLICE("{\"a\"}"), "expected ':'", 4);
	refuses(SLICE("{\"a\":}"), "expected a value", 5);
	refuses(SLICE("{\"a\":1"), "expected ',' or '}'", 6);
	refuses(SLICE("{\"a\":1,}"), "expected a member name", 7);
	refuses(SLICE("{\"a\":1]"), "expected ',' or '}'", 6);
}

static void
numbers_follow_the_grammar(void)
{
	takes(SLICE("-0"), JSON_INTEGER);
	takes(SLICE("0.10E+05"), JSON_NUMBER);
	takes(SLICE("-1e-7"), JSON_NUMBER);
	refuses(SLICE("01"), "text after the end", 1);
	refuses(SLICE("-"), "expected a digit", 1);
	refuses(SLICE("+1"), "expected a value", 0);
	refuses(SLICE(".5"), "expected a value", 0);
	refuses(SLICE("1."), "expected a digit", 2);
	refuses(SLICE("1.e1"), "expected a digit", 2);
	refuses(SLICE("1e"), "expected a digit", 2);
	refuses(SLICE("1e+"), "expected a digit", 3);
	refuses(SLICE("-x"), "expected a digit", 1);
	refuses(SLICE("0x1"), "text after the end", 1);
}

static void
integers_end_at_64_bits(void)
{
	takes(SLICE("9223372036854775807"), JSON_INTEGER);
	takes(SLICE("-9223372036854775808"), JSON_INTEGER);
	refuses(SLICE("[9223372036854775808]"), "integer beyond 64 bits", 1);
	refuses(SLICE("-9223372036854775809"), "integer beyond 64 bits", 0);
	refuses(SLICE("100000000000000000000000000000"), "integer beyond 64 bits", 0);
}

static void
fractions_end_at_a_double(void)
{
	takes(SLICE("1.7976931348623157e308"), JSON_NUMBER);
	takes(SLICE("1e-400"), JSON_NUMBER);
	refuses(SLICE("[1e309]"), "number beyond a double", 1);
	refuses(SLICE("-1.8e308"), "number beyond a double", 0);
	refuses(SLICE("1e99999999999999999999"), "number beyond a double", 0);
}

static void
a_fraction_of_absurd_length_is_refused(void)
{
	char text[600];

	memset(text, '1', sizeof text);
	text[1] = '.';
	takes((struct slice){ text, 512 }, JSON_NUMBER);
	refuses((struct slice){ text, 513 }, "number longer than 512 bytes", 0);
}

static void
strings_know_the_escapes_of_the_rfc_only(void)
{
	takes(SLICE("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABcd\""), JSON_STRING);
	refuses(SLICE("\"\\x\""), "unknown escape", 1);
	refuses(SLICE("\"\\'\""), "unknown escape", 1);
	refuses(SLICE("\"\\\0\""), "unknown escape", 1);
	refuses(SLICE("\"\\"), "unknown escape", 1);
	refuses(SLICE("\"\\u12"), "bad \\u escape", 1);
	refuses(SLICE("\"\\u12g4\""), "bad \\u escape", 1);
	refuses(SLICE("\"\\u-123\""), "bad \\u escape", 1);
	refuses(SLICE("\"abc"), "string without an end", 4);
	refuses(SLICE("\"a\nb\""), "control character in a string", 2);
	refuses(SLICE("\"a\x1f\""), "control character in a string", 2);
	takes(SLICE("\"\x7f\""), JSON_STRING);
}

static void
nul_is_refused_raw_and_escaped(void)
{
	refuses(SLICE("\"a\0b\""), "NUL character", 2);
	refuses(SLICE("\"\\u0000\""), "NUL character", 1);
	refuses(SLICE("{\"\\u0000\":1}"), "NUL character", 2);
}

static void
lone_surrogates_are_refused_raw_and_escaped(void)
{
	takes(SLICE("\"\\ud83c\\uDF0A\""), JSON_STRING);
	refuses(SLICE("\"\\ud800\""), "lone surrogate", 1);
	refuses(SLICE("\"\\udc00\""), "lone surrogate", 1);
	refuses(SLICE("\"\\ud800\\ud800\""), "lone surrogate", 1);
	refuses(SLICE("\"\\ud800x\""), "lone surrogate", 1);
	refuses(SLICE("\"\\ud800\\n\\udc00\""), "lone surrogate", 1);
	refuses(SLICE("\"\\ud800\\u"), "lone surrogate", 1);
	refuses(SLICE("\"\\ud800\\udc0"), "lone surrogate", 1);
	refuses(SLICE("\"\\udc00\\ud800\""), "lone surrogate", 1);
	refuses(SLICE("\"\xed\xa0\x80\""), "invalid UTF-8", 1);
}

static void
bad_utf8_is_refused(void)
{
	takes(SLICE("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8a\""), JSON_STRING);
	refuses(SLICE("\"\x80\""), "invalid UTF-8", 1);
	refuses(SLICE("\"\xc0\xaf\""), "invalid UTF-8", 1);
	refuses(SLICE("\"a\xe2\x82\""), "invalid UTF-8", 2);
	refuses(SLICE("\"\xf4\x90\x80\x80\""), "invalid UTF-8", 1);
	refuses(SLICE("\"\xf0\x9f"), "invalid UTF-8", 1);
}

static void
nest(char *text, char open, char close, size_t levels)
{
	memset(text, open, levels);
	memset(text + levels, close, levels);
}

static void
thirty_two_levels_are_taken_and_no_more(void)
{
	char text[400];
	size_t len = 0;

	nest(text, '[', ']', 32);
	takes((struct slice){ text, 64 }, JSON_ARRAY);
	nest(text, '[', ']', 33);
	refuses((struct slice){ text, 66 }, "more than 32 levels", 32);
	for (int i = 0; i < 33; i++, len += 5)
		memcpy(text + len, "{\"a\":", 5);
	refuses((struct slice){ text, len }, "more than 32 levels", 160);
}

static void
a_flood_of_brackets_stops_at_the_33rd(void)
{
	static char text[1 << 20];

	memset(text, '[', sizeof text);
	refuses((struct slice){ text, 32 }, "expected a value", 32);
	refuses((struct slice){ text, sizeof text }, "more than 32 levels", 32);
}

static void
duplicates_are_found_at_every_level_after_unescaping(void)
{
	refuses(SLICE("{\"a\":1,\"a\":2}"), "duplicate member", 7);
	refuses(SLICE("{\"a\":1,\"\\u0061\":2}"), "duplicate member", 7);
	refuses(SLICE("{\"\\/\":1,\"/\":2}"), "duplicate member", 8);
	refuses(SLICE("{\"\":1,\"\":2}"), "duplicate member", 6);
	refuses(SLICE("{\"a\":{\"b\":1,\"c\":2,\"b\":3}}"), "duplicate member", 18);
	refuses(SLICE("[{\"x\":[{\"a\":1,\"a\":2}]}]"), "duplicate member", 14);
	refuses(SLICE("{\"a\":{\"b\":1},\"a\":2}"), "duplicate member", 13);
	refuses(SLICE("{\"\xc3\xa9\":1,\"\\u00e9\":2}"), "duplicate member", 8);
	refuses(SLICE("{\"\xf0\x9f\x8c\x8a\":1,\"\\ud83c\\udf0a\":2}"), "duplicate member", 10);
	takes(SLICE("{\"a\":{\"a\":{\"a\":1}},\"A\":[{\"a\":1},{\"a\":1}],\"a \":1}"), JSON_OBJECT);
}

/* An object of ${n} members, all different. */
static struct strbuf
object_of(int n)
{
	struct strbuf b = STRBUF_INIT(1 << 20);

	strbuf_add_char(&b, '{');
	for (int i = 0; i < n; i++)
		strbuf_addf(&b, "%s\"%03d\":%d", i == 0 ? "" : ",", i, i);
	strbuf_add_char(&b, '}');
	return b;
}

static void
an_object_has_at_most_256_members(void)
{
	struct strbuf most = object_of(256), more = object_of(257);

	takes(strbuf_slice(&most), JSON_OBJECT);
	refuses(strbuf_slice(&more), "more than 256 members", more.len - 10);
	strbuf_free(&most);
	strbuf_free(&more);
}

static void
memory_does_not_grow_with_the_number_of_objects(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);
	struct json_fault fault;
	enum json_type type;

	strbuf_add_char(&b, '[');
	for (int i = 0; i < 50000; i++)
		strbuf_add_cstr(&b, i == 0 ? "{\"a\":{}}" : ",{\"a\":{}}");
	strbuf_add_char(&b, ']');
	CU_ASSERT_EQUAL(scan(strbuf_slice(&b), 2048, &type, &fault), ERR_OK);
	strbuf_free(&b);
}

static void
a_full_arena_is_no_fault_of_the_text(void)
{
	struct strbuf b = object_of(200);
	struct json_fault fault;
	enum json_type type;

	CU_ASSERT_EQUAL(scan(strbuf_slice(&b), 1024, &type, &fault), ERR_NOMEM);
	CU_ASSERT_EQUAL(scan(SLICE("{\"\\n\":1}"), 8, &type, &fault), ERR_NOMEM);
	strbuf_free(&b);
}

static void
the_outermost_members_are_listed_in_order(void)
{
	const struct slice text =
	    SLICE(" { \"b\" : [1, {\"z\":2}] ,\"\\u0061\":\"x\\n\",\"c\":-1 } ");
	struct json_member *m;
	struct json_fault fault;
	struct arena a;
	size_t n;

	arena_init(&a, ARENA_BYTES);
	CU_ASSERT_EQUAL_FATAL(json_scan_object(text, &a, &m, &n, &fault), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(n, 3);
	CU_ASSERT_TRUE(slice_eq_cstr(m[0].name, "b"));
	CU_ASSERT_TRUE(slice_eq_cstr(m[0].raw, "[1, {\"z\":2}]"));
	CU_ASSERT_EQUAL(m[0].type, JSON_ARRAY);
	CU_ASSERT_TRUE(slice_eq_cstr(m[1].name, "a"));
	CU_ASSERT_TRUE(slice_eq_cstr(m[1].raw, "\"x\\n\""));
	CU_ASSERT_EQUAL(m[1].type, JSON_STRING);
	CU_ASSERT_TRUE(slice_eq_cstr(m[2].name, "c"));
	CU_ASSERT_TRUE(slice_eq_cstr(m[2].raw, "-1"));
	CU_ASSERT_EQUAL(m[2].type, JSON_INTEGER);
	CU_ASSERT_EQUAL(json_scan_object(SLICE("{}"), &a, &m, &n, &fault), ERR_OK);
	CU_ASSERT_EQUAL(n, 0);
	arena_free(&a);
}

static void
only_an_object_is_an_object(void)
{
	static const char *const bad[] = { "", "[]", "1", "null", "\"{}\"" };
	struct json_member *m;
	struct json_fault fault;
	struct arena a;
	size_t n = 9;

	arena_init(&a, ARENA_BYTES);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CU_ASSERT_EQUAL(
		    json_scan_object(slice_of(bad[i]), &a, &m, &n, &fault), ERR_INVALID);
		CU_ASSERT_STRING_EQUAL(fault.why, "expected an object");
		CU_ASSERT_EQUAL(n, 0);
	}
	CU_ASSERT_EQUAL(json_scan_object(SLICE("{} x"), &a, &m, &n, &fault), ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(fault.why, "text after the end");
	arena_free(&a);
}

UNIT_SUITE(json, TEST(each_type_is_recognized), TEST(text_that_is_not_one_value_is_refused),
    TEST(arrays_and_objects_are_refused_where_they_break), TEST(numbers_follow_the_grammar),
    TEST(integers_end_at_64_bits), TEST(fractions_end_at_a_double),
    TEST(a_fraction_of_absurd_length_is_refused), TEST(strings_know_the_escapes_of_the_rfc_only),
    TEST(nul_is_refused_raw_and_escaped), TEST(lone_surrogates_are_refused_raw_and_escaped),
    TEST(bad_utf8_is_refused), TEST(thirty_two_levels_are_taken_and_no_more),
    TEST(a_flood_of_brackets_stops_at_the_33rd),
    TEST(duplicates_are_found_at_every_level_after_unescaping),
    TEST(an_object_has_at_most_256_members), TEST(memory_does_not_grow_with_the_number_of_objects),
    TEST(a_full_arena_is_no_fault_of_the_text), TEST(the_outermost_members_are_listed_in_order),
    TEST(only_an_object_is_an_object));
