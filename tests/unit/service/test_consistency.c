/*
 * The tokens that a read sends back.
 */
#include "service/consistency.h"

#include "tests/support/unit.h"

#define A    "11111111-1111-8111-8111-111111111111"
#define B    "22222222-2222-8222-8222-222222222222"
#define FOUR A ", " A ", " A ", " A

static struct consistency c;

static enum err
parse(const char *header, const char *cookies)
{
	return consistency_parse(slice_of(header), slice_of(cookies), &c);
}

static void
a_header_holds_tokens_between_commas(void)
{
	CU_ASSERT_EQUAL(parse(A, NULL), ERR_OK);
	CU_ASSERT_EQUAL(c.count, 1);
	CU_ASSERT_EQUAL(parse(" " A " ,\t" B, NULL), ERR_OK);
	CU_ASSERT_EQUAL(c.count, 2);
	CU_ASSERT_EQUAL(c.ids[1][0], 0x22);
	CU_ASSERT_EQUAL(parse(FOUR ", " FOUR, NULL), ERR_OK);
	CU_ASSERT_EQUAL(c.count, CONSISTENCY_MAX_EVENTS);
	CU_ASSERT_EQUAL(parse(NULL, NULL), ERR_OK);
	CU_ASSERT_EQUAL(c.count, 0);
}

static void
anything_else_in_the_header_is_refused(void)
{
	static const char *const bad[] = { "", "x", A ",", A "0", A " " B, FOUR ", " FOUR ", " A };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(parse(bad[i], NULL), ERR_INVALID);
}

static void
the_cookie_is_found_among_others_and_forgiven_when_it_is_none(void)
{
	static const struct {
		const char *cookies;
		size_t count;
	} rows[] = {
		{ "weir-consistency=" A, 1 },
		{ "a=b; weir-consistency=" A "; c=d", 1 },
		{ "a=b, weir-consistency=" A, 1 }, /* two lines of cookies, joined */
		{ "weir-consistency=x", 0 },
		{ "weir-consistency", 0 },
		{ "xweir-consistency=" A, 0 },
		{ "", 0 },
		{ ";;,=", 0 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CU_ASSERT_EQUAL(parse(NULL, rows[i].cookies), ERR_OK);
		CU_ASSERT_EQUAL(c.count, rows[i].count);
	}
	CU_ASSERT_EQUAL(parse(B, "weir-consistency=" A), ERR_OK);
	CU_ASSERT_EQUAL(c.count, 2);
	CU_ASSERT_EQUAL(parse(FOUR ", " FOUR, "weir-consistency=" A), ERR_OK);
	CU_ASSERT_EQUAL(c.count, CONSISTENCY_MAX_EVENTS);
}

UNIT_SUITE(consistency, TEST(a_header_holds_tokens_between_commas),
    TEST(anything_else_in_the_header_is_refused),
    TEST(the_cookie_is_found_among_others_and_forgiven_when_it_is_none));
