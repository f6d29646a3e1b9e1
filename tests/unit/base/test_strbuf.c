/* Goal: a strbuf grows within its bound, fails once and for all, and writes numbers and JSON. */
#include "base/str.h"

#include <limits.h>
#include <string.h>

#include "tests/support/unit.h"

static bool
holds(const struct strbuf *b, const char *want)
{
	return !b->failed && slice_eq_cstr(strbuf_slice(b), want);
}

static void
what_is_added_stands_one_after_the_other(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	CU_ASSERT_TRUE(holds(&b, ""));
	strbuf_add(&b, "ab", 2);
	strbuf_add(&b, NULL, 0);
	strbuf_add_cstr(&b, "cd");
	strbuf_add_char(&b, 'e');
	strbuf_add_slice(&b, SLICE("fg"));
	strbuf_addf(&b, "%d-%s", 7, "h");
	strbuf_addf(&b, "%s", "");
	CU_ASSERT_TRUE(holds(&b, "abcdefg7-h"));
	strbuf_free(&b);
	CU_ASSERT_TRUE(holds(&b, ""));
	strbuf_add_cstr(&b, "again");
	CU_ASSERT_TRUE(holds(&b, "again"));
	strbuf_free(&b);
	strbuf_free(&b);
}

static void
numbers_are_written_to_both_ends_of_64_bits(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	strbuf_add_i64(&b, 0);
	strbuf_add_char(&b, ' ');
	strbuf_add_i64(&b, INT64_MAX);
	strbuf_add_char(&b, ' ');
	strbuf_add_i64(&b, INT64_MIN);
	CU_ASSERT_TRUE(holds(&b, "0 9223372036854775807 -9223372036854775808"));
	strbuf_free(&b);
}

static void
a_buffer_takes_exactly_its_bound(void)
{
	struct strbuf b = STRBUF_INIT(100);

	for (int i = 0; i < 100; i++)
		strbuf_add_char(&b, 'x');
	CU_ASSERT_FALSE(b.failed);
	CU_ASSERT_EQUAL(b.len, 100);
	strbuf_add_char(&b, 'y');
	CU_ASSERT_TRUE(b.failed);
	CU_ASSERT_EQUAL(b.len, 100);
	strbuf_free(&b);
}

static void
a_failure_sticks_even_if_less_would_fit(void)
{
	struct strbuf b = STRBUF_INIT(4);

	strbuf_add_cstr(&b, "ab");
	strbuf_addf(&b, "%s", "cde");
	CU_ASSERT_TRUE(b.failed);
	strbuf_add_char(&b, 'c');
	CU_ASSERT_EQUAL(b.len, 2);
	strbuf_free(&b);
	CU_ASSERT_FALSE(b.failed);
}

static void
an_absurd_length_fails_instead_of_wrapping(void)
{
	struct strbuf b = STRBUF_INIT(SIZE_MAX);

	strbuf_add_cstr(&b, "ab");
	strbuf_add(&b, "x", SIZE_MAX - 1);
	CU_ASSERT_TRUE(b.failed);
	CU_ASSERT_EQUAL(b.len, 2);
	strbuf_free(&b);
}

static void
growth_doubles_so_that_many_appends_stay_cheap(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);
	size_t moves = 0, cap = 0;

	for (int i = 0; i < 1 << 20; i++) {
		strbuf_add_char(&b, 'x');
		moves += b.cap != cap;
		cap = b.cap;
	}
	CU_ASSERT_EQUAL(b.len, 1 << 20);
	CU_ASSERT_TRUE(moves <= 16);
	strbuf_free(&b);
}

static void
json_strings_escape_what_they_must_and_no_more(void)
{
	struct strbuf b = STRBUF_INIT(1000);

	strbuf_add_json(&b, SLICE("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9\0z"));
	CU_ASSERT_TRUE(
	    holds(&b, "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\\u0000z\""));
	strbuf_free(&b);
	strbuf_add_json(&b, (struct slice){ NULL, 0 });
	CU_ASSERT_TRUE(holds(&b, "\"\""));
	strbuf_free(&b);
}

UNIT_SUITE(strbuf, TEST(what_is_added_stands_one_after_the_other),
    TEST(numbers_are_written_to_both_ends_of_64_bits), TEST(a_buffer_takes_exactly_its_bound),
    TEST(a_failure_sticks_even_if_less_would_fit), TEST(an_absurd_length_fails_instead_of_wrapping),
    TEST(growth_doubles_so_that_many_appends_stay_cheap),
    TEST(json_strings_escape_what_they_must_and_no_more));
