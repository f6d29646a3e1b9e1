/*
 * Goal: a histogram tells times within its bound, counts exactly at its edges, and adds up.
 */
#include "telemetry/histogram.h"
#include "tests/support/unit.h"

enum { US = 1000, MS = 1000000 };

static struct histogram_view
view_of(const struct histogram *h)
{
	struct histogram_view v = { .count = 0 };

	histogram_add(h, &v);
	return v;
}

static void
every_time_lies_in_its_bucket_and_above_the_one_before(void)
{
	for (uint64_t us = 1; us < 70000000; us += 1 + us / 50) {
		const size_t at_edge = histogram_bucket((int64_t)us * US);
		const size_t above = histogram_bucket((int64_t)us * US + 1);

		CU_ASSERT_TRUE(us <= histogram_upper_us(at_edge));
		CU_ASSERT_TRUE(at_edge == 0 || us > histogram_upper_us(at_edge - 1));
		CU_ASSERT_TRUE(above == at_edge || above == at_edge + 1);
	}
	CU_ASSERT_EQUAL(histogram_bucket(0), 0);
	CU_ASSERT_EQUAL(histogram_bucket(-5), 0);
	CU_ASSERT_EQUAL(histogram_bucket(INT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void
edges_grow_and_each_power_of_two_is_one(void)
{
	for (size_t i = 1; i + 1 < HISTOGRAM_BUCKETS; i++)
		CU_ASSERT_TRUE(histogram_upper_us(i) > histogram_upper_us(i - 1));
	for (unsigned bit = 0; bit < 26; bit++) {
		const size_t i = histogram_bucket(((int64_t)1 << bit) * US);

		CU_ASSERT_EQUAL(histogram_upper_us(i), (uint64_t)1 << bit);
	}
}

static void
what_took_exactly_an_edge_is_counted_under_it(void)
{
	struct histogram h = { .sum_ns = 0 };
	struct histogram_view v;

	histogram_record(&h, 1024 * US);
	histogram_record(&h, 1024 * US + 1);
	v = view_of(&h);
	CU_ASSERT_EQUAL(histogram_at_most(&v, 512), 0);
	CU_ASSERT_EQUAL(histogram_at_most(&v, 1024), 1);
	CU_ASSERT_EQUAL(histogram_at_most(&v, 2048), 2);
	CU_ASSERT_EQUAL(v.count, 2);
	CU_ASSERT_EQUAL(v.sum_ns, 2 * 1024 * US + 1);
}

static void
a_quantile_is_wrong_by_a_sixteenth_at_most(void)
{
	for (int64_t took_ns = 9 * US; took_ns < (int64_t)60000 * MS; took_ns += took_ns / 7) {
		struct histogram h = { .sum_ns = 0 };
		struct histogram_view v;
		int64_t told;

		histogram_record(&h, took_ns);
		v = view_of(&h);
		told = histogram_quantile_ns(&v, 0.5);
		CU_ASSERT_TRUE(told <= took_ns + took_ns / 16 && told >= took_ns - took_ns / 16);
	}
}

static void
quantiles_of_a_thousand_are_in_their_places(void)
{
	struct histogram h = { .sum_ns = 0 };
	struct histogram_view v;

	for (int64_t i = 1; i <= 1000; i++)
		histogram_record(&h, i * MS);
	v = view_of(&h);
	CU_ASSERT_DOUBLE_EQUAL(histogram_quantile_ns(&v, 0.5), 500e6, 500e6 / 16);
	CU_ASSERT_DOUBLE_EQUAL(histogram_quantile_ns(&v, 0.99), 990e6, 990e6 / 16);
	CU_ASSERT_TRUE(histogram_quantile_ns(&v, 1.0) >= (int64_t)960 * MS);
	CU_ASSERT_TRUE(histogram_quantile_ns(&v, 0.0) <= 2 * MS);
}

static void
an_empty_one_has_no_quantile(void)
{
	const struct histogram h = { .sum_ns = 0 };
	const struct histogram_view v = view_of(&h);

	CU_ASSERT_EQUAL(histogram_quantile_ns(&v, 0.99), 0);
	CU_ASSERT_EQUAL(histogram_at_most(&v, 1 << 20), 0);
}

static void
views_add_up(void)
{
	struct histogram a = { .sum_ns = 0 }, b = { .sum_ns = 0 };
	struct histogram_view v = { .count = 0 };

	histogram_record(&a, MS);
	histogram_record(&b, MS);
	histogram_record(&b, 40 * MS);
	histogram_add(&a, &v);
	histogram_add(&b, &v);
	CU_ASSERT_EQUAL(v.count, 3);
	CU_ASSERT_EQUAL(v.sum_ns, 42 * MS);
	CU_ASSERT_EQUAL(v.bucket[histogram_bucket(MS)], 2);
}

UNIT_SUITE(histogram, TEST(every_time_lies_in_its_bucket_and_above_the_one_before),
    TEST(edges_grow_and_each_power_of_two_is_one),
    TEST(what_took_exactly_an_edge_is_counted_under_it),
    TEST(a_quantile_is_wrong_by_a_sixteenth_at_most),
    TEST(quantiles_of_a_thousand_are_in_their_places), TEST(an_empty_one_has_no_quantile),
    TEST(views_add_up));
