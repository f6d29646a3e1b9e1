/*
 * Goal: an API key says who the tenant is, in every step after it; a bad one is told so, wherever it is sent; what is
 * remembered needs no lane.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "policy/limiter.h"
#include "service/tenant.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"
#include "tests/unit/service/key_house.h"

static const char *const files[] = {
	"-- GET /open\n-- cache: 1h\nSELECT 1 AS v;\n",
	"-- GET /mine\n-- auth: required\n-- cache: 1h\nSELECT :tenant AS v;\n",
	("-- POST /things\n"
	 "-- auth: required\n"
	 "INSERT INTO t (k, t) VALUES (:idempotency_key, :tenant);\n"),
	"-- GET /tight\n-- limit: 1/h by tenant\nSELECT :tenant AS v;\n",
};

static struct house h;
static struct tenants tenants;
static struct visit v, w;

static void
open_house(void)
{
	house_open(&h, files, sizeof files / sizeof *files);
	tenants = (struct tenants){ .shared = aligned_alloc(64, tenant_shared_size()),
		.limiter = h.quota.limiter,
		.seed = 7,
		.ledger = key_house_make("acme") };
	CU_ASSERT_PTR_NOT_NULL_FATAL(tenants.shared);
	tenant_shared_init(tenants.shared, 11);
	h.env.tenants = &tenants;
}

static void
close_house(void)
{
	ledger_close(&tenants.ledger);
	free(tenants.shared);
	house_close(&h);
}

static void
begin(struct visit *visit, const char *method, const char *uri, const char *key)
{
	visit_begin(visit, &h, method, uri);
	if (key != NULL)
		visit_param(visit, "HTTP_X_API_KEY", key);
}

static int
status_of(const char *uri, const char *name, const char *value)
{
	int status;

	begin(&v, "GET", uri, NULL);
	visit_param(&v, name, value);
	visit_run(&v);
	status = v.x.response.status;
	visit_end(&v);
	return status;
}

static const char *
bearer(const char *key)
{
	static char text[API_KEY_TEXT + 10];

	(void)snprintf(text, sizeof text, "Bearer %s", key);
	return text;
}

static const char *
invented(void)
{
	static char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];

	api_key_make(key, id);
	return key;
}

static void
a_key_is_asked_about_on_a_lane_and_then_remembered_on_the_reactor(void)
{
	open_house();
	begin(&v, "GET", "/mine", key_house.key);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_LANE), PIPELINE_INLINE);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.tenant, "acme"));
	begin(&w, "GET", "/mine", key_house.key);
	CU_ASSERT_EQUAL(pipeline_run(&w.x, PIPELINE_ON_REACTOR), PIPELINE_DONE); /* and L1 */
	CU_ASSERT_EQUAL(w.x.response.status, 200);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	visit_end(&v);
	visit_end(&w);
	close_house();
}

/* Asked about some time ago. */
static void
remember_since(int64_t ms)
{
	const int64_t then_ns = clock_mono_ns() - ms * 1000000;
	struct tenant_check c;

	CU_ASSERT_EQUAL(tenant_look(&tenants, (struct slice){ NULL, 0 }, slice_of(key_house.key),
			    SLICE("192.0.2.7"), then_ns, &c),
	    TENANT_ASK);
	CU_ASSERT_EQUAL(tenant_ask(&tenants, then_ns, INT64_MAX, &c), TENANT_KNOWN);
}

static void
a_key_is_asked_about_again_behind_the_reply(void)
{
	open_house();
	CU_ASSERT_EQUAL(
	    status_of("/mine", "TENANT_ID", "acme"), 200); /* a copy for all who follow */
	remember_since(600);
	begin(&v, "GET", "/mine", key_house.key);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_DONE);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_TRUE(v.x.ask_again);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	exchange_init(&w.x, &h.env);
	CU_ASSERT_TRUE(pipeline_ask_again(&v.x, &w.x));
	visit_end(&v); /* whose parameters are gone then */
	memset(v.text, 'x', sizeof v.text);
	CU_ASSERT_EQUAL(pipeline_run(&w.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_EQUAL(pipeline_run(&w.x, PIPELINE_ON_LANE), PIPELINE_DONE);
	CU_ASSERT_EQUAL(key_house.asked, 2);
	visit_end(&w);
	begin(&v, "GET", "/mine", key_house.key);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_DONE);
	CU_ASSERT_FALSE(v.x.ask_again);
	visit_end(&v);
	close_house();
}

static void
without_a_lane_the_question_behind_a_reply_is_let_go(void)
{
	open_house();
	remember_since(600);
	begin(&v, "GET", "/mine", key_house.key);
	visit_run(&v);
	exchange_init(&w.x, &h.env);
	CU_ASSERT_TRUE(pipeline_ask_again(&v.x, &w.x));
	CU_ASSERT_EQUAL(pipeline_run(&w.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	pipeline_shed(&w.x, SHED_QUEUE_FULL);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	visit_end(&w);
	visit_end(&v);
	close_house();
}

static void
both_headers_and_apaches_name_carry_a_key(void)
{
	open_house();
	CU_ASSERT_EQUAL(status_of("/mine", "HTTP_X_API_KEY", key_house.key), 200);
	CU_ASSERT_EQUAL(status_of("/mine", "HTTP_AUTHORIZATION", bearer(key_house.key)), 200);
	CU_ASSERT_EQUAL(
	    status_of("/mine", "REDIRECT_HTTP_AUTHORIZATION", bearer(key_house.key)), 200);
	CU_ASSERT_EQUAL(status_of("/mine", "HTTP_AUTHORIZATION", key_house.key), 401);
	close_house();
}

static void
a_bad_key_is_401_also_where_nobody_needs_one(void)
{
	open_house();
	begin(&v, "GET", "/open", invented());
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 401);
	CU_ASSERT_STRING_EQUAL(
	    visit_header(&v, "WWW-Authenticate"), "Bearer realm=\"weir\", error=\"invalid_token\"");
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Cache-Control"), "no-store");
	CU_ASSERT_PTR_NULL(
	    memmem(v.x.response.body.ptr, v.x.response.body.len, "weir_", 5)); /* not repeated */
	visit_end(&v);
	CU_ASSERT_EQUAL(status_of("/open", "HTTP_X_API_KEY", "abc"), 401);
	CU_ASSERT_EQUAL(status_of("/open", "HTTP_X_API_KEY", key_house.key), 200);
	CU_ASSERT_EQUAL(status_of("/open", "HTTP_ORIGIN", "none at all"), 200);
	close_house();
}

static void
a_repeated_header_is_no_good_key(void)
{
	open_house();
	begin(&v, "GET", "/mine", key_house.key);
	visit_param(&v, "HTTP_X_API_KEY", key_house.key);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 401);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	visit_end(&v);
	close_house();
}

static void
the_front_servers_own_protection_is_no_key(void)
{
	open_house();
	CU_ASSERT_EQUAL(status_of("/open", "HTTP_AUTHORIZATION", "Basic dXNlcjpwYXNz"), 200);
	begin(&v, "GET", "/mine", key_house.key);
	visit_param(&v, "HTTP_AUTHORIZATION", "Basic dXNlcjpwYXNz");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	visit_end(&v);
	begin(&v, "GET", "/mine", NULL); /* it makes nobody a tenant */
	visit_param(&v, "HTTP_AUTHORIZATION", "Basic dXNlcjpwYXNz");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 401);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "WWW-Authenticate"), "Bearer realm=\"weir\"");
	visit_end(&v);
	close_house();
}

static void
with_front(const char *tenant, const char *key, int status)
{
	begin(&v, "GET", "/mine", key);
	visit_param(&v, "TENANT_ID", tenant);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, status);
	visit_end(&v);
}

static void
key_and_front_server_must_name_one_tenant(void)
{
	open_house();
	with_front("acme", key_house.key, 200);
	with_front("zeta", key_house.key, 403);
	with_front("", key_house.key, 200);
	with_front("acme", invented(), 401);
	with_front("zeta", NULL, 200);
	close_house();
}

static void
two_tenants_never_share_a_copy(void)
{
	char mine[API_KEY_TEXT];
	int queries;

	open_house();
	CU_ASSERT_EQUAL(status_of("/mine", "HTTP_X_API_KEY", key_house.key), 200);
	(void)strcpy(mine, key_house.key);
	queries = fake_read.queries;
	ledger_close(&tenants.ledger);
	tenants.ledger = key_house_make("zeta");
	begin(&v, "GET", "/mine", key_house.key);
	visit_run(&v);
	CU_ASSERT_EQUAL(fake_read.queries, queries + 1);
	CU_ASSERT_EQUAL(strncmp(visit_header(&v, "Cache-Control"), "private", 7), 0);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Vary"), "Authorization, X-API-Key");
	visit_end(&v);
	CU_ASSERT_EQUAL(
	    status_of("/mine", "HTTP_X_API_KEY", mine), 200); /* remembered, and its copy too */
	CU_ASSERT_EQUAL(fake_read.queries, queries + 1);
	close_house();
}

static void
a_write_carries_the_tenant_of_its_key(void)
{
	open_house();
	begin(&v, "POST", "/things", key_house.key);
	visit_param(&v, "HTTP_IDEMPOTENCY_KEY", "k1");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.result, PIPELINE_PARKED);
	CU_ASSERT_TRUE(slice_eq_cstr(v.x.event.tenant, "acme"));
	visit_end(&v);
	begin(&v, "POST", "/things", NULL);
	visit_param(&v, "HTTP_IDEMPOTENCY_KEY", "k1");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 401);
	visit_end(&v);
	close_house();
}

static void
a_limit_by_tenant_counts_its_keys(void)
{
	open_house();
	CU_ASSERT_EQUAL(status_of("/tight", "HTTP_X_API_KEY", key_house.key), 200);
	begin(&v, "GET", "/tight", key_house.key);
	visit_param(&v, "REMOTE_ADDR", "198.51.100.9");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 429);
	visit_end(&v);
	CU_ASSERT_EQUAL(status_of("/tight", "TENANT_ID", "zeta"), 200);
	close_house();
}

static void
too_many_bad_keys_are_429_with_a_time(void)
{
	open_house();
	for (int i = 0; i < 20; i++)
		(void)status_of("/open", "HTTP_X_API_KEY", invented());
	begin(&v, "GET", "/open", "abc");
	visit_run(&v);
	while (v.x.response.status == 401) { /* a token has come back while we were at it */
		visit_end(&v);
		begin(&v, "GET", "/open", "abc");
		visit_run(&v);
	}
	CU_ASSERT_EQUAL(v.x.response.status, 429);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Retry-After"), "1");
	visit_end(&v);
	CU_ASSERT_EQUAL(
	    status_of("/open", "HTTP_ORIGIN", "none"), 200); /* who sends no key is not meant */
	close_house();
}

static void
when_the_database_cannot_be_asked_a_new_key_is_503(void)
{
	open_house();
	key_house.fails = ERR_UNAVAILABLE;
	begin(&v, "GET", "/open", key_house.key);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Retry-After"), "1");
	visit_end(&v);
	CU_ASSERT_EQUAL(status_of("/open", "HTTP_ORIGIN", "none"), 200);
	close_house();
}

static void
without_a_lane_a_key_that_must_be_asked_about_is_503(void)
{
	open_house();
	begin(&v, "GET", "/mine", key_house.key);
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	pipeline_shed(&v.x, SHED_QUEUE_FULL);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	visit_end(&v);
	close_house();
}

UNIT_SUITE(authenticate, TEST(a_key_is_asked_about_on_a_lane_and_then_remembered_on_the_reactor),
    TEST(a_key_is_asked_about_again_behind_the_reply),
    TEST(without_a_lane_the_question_behind_a_reply_is_let_go),
    TEST(both_headers_and_apaches_name_carry_a_key),
    TEST(a_bad_key_is_401_also_where_nobody_needs_one), TEST(a_repeated_header_is_no_good_key),
    TEST(the_front_servers_own_protection_is_no_key),
    TEST(key_and_front_server_must_name_one_tenant), TEST(two_tenants_never_share_a_copy),
    TEST(a_write_carries_the_tenant_of_its_key), TEST(a_limit_by_tenant_counts_its_keys),
    TEST(too_many_bad_keys_are_429_with_a_time),
    TEST(when_the_database_cannot_be_asked_a_new_key_is_503),
    TEST(without_a_lane_a_key_that_must_be_asked_about_is_503));
