/* Goal: every failure has a word of its own, and a wild number does no harm. */
#include "base/err.h"

#include <string.h>

#include "tests/support/unit.h"

static void
every_failure_has_its_own_word(void)
{
	for (int a = 0; a < ERR__COUNT; a++) {
		CU_ASSERT_STRING_NOT_EQUAL(err_name((enum err)a), "unknown");
		for (int b = 0; b < a; b++)
			CU_ASSERT_STRING_NOT_EQUAL(err_name((enum err)a), err_name((enum err)b));
	}
}

static void
a_number_off_the_list_is_unknown(void)
{
	CU_ASSERT_STRING_EQUAL(err_name(ERR__COUNT), "unknown");
	CU_ASSERT_STRING_EQUAL(err_name((enum err)1000), "unknown");
}

UNIT_SUITE(err, TEST(every_failure_has_its_own_word), TEST(a_number_off_the_list_is_unknown));
