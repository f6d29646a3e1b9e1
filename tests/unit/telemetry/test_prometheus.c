/*
 * Goal: samples are written as both formats of Prometheus have them, byte by byte.
 */
#include "telemetry/prometheus.h"

#include <string.h>

#include "tests/support/unit.h"

struct page {
	struct strbuf text;
	struct prometheus p;
};

static void
page_open(struct page *page, enum prometheus_form form)
{
	page->text = STRBUF_INIT(1 << 16);
	prometheus_init(&page->p, form, &page->text);
}

static void
page_is(struct page *page, const char *expected)
{
	strbuf_add_char(&page->text, '\0');
	CU_ASSERT_STRING_EQUAL(page->text.ptr, expected);
	strbuf_free(&page->text);
}

static void
a_counter_keeps_its_whole_name_in_text(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_QUERIES);
	prometheus_count(&page.p, 7);
	prometheus_end(&page.p);
	page_is(&page, "# HELP weir_queries_total Statements run for reads.\n"
		       "# TYPE weir_queries_total counter\n"
		       "weir_queries_total 7\n");
}

static void
in_openmetrics_its_family_has_no_total_and_the_text_an_end(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_OPENMETRICS);
	prometheus_family(&page.p, FAMILY_QUERIES);
	prometheus_count(&page.p, 7);
	prometheus_end(&page.p);
	page_is(&page, "# HELP weir_queries Statements run for reads.\n"
		       "# TYPE weir_queries counter\n"
		       "weir_queries_total 7\n"
		       "# EOF\n");
}

static void
an_info_is_one_only_in_openmetrics(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_OPENMETRICS);
	prometheus_family(&page.p, FAMILY_BUILD);
	prometheus_label(&page.p, "version", SLICE("1.2"));
	prometheus_count(&page.p, 1);
	page_is(&page, "# HELP weir_build 1; the version is in the label.\n"
		       "# TYPE weir_build info\n"
		       "weir_build_info{version=\"1.2\"} 1\n");
	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_BUILD);
	prometheus_count(&page.p, 1);
	page_is(&page, "# HELP weir_build_info 1; the version is in the label.\n"
		       "# TYPE weir_build_info gauge\n"
		       "weir_build_info 1\n");
}

static void
a_unit_is_told_when_it_ends_the_name(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_OPENMETRICS);
	prometheus_family(&page.p, FAMILY_SPOOL_OLDEST);
	prometheus_number(&page.p, 0.25);
	page_is(&page, "# HELP weir_spool_oldest_seconds How long the first of them has waited.\n"
		       "# TYPE weir_spool_oldest_seconds gauge\n"
		       "# UNIT weir_spool_oldest_seconds seconds\n"
		       "weir_spool_oldest_seconds 0.25\n");
}

static void
a_family_without_samples_is_left_out(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_LIMIT_HOSTS);
	prometheus_family(&page.p, FAMILY_QUERIES);
	prometheus_end(&page.p);
	page_is(&page, "");
}

static void
label_values_are_escaped_and_end_with_their_sample(void)
{
	struct page page;

	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_LIMIT_DECISIONS);
	prometheus_label(&page.p, "policy", SLICE("a\"b\\c\nd"));
	prometheus_labels(&page.p, "result=\"allowed\"");
	prometheus_count(&page.p, 1);
	prometheus_count(&page.p, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(page.text.ptr,
	    "weir_limit_decisions_total{policy=\"a\\\"b\\\\c\\nd\",result=\"allowed\"} 1\n"
	    "weir_limit_decisions_total 2\n"));
	strbuf_free(&page.text);
}

static void
a_label_too_long_is_cut_and_still_closed(void)
{
	char value[2 * PROMETHEUS_LABELS_BYTES];
	struct page page;

	memset(value, '"', sizeof value);
	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_LIMIT_DECISIONS);
	prometheus_label(&page.p, "policy", (struct slice){ value, sizeof value });
	prometheus_count(&page.p, 1);
	strbuf_add_char(&page.text, '\0');
	CU_ASSERT_PTR_NOT_NULL(strstr(page.text.ptr, "\\\"\"} 1\n"));
	strbuf_free(&page.text);
}

static uint64_t
edge_us(size_t edge)
{
	return (uint64_t)1024 << edge;
}

static bool
exemplar_of_the_second(const void *ctx, size_t edge, struct prometheus_exemplar *out)
{
	(void)ctx;
	*out = (struct prometheus_exemplar){ .trace_id = "0123456789abcdef0123456789abcdef",
		.took_ns = 1500000,
		.wall_us = 1700000000123456 };
	return edge == 1;
}

static void
a_histogram_is_cumulative_and_shows_exemplars_in_openmetrics_only(void)
{
	struct histogram h = { .sum_ns = 0 };
	struct histogram_view v = { .count = 0 };
	struct page page;

	histogram_record(&h, 1024000);
	histogram_record(&h, 1500000);
	histogram_record(&h, 9000000);
	histogram_add(&h, &v);
	page_open(&page, PROMETHEUS_OPENMETRICS);
	prometheus_family(&page.p, FAMILY_REQUEST_SECONDS);
	prometheus_label(&page.p, "endpoint", SLICE("country"));
	prometheus_histogram(&page.p, &v, edge_us, 2, exemplar_of_the_second, NULL);
	strbuf_add_char(&page.text, '\0');
	CU_ASSERT_PTR_NOT_NULL(strstr(page.text.ptr,
	    "weir_request_duration_seconds_bucket{endpoint=\"country\",le=\"0.001024\"} 1\n"
	    "weir_request_duration_seconds_bucket{endpoint=\"country\",le=\"0.002048\"} 2"
	    " # {trace_id=\"0123456789abcdef0123456789abcdef\"} 0.0015 1700000000.123\n"
	    "weir_request_duration_seconds_bucket{endpoint=\"country\",le=\"+Inf\"} 3\n"
	    "weir_request_duration_seconds_count{endpoint=\"country\"} 3\n"
	    "weir_request_duration_seconds_sum{endpoint=\"country\"} 0.011524\n"));
	strbuf_free(&page.text);
	page_open(&page, PROMETHEUS_TEXT);
	prometheus_family(&page.p, FAMILY_REQUEST_SECONDS);
	prometheus_histogram(&page.p, &v, edge_us, 2, exemplar_of_the_second, NULL);
	strbuf_add_char(&page.text, '\0');
	CU_ASSERT_PTR_NULL(strstr(page.text.ptr, "trace_id"));
	strbuf_free(&page.text);
}

UNIT_SUITE(prometheus, TEST(a_counter_keeps_its_whole_name_in_text),
    TEST(in_openmetrics_its_family_has_no_total_and_the_text_an_end),
    TEST(an_info_is_one_only_in_openmetrics), TEST(a_unit_is_told_when_it_ends_the_name),
    TEST(a_family_without_samples_is_left_out),
    TEST(label_values_are_escaped_and_end_with_their_sample),
    TEST(a_label_too_long_is_cut_and_still_closed),
    TEST(a_histogram_is_cumulative_and_shows_exemplars_in_openmetrics_only));
