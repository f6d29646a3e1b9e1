/*
 * Goal: equal requests share one copy and one query, other requests never.
 */
#include "service/cache.h"

#include "tests/support/unit.h"
#include "tests/unit/service/cache_house.h"

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
	static struct bind straight[] = { { BIND_PARAM, 0, 0 }, { BIND_PARAM, 2, 0 } };
	static struct bind crossed[] = { { BIND_PARAM, 2, 0 }, { BIND_PARAM, 0, 0 } };
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
	CU_ASSERT_EQUAL(cache_key(&e, v.v, NULL, SLICE(""), &small, &key), ERR_NOMEM);
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
	    cache_fill_land(&h->c, &leader, &e.cache, SLICE("block"), 0, NOW_MS, 0, &evicted),
	    ERR_OK);
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
	    cache_fill_land(&other, &waiter, &e.cache, SLICE("block"), 0, NOW_MS, 0, &evicted),
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
	(void)cache_fill_land(&h->c, &one, &e.cache, SLICE("new"), 0, later_ms, 0, &evicted);
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
	    cache_fill_land(&h->c, &leader, &e.cache, SLICE("old"), 0, NOW_MS, 0, &evicted),
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
	CU_ASSERT_EQUAL(cache_fill_land(&h->c, &leader, &e.cache, (struct slice){ bytes, over }, 0,
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
	CU_ASSERT_EQUAL(
	    cache_fill_land(&h->c, &f, &e.cache, SLICE("block"), 0, NOW_MS, 0, &evicted),
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
	    cache_fill_land(&h->c, &f, &e.cache, SLICE("block"), 0, NOW_MS, 0, &evicted), ERR_OK);
	CU_ASSERT_EQUAL(lookup(h, key, NOW_MS), L1_FRESH);
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
    TEST(a_full_flight_table_stores_all_the_same));
