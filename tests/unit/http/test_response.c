/* Goal: the header block is what was asked for, and no value can add a line to it. */
#include "http/response.h"

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
test_the_block_has_status_headers_and_length(void)
{
	struct response r = { .status = 200, .body = SLICE("{}") };

	setup();
	response_header(&r, &arena, "Content-Type", SLICE("application/json"));
	response_headerf(&r, &arena, "Age", "%d", 7);
	CHECK_TEXT("head", response_head(&r, &arena),
	    "Status: 200 OK\r\nContent-Type: application/json\r\nAge: 7\r\nContent-Length: "
	    "2\r\n\r\n");
}

static void
test_the_length_is_told_where_there_may_be_a_body(void)
{
	static const struct {
		struct response r;
		const char *want;
	} rows[] = {
		{ { .status = 202, .body = { "{}", 2 } },
		    "Status: 202 Accepted\r\nContent-Length: 2\r\n\r\n" },
		{ { .status = 200 }, "Status: 200 OK\r\nContent-Length: 0\r\n\r\n" },
		{ { .status = 200, .body = { "{}", 2 }, .head_only = true },
		    "Status: 200 OK\r\nContent-Length: 2\r\n\r\n" },
		{ { .status = 204 }, "Status: 204 No Content\r\n\r\n" },
		{ { .status = 304 }, "Status: 304 Not Modified\r\n\r\n" },
		{ { .status = 299 }, "Status: 299 Unknown\r\nContent-Length: 0\r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		setup();
		CHECK_TEXT(rows[i].want, response_head(&rows[i].r, &arena), rows[i].want);
	}
}

static void
test_no_value_ends_its_own_line(void)
{
	static const struct {
		struct slice value;
		const char *want;
	} rows[] = {
		{ { "a\r\nX: 1", 7 }, "a  X: 1" },
		{ { "a\0b", 3 }, "a b" },
		{ { "\n", 1 }, " " },
		{ { "\t\xc3\xa4", 3 }, "\t\xc3\xa4" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct response r = { .status = 200 };

		setup();
		response_header(&r, &arena, "X-Value", rows[i].value);
		CHECK_TEXT(rows[i].want, response_find(&r, "X-Value"), rows[i].want);
	}
	{
		struct response r = { .status = 200 };

		response_headerf(&r, &arena, "Location", "/a%sb", "\r\n\r\n<script>");
		CHECK_TEXT("formatted", response_find(&r, "Location"), "/a    <script>b");
	}
}

static void
test_long_values_are_kept_whole(void)
{
	struct response r = { .status = 200 };
	char text[1000];

	setup();
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	response_headerf(&r, &arena, "X-Long", "%s", text);
	CHECK_TEXT("long", response_find(&r, "X-Long"), text);
	text[255] = '\0';
	response_headerf(&r, &arena, "X-Fits", "%s", text);
	CHECK_TEXT("fits", response_find(&r, "X-Fits"), text);
	text[255] = 'x';
	text[256] = '\0';
	response_headerf(&r, &arena, "X-Just-Not", "%s", text);
	CHECK_TEXT("just not", response_find(&r, "X-Just-Not"), text);
}

static void
test_headers_are_found_in_any_case_first_one_first(void)
{
	struct response r = { .status = 200 };

	setup();
	response_header(&r, &arena, "Vary", SLICE("a"));
	response_header(&r, &arena, "Vary", SLICE("b"));
	response_header(&r, &arena, "X-Empty", SLICE(""));
	CHECK_TEXT("vary", response_find(&r, "vary"), "a");
	CHECK_TEXT("empty", response_find(&r, "X-EMPTY"), "");
	CHECK_TEXT("other", response_find(&r, "Var"), NULL);
}

static void
test_an_absent_value_is_no_header(void)
{
	struct response r = { .status = 200 };

	setup();
	response_header(&r, &arena, "Allow", (struct slice){ NULL, 0 });
	CU_ASSERT_EQUAL(r.header_count, 0);
}

static void
test_headers_beyond_the_most_are_left_out(void)
{
	struct response r = { .status = 200 };

	setup();
	for (size_t i = 0; i < RESPONSE_MAX_HEADERS; i++)
		response_header(&r, &arena, "A", SLICE("1"));
	response_header(&r, &arena, "B", SLICE("2"));
	CU_ASSERT_EQUAL(r.header_count, RESPONSE_MAX_HEADERS);
	CHECK_TEXT("B", response_find(&r, "B"), NULL);
	CU_ASSERT_PTR_NOT_NULL(response_head(&r, &arena).ptr);
}

static void
test_a_full_arena_gives_no_half_block(void)
{
	struct response r = { .status = 200 };

	arena_free(&arena);
	arena_init(&arena, 16);
	response_header(&r, &arena, "A", SLICE("dirty\r\nand too long to be copied"));
	response_headerf(&r, &arena, "B", "%032d", 1);
	CU_ASSERT_EQUAL(r.header_count, 0);
	CHECK_TEXT("head", response_head(&r, &arena), NULL);
	arena_free(&arena);
}

UNIT_SUITE(response, TEST(test_the_block_has_status_headers_and_length),
    TEST(test_the_length_is_told_where_there_may_be_a_body), TEST(test_no_value_ends_its_own_line),
    TEST(test_long_values_are_kept_whole), TEST(test_headers_are_found_in_any_case_first_one_first),
    TEST(test_an_absent_value_is_no_header), TEST(test_headers_beyond_the_most_are_left_out),
    TEST(test_a_full_arena_gives_no_half_block));
