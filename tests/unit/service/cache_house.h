#ifndef TESTS_UNIT_SERVICE_CACHE_HOUSE_H
#define TESTS_UNIT_SERVICE_CACHE_HOUSE_H

#include <stdlib.h>
#include <sys/mman.h>

#include "policy/positions.h"
#include "service/cache.h"
#include "tests/support/unit.h"

/*
 * What the tests of the cache have in common: the cache of one host, and one endpoint.
 */
enum { L1_BYTES = 1 << 20, SLOTS = 64, SEED = 99, NOW_MS = 5000, LEASE_MS = 1000 };

/* The cache of one host, and the members that were rung. */
struct house {
	struct cache c;
	struct arena a;
	unsigned rung[FLIGHT_MEMBERS];
};

static inline void *
shared(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	return mem;
}

static inline void
note_ring(void *ctx, unsigned member)
{
	struct house *h = ctx;

	h->rung[member]++;
}

static inline struct house *
house_open(void)
{
	struct house *h = calloc(1, sizeof *h);

	if (h == NULL)
		abort();
	h->c = (struct cache){
		.l1 = shared(l1_size(L1_BYTES)),
		.positions = shared(positions_size()),
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

static inline void
house_close(struct house *h)
{
	(void)munmap(h->c.l1, l1_size(L1_BYTES));
	(void)munmap(h->c.flights, flight_size(SLOTS));
	(void)munmap(h->c.positions, positions_size());
	arena_free(&h->a);
	free(h);
}

/* Another process of the host. */
static inline struct cache
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

static inline struct endpoint
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

static inline struct asked
ask(const char *code, const char *page, const char *q)
{
	return (struct asked){ {
	    { .type = VALUE_TEXT, .text = slice_of(code) },
	    { .type = VALUE_INTEGER, .text = slice_of(page) },
	    { .type = VALUE_TEXT, .text = slice_of(q), .null = q == NULL },
	} };
}

static inline struct slice
key_of(struct house *h, const struct endpoint *e, struct asked v, const char *tenant)
{
	struct slice key;

	CU_ASSERT_EQUAL(cache_key(e, v.v, NULL, slice_of(tenant), &h->a, &key), ERR_OK);
	return key;
}

static inline enum l1_answer
lookup(struct house *h, struct slice key, int64_t now_ms)
{
	struct cache_hit hit;

	return cache_lookup(&h->c, key, now_ms, 0, &h->a, &hit);
}

/* Leads, begins, and lands ${block}. */
static inline enum err
fill(struct house *h, const struct endpoint *e, struct asked v, const char *tenant,
    const char *block)
{
	const struct slice key = key_of(h, e, v, tenant);
	struct cache_fill f;
	struct cache_hit hit;
	uint32_t evicted;

	CU_ASSERT_EQUAL(cache_join(&h->c, key, NOW_MS, LEASE_MS, &f), FLIGHT_LEAD);
	CU_ASSERT_NOT_EQUAL(cache_begin(&h->c, &f, e, v.v, NOW_MS, 0, &h->a, &hit), L1_FRESH);
	return cache_fill_land(&h->c, &f, &e->cache, slice_of(block), 0, NOW_MS, 0, &evicted);
}

static inline bool
cached(struct house *h, const struct endpoint *e, struct asked v, const char *tenant)
{
	return lookup(h, key_of(h, e, v, tenant), NOW_MS) == L1_FRESH;
}

#endif
