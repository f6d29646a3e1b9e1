/*
 * Goal: a scraper gets the format that it weighs highest, of those that there are.
 */
#include "http/negotiate.h"
#include "tests/support/unit.h"

static bool
openmetrics(const char *accept)
{
	return negotiate_openmetrics(slice_of(accept));
}

static bool
gzipped(const char *accept_encoding)
{
	return negotiate_gzip(slice_of(accept_encoding));
}

static void
who_says_nothing_gets_text(void)
{
	CU_ASSERT_FALSE(negotiate_openmetrics((struct slice){ 0 }));
	CU_ASSERT_FALSE(openmetrics(""));
	CU_ASSERT_FALSE(openmetrics("*/*"));
	CU_ASSERT_FALSE(openmetrics("text/html,application/json"));
}

static void
the_higher_weight_wins_and_of_equal_ones_openmetrics(void)
{
	CU_ASSERT_TRUE(openmetrics("text/plain;q=0.5, application/openmetrics-text;q=0.6"));
	CU_ASSERT_FALSE(openmetrics("text/plain;q=0.75,application/openmetrics-text;q=0.7"));
	CU_ASSERT_TRUE(openmetrics("text/plain, application/openmetrics-text"));
	CU_ASSERT_TRUE(openmetrics("Application/OpenMetrics-Text; Version=1.0.0 ; Q=1.000"));
}

static void
a_version_that_there_is_not_does_not_count(void)
{
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;version=0.0.1"));
	CU_ASSERT_TRUE(openmetrics(
	    "application/openmetrics-text;version=\"1.0.0\";q=0.1,text/plain;version=1.0.0;q=0.9"));
	CU_ASSERT_FALSE(openmetrics(
	    "application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.1"));
}

static void
a_weight_of_nothing_forbids_and_a_broken_one_is_skipped(void)
{
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=0"));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=0.000"));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=2"));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=1.5"));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=0.1234"));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q="));
	CU_ASSERT_FALSE(openmetrics("application/openmetrics-text;q=a"));
	CU_ASSERT_FALSE(openmetrics(";;,,;q=1,=;"));
}

static void
gzip_is_taken_by_its_name_or_by_the_star(void)
{
	CU_ASSERT_TRUE(gzipped("gzip"));
	CU_ASSERT_TRUE(gzipped("deflate, GZIP;q=0.3"));
	CU_ASSERT_TRUE(gzipped("br;q=1, *;q=0.1"));
	CU_ASSERT_FALSE(gzipped("gzip;q=0, *"));
	CU_ASSERT_FALSE(gzipped("identity"));
	CU_ASSERT_FALSE(gzipped(""));
	CU_ASSERT_FALSE(negotiate_gzip((struct slice){ 0 }));
}

UNIT_SUITE(negotiate, TEST(who_says_nothing_gets_text),
    TEST(the_higher_weight_wins_and_of_equal_ones_openmetrics),
    TEST(a_version_that_there_is_not_does_not_count),
    TEST(a_weight_of_nothing_forbids_and_a_broken_one_is_skipped),
    TEST(gzip_is_taken_by_its_name_or_by_the_star));
