/* Goal: the method words are those of HTTP, and only they. */
#include "http/endpoint.h"

#include "tests/unit/http/check.h"

static void
test_every_method_is_known_by_its_name(void)
{
	for (enum http_method m = HTTP_GET; m < HTTP_METHOD__COUNT; m++) {
		enum http_method got = HTTP_METHOD__COUNT;

		CHECK_ROW(
		    http_method_name(m), http_method_parse(slice_of(http_method_name(m)), &got));
		CHECK_ROW(http_method_name(m), got == m);
	}
}

static void
test_other_words_are_no_methods(void)
{
	static const char *const rows[] = { "", "get", "GETS", "GE", "TRACE", "CONNECT",
		"PROPFIND" };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		enum http_method got;

		CHECK_ROW(rows[i], !http_method_parse(slice_of(rows[i]), &got));
	}
}

static void
test_only_four_methods_write(void)
{
	for (enum http_method m = HTTP_GET; m < HTTP_METHOD__COUNT; m++)
		CHECK_ROW(http_method_name(m),
		    http_method_writes(m) ==
			(m == HTTP_POST || m == HTTP_PUT || m == HTTP_PATCH || m == HTTP_DELETE));
}

UNIT_SUITE(endpoint, TEST(test_every_method_is_known_by_its_name),
    TEST(test_other_words_are_no_methods), TEST(test_only_four_methods_write));
