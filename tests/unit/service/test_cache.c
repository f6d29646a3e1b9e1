/*
 * Goal: equal requests share one copy and one query, other requests never; and what
 * a write says it changes is gone, for every tenant and however it was asked for.
 */
#include "service/cache.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

enum { L1_BYTES = 1 << 20, SLOTS = 64, SEED = 99, NOW_MS = 5000, LEASE_MS = 1000 };

/* The cache of one host, and the members that were rung. */
struct house {
	struct cache c;
	struct arena a;
	unsigned rung[FLIGHT_MEMBERS];
};

static void *
shared(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	return mem;
}

static void
note_ring(void *ctx, unsigned member)
{
	struct house *h = ctx;

	h->rung[member]++;
}

static struct house *
house_open(void)
{
	struct house *h = calloc(1, sizeof *h);

	if (h == NULL)
		abort();
	h->c = (struct cache){
		.l1 = shared(l1_size(L1_BYTES)),
		.flights = shared(flight_size(SLOTS)),
		.seed = SEED,
		.member = 1,
		.ring = note_ring,
		.ctx = h,
	};
	l1_init(h->c.l1, L1_BYTES, SEED);
	flight_init(h->c.flights, SLOTS);
	arena_init(&h->a, 16 << 20);
	return h;
}

static void
house_close(struct house *h)
{
	(void)munmap(h->c.l1, l1_size(L1_BYTES));
	(void)munmap(h->c.flights, flight_size(SLOTS));
	arena_free(&h->a);
	free(h);
}

/* Another process of the host. */
static struct cache
neighbour(const struct house *h, unsigned member)
{
	struct cache c = h->c;

	c.member = member;
	return c;
}

/*
 * GET /api/v1/countries/:code/:page?q=, with the tags of the contract's example.
 */
static struct param params[] = {
	{ .name = { "code", 4 }, .type = VALUE_TEXT, .place = PARAM_PATH },
	{ .name = { "page", 4 }, .type = VALUE_INTEGER, .place = PARAM_PATH },
	{ .name = { "q", 1 }, .type = VALUE_TEXT, .place = PARAM_QUERY, .optional = true },
};
static struct route_segment segments[] = {
	{ .literal = { "api", 3 }, .param = -1 },
	{ .literal = { "v1", 2 }, .param = -1 },
	{ .literal = { "countries", 9 }, .param = -1 },
	{ .param = 0 },
	{ .param = 1 },
};
static struct template_part all_countries[] = { { { "countries", 9 }, -1 } };
static struct template_part one_country[] = { { { "country-", 8 }, -1 }, { { NULL, 0 }, 0 } };
static struct template tags[] = { { all_countries, 1 }, { one_country, 2 } };

static struct endpoint
countries(void)
{
	return (struct endpoint){
		.name = SLICE("countries"),
		.method = HTTP_GET,
		.segments = segments,
		.segment_count = 5,
		.params = params,
		.param_count = 3,
		.sql = SLICE("SELECT ?1"),
		.cache = { .on = true, .fresh_ms = 1000, .stale_ms = 500, .if_error_ms = 2000 },
		.tags = tags,
		.tag_count = 2,
	};
}

struct asked {
	struct value v[3];
};

static struct asked
ask(const char *code, const char *page, const char *q)
{
	return (struct asked){ {
	    { .type = VALUE_TEXT, .text = slice_of(code) },
	    { .type = VALUE_INTEGER, .text = slice_of(page) },
	    { .type = VALUE_TEXT, .text = slice_of(q), .null = q == NULL },
	} };
}

static struct slice
key_of(struct house *h, const struct endpoint *e, struct asked v, const char *tenant)
{
	struct slice key;

	CU_ASSERT_EQUAL(cache_key(e, v.v, slice_of(tenant), &h->a, &key), ERR_OK);
	return key;
}

static enum l1_answer
lookup(struct house *h, struct slice key, int64_t now_ms)
{
	struct cache_hit hit;

	return cache_lookup(&h->c, key, now_ms, 0, &h->a, &hit);
}

/* Leads, begins, and lands ${block}. */
static enum err
fill(struct house *h, const struct endpoint *e, struct asked v, const char *tenant,
    const char *block)
{
	const struct slice key = key_of(h, e, v, tenant);
	struct cache_fill f;
	struct cache_hit hit;
	uint32_t evicted;

	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &f), FLIGHT_LEAD);
	CU_ASSERT_NOT_EQUAL(cache_begin(&h->c, &f, e, v.v, NOW_MS, 0, &h->a, &hit), L1_FRESH);
	return cache_fill_land(&h->c, &f, &e->cache, slice_of(block), NOW_MS, 0, &evicted);
}

static bool
cached(struct house *h, const struct endpoint *e, struct asked v, const char *tenant)
{
	return lookup(h, key_of(h, e, v, tenant), NOW_MS) == L1_FRESH;
}

static void
equal_requests_have_equal_keys_and_others_never(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", "x"), "acme");
	struct endpoint other = e;

	CU_ASSERT_TRUE(slice_eq(key, key_of(h, &e, ask("DE", "1", "x"), "acme")));
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &e, ask("DE1", "", "x"), "acme")));
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &e, ask("DE", "1x", ""), "acme")));
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &e, ask("DE", "1", ""), "acme")));
	CU_ASSERT_FALSE(slice_eq(key_of(h, &e, ask("DE", "1", ""), "acme"),
	    key_of(h, &e, ask("DE", "1", NULL), "acme")));
	other.name = SLICE("countries2");
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &other, ask("DE", "1", "x"), "acme")));
	house_close(h);
}

static void
a_changed_endpoint_file_does_not_read_the_copies_of_the_old_one(void)
{
	static struct bind straight[] = { { BIND_PARAM, 0 }, { BIND_PARAM, 2 } };
	static struct bind crossed[] = { { BIND_PARAM, 2 }, { BIND_PARAM, 0 } };
	static struct column_rule column[] = { { { "n", 1 }, VALUE_INTEGER } };
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", "x"), "");
	struct endpoint changed = e, crossed_over;

	changed.sql = SLICE("SELECT ?1, 2");
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &changed, ask("DE", "1", "x"), "")));
	changed = e;
	changed.returns_one = true;
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &changed, ask("DE", "1", "x"), "")));
	changed = e;
	changed.columns = column;
	changed.column_count = 1;
	CU_ASSERT_FALSE(slice_eq(key, key_of(h, &changed, ask("DE", "1", "x"), "")));
	changed = e;
	changed.binds = straight;
	changed.bind_count = 2;
	crossed_over = changed;
	crossed_over.binds = crossed;
	CU_ASSERT_FALSE(slice_eq(key_of(h, &changed, ask("DE", "1", "x"), ""),
	    key_of(h, &crossed_over, ask("DE", "1", "x"), "")));
	house_close(h);
}

static void
tenants_are_apart_where_the_endpoint_varies_by_them(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();

	CU_ASSERT_TRUE(slice_eq(key_of(h, &e, ask("DE", "1", "x"), "acme"),
	    key_of(h, &e, ask("DE", "1", "x"), "umbrella")));
	e.uses_tenant = true;
	CU_ASSERT_FALSE(slice_eq(key_of(h, &e, ask("DE", "1", "x"), "acme"),
	    key_of(h, &e, ask("DE", "1", "x"), "umbrella")));
	CU_ASSERT_EQUAL(fill(h, &e, ask("DE", "1", "x"), "acme", "secret"), ERR_OK);
	CU_ASSERT_TRUE(cached(h, &e, ask("DE", "1", "x"), "acme"));
	CU_ASSERT_FALSE(cached(h, &e, ask("DE", "1", "x"), "umbrella"));
	CU_ASSERT_FALSE(cached(h, &e, ask("DE", "1", "x"), ""));
	house_close(h);
}

static void
a_key_that_does_not_fit_the_arena_says_so(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", "x");
	struct arena small;
	struct slice key;

	arena_init(&small, 16);
	CU_ASSERT_EQUAL(cache_key(&e, v.v, SLICE(""), &small, &key), ERR_NOMEM);
	CU_ASSERT_PTR_NULL(key.ptr);
	arena_free(&small);
	house_close(h);
}

static void
a_filled_copy_is_fresh_then_stale_then_for_errors_only(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", NULL), "");
	struct cache_hit hit;

	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(fill(h, &e, ask("DE", "1", NULL), "", "block"), ERR_OK);
	CU_ASSERT_EQUAL(cache_lookup(&h->c, key, NOW_MS + 900, 0, &h->a, &hit), L1_FRESH);
	CU_ASSERT_TRUE(slice_eq_cstr(hit.block, "block"));
	CU_ASSERT_EQUAL(hit.age_ms, 900);
	CU_ASSERT_EQUAL(hit.fresh_ms, 100);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS + 1000), L1_STALE);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS + 1500), L1_ERROR_ONLY);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS + 3000), L1_MISS);
	house_close(h);
}

static void
an_endless_cache_rule_does_not_overflow(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();

	e.cache = (struct cache_rule){ true, INT64_MAX, INT64_MAX, INT64_MAX };
	CU_ASSERT_EQUAL(fill(h, &e, ask("DE", "1", NULL), "", "block"), ERR_OK);
	CU_ASSERT_EQUAL(
	    lookup(h, key_of(h, &e, ask("DE", "1", NULL), ""), INT64_MAX - 1), L1_FRESH);
	house_close(h);
}

static void
those_who_wait_are_rung_and_find_the_copy(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	struct cache_fill leader, waiter;
	struct cache_hit hit;
	uint32_t evicted;
	uint8_t reason;

	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader), FLIGHT_LEAD);
	CU_ASSERT_TRUE(leader.leading);
	CU_ASSERT_EQUAL(cache_join(&other, key, NOW_MS, LEASE_MS, &waiter), FLIGHT_WAIT);
	CU_ASSERT_FALSE(waiter.leading);
	CU_ASSERT_EQUAL(waiter.ticket.leader, 1);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_FLYING);
	(void)cache_begin(&h->c, &leader, &e, v.v, NOW_MS, 0, &h->a, &hit);
	CU_ASSERT_EQUAL(
	    cache_fill_land(&h->c, &leader, &e.cache, SLICE("block"), NOW_MS, 0, &evicted), ERR_OK);
	CU_ASSERT_FALSE(leader.leading);
	CU_ASSERT_EQUAL(h->rung[7], 1);
	CU_ASSERT_EQUAL(h->rung[1], 0);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_STORED);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_FRESH);
	house_close(h);
}

static void
who_leads_too_late_finds_what_has_landed_and_queries_nothing(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	struct cache_fill late;
	struct cache_hit hit;

	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(fill(h, &e, v, "", "block"), ERR_OK); /* by another, meanwhile */
	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &late), FLIGHT_LEAD);
	CU_ASSERT_EQUAL(cache_begin(&h->c, &late, &e, v.v, NOW_MS, 0, &h->a, &hit), L1_FRESH);
	CU_ASSERT_TRUE(slice_eq_cstr(hit.block, "block"));
	CU_ASSERT_FALSE(late.leading);
	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &late), FLIGHT_LEAD);
	house_close(h);
}

static void
a_failed_query_tells_its_waiters_why_and_stores_nothing(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", NULL), "");
	struct cache_fill leader, waiter;
	uint8_t reason;

	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	cache_fail_land(&h->c, &leader, ERR_TIMEOUT);
	CU_ASSERT_EQUAL(h->rung[7], 1);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_FAILED);
	CU_ASSERT_EQUAL(reason, ERR_TIMEOUT);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_MISS);
	house_close(h);
}

static void
a_leader_that_gives_up_lets_a_waiter_lead(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", NULL), "");
	struct cache_fill leader, waiter;
	uint8_t reason;

	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	cache_give_up(&other, &waiter); /* who does not lead gives up nothing */
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_FLYING);
	cache_give_up(&h->c, &leader);
	cache_give_up(&h->c, &leader);
	CU_ASSERT_EQUAL(h->rung[7], 1);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_GONE);
	CU_ASSERT_EQUAL(cache_join(&other, key, NOW_MS, LEASE_MS, &waiter), FLIGHT_LEAD);
	house_close(h);
}

static void
a_waiter_takes_over_from_a_dead_leader_and_fills(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	struct cache_fill leader, waiter;
	struct cache_hit hit;
	uint32_t evicted;

	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	CU_ASSERT_TRUE(cache_take_over(&other, &waiter, NOW_MS, LEASE_MS));
	(void)cache_begin(&other, &waiter, &e, v.v, NOW_MS, 0, &h->a, &hit);
	CU_ASSERT_EQUAL(
	    cache_fill_land(&other, &waiter, &e.cache, SLICE("block"), NOW_MS, 0, &evicted),
	    ERR_OK);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_FRESH);
	house_close(h);
}

static void
what_a_dead_forerunner_led_is_swept(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct slice key = key_of(h, &e, ask("DE", "1", NULL), "");
	struct cache_fill leader, waiter;

	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	cache_sweep(&h->c); /* member 1 is another process by now */
	CU_ASSERT_EQUAL(h->rung[7], 1);
	CU_ASSERT_EQUAL(cache_join(&other, key, NOW_MS, LEASE_MS, &waiter), FLIGHT_LEAD);
	house_close(h);
}

static void
a_stale_copy_is_refreshed_by_one(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	const int64_t later_ms = NOW_MS + e.cache.fresh_ms;
	struct cache_fill one, two;
	struct cache_hit hit;
	uint32_t evicted;

	(void)fill(h, &e, v, "", "old");
	CU_ASSERT_EQUAL(lookup(h, key, later_ms), L1_STALE);
	CU_ASSERT_TRUE(cache_lead(&h->c, key, later_ms, LEASE_MS, &one));
	CU_ASSERT_FALSE(cache_lead(&h->c, key, later_ms, LEASE_MS, &two));
	CU_ASSERT_EQUAL(cache_begin(&h->c, &one, &e, v.v, later_ms, 0, &h->a, &hit), L1_STALE);
	CU_ASSERT_TRUE(slice_eq_cstr(hit.block, "old")); /* should the query fail */
	(void)cache_fill_land(&h->c, &one, &e.cache, SLICE("new"), later_ms, 0, &evicted);
	CU_ASSERT_EQUAL(cache_lookup(&h->c, key, later_ms, 0, &h->a, &hit), L1_FRESH);
	CU_ASSERT_TRUE(slice_eq_cstr(hit.block, "new"));
	house_close(h);
}

static void
a_purge_during_the_query_keeps_nothing_and_sends_the_waiters_again(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	struct cache_fill leader, waiter;
	struct cache_hit hit;
	uint32_t evicted;
	uint8_t reason;

	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	(void)cache_begin(&h->c, &leader, &e, v.v, NOW_MS, 0, &h->a, &hit);
	cache_purge_tag(&other, SLICE("country-DE"));
	CU_ASSERT_EQUAL(
	    cache_fill_land(&h->c, &leader, &e.cache, SLICE("old"), NOW_MS, 0, &evicted),
	    ERR_CONFLICT);
	CU_ASSERT_EQUAL(h->rung[7], 1);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_GONE);
	CU_ASSERT_EQUAL(cache_join(&other, key, NOW_MS, LEASE_MS, &waiter), FLIGHT_LEAD);
	house_close(h);
}

static void
an_answer_too_large_to_keep_sends_the_waiters_on_their_own_way(void)
{
	struct house *h = house_open();
	const struct cache other = neighbour(h, 7);
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	const size_t over = l1_max_value_bytes(h->c.l1) + 1;
	struct cache_fill leader, waiter;
	struct cache_hit hit;
	uint32_t evicted;
	uint8_t reason;
	char *bytes = calloc(1, over);

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader);
	(void)cache_join(&other, key, NOW_MS, LEASE_MS, &waiter);
	(void)cache_begin(&h->c, &leader, &e, v.v, NOW_MS, 0, &h->a, &hit);
	CU_ASSERT_EQUAL(cache_fill_land(&h->c, &leader, &e.cache, (struct slice){ bytes, over },
			    NOW_MS, 0, &evicted),
	    ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(cache_look(&other, &waiter, &reason), FLIGHT_NOT_STORED);
	free(bytes);
	house_close(h);
}

static void
without_memory_for_its_tags_a_copy_is_not_kept(void)
{
	struct house *h = house_open();
	static struct template_part json_part[] = { { { NULL, 0 }, 0 } };
	static struct template json_tag[] = { { json_part, 1 } };
	struct endpoint e = countries();
	struct asked v = ask("{\"b\":1,\"a\":2}", "1", NULL);
	struct cache_fill f;
	struct cache_hit hit;
	struct arena none;
	struct slice key;
	uint32_t evicted;

	v.v[0].type = VALUE_OBJECT;
	e.tags = json_tag;
	e.tag_count = 1;
	key = key_of(h, &e, v, "");
	arena_init(&none, 1);
	(void)cache_join(&h->c, key, NOW_MS, LEASE_MS, &f);
	(void)cache_begin(&h->c, &f, &e, v.v, NOW_MS, 0, &none, &hit);
	CU_ASSERT_EQUAL(cache_fill_land(&h->c, &f, &e.cache, SLICE("block"), NOW_MS, 0, &evicted),
	    ERR_TOO_LARGE);
	arena_free(&none);
	house_close(h);
}

static void
a_full_flight_table_stores_all_the_same(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	const struct slice key = key_of(h, &e, v, "");
	struct flight_ticket t;
	struct cache_fill f;
	struct cache_hit hit;
	uint32_t evicted;

	for (uint64_t k = 0; k < 64 * SLOTS; k++)
		(void)flight_join(h->c.flights, k, 3, NOW_MS, LEASE_MS, &t);
	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &f), FLIGHT_ALONE);
	(void)cache_begin(&h->c, &f, &e, v.v, NOW_MS, 0, &h->a, &hit);
	CU_ASSERT_EQUAL(
	    cache_fill_land(&h->c, &f, &e.cache, SLICE("block"), NOW_MS, 0, &evicted), ERR_OK);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_FRESH);
	house_close(h);
}

static void
fill_germany_and_france(struct house *h, const struct endpoint *e)
{
	CU_ASSERT_EQUAL(fill(h, e, ask("DE", "1", NULL), "acme", "x"), ERR_OK);
	CU_ASSERT_EQUAL(fill(h, e, ask("DE", "1", "q"), "umbrella", "x"), ERR_OK);
	CU_ASSERT_EQUAL(fill(h, e, ask("DE", "2", NULL), "acme", "x"), ERR_OK);
	CU_ASSERT_EQUAL(fill(h, e, ask("FR", "1", NULL), "acme", "x"), ERR_OK);
}

/* Which of the four are still there, as bits. */
static unsigned
left(struct house *h, const struct endpoint *e)
{
	return (unsigned)cached(h, e, ask("DE", "1", NULL), "acme") |
	       (unsigned)cached(h, e, ask("DE", "1", "q"), "umbrella") << 1 |
	       (unsigned)cached(h, e, ask("DE", "2", NULL), "acme") << 2 |
	       (unsigned)cached(h, e, ask("FR", "1", NULL), "acme") << 3;
}

static void
a_tag_purges_the_copies_of_all_tenants(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();

	e.uses_tenant = true;
	fill_germany_and_france(h, &e);
	CU_ASSERT_EQUAL(left(h, &e), 15);
	cache_purge_tag(&h->c, SLICE("country-IT"));
	CU_ASSERT_EQUAL(left(h, &e), 15);
	cache_purge_tag(&h->c, SLICE("country-DE"));
	CU_ASSERT_EQUAL(left(h, &e), 8);
	cache_purge_tag(&h->c, SLICE("countries"));
	CU_ASSERT_EQUAL(left(h, &e), 0);
	house_close(h);
}

static void
without_tags_an_endpoint_is_purged_by_its_name(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();

	e.tag_count = 0;
	fill_germany_and_france(h, &e);
	cache_purge_tag(&h->c, SLICE("country-DE"));
	CU_ASSERT_EQUAL(left(h, &e), 15);
	cache_purge_tag(&h->c, SLICE("countries"));
	CU_ASSERT_EQUAL(left(h, &e), 0);
	house_close(h);
}

static enum err
purge_path(struct house *h, const char *path)
{
	const char *why;

	return cache_purge_path(&h->c, slice_of(path), &h->a, &why);
}

static void
a_path_purges_its_copies_whatever_query_and_tenant(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();

	e.uses_tenant = true;
	fill_germany_and_france(h, &e);
	CU_ASSERT_EQUAL(purge_path(h, "/api/v1/countries/DE"), ERR_OK); /* another path */
	CU_ASSERT_EQUAL(left(h, &e), 15);
	CU_ASSERT_EQUAL(purge_path(h, "/api/v1/countries/DE/1"), ERR_OK);
	CU_ASSERT_EQUAL(left(h, &e), 4 + 8);
	CU_ASSERT_EQUAL(purge_path(h, "/api/v1/countries/%44E/2?q=any"), ERR_OK);
	CU_ASSERT_EQUAL(left(h, &e), 8);
	house_close(h);
}

static void
a_path_that_is_none_is_refused_with_a_reason(void)
{
	struct house *h = house_open();
	const char *why = NULL;

	CU_ASSERT_EQUAL(cache_purge_path(&h->c, SLICE(""), &h->a, &why), ERR_INVALID);
	CU_ASSERT_EQUAL(cache_purge_path(&h->c, SLICE("api"), &h->a, &why), ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(why, "a path that does not begin with '/'");
	CU_ASSERT_EQUAL(cache_purge_path(&h->c, SLICE("/a%zz"), &h->a, &why), ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(why, "a bad percent escape");
	house_close(h);
}

static void
a_purge_of_all_leaves_nothing(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries();

	fill_germany_and_france(h, &e);
	cache_purge_all(&h->c);
	CU_ASSERT_EQUAL(left(h, &e), 0);
	fill_germany_and_france(h, &e);
	CU_ASSERT_EQUAL(left(h, &e), 15);
	house_close(h);
}

static struct endpoint
write_of(struct template *invalidates, size_t count)
{
	return (struct endpoint){
		.name = SLICE("country_write"),
		.method = HTTP_POST,
		.params = params,
		.param_count = 1,
		.invalidates = invalidates,
		.invalidate_count = count,
	};
}

static void
an_applied_event_purges_what_it_invalidates(void)
{
	static struct template_part stats[] = { { { "stats", 5 }, -1 } };
	static struct template both[] = { { one_country, 2 }, { stats, 1 } };
	struct house *h = house_open();
	const struct endpoint e = countries(), w = write_of(both, 2);
	const struct asked v = ask("FR", "1", NULL);
	struct endpoint s = countries();

	s.name = SLICE("stats");
	s.tag_count = 0;
	fill_germany_and_france(h, &e);
	CU_ASSERT_EQUAL(fill(h, &s, v, "", "x"), ERR_OK);
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &w, v.v, &h->a), 2);
	CU_ASSERT_EQUAL(left(h, &e), 7);
	CU_ASSERT_FALSE(cached(h, &s, v, ""));
	house_close(h);
}

static void
an_event_whose_tags_cannot_be_made_purges_everything(void)
{
	struct house *h = house_open();
	const struct endpoint e = countries(), w = write_of(tags, 2);
	static struct template_part json_part[] = { { { NULL, 0 }, 0 } };
	static struct template json_tag[] = { { json_part, 1 } };
	const struct endpoint bad = write_of(json_tag, 1);
	struct asked v = ask("{", "1", NULL);

	v.v[0].type = VALUE_OBJECT; /* that is not JSON: no canonical text */
	fill_germany_and_france(h, &e);
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &bad, v.v, &h->a), 1);
	CU_ASSERT_EQUAL(left(h, &e), 0);
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &w, ask("DE", "1", NULL).v, &h->a), 2);
	house_close(h);
}

static void
a_json_parameter_is_one_tag_however_it_is_spelled(void)
{
	static struct template_part part[] = { { { "for-", 4 }, -1 }, { { NULL, 0 }, 0 } };
	static struct template tag[] = { { part, 2 } };
	struct house *h = house_open();
	struct endpoint e = countries();
	struct asked v = ask("{ \"b\":1, \"a\":2 }", "1", NULL);

	v.v[0].type = VALUE_OBJECT;
	e.tags = tag;
	e.tag_count = 1;
	CU_ASSERT_EQUAL(fill(h, &e, v, "", "x"), ERR_OK);
	cache_purge_tag(&h->c, SLICE("for-{\"a\":2,\"b\":1}"));
	CU_ASSERT_FALSE(cached(h, &e, v, ""));
	house_close(h);
}

static void
an_endpoint_with_too_many_tags_is_refused(void)
{
	struct house *h = house_open();
	struct endpoint e = countries();
	uint64_t hashes[CACHE_MAX_TAGS];
	size_t count = 9;

	e.tag_count = ENDPOINT_MAX_TAGS + 1;
	CU_ASSERT_EQUAL(
	    cache_tags(&h->c, &e, ask("DE", "1", NULL).v, &h->a, hashes, &count), ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(count, 0);
	house_close(h);
}

/* ---- One query for all, over processes ---- */

enum { READERS = 8, ROUNDS = 300 };

struct crowd {
	struct house *h;
	pthread_barrier_t barrier;
	_Atomic unsigned queries[ROUNDS], answers, wrong;
};

static bool
query_and_land(const struct cache *c, struct crowd *crowd, struct cache_fill *f, unsigned round,
    struct arena *a)
{
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	struct cache_hit hit;
	uint32_t evicted;

	if (cache_begin(c, f, &e, v.v, NOW_MS, 1000, a, &hit) == L1_FRESH)
		return true;
	crowd->queries[round]++;
	return cache_fill_land(c, f, &e.cache, SLICE("block"), NOW_MS, 1000, &evicted) == ERR_OK;
}

/* As the pipeline does it, but that it looks instead of parking. */
static bool
read_once(const struct cache *c, struct crowd *crowd, unsigned round, struct arena *a)
{
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	struct cache_fill f;
	struct cache_hit hit;
	struct slice key;
	uint8_t reason;

	if (cache_key(&e, v.v, SLICE(""), a, &key) != ERR_OK)
		return false;
	for (;;) {
		if (cache_lookup(c, key, NOW_MS, 0, a, &hit) == L1_FRESH)
			return slice_eq_cstr(hit.block, "block");
		if (cache_join(c, key, NOW_MS, LEASE_MS, &f) != FLIGHT_WAIT)
			return query_and_land(c, crowd, &f, round, a);
		while (cache_look(c, &f, &reason) == FLIGHT_FLYING)
			(void)sched_yield();
	}
}

static void
read_in_rounds(struct crowd *crowd, unsigned member)
{
	const struct cache c = neighbour(crowd->h, member);
	struct arena a;

	arena_init(&a, 1 << 20);
	for (unsigned r = 0; r < ROUNDS; r++) {
		if (pthread_barrier_wait(&crowd->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			cache_purge_all(&c);
		(void)pthread_barrier_wait(&crowd->barrier);
		if (read_once(&c, crowd, r, &a))
			crowd->answers++;
		else
			crowd->wrong++;
		arena_reset(&a);
	}
	arena_free(&a);
}

static struct crowd *
crowd_of(struct house *h, unsigned count)
{
	struct crowd *crowd = shared(sizeof *crowd);
	pthread_barrierattr_t attr;

	crowd->h = h;
	if (pthread_barrierattr_init(&attr) != 0 ||
	    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_barrier_init(&crowd->barrier, &attr, count) != 0)
		abort();
	(void)pthread_barrierattr_destroy(&attr);
	return crowd;
}

static void
crowd_check(struct crowd *crowd, unsigned readers)
{
	unsigned more = 0;

	for (unsigned r = 0; r < ROUNDS; r++)
		more += crowd->queries[r] != 1;
	CU_ASSERT_EQUAL(more, 0);
	CU_ASSERT_EQUAL(crowd->answers, readers * ROUNDS);
	CU_ASSERT_EQUAL(crowd->wrong, 0);
	(void)munmap(crowd, sizeof *crowd);
}

static void
eight_processes_that_miss_at_once_query_once(void)
{
	struct house *h = house_open();
	struct crowd *crowd;
	pid_t pids[READERS];

	h->c.ring = NULL; /* they look for themselves */
	crowd = crowd_of(h, READERS);
	for (unsigned i = 0; i < READERS; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		(void)alarm(120); /* a child that hangs is a failure */
		read_in_rounds(crowd, i);
		_exit(0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		int status;

		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	crowd_check(crowd, READERS);
	house_close(h);
}

struct reader {
	struct crowd *crowd;
	unsigned member;
};

static void *
read_in_a_thread(void *arg)
{
	const struct reader *r = arg;

	read_in_rounds(r->crowd, r->member);
	return NULL;
}

static void
threads_that_miss_at_once_query_once(void)
{
	struct house *h = house_open();
	struct reader readers[4];
	pthread_t threads[4];
	struct crowd *crowd;

	h->c.ring = NULL;
	crowd = crowd_of(h, 4);
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct reader){ crowd, i % 2 }; /* two of each process */
		if (pthread_create(&threads[i], NULL, read_in_a_thread, &readers[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	crowd_check(crowd, 4);
	house_close(h);
}

UNIT_SUITE(cache, TEST(equal_requests_have_equal_keys_and_others_never),
    TEST(a_changed_endpoint_file_does_not_read_the_copies_of_the_old_one),
    TEST(tenants_are_apart_where_the_endpoint_varies_by_them),
    TEST(a_key_that_does_not_fit_the_arena_says_so),
    TEST(a_filled_copy_is_fresh_then_stale_then_for_errors_only),
    TEST(an_endless_cache_rule_does_not_overflow), TEST(those_who_wait_are_rung_and_find_the_copy),
    TEST(who_leads_too_late_finds_what_has_landed_and_queries_nothing),
    TEST(a_failed_query_tells_its_waiters_why_and_stores_nothing),
    TEST(a_leader_that_gives_up_lets_a_waiter_lead),
    TEST(a_waiter_takes_over_from_a_dead_leader_and_fills),
    TEST(what_a_dead_forerunner_led_is_swept), TEST(a_stale_copy_is_refreshed_by_one),
    TEST(a_purge_during_the_query_keeps_nothing_and_sends_the_waiters_again),
    TEST(an_answer_too_large_to_keep_sends_the_waiters_on_their_own_way),
    TEST(without_memory_for_its_tags_a_copy_is_not_kept),
    TEST(a_full_flight_table_stores_all_the_same), TEST(a_tag_purges_the_copies_of_all_tenants),
    TEST(without_tags_an_endpoint_is_purged_by_its_name),
    TEST(a_path_purges_its_copies_whatever_query_and_tenant),
    TEST(a_path_that_is_none_is_refused_with_a_reason), TEST(a_purge_of_all_leaves_nothing),
    TEST(an_applied_event_purges_what_it_invalidates),
    TEST(an_event_whose_tags_cannot_be_made_purges_everything),
    TEST(a_json_parameter_is_one_tag_however_it_is_spelled),
    TEST(an_endpoint_with_too_many_tags_is_refused),
    TEST(eight_processes_that_miss_at_once_query_once), TEST(threads_that_miss_at_once_query_once));
