/* Goal: what is stale or will end soon is made anew behind a reply, once, and what came meanwhile is not. */
#include <string.h>

#include "base/clock.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"

static const char *const files[] = {
	"-- GET /soon\n-- cache: 1s, stale 10m, if-error 1d\nSELECT 1 AS v;\n",
};

static struct house h;
static struct visit v;

static void
open_house(void)
{
	house_open(&h, files, sizeof files / sizeof *files);
}

static void
go(struct visit *visit, const char *method, const char *uri)
{
	visit_begin(visit, &h, method, uri);
	visit_run(visit);
}

/* The copy is stored again as it would have been then, by a query of that cost. */
static void
store_copy(const char *uri, int64_t then_ms, uint32_t cost_us)
{
	struct cache_hit hit;
	struct cache_fill fill;
	uint32_t evicted;

	go(&v, "GET", uri);
	cache_purge_all(&h.cache, 0);
	CU_ASSERT_TRUE_FATAL(cache_lead(&h.cache, v.x.key, then_ms, 1000, &fill));
	fill.cost_us = cost_us;
	(void)cache_begin(&h.cache, &fill, v.x.endpoint, v.x.values, then_ms, 0, &v.x.arena, &hit);
	CU_ASSERT_EQUAL_FATAL(cache_fill_land(&h.cache, &fill, &v.x.endpoint->cache, v.x.block, 0,
				  then_ms, 0, &evicted),
	    ERR_OK);
	visit_end(&v);
}

static void
store_copy_of_two_seconds_ago(const char *uri)
{
	store_copy(uri, clock_mono_ms() - 2000, 0);
}

static void
test_a_stale_copy_is_answered_and_refreshed_behind_the_reply(void)
{
	struct exchange behind;

	open_house();
	store_copy_of_two_seconds_ago("/soon");
	fake_read.json = "2";
	visit_begin(&v, &h, "GET", "/soon");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":1}"));
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&v, "Cache-Status"), "detail=stale"));
	CU_ASSERT_TRUE(v.x.refresh);
	exchange_init(&behind, &h.env);
	CU_ASSERT_TRUE_FATAL(pipeline_refresh(&v.x, &behind));
	visit_end(&v); /* the refresh must not need what it was made from */
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_LANE), PIPELINE_DONE);
	exchange_clear(&behind);
	go(&v, "GET", "/soon");
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":2}"));
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&v, "Cache-Status"), "detail=l1"));
	CU_ASSERT_EQUAL(fake_read.queries, 2);
	visit_end(&v);
	house_close(&h);
}

/* A copy that is so dear that nearly every hit wants it made anew; ${behind} will. */
static void
begin_early_refresh(struct exchange *behind)
{
	open_house();
	store_copy("/soon", clock_mono_ms(), UINT32_MAX);
	for (int i = 0; i < 20; i++) {
		visit_begin(&v, &h, "GET", "/soon");
		visit_run(&v);
		if (v.x.refresh)
			break;
		visit_end(&v);
	}
	CU_ASSERT_TRUE_FATAL(v.x.refresh);
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&v, "Cache-Status"), "detail=l1"));
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":1}"));
	exchange_init(behind, &h.env);
	CU_ASSERT_TRUE_FATAL(pipeline_refresh(&v.x, behind));
	visit_end(&v);
}

static void
test_what_will_end_soon_is_made_anew_behind_a_fresh_reply(void)
{
	struct exchange behind;

	begin_early_refresh(&behind);
	fake_read.json = "2";
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_LANE), PIPELINE_DONE);
	exchange_clear(&behind);
	go(&v, "GET", "/soon");
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":2}"));
	CU_ASSERT_FALSE(v.x.refresh); /* this one was made in no time */
	visit_end(&v);
	CU_ASSERT_EQUAL(fake_read.queries, 2);
	CU_ASSERT_EQUAL(scoreboard_total(h.env.scoreboard, METRIC_CACHE_REFRESHES_EARLY), 1);
	house_close(&h);
}

static void
test_an_early_refresh_that_comes_too_late_queries_nothing(void)
{
	struct exchange behind;
	struct cache_fill fill = { 0 };
	struct l1_tags tags;
	uint32_t evicted;

	begin_early_refresh(&behind);
	/* Another process has just made it anew. */
	l1_tags_read(h.cache.l1, NULL, 0, &tags);
	fill.key = behind.key;
	fill.tags = tags;
	CU_ASSERT_EQUAL(cache_fill_land(&h.cache, &fill, &behind.endpoint->cache,
			    SLICE("whatever it is"), 0, clock_mono_ms() + 1, 0, &evicted),
	    ERR_OK);
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_LANE), PIPELINE_DONE);
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	exchange_clear(&behind);
	house_close(&h);
}

static void
test_only_one_refreshes(void)
{
	struct exchange a, b;

	open_house();
	store_copy_of_two_seconds_ago("/soon");
	go(&v, "GET", "/soon");
	exchange_init(&a, &h.env);
	exchange_init(&b, &h.env);
	CU_ASSERT_TRUE(pipeline_refresh(&v.x, &a));
	CU_ASSERT_FALSE(pipeline_refresh(&v.x, &b));
	exchange_clear(&a);
	exchange_clear(&b);
	visit_end(&v);
	house_close(&h);
}

UNIT_SUITE(early_refresh, TEST(test_a_stale_copy_is_answered_and_refreshed_behind_the_reply),
    TEST(test_what_will_end_soon_is_made_anew_behind_a_fresh_reply),
    TEST(test_an_early_refresh_that_comes_too_late_queries_nothing), TEST(test_only_one_refreshes));
