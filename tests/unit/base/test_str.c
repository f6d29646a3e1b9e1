/* Goal: slices compare, cut and read numbers right, and UTF-8 is judged strictly. */
#include "base/str.h"

#include "tests/support/unit.h"

static const struct slice absent = { NULL, 0 };

static void
slices_are_equal_when_their_bytes_are(void)
{
	CU_ASSERT_TRUE(slice_eq(SLICE("a\0b"), SLICE("a\0b")));
	CU_ASSERT_FALSE(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
	CU_ASSERT_FALSE(slice_eq(SLICE("a"), SLICE("ab")));
	CU_ASSERT_TRUE(slice_eq(absent, SLICE("")));
	CU_ASSERT_TRUE(slice_eq_cstr(SLICE("get"), "get"));
	CU_ASSERT_FALSE(slice_eq_cstr(SLICE("get"), "GET"));
	CU_ASSERT_FALSE(slice_eq_cstr(SLICE("get\0"), "get"));
	CU_ASSERT_PTR_NULL(slice_of(NULL).ptr);
}

static void
only_ascii_letters_fold_case(void)
{
	CU_ASSERT_TRUE(slice_eq_nocase(SLICE("Content-TYPE"), "cONTENT-type"));
	CU_ASSERT_FALSE(slice_eq_nocase(SLICE("a@"), "a`"));
	CU_ASSERT_FALSE(slice_eq_nocase(SLICE("[x"), "{x"));
	CU_ASSERT_FALSE(slice_eq_nocase(SLICE("\xc3\x84"), "\xc3\xa4"));
	CU_ASSERT_FALSE(slice_eq_nocase(SLICE("ab"), "abc"));
}

static void
a_prefix_is_found_only_at_the_front(void)
{
	CU_ASSERT_TRUE(slice_starts(SLICE("unix:/x"), "unix:"));
	CU_ASSERT_TRUE(slice_starts(SLICE("x"), ""));
	CU_ASSERT_TRUE(slice_starts(absent, ""));
	CU_ASSERT_FALSE(slice_starts(SLICE("uni"), "unix"));
	CU_ASSERT_FALSE(slice_starts(SLICE(" unix"), "unix"));
}

static void
order_is_by_bytes_and_the_shorter_comes_first(void)
{
	CU_ASSERT_TRUE(slice_cmp(SLICE("a"), SLICE("b")) < 0);
	CU_ASSERT_TRUE(slice_cmp(SLICE("a"), SLICE("aa")) < 0);
	CU_ASSERT_TRUE(slice_cmp(SLICE("aa"), SLICE("a")) > 0);
	CU_ASSERT_TRUE(slice_cmp(SLICE("\xff"), SLICE("a")) > 0);
	CU_ASSERT_TRUE(slice_cmp(SLICE("B"), SLICE("a")) < 0);
	CU_ASSERT_EQUAL(slice_cmp(SLICE("x"), SLICE("x")), 0);
	CU_ASSERT_EQUAL(slice_cmp(absent, SLICE("")), 0);
}

static void
trimming_takes_spaces_and_tabs_only(void)
{
	CU_ASSERT_TRUE(slice_eq_cstr(slice_trim(SLICE(" \t a b\t ")), "a b"));
	CU_ASSERT_TRUE(slice_eq_cstr(slice_trim(SLICE("\na\r")), "\na\r"));
	CU_ASSERT_EQUAL(slice_trim(SLICE(" \t ")).len, 0);
	CU_ASSERT_EQUAL(slice_trim(absent).len, 0);
}

static void
cutting_leaves_absent_when_nothing_is_left_to_cut(void)
{
	struct slice rest = SLICE("a,,b,");

	CU_ASSERT_TRUE(slice_eq_cstr(slice_cut(&rest, ','), "a"));
	CU_ASSERT_TRUE(slice_eq_cstr(slice_cut(&rest, ','), ""));
	CU_ASSERT_TRUE(slice_eq_cstr(slice_cut(&rest, ','), "b"));
	CU_ASSERT_PTR_NOT_NULL(rest.ptr); /* an empty last part is a part */
	CU_ASSERT_EQUAL(slice_cut(&rest, ',').len, 0);
	CU_ASSERT_PTR_NULL(rest.ptr);
	CU_ASSERT_PTR_NULL(slice_cut(&rest, ',').ptr);
}

static bool
reads_as(struct slice s, int64_t want)
{
	int64_t n = 0;

	return slice_to_i64(s, &n) == ERR_OK && n == want;
}

static bool
is_no_number(struct slice s)
{
	int64_t n = 7;

	return slice_to_i64(s, &n) == ERR_INVALID && n == 7;
}

static void
decimal_numbers_are_read_up_to_the_last_of_64_bits(void)
{
	CU_ASSERT_TRUE(reads_as(SLICE("0"), 0));
	CU_ASSERT_TRUE(reads_as(SLICE("-0"), 0));
	CU_ASSERT_TRUE(reads_as(SLICE("0042"), 42));
	CU_ASSERT_TRUE(reads_as(SLICE("-17"), -17));
	CU_ASSERT_TRUE(reads_as(SLICE("9223372036854775807"), INT64_MAX));
	CU_ASSERT_TRUE(reads_as(SLICE("-9223372036854775808"), INT64_MIN));
	CU_ASSERT_TRUE(is_no_number(SLICE("9223372036854775808")));
	CU_ASSERT_TRUE(is_no_number(SLICE("-9223372036854775809")));
	CU_ASSERT_TRUE(is_no_number(SLICE("99999999999999999999999")));
}

static void
anything_but_digits_is_no_number(void)
{
	static const char *const bad[] = { "", "-", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "--1",
		"\xd9\xa1" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_TRUE(is_no_number(slice_of(bad[i])));
	CU_ASSERT_TRUE(is_no_number(SLICE("1\0")));
	CU_ASSERT_TRUE(is_no_number(absent));
}

static void
utf8_accepts_the_first_and_last_of_every_length(void)
{
	static const char *const good[] = { "", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf" };

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		CU_ASSERT_TRUE(utf8_valid(slice_of(good[i]), NULL));
	CU_ASSERT_TRUE(utf8_valid(SLICE("a\0b"), NULL));
}

static void
utf8_refuses_overlong_surrogate_and_broken_forms(void)
{
	static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2",
		"\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf", "\xe0\x80\x80", "\xe2\x82", "\xe2\x28\xa1",
		"\xe2\x82\x28", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80",
		"\xf1\x80\x80\x28", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe",
		"12345678\x80" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_FALSE(utf8_valid(slice_of(bad[i]), NULL));
}

static void
utf8_counts_code_points_not_bytes(void)
{
	size_t points = 99;

	CU_ASSERT_TRUE(
	    utf8_valid(SLICE("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8a, and more"), &points));
	CU_ASSERT_EQUAL(points, 14);
	CU_ASSERT_TRUE(utf8_valid(absent, &points));
	CU_ASSERT_EQUAL(points, 0);
}

static void
the_first_character_is_measured(void)
{
	CU_ASSERT_EQUAL(utf8_first(SLICE("ab")), 1);
	CU_ASSERT_EQUAL(utf8_first(SLICE("\xe2\x82\xac\x80")), 3);
	CU_ASSERT_EQUAL(utf8_first(SLICE("\x80")), 0);
	CU_ASSERT_EQUAL(utf8_first(absent), 0);
}

UNIT_SUITE(str, TEST(slices_are_equal_when_their_bytes_are), TEST(only_ascii_letters_fold_case),
    TEST(a_prefix_is_found_only_at_the_front), TEST(order_is_by_bytes_and_the_shorter_comes_first),
    TEST(trimming_takes_spaces_and_tabs_only),
    TEST(cutting_leaves_absent_when_nothing_is_left_to_cut),
    TEST(decimal_numbers_are_read_up_to_the_last_of_64_bits),
    TEST(anything_but_digits_is_no_number), TEST(utf8_accepts_the_first_and_last_of_every_length),
    TEST(utf8_refuses_overlong_surrogate_and_broken_forms), TEST(utf8_counts_code_points_not_bytes),
    TEST(the_first_character_is_measured));
