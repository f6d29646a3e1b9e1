/*
 * Goal: the order of the steps, what each may answer, and that a read is queried once however many ask.
 * No socket, no database: see house.h.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/catalog.h"
#include "service/web_root.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"

/* One file each; the lines of one are put together in parentheses, or clang suspects a missing comma. */
static const char *const files[] = {
	("-- GET /cached/:id\n"
	 "-- param id: integer, min 1\n"
	 "-- returns: one\n"
	 "-- cache: 1h, stale 10m, if-error 1d\n"
	 "-- tags: things, thing-:id\n"
	 "SELECT :id AS v;\n"),
	"-- GET /plain\nSELECT 1 AS v;\n",
	"-- GET /tight\n-- limit: 1/h\nSELECT 1 AS v;\n",
	"-- GET /mine\n-- auth: required\n-- cache: 1h\nSELECT :tenant AS v;\n",
	("-- POST /things\n"
	 "-- body name: text, max 8\n"
	 "-- limit: 1/h\n"
	 "INSERT INTO t (k, n) VALUES (:idempotency_key, :name);\n"),
	"-- POST /free\n-- idempotency: optional\nINSERT INTO t (k) VALUES (:event_id);\n",
	("-- GET /varied\n-- auth: optional\n-- cache: 1h\n-- vary: header Accept-Language, header "
	 "X-Kind\n"
	 "SELECT 1 AS v;\n"),
};

static struct house h;
static struct visit v, w;

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

static void
expect(const char *method, const char *uri, int status)
{
	go(&v, method, uri);
	CU_ASSERT_EQUAL(v.x.response.status, status);
	visit_end(&v);
}

static int
queries_of_varied(const char *language, const char *kind)
{
	const int before = fake_read.queries;

	visit_begin(&v, &h, "GET", "/varied");
	if (language != NULL)
		visit_param(&v, "HTTP_ACCEPT_LANGUAGE", language);
	if (kind != NULL)
		visit_param(&v, "HTTP_X_KIND", kind);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_STRING_EQUAL(
	    visit_header(&v, "Vary"), "Authorization, X-API-Key, Accept-Language, X-Kind");
	visit_end(&v);
	return fake_read.queries - before;
}

static void
test_each_value_of_a_vary_header_has_a_copy_of_its_own(void)
{
	char huge[240];

	open_house();
	CU_ASSERT_EQUAL(queries_of_varied("de", NULL), 1);
	CU_ASSERT_EQUAL(queries_of_varied("de", NULL), 0);
	CU_ASSERT_EQUAL(queries_of_varied(" de ", ""), 0); /* blanks, and empty: the same */
	CU_ASSERT_EQUAL(queries_of_varied("en", NULL), 1);
	CU_ASSERT_EQUAL(queries_of_varied(NULL, "de"), 1);
	CU_ASSERT_EQUAL(queries_of_varied(NULL, NULL), 1);
	CU_ASSERT_EQUAL(queries_of_varied(NULL, NULL), 0);
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	visit_begin(&v, &h, "GET", "/varied");
	visit_param(&v, "HTTP_X_KIND", huge);
	visit_param(&v, "HTTP_X_KIND", huge); /* two lines, joined: over the bound */
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.key.len, 0);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	visit_end(&v);
	house_close(&h);
}

static void
test_a_second_read_is_a_hit(void)
{
	open_house();
	go(&v, "GET", "/cached/7");
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Status"), "weir; fwd=uri-miss; stored");
	CU_ASSERT_EQUAL(w.x.response.status, 200);
	/* 3599 once a millisecond has gone by. */
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&w, "Cache-Status"), "weir; hit; ttl=3"));
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&w, "Cache-Status"), "; detail=l1"));
	CU_ASSERT_STRING_EQUAL(visit_header(&w, "Age"), "0");
	CU_ASSERT_STRING_EQUAL(visit_header(&w, "Cache-Control"),
	    "public, max-age=3600, stale-while-revalidate=600, stale-if-error=86400");
	CU_ASSERT_TRUE(slice_eq_cstr(w.x.response.body, "{\"v\":1}"));
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_the_clients_own_copy_is_answered_304(void)
{
	char etag[64];

	open_house();
	go(&v, "GET", "/cached/7");
	(void)strcpy(etag, visit_header(&v, "ETag"));
	visit_end(&v);
	visit_begin(&v, &h, "GET", "/cached/7");
	visit_param(&v, "HTTP_IF_NONE_MATCH", etag);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 304);
	CU_ASSERT_EQUAL(v.x.response.body.len, 0);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "ETag"), etag);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Control"),
	    "public, max-age=3600, stale-while-revalidate=600, stale-if-error=86400");
	visit_end(&v);
	house_close(&h);
}

static void
test_what_is_not_cached_is_asked_every_time(void)
{
	open_house();
	expect("GET", "/plain", 200);
	go(&v, "GET", "/plain");
	CU_ASSERT_EQUAL(fake_read.queries, 2);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Status"), "weir; fwd=bypass");
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Control"), "public, no-cache");
	visit_end(&v);
	house_close(&h);
}

static void
test_who_misses_what_is_being_fetched_waits_and_is_answered_from_the_fill(void)
{
	enum pipeline_result r;

	open_house();
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL(w.result, PIPELINE_PARKED);
	CU_ASSERT_EQUAL(w.x.wait, EXCHANGE_WAITS_FLIGHT);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_LANE), PIPELINE_DONE);
	CU_ASSERT_EQUAL(h.rung, 1);
	r = pipeline_run(&w.x, PIPELINE_ON_REACTOR);
	CU_ASSERT_EQUAL(r, PIPELINE_DONE);
	CU_ASSERT_STRING_EQUAL(
	    visit_header(&w, "Cache-Status"), "weir; fwd=uri-miss; collapsed; detail=collapsed");
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_a_failed_fill_fails_the_waiters_and_is_not_stored(void)
{
	open_house();
	fake_read = (struct fake_read){ .json = NULL, .status = 503, .failure = ERR_UNAVAILABLE };
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL(w.result, PIPELINE_PARKED);
	visit_run(&v);
	visit_run(&w);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_EQUAL(w.x.response.status, 503);
	CU_ASSERT_STRING_NOT_EQUAL(visit_header(&w, "Retry-After"), "");
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	visit_end(&w);
	fake_read.json = "2";
	expect("GET", "/cached/7", 200);
	house_close(&h);
}

static void
test_a_waiter_takes_over_from_a_dead_leader(void)
{
	open_house();
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(
	    pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING); /* and never comes back */
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL(w.result, PIPELINE_PARKED);
	pipeline_leader_died(&w.x);
	visit_run(&w);
	CU_ASSERT_EQUAL(w.x.response.status, 200);
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&w);
	visit_end(&v);
	house_close(&h);
}

static void
purge_things(void *ctx)
{
	(void)ctx;
	cache_purge_tag(&h.cache, SLICE("thing-7"));
}

static void
test_a_purge_during_the_query_keeps_nothing_old(void)
{
	open_house();
	fake_read.meanwhile = purge_things;
	go(&v, "GET", "/cached/7");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Status"), "weir; fwd=uri-miss");
	visit_end(&v);
	fake_read.meanwhile = NULL;
	fake_read.json = "2";
	go(&v, "GET", "/cached/7");
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":2}"));
	visit_end(&v);
	house_close(&h);
}

static void
test_tenants_never_share_a_copy(void)
{
	open_house();
	visit_begin(&v, &h, "GET", "/mine");
	visit_param(&v, "TENANT_ID", "a");
	visit_run(&v);
	fake_read.json = "2";
	visit_begin(&w, &h, "GET", "/mine");
	visit_param(&w, "TENANT_ID", "b");
	visit_run(&w);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":1}") ||
		       slice_eq_cstr(v.x.response.body, "[{\"v\":1}]"));
	CU_ASSERT_FALSE(slice_eq(v.x.response.body, w.x.response.body));
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&v, "Cache-Control"), "private"));
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Vary"), "Authorization, X-API-Key");
	CU_ASSERT_EQUAL(fake_read.queries, 2);
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_auth_required_without_a_tenant_is_401(void)
{
	open_house();
	go(&v, "GET", "/mine");
	CU_ASSERT_EQUAL(v.x.response.status, 401);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "WWW-Authenticate"), "Bearer realm=\"weir\"");
	CU_ASSERT_EQUAL(fake_read.queries, 0);
	visit_end(&v);
	house_close(&h);
}

static void
test_the_quota_is_charged_only_for_what_is_well_formed(void)
{
	open_house();
	/* A bad key is refused after the limit, bad parameters before it. */
	visit_begin(&v, &h, "POST", "/things");
	visit_param(&v, "CONTENT_TYPE", "application/json");
	v.body = SLICE("{\"name\":\"much too long\"}");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 400);
	visit_end(&v);
	expect("GET", "/tight", 200);
	go(&v, "GET", "/tight");
	CU_ASSERT_EQUAL(v.x.response.status, 429);
	CU_ASSERT_STRING_NOT_EQUAL(visit_header(&v, "Retry-After"), "");
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "X-RateLimit-Remaining"), "0");
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	house_close(&h);
}

static void
write_something(struct visit *visit, const char *uri, const char *key, struct slice body)
{
	visit_begin(visit, &h, "POST", uri);
	visit_param(visit, "CONTENT_TYPE", "application/json");
	if (key != NULL)
		visit_param(visit, "HTTP_IDEMPOTENCY_KEY", key);
	visit->body = body;
	visit_run(visit);
}

static void
test_a_write_parks_with_its_event_and_answers_when_it_is_done(void)
{
	open_house();
	write_something(&v, "/things", "\"abc\"", SLICE("{\"name\":\"x\"}"));
	CU_ASSERT_EQUAL(v.result, PIPELINE_PARKED);
	CU_ASSERT_EQUAL(v.x.wait, EXCHANGE_WAITS_QUEUE);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.event.key, "abc"));
	CU_ASSERT_TRUE(v.x.item.record.len > 0);
	v.x.item.outcome = QUEUE_ACCEPTED;
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 202);
	CU_ASSERT_EQUAL(scoreboard_total(h.memory[0], METRIC_WRITES_ACCEPTED), 1);
	visit_end(&v);
	house_close(&h);
}

static void
test_a_write_without_its_key_is_400_unless_optional(void)
{
	open_house();
	write_something(&v, "/things", NULL, SLICE("{\"name\":\"x\"}"));
	CU_ASSERT_EQUAL(v.x.response.status, 400);
	visit_end(&v);
	write_something(&v, "/free", NULL, SLICE(""));
	CU_ASSERT_EQUAL(v.result, PIPELINE_PARKED);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.event.key, "0123456789abcdef"));
	visit_end(&v);
	house_close(&h);
}

static void
test_paths_and_methods_are_told_apart(void)
{
	open_house();
	expect("GET", "/nowhere", 404);
	expect("GET", "/cached/0", 400);
	expect("GET", "/cached/x%zz", 400);
	expect("GET", "/plain/", 400);
	go(&v, "DELETE", "/plain");
	CU_ASSERT_EQUAL(v.x.response.status, 405);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Allow"), "GET, HEAD, OPTIONS");
	visit_end(&v);
	go(&v, "BREW", "/plain");
	CU_ASSERT_EQUAL(v.x.response.status, 405);
	visit_end(&v);
	go(&v, "OPTIONS", "/things");
	CU_ASSERT_EQUAL(v.x.response.status, 204);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Allow"), "OPTIONS, POST");
	visit_end(&v);
	go(&v, "HEAD", "/plain");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_TRUE(v.x.response.head_only);
	CU_ASSERT_TRUE(v.x.response.body.len > 0); /* its length is told */
	visit_end(&v);
	house_close(&h);
}

static void
test_a_base_path_is_taken_off_and_only_there(void)
{
	open_house();
	h.env.base_path = SLICE("/app");
	expect("GET", "/app/plain", 200);
	expect("GET", "/plain", 404);
	expect("GET", "/application/plain", 404);
	h.env.base_path = (struct slice){ 0 };
	visit_begin(&v, &h, "GET", "/app/plain");
	visit_param(&v, "SCRIPT_NAME", "/app/weir.fcgi");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	visit_end(&v);
	/* Where no rewriting is to be had, and where a front server gave weir a prefix. */
	for (int i = 0; i < 2; i++) {
		visit_begin(&v, &h, "GET", i == 0 ? "/app/weir.fcgi/plain" : "/app/plain");
		visit_param(&v, "SCRIPT_NAME", i == 0 ? "/app/weir.fcgi" : "/app");
		visit_run(&v);
		CU_ASSERT_EQUAL(v.x.response.status, 200);
		CU_ASSERT_TRUE(slice_eq_cstr(v.x.base_path, i == 0 ? "/app/weir.fcgi" : "/app"));
		visit_end(&v);
	}
	visit_begin(&v, &h, "GET", "/app/weir.fcgi");
	visit_param(&v, "SCRIPT_NAME", "/app/weir.fcgi");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 404);
	visit_end(&v);
	/* nginx's usual parameters name the whole path as the script. */
	visit_begin(&v, &h, "GET", "/plain");
	visit_param(&v, "SCRIPT_NAME", "/plain");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	visit_end(&v);
	house_close(&h);
}

static void
test_nothing_is_answered_while_our_files_lie_open(void)
{
	const struct web_root_part part = { unit_dir(), "the state folder" };
	struct web_root *web = NULL;

	open_house();
	CU_ASSERT_EQUAL_FATAL(web_root_open(&part, 1, &web), ERR_OK);
	h.env.web_root = web;
	expect("GET", "/plain", 200); /* the front names no root */
	visit_begin(&v, &h, "GET", "/plain");
	visit_param(&v, "DOCUMENT_ROOT", "/");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	visit_end(&v);
	h.env.web_root = NULL;
	web_root_close(&web);
	house_close(&h);
}

static void
test_bodies_are_measured(void)
{
	static char much[1100];

	memset(much, ' ', sizeof much);
	open_house();
	write_something(&v, "/things", "k", (struct slice){ much, sizeof much });
	CU_ASSERT_EQUAL(v.x.response.status, 413);
	visit_end(&v);
	visit_begin(&v, &h, "POST", "/things");
	visit_param(&v, "CONTENT_TYPE", "application/json");
	visit_param(&v, "CONTENT_LENGTH", "50");
	v.body = SLICE("{\"name\":\"x\"}");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 400);
	visit_end(&v);
	visit_begin(&v, &h, "POST", "/things");
	visit_param(&v, "CONTENT_TYPE", "text/plain");
	v.body = SLICE("{\"name\":\"x\"}");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 415);
	visit_end(&v);
	house_close(&h);
}

/* A front server that is cut off while it sends takes that for a failure. */
static void
expect_body_dropped_first(const char *method, const char *uri, int status)
{
	visit_begin(&v, &h, method, uri);
	v.x.body_is_large = true;
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BODY);
	CU_ASSERT_EQUAL(v.bodies_read, 0);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_LANE), PIPELINE_DONE);
	CU_ASSERT_EQUAL(v.bodies_read, 1);
	CU_ASSERT_EQUAL(v.x.response.status, status);
	visit_end(&v);
}

static void
test_an_answer_before_a_large_body_was_read_waits_until_it_is_dropped(void)
{
	open_house();
	expect_body_dropped_first("POST", "/nowhere", 404);
	expect_body_dropped_first("POST", "/plain", 405);
	expect_body_dropped_first("POST", "/things/x%zz", 400);
	expect_body_dropped_first("OPTIONS", "/things", 204);
	atomic_store(&h.in_hand, 101);
	expect_body_dropped_first("POST", "/things", 503);
	house_close(&h);
}

static void
test_without_a_lane_an_answer_that_is_there_stays(void)
{
	open_house();
	visit_begin(&v, &h, "POST", "/nowhere");
	v.x.body_is_large = true;
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BODY);
	pipeline_shed(&v.x, SHED_QUEUE_FULL);
	CU_ASSERT_EQUAL(v.x.response.status, 404);
	CU_ASSERT_STRING_NOT_EQUAL(visit_header(&v, "X-Request-Id"), "");
	visit_end(&v);
	visit_begin(&v, &h, "POST", "/things");
	v.x.body_is_large = true;
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BODY);
	pipeline_shed(&v.x, SHED_QUEUE_FULL);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_TRUE(atoi(visit_header(&v, "Retry-After")) >= 1);
	visit_end(&v);
	house_close(&h);
}

static void
test_a_body_without_end_is_413(void)
{
	open_house();
	visit_begin(&v, &h, "POST", "/things");
	v.x.body_is_large = true;
	v.body_rc = ERR_TOO_LARGE;
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 413);
	visit_end(&v);
	house_close(&h);
}

/* The time that a body took on its way is not the queue's. */
static void
test_a_write_has_its_whole_timeout_after_a_slow_body(void)
{
	const int64_t now_ms = clock_mono_ms();

	open_house();
	visit_begin(&v, &h, "POST", "/things");
	visit_param(&v, "CONTENT_TYPE", "application/json");
	visit_param(&v, "HTTP_IDEMPOTENCY_KEY", "k");
	v.body = SLICE("{\"name\":\"x\"}");
	v.body_took_ms = 5000;
	visit_run(&v);
	CU_ASSERT_EQUAL(v.result, PIPELINE_PARKED);
	CU_ASSERT_TRUE(v.x.deadline_ms >= now_ms + 1000);
	visit_end(&v);
	house_close(&h);
}

/* The next step needs a lane; the front closes while it waits for one. */
static void
leave_before_the_lane(struct visit *visit, const char *uri)
{
	visit_begin(visit, &h, "GET", uri);
	CU_ASSERT_EQUAL(pipeline_run(&visit->x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	atomic_store(&visit->x.gone, true);
	CU_ASSERT_EQUAL(pipeline_run(&visit->x, PIPELINE_ON_LANE), PIPELINE_DONE);
	pipeline_finish(&visit->x);
}

/* Of all endpoints: answers of that hundred. */
static uint64_t
answered(const struct house *house, int hundreds)
{
	struct endpoint_view sum = { .requests = 0 }, view;

	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++)
		if (endpoint_stats_view(house->memory[5], row, &view))
			endpoint_view_add(&sum, &view);
	return endpoint_view_class(&sum, hundreds);
}

static void
test_an_answer_is_counted_once_by_its_status_and_where_it_came_from(void)
{
	struct endpoint_view view = { .requests = 0 };
	uint64_t from_l1 = 0, from_database = 0, timed = 0;

	open_house();
	go(&v, "GET", "/cached/7");
	pipeline_finish(&v.x);
	visit_end(&v);
	go(&v, "GET", "/cached/7");
	pipeline_finish(&v.x);
	visit_end(&v);
	go(&v, "GET", "/nobody/knows");
	pipeline_finish(&v.x);
	visit_end(&v);
	CU_ASSERT_EQUAL(answered(&h, 2), 2);
	CU_ASSERT_EQUAL(answered(&h, 4), 1);
	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if (!endpoint_stats_view(h.memory[5], row, &view))
			continue;
		from_l1 += view.served[SERVED_L1];
		from_database += view.served[SERVED_DATABASE];
		timed += view.took.count;
	}
	CU_ASSERT_EQUAL(from_l1, 1);
	CU_ASSERT_EQUAL(from_database, 1);
	CU_ASSERT_EQUAL(timed, 3);
	house_close(&h);
}

static void
test_nobody_queries_for_a_front_that_is_gone(void)
{
	open_house();
	leave_before_the_lane(&v, "/plain");
	CU_ASSERT_EQUAL(fake_read.queries, 0);
	CU_ASSERT_EQUAL(scoreboard_total(h.memory[0], METRIC_ABANDONED), 1);
	CU_ASSERT_EQUAL(scoreboard_total(h.memory[0], METRIC_REQUESTS), 1);
	visit_end(&v);
	house_close(&h);
}

static void
test_a_leader_whose_front_is_gone_still_queries_for_the_others(void)
{
	open_house();
	leave_before_the_lane(&v, "/cached/7");
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_PTR_NOT_NULL(strstr(visit_header(&w, "Cache-Status"), "detail=l1"));
	visit_end(&w);
	house_close(&h);
}

static void
test_who_waits_has_news_when_its_flight_lands_or_is_lost_and_only_then(void)
{
	int64_t lease_ms;

	open_house();
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL_FATAL(w.result, PIPELINE_PARKED);
	lease_ms = w.x.fill.ticket.deadline_ms;
	CU_ASSERT_FALSE(pipeline_has_news(&w.x, lease_ms - 1));
	CU_ASSERT_TRUE(pipeline_has_news(&w.x, lease_ms));
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_LANE), PIPELINE_DONE);
	CU_ASSERT_TRUE(pipeline_has_news(&w.x, lease_ms - 1));
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_who_waits_for_a_dead_leader_has_news(void)
{
	open_house();
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_FALSE(pipeline_has_news(&w.x, clock_mono_ms()));
	pipeline_leader_died(&w.x);
	CU_ASSERT_TRUE(pipeline_has_news(&w.x, clock_mono_ms()));
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_who_waits_for_a_leader_that_was_shed_is_shed_too(void)
{
	open_house();
	visit_begin(&v, &h, "GET", "/cached/7");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	go(&w, "GET", "/cached/7");
	CU_ASSERT_EQUAL_FATAL(w.result, PIPELINE_PARKED);
	pipeline_shed(&v.x, SHED_CONCURRENCY);
	CU_ASSERT_EQUAL(pipeline_run(&w.x, PIPELINE_ON_REACTOR), PIPELINE_DONE);
	CU_ASSERT_EQUAL(w.x.response.status, 503);
	CU_ASSERT_EQUAL(w.x.shed, SHED_CONCURRENCY);
	CU_ASSERT_TRUE(atoi(visit_header(&w, "Retry-After")) >= 1);
	CU_ASSERT_EQUAL(fake_read.queries, 0);
	visit_end(&v);
	visit_end(&w);
	house_close(&h);
}

static void
test_too_many_in_hand_are_shed(void)
{
	open_house();
	atomic_store(&h.in_hand, 101);
	go(&v, "GET", "/plain");
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_TRUE(atoi(visit_header(&v, "Retry-After")) >= 1);
	CU_ASSERT_EQUAL(fake_read.queries, 0);
	visit_end(&v);
	house_close(&h);
}

static void
test_fields_are_cut_from_the_copy_and_unknown_ones_are_named(void)
{
	open_house();
	go(&v, "GET", "/cached/7?fields=v");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.response.body, "{\"v\":1}"));
	visit_end(&v);
	go(&v, "GET", "/cached/7?fields=v,nothing");
	CU_ASSERT_EQUAL(v.x.response.status, 400);
	CU_ASSERT_PTR_NOT_NULL(memmem(v.x.response.body.ptr, v.x.response.body.len, "[\"v\"]", 5));
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	visit_end(&v);
	house_close(&h);
}

UNIT_SUITE(pipeline, TEST(test_a_second_read_is_a_hit),
    TEST(test_each_value_of_a_vary_header_has_a_copy_of_its_own),
    TEST(test_the_clients_own_copy_is_answered_304),
    TEST(test_what_is_not_cached_is_asked_every_time),
    TEST(test_who_misses_what_is_being_fetched_waits_and_is_answered_from_the_fill),
    TEST(test_a_failed_fill_fails_the_waiters_and_is_not_stored),
    TEST(test_a_waiter_takes_over_from_a_dead_leader),
    TEST(test_a_purge_during_the_query_keeps_nothing_old), TEST(test_tenants_never_share_a_copy),
    TEST(test_auth_required_without_a_tenant_is_401),
    TEST(test_the_quota_is_charged_only_for_what_is_well_formed),
    TEST(test_a_write_parks_with_its_event_and_answers_when_it_is_done),
    TEST(test_a_write_without_its_key_is_400_unless_optional),
    TEST(test_paths_and_methods_are_told_apart), TEST(test_a_base_path_is_taken_off_and_only_there),
    TEST(test_nothing_is_answered_while_our_files_lie_open), TEST(test_bodies_are_measured),
    TEST(test_an_answer_before_a_large_body_was_read_waits_until_it_is_dropped),
    TEST(test_without_a_lane_an_answer_that_is_there_stays), TEST(test_a_body_without_end_is_413),
    TEST(test_a_write_has_its_whole_timeout_after_a_slow_body),
    TEST(test_an_answer_is_counted_once_by_its_status_and_where_it_came_from),
    TEST(test_nobody_queries_for_a_front_that_is_gone),
    TEST(test_a_leader_whose_front_is_gone_still_queries_for_the_others),
    TEST(test_who_waits_has_news_when_its_flight_lands_or_is_lost_and_only_then),
    TEST(test_who_waits_for_a_dead_leader_has_news),
    TEST(test_who_waits_for_a_leader_that_was_shed_is_shed_too),
    TEST(test_too_many_in_hand_are_shed),
    TEST(test_fields_are_cut_from_the_copy_and_unknown_ones_are_named));
