/* Goal: bytes are decoded exactly once, and what cannot be decoded says why. */
#include "http/percent.h"

#include "tests/unit/http/check.h"

static struct arena arena;

static void
setup(void)
{
	arena_free(&arena);
	arena_init(&arena, 65536);
}

static void
test_escapes_are_decoded_once(void)
{
	static const struct {
		const char *raw;
		bool plus;
		const char *want;
	} rows[] = {
		{ "", false, "" },
		{ "plain", false, "plain" },
		{ "a%20b", false, "a b" },
		{ "a+b", false, "a+b" },
		{ "a+b", true, "a b" },
		{ "a%2Bb", true, "a+b" },
		{ "%2541", false, "%41" },
		{ "%e2%82%ac", false, "\xe2\x82\xac" },
		{ "%E2%82%AC", false, "\xe2\x82\xac" },
		{ "\xc3\xa4", false, "\xc3\xa4" },
		{ "%01", false, "\x01" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice got;
		const char *why;

		setup();
		CHECK_ROW(rows[i].raw, percent_decode(slice_of(rows[i].raw), rows[i].plus, &arena,
					   &got, &why) == ERR_OK);
		CHECK_TEXT(rows[i].raw, got, rows[i].want);
	}
}

static void
test_what_cannot_be_decoded_says_why(void)
{
	static const struct {
		struct slice raw;
		const char *why;
	} rows[] = {
		{ { "%", 1 }, "a bad percent escape" }, { { "%4", 2 }, "a bad percent escape" },
		{ { "%41%4", 5 }, "a bad percent escape" },
		{ { "%4g", 3 }, "a bad percent escape" }, { { "%-1", 3 }, "a bad percent escape" },
		{ { "a%00", 4 }, "a NUL byte" }, { { "a\0b", 3 }, "a NUL byte" },
		{ { "%ff", 3 }, "bytes that are not UTF-8" },
		{ { "\xff", 1 }, "bytes that are not UTF-8" },
		{ { "%c0%af", 6 }, "bytes that are not UTF-8" },    /* an overlong slash */
		{ { "%ed%a0%80", 9 }, "bytes that are not UTF-8" }, /* a surrogate */
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *why = NULL;
		struct slice got;

		setup();
		CHECK_ROW(rows[i].raw.ptr,
		    percent_decode(rows[i].raw, false, &arena, &got, &why) == ERR_INVALID);
		CHECK_TEXT(rows[i].raw.ptr, slice_of(why), rows[i].why);
	}
}

static void
test_nothing_to_decode_allocates_nothing(void)
{
	const struct slice raw = SLICE("countries");
	struct slice got;
	const char *why;

	setup();
	CU_ASSERT_EQUAL(percent_decode(raw, true, &arena, &got, &why), ERR_OK);
	CU_ASSERT_PTR_EQUAL(got.ptr, raw.ptr);
	CU_ASSERT_EQUAL(arena.used_bytes, 0);
}

static void
test_a_full_arena_is_said(void)
{
	struct slice got;
	const char *why;

	arena_free(&arena);
	arena_init(&arena, 0);
	CU_ASSERT_EQUAL(percent_decode(SLICE("%41"), true, &arena, &got, &why), ERR_NOMEM);
}

static void
test_names_are_compared_as_they_are_decoded(void)
{
	static const struct {
		const char *raw, *want;
		bool same;
	} rows[] = {
		{ "limit", "limit", true },
		{ "%6cimit", "limit", true },
		{ "l+t", "l t", true },
		{ "limi", "limit", false },
		{ "limits", "limit", false },
		{ "%6", "l", false },
		{ "%zz", "%zz", false },
		{ "", "", true },
		{ "", "l", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_ROW(rows[i].raw, percent_eq(slice_of(rows[i].raw), true,
					   slice_of(rows[i].want)) == rows[i].same);
}

static void
test_any_bytes_become_uri_characters(void)
{
	static const struct {
		struct slice raw;
		const char *want;
	} rows[] = {
		{ { "/api/v1/x", 9 }, "/api/v1/x" },
		{ { "/a%20b", 6 }, "/a%20b" },
		{ { "/a b", 4 }, "/a%20b" },
		{ { "/\"\\<>", 5 }, "/%22%5C%3C%3E" },
		{ { "/\xff\0\n", 4 }, "/%FF%00%0A" },
		{ { "/%zz", 4 }, "/%25zz" },
		{ { "/100%", 5 }, "/100%25" },
		{ { "", 0 }, "" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct strbuf b = STRBUF_INIT(256);

		percent_clean(&b, rows[i].raw);
		CHECK_TEXT(rows[i].raw.ptr, strbuf_slice(&b), rows[i].want);
		strbuf_free(&b);
	}
	arena_free(&arena);
}

UNIT_SUITE(percent, TEST(test_escapes_are_decoded_once), TEST(test_what_cannot_be_decoded_says_why),
    TEST(test_nothing_to_decode_allocates_nothing), TEST(test_a_full_arena_is_said),
    TEST(test_names_are_compared_as_they_are_decoded), TEST(test_any_bytes_become_uri_characters));
