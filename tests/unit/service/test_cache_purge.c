/*
 * Goal: what a write says it changes is gone, for every tenant and however it was
 * asked for; and nothing else is.
 */
#include "service/cache.h"

#include "tests/support/unit.h"
#include "tests/unit/service/cache_house.h"

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
	cache_purge_all(&h->c, 0);
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
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &w, v.v, 0, &h->a), 2);
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
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &bad, v.v, 0, &h->a), 1);
	CU_ASSERT_EQUAL(left(h, &e), 0);
	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &w, ask("DE", "1", NULL).v, 0, &h->a), 2);
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

/* ${seen}: how far the database was whose answer it is. */
static enum err
lead_and_land(struct house *h, const struct endpoint *e, struct asked v, uint64_t seen,
    enum flight_state *told_out)
{
	const struct slice key = key_of(h, e, v, "");
	struct cache_fill leader, waiter;
	struct cache_hit hit;
	uint32_t evicted;
	uint8_t reason;
	enum err rc;

	CU_ASSERT_EQUAL_FATAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &leader), FLIGHT_LEAD);
	CU_ASSERT_EQUAL_FATAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &waiter), FLIGHT_WAIT);
	(void)cache_begin(&h->c, &leader, e, v.v, NOW_MS, 0, &h->a, &hit);
	rc = cache_fill_land(&h->c, &leader, &e->cache, SLICE("x"), seen, NOW_MS, 0, &evicted);
	*told_out = cache_look(&h->c, &waiter, &reason);
	return rc;
}

static void
an_answer_that_is_older_than_a_purge_is_not_kept(void)
{
	enum { BEFORE = 99, COMMIT = 100 };
	struct house *h = house_open();
	const struct endpoint e = countries(), w = write_of(tags, 2);
	const struct asked germany = ask("DE", "1", NULL), france = ask("FR", "1", NULL);
	enum flight_state told;

	CU_ASSERT_EQUAL(cache_purge_event(&h->c, &w, germany.v, COMMIT, &h->a), 2);
	CU_ASSERT_EQUAL(lead_and_land(h, &e, germany, BEFORE, &told), ERR_CONFLICT);
	CU_ASSERT_EQUAL(
	    told, FLIGHT_NOT_STORED); /* each waiter queries for itself, and none after another */
	CU_ASSERT_FALSE(cached(h, &e, germany, ""));
	CU_ASSERT_EQUAL(lead_and_land(h, &e, germany, COMMIT, &told), ERR_OK);
	CU_ASSERT_EQUAL(told, FLIGHT_STORED);
	CU_ASSERT_TRUE(cached(h, &e, germany, ""));
	CU_ASSERT_EQUAL(lead_and_land(h, &e, france, UINT64_MAX, &told), ERR_OK);
	cache_purge_all(&h->c, COMMIT + 1);
	CU_ASSERT_EQUAL(lead_and_land(h, &e, france, COMMIT, &told), ERR_CONFLICT);
	house_close(h);
}

UNIT_SUITE(cache_purge, TEST(an_answer_that_is_older_than_a_purge_is_not_kept),
    TEST(a_tag_purges_the_copies_of_all_tenants),
    TEST(without_tags_an_endpoint_is_purged_by_its_name),
    TEST(a_path_purges_its_copies_whatever_query_and_tenant),
    TEST(a_path_that_is_none_is_refused_with_a_reason), TEST(a_purge_of_all_leaves_nothing),
    TEST(an_applied_event_purges_what_it_invalidates),
    TEST(an_event_whose_tags_cannot_be_made_purges_everything),
    TEST(a_json_parameter_is_one_tag_however_it_is_spelled),
    TEST(an_endpoint_with_too_many_tags_is_refused));
