/* Goal: a request waits for Redis on a lane only, and only when it must; without Redis the setting decides. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "policy/lease.h"
#include "service/fleet.h"
#include "service/guard.h"
#include "service/shards.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"

enum { ALIGN = 64, LEASES = 64, TIMEOUT_MS = 5000 };

static const char *const files[] = { "-- GET /two\n-- limit: 2/h\nSELECT 1 AS v;\n" };

/* A house whose Redis is a socket where nobody listens. */
struct fleet_house {
	struct house house;
	struct guards *guards;
	struct shards *shards;
	struct leases *leases;
	struct fleet_shared *shared;
	struct fleet *fleet;
};

static void *
region(size_t bytes)
{
	void *mem = aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);

	CU_ASSERT_PTR_NOT_NULL_FATAL(mem);
	return mem;
}

static void
open_fleet_house(struct fleet_house *f, enum fleet_on_failure on_failure)
{
	static const struct breaker_rules rules = { .slow_ms = 60000,
		.failure_pct = 100,
		.reset_ms = 60000,
		.volume = 1000,
		.probe_lease_ms = 1000 };
	struct shards_options shards = { .urls = "unix:/nowhere/redis.sock",
		.timeout_ms = TIMEOUT_MS,
		.rules = &rules,
		.max_connections = 2 };
	struct fleet_options o = { .on_failure = on_failure, .timeout_ms = TIMEOUT_MS };

	house_open(&f->house, files, 1);
	f->guards = shards.guards = region(guards_size());
	guards_init(f->guards);
	CU_ASSERT_EQUAL_FATAL(shards_open(&shards, &f->shards), ERR_OK);
	f->leases = region(leases_size(LEASES));
	leases_init(f->leases, LEASES);
	f->shared = region(fleet_shared_size());
	fleet_shared_init(f->shared);
	o.shards = f->shards;
	o.leases = f->leases;
	o.limiter = f->house.quota.limiter;
	o.shared = f->shared;
	CU_ASSERT_EQUAL_FATAL(fleet_open(&o, &f->fleet), ERR_OK);
	f->house.quota.fleet = f->fleet;
}

static void
close_fleet_house(struct fleet_house *f)
{
	fleet_close(&f->fleet);
	shards_close(&f->shards);
	free(f->guards);
	free(f->leases);
	free(f->shared);
	house_close(&f->house);
}

static void
order(struct fleet_house *f, enum breaker_force force)
{
	CU_ASSERT_EQUAL(guards_force(f->guards, "redis-1", force, clock_mono_ms()), ERR_OK);
}

static void
a_request_that_must_ask_goes_to_a_lane_and_comes_back(void)
{
	struct fleet_house f;
	struct visit v;

	open_fleet_house(&f, FLEET_LOCAL);
	visit_begin(&v, &f.house, "GET", "/two");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
	CU_ASSERT_FALSE(v.x.quota_known); /* nothing is taken yet */
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_LANE), PIPELINE_INLINE);
	CU_ASSERT_TRUE(v.x.quota_known);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "X-RateLimit-Remaining"), "1");
	visit_end(&v);
	close_fleet_house(&f);
}

static void
a_shard_that_is_known_to_be_down_costs_no_lane(void)
{
	struct fleet_house f;
	struct visit v;

	open_fleet_house(&f, FLEET_LOCAL);
	order(&f, BREAKER_FORCED_OPEN);
	for (int i = 0; i < 2; i++) {
		visit_begin(&v, &f.house, "GET", "/two");
		visit_run(&v);
		CU_ASSERT_EQUAL(v.x.response.status, 200);
		visit_end(&v);
	}
	visit_begin(&v, &f.house, "GET", "/two");
	CU_ASSERT_EQUAL(pipeline_run(&v.x, PIPELINE_ON_REACTOR), PIPELINE_DONE);
	CU_ASSERT_EQUAL(v.x.response.status, 429);
	visit_end(&v);
	close_fleet_house(&f);
}

static void
open_limits_admit_all_while_redis_is_away(void)
{
	struct fleet_house f;
	struct visit v;

	open_fleet_house(&f, FLEET_OPEN);
	for (int i = 0; i < 5; i++) {
		visit_begin(&v, &f.house, "GET", "/two");
		visit_run(&v);
		CU_ASSERT_EQUAL(v.x.response.status, 200);
		visit_end(&v);
	}
	close_fleet_house(&f);
}

static void
closed_limits_are_503_before_any_work(void)
{
	struct fleet_house f;
	struct visit v;

	open_fleet_house(&f, FLEET_CLOSED);
	visit_begin(&v, &f.house, "GET", "/two");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 503);
	CU_ASSERT_STRING_EQUAL(visit_header(&v, "Retry-After"), "1");
	CU_ASSERT_EQUAL(fake_read.queries, 0);
	visit_end(&v);
	close_fleet_house(&f);
}

UNIT_SUITE(fleet_limits, TEST(a_request_that_must_ask_goes_to_a_lane_and_comes_back),
    TEST(a_shard_that_is_known_to_be_down_costs_no_lane),
    TEST(open_limits_admit_all_while_redis_is_away), TEST(closed_limits_are_503_before_any_work));
