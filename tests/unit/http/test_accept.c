/*
 * Accept: who can take application/json.
 */
#include <stddef.h>

#include "http/accept.h"
#include "tests/support/unit.h"
#include "tests/unit/http/check.h"

static void
the_most_specific_range_decides(void)
{
	static const struct {
		const char *sent;
		bool allowed;
	} rows[] = {
		{ "application/json", true },
		{ "Application/JSON", true },
		{ "*/*", true },
		{ "application/*", true },
		{ "text/html, application/xhtml+xml, */*;q=0.8", true }, /* a browser */
		{ "text/html;q=0, application/json;charset=utf-8;q=0.1", true },
		{ "*/*;q=0, application/json", true },
		{ "application/*;q=0, application/json;q=0.001", true },
		{ "application/json; q=0, */*", false },
		{ "application/json;q=0.000", false },
		{ "application/*;Q=0, */*", false },
		{ "text/html", false },
		{ "text/html, image/*;q=0.5", false },
		{ "application/xml", false },
		{ "application/problem+json", false },
		{ "", true },
		{ ", ,", true },
		{ "json", true },
		{ "*/json", true },
		{ "application/json;q", true },
		{ "application/json;q=", true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_ROW(
		    rows[i].sent, accept_allows_json(slice_of(rows[i].sent)) == rows[i].allowed);
	CU_ASSERT_TRUE(accept_allows_json((struct slice){ NULL, 0 }));
}

static void
a_type_is_named_only_by_itself(void)
{
	static const struct {
		const char *sent;
		bool named;
	} rows[] = {
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true },
		{ "application/json, TEXT/HTML;level=1;q=0.1", true },
		{ "*/*", false },
		{ "text/*", false },
		{ "text/html;q=0", false },
		{ "text/htmlx", false },
		{ "", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_ROW(rows[i].sent,
		    accept_names(slice_of(rows[i].sent), "text/html") == rows[i].named);
	CU_ASSERT_FALSE(accept_names((struct slice){ NULL, 0 }, "text/html"));
}

UNIT_SUITE(accept, TEST(the_most_specific_range_decides), TEST(a_type_is_named_only_by_itself));
