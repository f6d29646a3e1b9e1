/* Goal: what is written member by member is JSON, with each comma where it belongs and each number read back as it was. */
#include "base/json_write.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/support/unit.h"

static bool
holds(const struct strbuf *b, const char *want)
{
	return !b->failed && slice_eq_cstr(strbuf_slice(b), want);
}

static void
every_kind_of_value_has_its_name_and_its_comma(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	json_write_open(&b, NULL, '{');
	json_write_text(&b, "a", SLICE("x\"y"));
	json_write_cstr(&b, "b", "z");
	json_write_i64(&b, "c", INT64_MIN);
	json_write_u64(&b, "d", UINT64_MAX);
	json_write_bool(&b, "e", true);
	json_write_bool(&b, "f", false);
	json_write_null(&b, "g");
	json_write_f64(&b, "h", 0.1);
	json_write_key(&b, "i");
	strbuf_add_cstr(&b, "[1]");
	strbuf_add_char(&b, '}');
	CU_ASSERT_TRUE(holds(&b,
	    "{\"a\":\"x\\\"y\",\"b\":\"z\",\"c\":-9223372036854775808,\"d\":18446744073709551615,"
	    "\"e\":true,\"f\":false,\"g\":null,\"h\":0.1,\"i\":[1]}"));
	strbuf_free(&b);
}

static void
a_text_without_bytes_is_null_and_an_empty_one_is_not(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	json_write_open(&b, NULL, '[');
	json_write_text(&b, NULL, (struct slice){ 0 });
	json_write_cstr(&b, NULL, NULL);
	json_write_cstr(&b, NULL, "");
	strbuf_add_char(&b, ']');
	CU_ASSERT_TRUE(holds(&b, "[null,null,\"\"]"));
	strbuf_free(&b);
}

static void
commas_stand_between_items_at_every_depth_and_never_else(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	json_write_open(&b, NULL, '[');
	for (int i = 0; i < 2; i++) {
		json_write_open(&b, NULL, '{');
		json_write_open(&b, "in", '[');
		json_write_i64(&b, NULL, i);
		json_write_open(&b, NULL, '[');
		strbuf_add_cstr(&b, "]]");
		json_write_cstr(&b, "ends in", "{");
		json_write_open(&b, "empty", '{');
		strbuf_add_cstr(&b, "}}");
	}
	strbuf_add_char(&b, ']');
	CU_ASSERT_TRUE(holds(&b, "[{\"in\":[0,[]],\"ends in\":\"{\",\"empty\":{}},"
				 "{\"in\":[1,[]],\"ends in\":\"{\",\"empty\":{}}]"));
	strbuf_free(&b);
}

static void
each_line_of_json_lines_starts_anew(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	for (int i = 0; i < 2; i++) {
		json_write_open(&b, NULL, '{');
		json_write_i64(&b, "n", i);
		strbuf_add_cstr(&b, "}\n");
	}
	CU_ASSERT_TRUE(holds(&b, "{\"n\":0}\n{\"n\":1}\n"));
	strbuf_free(&b);
}

static void
a_double_is_read_back_as_it_was_in_the_fewest_digits(void)
{
	static const double values[] = { 0, 1, -1, 0.1, 1.0 / 3, 1e300, 5e-324, 123456789.125,
		-2.5e-7 };
	struct strbuf b = STRBUF_INIT(1000);

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		b.len = 0;
		json_write_f64(&b, NULL, values[i]);
		strbuf_add_char(&b, '\0');
		CU_ASSERT_EQUAL(strtod(b.ptr, NULL), values[i]);
	}
	b.len = 0;
	json_write_f64(&b, NULL, 0.25);
	CU_ASSERT_TRUE(holds(&b, "0.25"));
	strbuf_free(&b);
}

static void
what_is_not_finite_is_null(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	json_write_open(&b, NULL, '[');
	json_write_f64(&b, NULL, (double)INFINITY);
	json_write_f64(&b, NULL, (double)-INFINITY);
	json_write_f64(&b, NULL, (double)NAN);
	strbuf_add_char(&b, ']');
	CU_ASSERT_TRUE(holds(&b, "[null,null,null]"));
	strbuf_free(&b);
}

UNIT_SUITE(json_write, TEST(every_kind_of_value_has_its_name_and_its_comma),
    TEST(a_text_without_bytes_is_null_and_an_empty_one_is_not),
    TEST(commas_stand_between_items_at_every_depth_and_never_else),
    TEST(each_line_of_json_lines_starts_anew),
    TEST(a_double_is_read_back_as_it_was_in_the_fewest_digits), TEST(what_is_not_finite_is_null));
