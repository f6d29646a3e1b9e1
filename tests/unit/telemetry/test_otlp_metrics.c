/* Goal: what /metrics tells becomes OTLP's sums, gauges and histograms, a message for each family, with its labels. */
#include "telemetry/otlp_metrics.h"

#include <string.h>

#include "telemetry/histogram.h"
#include "telemetry/protobuf.h"
#include "tests/unit/http/check.h"

/* The ${nth} field of that number in ${message}; absent bytes when there is none. */
static struct pb_field
get(struct slice message, unsigned number, int nth)
{
	struct pb_field f;

	while (pb_next(&message, &f) == ERR_OK)
		if (f.number == number && nth-- == 0)
			return f;
	return (struct pb_field){ 0 };
}

static int
count_of(struct slice message, unsigned number)
{
	struct pb_field f;
	int n = 0;

	while (pb_next(&message, &f) == ERR_OK)
		n += f.number == number;
	return n;
}

static uint64_t
edge_us(size_t edge)
{
	return UINT64_C(1) << (10 + edge);
}

static struct slice
value_of(struct slice point, unsigned attributes, int nth)
{
	return get(get(get(point, attributes, nth).bytes, 2, 0).bytes, 1, 0).bytes;
}

static void
test_a_family_is_one_message_with_all_its_samples(void)
{
	struct strbuf out = STRBUF_INIT(1 << 20);
	struct otlp_metrics m = { .out = &out, .start_ns = 7, .now_ns = 9 };
	struct prometheus p;
	struct slice metric, point;

	prometheus_init_sink(&p, &otlp_metrics_sink, &m);
	prometheus_family(&p, FAMILY_REQUESTS_BY);
	prometheus_label(&p, "endpoint", SLICE("a\"b\\c\nd"));
	prometheus_label(&p, "code", SLICE("200"));
	prometheus_count(&p, 5);
	prometheus_label(&p, "endpoint", SLICE("other"));
	prometheus_count(&p, 0);
	prometheus_family(&p, FAMILY_SERVED); /* of which nothing is known */
	prometheus_family(&p, FAMILY_CACHE_BYTES_MAX);
	prometheus_number(&p, 1.0);
	otlp_metrics_end(&m);
	CU_ASSERT_EQUAL(count_of(strbuf_slice(&out), 2), 2);
	metric = get(strbuf_slice(&out), 2, 0).bytes;
	CHECK_TEXT("name", get(metric, 1, 0).bytes, "weir_requests");
	CHECK_TEXT("unit", get(metric, 3, 0).bytes, "{requests}");
	CU_ASSERT_EQUAL(count_of(get(metric, 7, 0).bytes, 1), 2);
	CU_ASSERT_EQUAL(get(get(metric, 7, 0).bytes, 2, 0).value, 2); /* cumulative */
	CU_ASSERT_EQUAL(get(get(metric, 7, 0).bytes, 3, 0).value, 1); /* monotonic */
	point = get(get(metric, 7, 0).bytes, 1, 0).bytes;
	CHECK_TEXT("first", value_of(point, 7, 0), "a\"b\\c\nd");
	CHECK_TEXT("second", value_of(point, 7, 1), "200");
	CU_ASSERT_EQUAL(get(point, 2, 0).value, 7);
	CU_ASSERT_EQUAL(get(point, 3, 0).value, 9);
	CU_ASSERT_EQUAL(get(point, 6, 0).value, 5);
	metric = get(strbuf_slice(&out), 2, 1).bytes;
	CHECK_TEXT("bytes", get(metric, 3, 0).bytes, "By");
	point = get(get(metric, 5, 0).bytes, 1, 0).bytes;
	CU_ASSERT_EQUAL(count_of(point, 2), 0); /* a gauge has no beginning */
	CU_ASSERT_EQUAL(get(point, 4, 0).value, 0x3ff0000000000000);
	strbuf_free(&out);
}

static uint64_t
packed(struct slice numbers, size_t i)
{
	uint64_t n = 0;

	for (size_t b = 0; b < 8; b++)
		n |= (uint64_t)(uint8_t)numbers.ptr[8 * i + b] << (8 * b);
	return n;
}

static void
test_a_histogram_counts_each_bucket_alone(void)
{
	struct strbuf out = STRBUF_INIT(1 << 20);
	struct otlp_metrics m = { .out = &out, .start_ns = 7, .now_ns = 9 };
	static struct histogram h;
	struct histogram_view v = { .count = 0 };
	struct prometheus p;
	struct slice metric, point, counts;
	static const int64_t took_us[] = { 1, 1024, 1025, 2048, 5000000 };

	for (size_t i = 0; i < sizeof took_us / sizeof *took_us; i++)
		histogram_record(&h, took_us[i] * 1000);
	histogram_add(&h, &v);
	prometheus_init_sink(&p, &otlp_metrics_sink, &m);
	prometheus_family(&p, FAMILY_REQUEST_SECONDS);
	prometheus_label(&p, "endpoint", SLICE("x"));
	prometheus_histogram(&p, &v, edge_us, 3, NULL, NULL);
	otlp_metrics_end(&m);
	metric = get(strbuf_slice(&out), 2, 0).bytes;
	CHECK_TEXT("unit", get(metric, 3, 0).bytes, "s");
	CU_ASSERT_EQUAL(get(get(metric, 9, 0).bytes, 2, 0).value, 2);
	point = get(get(metric, 9, 0).bytes, 1, 0).bytes;
	CHECK_TEXT("label", value_of(point, 9, 0), "x");
	CU_ASSERT_EQUAL(get(point, 4, 0).value, 5);
	counts = get(point, 6, 0).bytes;
	CU_ASSERT_EQUAL_FATAL(counts.len, 4 * 8);
	CU_ASSERT_EQUAL(packed(counts, 0), 2);
	CU_ASSERT_EQUAL(packed(counts, 1), 2);
	CU_ASSERT_EQUAL(packed(counts, 2), 0);
	CU_ASSERT_EQUAL(packed(counts, 3), 1);
	CU_ASSERT_EQUAL(get(point, 7, 0).bytes.len, 3 * 8);
	strbuf_free(&out);
}

UNIT_SUITE(otlp_metrics, TEST(test_a_family_is_one_message_with_all_its_samples),
    TEST(test_a_histogram_counts_each_bucket_alone));
