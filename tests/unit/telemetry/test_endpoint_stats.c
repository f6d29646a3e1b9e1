/*
 * Goal: what an endpoint answers is counted under its name, whoever dies, and the last seconds are known.
 */
#include "telemetry/endpoint_stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/support/unit.h"

enum { MS = 1000000, START_MS = 5000000, WORKERS = 4, EACH = 2000 };

static struct endpoint_stats *
stats_open(void)
{
	void *p = mmap(
	    NULL, endpoint_stats_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	endpoint_stats_init(p, START_MS);
	return p;
}

static void
stats_close(struct endpoint_stats *e)
{
	(void)munmap(e, endpoint_stats_size());
}

static struct endpoint_sample
sample(const char *name, int status, int64_t took_ns)
{
	return (struct endpoint_sample){ .key = name == NULL ? 0 : hash64(0, name, strlen(name)),
		.name = name == NULL ? SLICE("") : slice_of(name),
		.class = ENDPOINT_NORMAL,
		.status = status,
		.served = SERVED_L1,
		.took_ns = took_ns };
}

static void
record(struct endpoint_stats *e, unsigned member, const char *name, int status, int64_t took_ns)
{
	const struct endpoint_sample s = sample(name, status, took_ns);

	endpoint_stats_record(e, member, &s);
}

/* False: no row has that name. */
static bool
find(const struct endpoint_stats *e, const char *name, struct endpoint_view *out, uint32_t *row_out)
{
	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if (endpoint_stats_view(e, row, out) && strcmp(out->name, name) == 0) {
			*row_out = row;
			return true;
		}
	}
	return false;
}

static void
an_answer_is_counted_under_its_endpoint_and_status(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	uint32_t row = 0;

	record(e, 2, "country", 200, MS);
	record(e, 3, "country", 304, MS);
	record(e, 3, "country", 503, 9 * MS);
	record(e, 3, "country", 218, MS);
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_EQUAL(v.requests, 4);
	CU_ASSERT_EQUAL(v.took.count, 4);
	CU_ASSERT_EQUAL(v.served[SERVED_L1], 4);
	CU_ASSERT_EQUAL(endpoint_view_class(&v, 2), 2);
	CU_ASSERT_EQUAL(endpoint_view_class(&v, 5), 1);
	CU_ASSERT_EQUAL(v.codes[ENDPOINT_CODES - 1], 1);
	stats_close(e);
}

static void
what_reached_no_endpoint_is_none_and_nobody_left_to_answer_is_499(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;

	record(e, 2, NULL, 404, MS);
	record(e, 2, NULL, 0, MS);
	CU_ASSERT_TRUE_FATAL(endpoint_stats_view(e, ENDPOINT_ROW_NONE, &v));
	CU_ASSERT_STRING_EQUAL(v.name, "none");
	CU_ASSERT_EQUAL(v.requests, 2);
	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		CU_ASSERT_EQUAL(
		    v.codes[i], (uint64_t)(endpoint_codes[i] == 404 || endpoint_codes[i] == 499));
	stats_close(e);
}

static void
beyond_the_bound_all_are_other(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	uint64_t named = 0;
	char name[32];

	for (int i = 0; i < NAMES_ROWS + 20; i++) {
		(void)snprintf(name, sizeof name, "endpoint-%d", i);
		record(e, 2, name, 200, MS);
	}
	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		if (endpoint_stats_view(e, row, &v))
			named += v.requests;
	CU_ASSERT_EQUAL(named, NAMES_ROWS);
	CU_ASSERT_TRUE(endpoint_stats_view(e, ENDPOINT_ROW_OTHER, &v));
	CU_ASSERT_EQUAL(v.requests, 20);
	stats_close(e);
}

/* Two rows of one name would be two samples with the same labels, which no scraper takes. */
static void
files_called_none_and_other_share_those_rows(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	uint32_t row = 0;

	record(e, 2, "other", 200, MS);
	record(e, 2, "none", 200, MS);
	CU_ASSERT_TRUE(find(e, "other", &v, &row) && row == ENDPOINT_ROW_OTHER);
	CU_ASSERT_TRUE(find(e, "none", &v, &row) && row == ENDPOINT_ROW_NONE);
	stats_close(e);
}

static void
a_claimed_endpoint_is_seen_before_its_first_request(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	uint32_t row = 0;

	endpoint_stats_claim(e, hash64(0, "bulky", 5), SLICE("bulky"), ENDPOINT_BULK);
	CU_ASSERT_TRUE_FATAL(find(e, "bulky", &v, &row));
	CU_ASSERT_EQUAL(v.requests, 0);
	CU_ASSERT_EQUAL(v.class, ENDPOINT_BULK);
	stats_close(e);
}

static void
the_last_seconds_are_what_came_after_a_copy(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	int64_t span_ms = 0;
	uint32_t row = 0;

	for (int second = 1; second <= 30; second++) {
		for (int i = 0; i < second; i++)
			record(e, 2, "country", 200, second * MS);
		endpoint_stats_tick(e, START_MS + second * 1000, 1);
		endpoint_stats_tick(e, START_MS + second * 1000 + 400, 1);
	}
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_TRUE(endpoint_stats_recent(e, row, START_MS + 30100, 10, &v, &span_ms));
	CU_ASSERT_EQUAL(span_ms, 10100);
	CU_ASSERT_EQUAL(v.requests, 21 + 22 + 23 + 24 + 25 + 26 + 27 + 28 + 29 + 30);
	CU_ASSERT_EQUAL(v.took.count, v.requests);
	CU_ASSERT_DOUBLE_EQUAL(histogram_quantile_ns(&v.took, 0.99), 30e6, 30e6 / 16);
	CU_ASSERT_STRING_EQUAL(v.name, "country");
	stats_close(e);
}

static void
before_the_first_copy_the_last_seconds_are_all(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	int64_t span_ms = 0;
	uint32_t row = 0;

	record(e, 2, "country", 200, MS);
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_TRUE(endpoint_stats_recent(e, row, START_MS + 500, 10, &v, &span_ms));
	CU_ASSERT_EQUAL(span_ms, 500);
	CU_ASSERT_EQUAL(v.requests, 1);
	stats_close(e);
}

static void
copies_that_nobody_made_are_not_made_up(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	int64_t span_ms = 1;
	uint32_t row = 0;

	record(e, 2, "country", 200, MS);
	endpoint_stats_tick(e, START_MS + 1000, 1);
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_TRUE(endpoint_stats_recent(e, row, START_MS + 90000, 10, &v, &span_ms));
	CU_ASSERT_EQUAL(span_ms, 0);
	CU_ASSERT_EQUAL(v.requests, 0);
	CU_ASSERT_STRING_EQUAL(v.name, "country");
	stats_close(e);
}

static void
a_sampled_request_is_an_exemplar_of_its_bucket(void)
{
	struct endpoint_stats *e = stats_open();
	const uint8_t id[16] = { 1, 2, 3, 15 };
	struct endpoint_sample s = sample("country", 200, 200000);
	struct endpoint_exemplar x;
	struct endpoint_view v;
	uint32_t row = 0;

	s.trace_id = id;
	s.wall_us = 1700000000000000;
	endpoint_stats_record(e, 2, &s);
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_FALSE(endpoint_stats_exemplar(e, row, 0, &x));
	CU_ASSERT_TRUE_FATAL(endpoint_stats_exemplar(e, row, 1, &x));
	CU_ASSERT_EQUAL(memcmp(x.trace_id, id, sizeof id), 0);
	CU_ASSERT_EQUAL(x.took_ns, 200000);
	CU_ASSERT_EQUAL(x.wall_us, s.wall_us);
	stats_close(e);
}

static void
recorders_of_many_processes_lose_nothing_and_killed_ones_nothing_that_was_counted(void)
{
	struct endpoint_stats *e = stats_open();
	struct endpoint_view v;
	uint32_t row = 0;
	pid_t pids[WORKERS];

	for (unsigned w = 0; w < WORKERS; w++) {
		pids[w] = fork();
		if (pids[w] == 0) {
			for (int i = 0; i < EACH; i++) {
				record(e, w, "country", 200, MS);
				endpoint_stats_tick(e, START_MS + i * 10, 1);
			}
			_exit(0);
		}
	}
	for (unsigned w = 0; w < WORKERS; w++)
		CU_ASSERT_EQUAL(waitpid(pids[w], NULL, 0), pids[w]);
	CU_ASSERT_TRUE_FATAL(find(e, "country", &v, &row));
	CU_ASSERT_EQUAL(v.requests, WORKERS * EACH);
	CU_ASSERT_EQUAL(v.took.sum_ns, (uint64_t)WORKERS * EACH * MS);
	stats_close(e);
}

UNIT_SUITE(endpoint_stats, TEST(an_answer_is_counted_under_its_endpoint_and_status),
    TEST(what_reached_no_endpoint_is_none_and_nobody_left_to_answer_is_499),
    TEST(beyond_the_bound_all_are_other), TEST(files_called_none_and_other_share_those_rows),
    TEST(a_claimed_endpoint_is_seen_before_its_first_request),
    TEST(the_last_seconds_are_what_came_after_a_copy),
    TEST(before_the_first_copy_the_last_seconds_are_all),
    TEST(copies_that_nobody_made_are_not_made_up),
    TEST(a_sampled_request_is_an_exemplar_of_its_bucket),
    TEST(recorders_of_many_processes_lose_nothing_and_killed_ones_nothing_that_was_counted));
