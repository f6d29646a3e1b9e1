/* Goal: one key has one spelling inside, whichever way the client wrote it. */
#include "http/structured_field.h"

#include <string.h>

#include "tests/unit/http/check.h"

static struct arena arena;

static void
setup(void)
{
	arena_free(&arena);
	arena_init(&arena, 65536);
}

static void
test_quoted_and_bare_keys_are_the_same(void)
{
	static const struct {
		const char *raw, *want;
	} rows[] = {
		{ "abc", "abc" },
		{ "\"abc\"", "abc" },
		{ "  \"abc\"\t", "abc" },
		{ "\"a b, c\"", "a b, c" },
		{ "\"a\\\"b\\\\c\"", "a\"b\\c" },
		{ "order:2026/11-24_x.y~z=;", "order:2026/11-24_x.y~z=;" },
		{ "8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice got;

		setup();
		CHECK_ROW(
		    rows[i].raw, sf_idempotency_key(slice_of(rows[i].raw), &arena, &got) == ERR_OK);
		CHECK_TEXT(rows[i].raw, got, rows[i].want);
	}
}

static void
test_malformed_keys_are_refused(void)
{
	static const char *const rows[] = { "", "   ", "\"\"", "\"", "\"abc", "abc\"", "\"a\"b",
		"\"a\", \"b\"", "a, b", "a,b", "a b", "\"a\\b\"", "\"a\\", "\"a\\\"", "a\tb",
		"\"a\tb\"", "\x7f", "\xc3\xa4", "\"\xc3\xa4\"", "\"abc\";v=1" };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice got;

		setup();
		CHECK_ROW(
		    rows[i], sf_idempotency_key(slice_of(rows[i]), &arena, &got) == ERR_INVALID);
	}
}

static void
test_a_key_has_at_most_255_characters(void)
{
	char text[1 + 2 * 256 + 1];
	struct slice got;

	setup();
	memset(text, 'k', sizeof text);
	CU_ASSERT_EQUAL(sf_idempotency_key((struct slice){ text, 255 }, &arena, &got), ERR_OK);
	CU_ASSERT_EQUAL(sf_idempotency_key((struct slice){ text, 256 }, &arena, &got), ERR_INVALID);
	text[0] = text[256] = '"';
	CU_ASSERT_EQUAL(sf_idempotency_key((struct slice){ text, 257 }, &arena, &got), ERR_OK);
	CU_ASSERT_EQUAL(got.len, 255);
	text[256] = 'k';
	text[257] = '"';
	CU_ASSERT_EQUAL(sf_idempotency_key((struct slice){ text, 258 }, &arena, &got), ERR_INVALID);
	memset(text + 1, '\\', 2 * 255);
	text[1 + 2 * 255] = '"';
	CU_ASSERT_EQUAL(sf_idempotency_key((struct slice){ text, 512 }, &arena, &got), ERR_OK);
	CU_ASSERT_EQUAL(got.len, 255);
}

static void
test_a_full_arena_is_said(void)
{
	struct slice got;

	arena_free(&arena);
	arena_init(&arena, 0);
	CU_ASSERT_EQUAL(sf_idempotency_key(SLICE("\"abc\""), &arena, &got), ERR_NOMEM);
}

static void
test_written_strings_are_always_well_formed(void)
{
	static const struct {
		const char *raw, *want;
	} rows[] = {
		{ "default", "\"default\"" },
		{ "", "\"\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\xc3\xa4\n", "\"???\"" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct strbuf b = STRBUF_INIT(64);

		sf_add_string(&b, slice_of(rows[i].raw));
		CHECK_TEXT(rows[i].raw, strbuf_slice(&b), rows[i].want);
		strbuf_free(&b);
	}
	arena_free(&arena);
}

UNIT_SUITE(structured_field, TEST(test_quoted_and_bare_keys_are_the_same),
    TEST(test_malformed_keys_are_refused), TEST(test_a_key_has_at_most_255_characters),
    TEST(test_a_full_arena_is_said), TEST(test_written_strings_are_always_well_formed));
