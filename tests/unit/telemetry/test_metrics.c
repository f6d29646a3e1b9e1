/*
 * Goal: the table of metrics is one that Prometheus and a person can read, row by row.
 */
#include "telemetry/metrics.h"

#include <string.h>

#include "tests/support/unit.h"

static bool
ends_with(const char *s, const char *end)
{
	const size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

static void
every_family_has_a_name_a_unit_and_a_sentence(void)
{
	for (size_t i = 0; i < FAMILY__COUNT; i++) {
		const struct family_info *f = &family_infos[i];

		CU_ASSERT_PTR_NOT_NULL_FATAL(f->name);
		CU_ASSERT_TRUE(
		    strncmp(f->name, "weir_", 5) == 0 || strncmp(f->name, "process_", 8) == 0);
		CU_ASSERT_TRUE(*f->unit != '\0');
		CU_ASSERT_TRUE(ends_with(f->help, "."));
	}
}

static void
only_counters_end_in_total_and_only_infos_in_info(void)
{
	for (size_t i = 0; i < FAMILY__COUNT; i++) {
		const struct family_info *f = &family_infos[i];

		CU_ASSERT_EQUAL(ends_with(f->name, "_total"), f->type == METRIC_TYPE_COUNTER);
		CU_ASSERT_EQUAL(ends_with(f->name, "_info"), f->type == METRIC_TYPE_INFO);
	}
}

static void
no_two_families_have_one_name(void)
{
	for (size_t i = 0; i < FAMILY__COUNT; i++)
		for (size_t k = i + 1; k < FAMILY__COUNT; k++)
			CU_ASSERT_STRING_NOT_EQUAL(family_infos[i].name, family_infos[k].name);
}

static void
times_and_sizes_are_in_base_units_and_say_so_in_their_names(void)
{
	for (size_t i = 0; i < FAMILY__COUNT; i++) {
		const struct family_info *f = &family_infos[i];
		const bool measured =
		    strcmp(f->unit, "seconds") == 0 || strcmp(f->unit, "bytes") == 0;

		CU_ASSERT_TRUE(!measured || ends_with(f->name, f->unit));
		CU_ASSERT_TRUE(f->type != METRIC_TYPE_HISTOGRAM || measured);
	}
}

static void
every_word_belongs_to_a_counter(void)
{
	for (size_t m = 0; m < METRIC__COUNT; m++)
		CU_ASSERT_EQUAL(family_infos[metric_infos[m].family].type, METRIC_TYPE_COUNTER);
}

static void
a_word_is_named_with_its_labels(void)
{
	struct strbuf b = STRBUF_INIT(256);

	metric_name(METRIC_CACHE_STALE, &b);
	strbuf_add_char(&b, '\0');
	CU_ASSERT_STRING_EQUAL(b.ptr, "weir_cache_requests_total{level=\"l1\",result=\"stale\"}");
	b.len = 0;
	metric_name(METRIC_QUERIES, &b);
	strbuf_add_char(&b, '\0');
	CU_ASSERT_STRING_EQUAL(b.ptr, "weir_queries_total");
	strbuf_free(&b);
}

UNIT_SUITE(metrics, TEST(every_family_has_a_name_a_unit_and_a_sentence),
    TEST(only_counters_end_in_total_and_only_infos_in_info), TEST(no_two_families_have_one_name),
    TEST(times_and_sizes_are_in_base_units_and_say_so_in_their_names),
    TEST(every_word_belongs_to_a_counter), TEST(a_word_is_named_with_its_labels));
