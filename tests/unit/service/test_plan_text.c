/* Goal: a plan keeps its shape and its figures, and loses every value. */
#include "service/plan_text.h"

#include "tests/support/unit.h"

static void
becomes(const char *json, const char *want)
{
	struct strbuf b = STRBUF_INIT(65536);

	plan_text_add(&b, slice_of(json));
	if (!slice_eq_cstr(strbuf_slice(&b), want))
		(void)printf("got  %.*s\nwant %s\n", (int)b.len, b.ptr, want);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&b), want));
	strbuf_free(&b);
}

static void
it_is_one_line_with_its_costs(void)
{
	becomes("[\n  {\n    \"Plan\": {\n      \"Node Type\": \"Index Scan\",\n"
		"      \"Total Cost\": 8.17,\n      \"Plan Rows\": 42\n    }\n  }\n]",
	    "[{\"Plan\":{\"Node Type\":\"Index Scan\",\"Total Cost\":8.17,\"Plan Rows\":42}}]");
}

static void
literals_in_quotes_are_gone_however_they_are_written(void)
{
	becomes("{\"Filter\":\"(name = 'secret'::text)\"}", "{\"Filter\":\"(name = '?'::text)\"}");
	becomes("{\"Filter\":\"(a = 'it''s 5'::text) AND (b = ''::text)\"}",
	    "{\"Filter\":\"(a = '?'::text) AND (b = '?'::text)\"}");
	becomes("{\"F\":\"(a = 'say \\\"x\\\" 7'::text)\",\"n\":7}",
	    "{\"F\":\"(a = '?'::text)\",\"n\":7}");
	becomes("{\"F\":\"(a = E'back\\\\\\\\slash'::text)\"}", "{\"F\":\"(a = E'?'::text)\"}");
	becomes(
	    "{\"F\":\"(a = ANY ('{1,2}'::integer[]))\"}", "{\"F\":\"(a = ANY ('?'::integer[]))\"}");
}

static void
numbers_are_gone_and_names_with_digits_stay(void)
{
	becomes("{\"F\":\"(id = 4711)\"}", "{\"F\":\"(id = ?)\"}");
	becomes("{\"F\":\"((x > -1.5e-7) AND (y = 2))\"}", "{\"F\":\"((x > -?) AND (y = ?))\"}");
	becomes("{\"I\":\"(events_2024.c1 = $1)\",\"Alias\":\"t2\"}",
	    "{\"I\":\"(events_2024.c1 = $1)\",\"Alias\":\"t2\"}");
}

static void
what_is_not_whole_ends_without_harm(void)
{
	becomes("{\"F\":\"(a = 'sec", "{\"F\":\"(a = '?'\"");
	becomes("{\"F\":\"(a = 'sec\"}", "{\"F\":\"(a = '?'\"}");
	becomes("{\"F\":\"\\", "{\"F\":\"\"");
	becomes("\"", "\"\"");
	becomes("", "");
}

UNIT_SUITE(plan_text, TEST(it_is_one_line_with_its_costs),
    TEST(literals_in_quotes_are_gone_however_they_are_written),
    TEST(numbers_are_gone_and_names_with_digits_stay), TEST(what_is_not_whole_ends_without_harm));
