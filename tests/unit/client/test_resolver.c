/* Goal: names are addresses before anybody needs them, and a name that nobody knows keeps nobody waiting. */
#include "client/resolver.h"

#include "base/clock.h"
#include "tests/support/unit.h"

enum { PATIENCE_MS = 20000 };

static void
what_is_numeric_is_there_at_once(void)
{
	const char *const names[] = { "192.0.2.1", "2001:db8::1" };
	struct resolver_addresses found;
	struct resolver *r;

	CU_ASSERT_EQUAL_FATAL(resolver_open(names, 2, &r), ERR_OK);
	CU_ASSERT_EQUAL(resolver_wait(r, 0), ERR_OK);
	resolver_look(r, 1, &found);
	CU_ASSERT_EQUAL(found.count, 1);
	CU_ASSERT_STRING_EQUAL(found.text[0], "2001:db8::1");
	resolver_close(&r);
	CU_ASSERT_PTR_NULL(r);
}

static void
a_name_is_looked_up_and_an_unknown_one_has_no_address(void)
{
	const char *const names[] = { "localhost", "nobody.invalid" };
	struct resolver_addresses found;
	struct resolver *r;

	CU_ASSERT_EQUAL_FATAL(resolver_open(names, 2, &r), ERR_OK);
	CU_ASSERT_EQUAL(resolver_wait(r, clock_mono_ms() + PATIENCE_MS), ERR_OK);
	resolver_look(r, 0, &found);
	CU_ASSERT_TRUE(found.count >= 1);
	resolver_look(r, 1, &found);
	CU_ASSERT_EQUAL(found.count, 0);
	resolver_close(&r);
}

static void
names_that_cannot_be_are_refused(void)
{
	static char long_name[RESOLVER_NAME_BYTES + 1];
	const char *const empty[] = { "" }, *const too_long[] = { long_name };
	struct resolver *r;

	for (size_t i = 0; i < RESOLVER_NAME_BYTES; i++)
		long_name[i] = 'a';
	CU_ASSERT_EQUAL(resolver_open(empty, 1, &r), ERR_INVALID);
	CU_ASSERT_EQUAL(resolver_open(too_long, 1, &r), ERR_INVALID);
	CU_ASSERT_EQUAL(resolver_open(empty, RESOLVER_NAMES_MAX + 1, &r), ERR_INVALID);
	CU_ASSERT_EQUAL(resolver_open(NULL, 0, &r), ERR_OK);
	resolver_close(&r);
}

UNIT_SUITE(resolver, TEST(what_is_numeric_is_there_at_once),
    TEST(a_name_is_looked_up_and_an_unknown_one_has_no_address),
    TEST(names_that_cannot_be_are_refused));
