/* Goal: durations and sizes mean what people mean, and nothing overflows. */
#include "base/units.h"

#include "tests/support/unit.h"

static int64_t
ms(const char *text, int64_t bare_ms)
{
	int64_t out = -1;

	return units_duration_ms(slice_of(text), bare_ms, &out) == ERR_OK ? out : -1;
}

static int64_t
bytes(const char *text)
{
	int64_t out = -1;

	return units_bytes(slice_of(text), &out) == ERR_OK ? out : -1;
}

static void
a_suffix_says_the_unit_of_time(void)
{
	CU_ASSERT_EQUAL(ms("250ms", 1000), 250);
	CU_ASSERT_EQUAL(ms("3s", 1), 3000);
	CU_ASSERT_EQUAL(ms("5m", 1), 300000);
	CU_ASSERT_EQUAL(ms("1h", 1), 3600000);
	CU_ASSERT_EQUAL(ms("7d", 1), 604800000);
	CU_ASSERT_EQUAL(ms("0s", 1), 0);
}

static void
a_bare_number_has_the_callers_unit(void)
{
	CU_ASSERT_EQUAL(ms("3", 1000), 3000);
	CU_ASSERT_EQUAL(ms("3000", 1), 3000);
	CU_ASSERT_EQUAL(bytes("512"), 512);
}

static void
sizes_count_in_powers_of_1024(void)
{
	CU_ASSERT_EQUAL(bytes("64k"), 65536);
	CU_ASSERT_EQUAL(bytes("16m"), 16777216);
	CU_ASSERT_EQUAL(bytes("1g"), 1073741824);
	CU_ASSERT_EQUAL(bytes("0"), 0);
}

static void
anything_else_is_refused(void)
{
	static const char *const bad[] = { "", "s", "ms", "-1s", "+1s", "1 s", " 1s", "1s ", "1.5s",
		"1S", "1ss", "1x", "1µ", "0x10", "1m1s", "1k", "--" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(ms(bad[i], 1000), -1);
	CU_ASSERT_EQUAL(bytes("1K"), -1);
	CU_ASSERT_EQUAL(bytes("1kb"), -1);
	CU_ASSERT_EQUAL(bytes("1s"), -1);
	CU_ASSERT_EQUAL(bytes("-1"), -1);
	CU_ASSERT_EQUAL(units_bytes(SLICE("1\0"), &(int64_t){ 0 }), ERR_INVALID);
	CU_ASSERT_EQUAL(units_bytes((struct slice){ NULL, 0 }, &(int64_t){ 0 }), ERR_INVALID);
}

static void
an_overflow_is_refused_and_the_last_value_is_not(void)
{
	CU_ASSERT_EQUAL(ms("106751991167d", 1), 106751991167 * 86400000);
	CU_ASSERT_EQUAL(ms("106751991168d", 1), -1);
	CU_ASSERT_EQUAL(ms("9223372036854775807ms", 1), INT64_MAX);
	CU_ASSERT_EQUAL(ms("9223372036854775808ms", 1), -1);
	CU_ASSERT_EQUAL(ms("9223372036854775807", 1000), -1);
	CU_ASSERT_EQUAL(bytes("8589934591g"), 8589934591 * 1073741824);
	CU_ASSERT_EQUAL(bytes("8589934592g"), -1);
	CU_ASSERT_EQUAL(bytes("99999999999999999999999999"), -1);
}

UNIT_SUITE(units, TEST(a_suffix_says_the_unit_of_time), TEST(a_bare_number_has_the_callers_unit),
    TEST(sizes_count_in_powers_of_1024), TEST(anything_else_is_refused),
    TEST(an_overflow_is_refused_and_the_last_value_is_not));
