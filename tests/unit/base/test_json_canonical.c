/* Goal: what means the same is written the same, and what differs stays different. */
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { ARENA_BYTES = 64 * 1024, OUT_BYTES = 64 * 1024 };

static void
becomes(struct slice text, const char *want)
{
	struct strbuf b = STRBUF_INIT(OUT_BYTES);
	struct arena a;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	rc = json_canonical(text, &a, &b);
	if (rc != ERR_OK || !slice_eq_cstr(strbuf_slice(&b), want))
		(void)printf("%.*s became %.*s (%s)\n", (int)text.len, text.ptr, (int)b.len,
		    b.ptr == NULL ? "" : b.ptr, err_name(rc));
	CU_ASSERT_EQUAL(rc, ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&b), want));
	strbuf_free(&b);
	arena_free(&a);
}

static void
white_space_goes(void)
{
	becomes(SLICE(" [ 1 ,\n\t{ \"a\" : null } , [ ] , { } , true ] "),
	    "[1,{\"a\":null},[],{},true]");
	becomes(SLICE(" false "), "false");
}

static void
members_are_sorted_by_the_bytes_of_their_names(void)
{
	becomes(SLICE("{\"b\":1,\"a\":2,\"B\":3,\"aa\":4,\"\":5}"),
	    "{\"\":5,\"B\":3,\"a\":2,\"aa\":4,\"b\":1}");
	becomes(SLICE("{\"b\":{\"d\":1,\"c\":[{\"f\":1,\"e\":2}]},\"a\":{}}"),
	    "{\"a\":{},\"b\":{\"c\":[{\"e\":2,\"f\":1}],\"d\":1}}");
	becomes(SLICE("{\"\\u0062\":1,\"a\":2}"), "{\"a\":2,\"b\":1}");
}

static void
strings_are_written_with_the_shortest_escapes(void)
{
	becomes(SLICE("\"\\u0041\\/\\u000a\\u0022\\u005c\\u001F\\u00e9\\ud83c\\udf0a\""),
	    "\"A/\\n\\\"\\\\\\u001f\xc3\xa9\xf0\x9f\x8c\x8a\"");
	becomes(SLICE("\"\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff\""),
	    "\"\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
	becomes(SLICE("\"\\b\\f\\r\\t]},:\""), "\"\\b\\f\\r\\t]},:\"");
}

static void
integers_keep_every_digit(void)
{
	becomes(SLICE("9007199254740993"), "9007199254740993");
	becomes(SLICE("-9223372036854775808"), "-9223372036854775808");
	becomes(SLICE("-0"), "0");
	becomes(SLICE("[0,-1]"), "[0,-1]");
}

static void
fractions_are_written_as_the_shortest_double(void)
{
	becomes(SLICE("0.1"), "0.1");
	becomes(SLICE("0.10000000000000001"), "0.1");
	becomes(SLICE("0.30000000000000004"), "0.30000000000000004");
	becomes(SLICE("1.0"), "1");
	becomes(SLICE("1e2"), "100");
	becomes(SLICE("1.50"), "1.5");
	becomes(SLICE("1E+300"), "1e+300");
	becomes(SLICE("1e-400"), "0");
	becomes(SLICE("-0.0"), "0");
	becomes(SLICE("-0e0"), "0");
	becomes(SLICE("123456789012345678.0"), "1.2345678901234568e+17");
}

static void
writing_what_is_canonical_changes_nothing(void)
{
	const char *text = "{\"a\":[1,2.5,{\"b\":\"\\n\"}],\"c\":{\"d\":{\"e\":[]}}}";

	becomes(slice_of(text), text);
}

static void
the_deepest_text_is_written_whole(void)
{
	char text[32 * 6 + 2] = "", want[sizeof text] = "";

	for (int i = 0; i < 32; i++)
		strcat(text, "{\"a\":");
	strcpy(text + 31 * 5, "{}");
	memcpy(want, text, sizeof want);
	memset(text + 31 * 5 + 2, '}', 31);
	memset(want + 31 * 5 + 2, '}', 31);
	becomes((struct slice){ text, 31 * 6 + 2 }, want);
}

static void
text_that_was_never_scanned_is_refused_not_trusted(void)
{
	static const char *const bad[] = { "", "{", "[1", "{\"a\"", "\"", "\"\\",
		"{\"a\":1,\"a\":1}", "]", "1 2" };
	struct strbuf b = STRBUF_INIT(OUT_BYTES);
	struct arena a;

	arena_init(&a, ARENA_BYTES);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(json_canonical(slice_of(bad[i]), &a, &b), ERR_INVALID);
	CU_ASSERT_EQUAL(b.len, 0);
	arena_free(&a);
}

static void
a_full_arena_or_buffer_is_reported(void)
{
	const struct slice text = SLICE("{\"a\":[{\"b\\n\":\"\\u0041\"}]}");
	struct strbuf small = STRBUF_INIT(10), large = STRBUF_INIT(OUT_BYTES);
	struct arena a;
	bool fitted = false;

	arena_init(&a, ARENA_BYTES);
	CU_ASSERT_EQUAL(json_canonical(text, &a, &small), ERR_NOMEM);
	arena_free(&a);
	for (size_t bytes = 0; bytes < 4096 && !fitted; bytes += 16) { /* every place runs dry */
		arena_init(&a, bytes);
		fitted = json_canonical(text, &a, &large) == ERR_OK;
		CU_ASSERT_EQUAL(a.overflowed, !fitted);
		arena_free(&a);
		strbuf_free(&large);
	}
	CU_ASSERT_TRUE(fitted);
	strbuf_free(&small);
}

static void
a_string_is_unescaped_into_the_arena(void)
{
	static char raw[] = "\"plain\"";
	struct slice out;
	struct arena a;

	arena_init(&a, ARENA_BYTES);
	CU_ASSERT_EQUAL(json_unescape(SLICE("\"a\\u00e9\\\\\\\"\\/\\n\""), &a, &out), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(out, "a\xc3\xa9\\\"/\n"));
	CU_ASSERT_EQUAL(json_unescape(SLICE("\"\""), &a, &out), ERR_OK);
	CU_ASSERT_EQUAL(out.len, 0);
	CU_ASSERT_PTR_NOT_NULL(out.ptr);
	CU_ASSERT_EQUAL(json_unescape((struct slice){ raw, 7 }, &a, &out), ERR_OK);
	raw[1] = 'X'; /* the copy does not follow */
	CU_ASSERT_TRUE(slice_eq_cstr(out, "plain"));
	arena_free(&a);
}

static void
what_is_no_string_is_not_unescaped(void)
{
	static const char *const bad[] = { "", "\"", "1", "[\"a\"]", "\"a\" \"b\"", "\"\\\"",
		"\"\\x\"", " \"a\"" };
	struct slice out;
	struct arena a;

	arena_init(&a, ARENA_BYTES);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(json_unescape(slice_of(bad[i]), &a, &out), ERR_INVALID);
	arena_free(&a);
	arena_init(&a, 0);
	CU_ASSERT_EQUAL(json_unescape(SLICE("\"a\""), &a, &out), ERR_NOMEM);
	CU_ASSERT_EQUAL(json_unescape(SLICE("\"\\n\""), &a, &out), ERR_NOMEM);
	arena_free(&a);
}

UNIT_SUITE(json_canonical, TEST(white_space_goes),
    TEST(members_are_sorted_by_the_bytes_of_their_names),
    TEST(strings_are_written_with_the_shortest_escapes), TEST(integers_keep_every_digit),
    TEST(fractions_are_written_as_the_shortest_double),
    TEST(writing_what_is_canonical_changes_nothing), TEST(the_deepest_text_is_written_whole),
    TEST(text_that_was_never_scanned_is_refused_not_trusted),
    TEST(a_full_arena_or_buffer_is_reported), TEST(a_string_is_unescaped_into_the_arena),
    TEST(what_is_no_string_is_not_unescaped));
