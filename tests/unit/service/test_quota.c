/*
 * Goal: all limits of a request pass together or cost nothing, each counts whom it says, and the
 * headers tell the truth.
 */
#include "service/quota.h"

#include <stdlib.h>

#include "http/endpoint.h"
#include "http/response.h"
#include "policy/limiter.h"
#include "tests/support/unit.h"

static const int64_t second = 1000000000;
static const int64_t now = 5000 * (int64_t)1000000000;

static const struct quota_caller anonymous = { .client = { "192.0.2.1", 9 },
	.ip = { "192.0.2.1", 9 } };
static const struct quota_caller neighbour = { .client = { "192.0.2.2", 9 },
	.ip = { "192.0.2.2", 9 } };

static struct quota_caller
tenant_at(const char *tenant, const char *ip)
{
	return (struct quota_caller){
		.client = slice_of(tenant), .tenant = slice_of(tenant), .ip = slice_of(ip)
	};
}

static struct quota
quota_new(void)
{
	struct quota q = { .limiter = aligned_alloc(64, limiter_size(1024)), .seed = 4711 };

	if (q.limiter == NULL)
		abort();
	limiter_init(q.limiter, 1024);
	return q;
}

static struct limit_rule
per_second(const char *name, uint64_t quota, enum limit_by by)
{
	static uint64_t seed = 1000;

	return (struct limit_rule){ .name = slice_of(name),
		.quota = quota,
		.window_ms = 1000,
		.burst = quota,
		.by = by,
		.seed = ++seed };
}

static enum err
take(const struct quota *q, const struct endpoint *e, const struct quota_caller *who)
{
	struct quota_verdict v;

	return quota_take(q, e, who, now, &v);
}

static unsigned
drain(const struct quota *q, const struct endpoint *e, const struct quota_caller *who)
{
	unsigned n = 0;

	while (take(q, e, who) == ERR_OK)
		n++;
	return n;
}

static bool
header_is(const struct response *r, const char *name, const char *value)
{
	return slice_eq_cstr(response_find(r, name), value);
}

/* The headers after one request. */
static struct response
answer(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct arena *a)
{
	struct response r = { .status = 0 };
	struct quota_verdict v;

	(void)quota_take(q, e, who, now_ns, &v);
	quota_headers(&v, e, a, &r);
	return r;
}

static void
an_endpoint_without_limits_passes_and_says_nothing(void)
{
	const struct quota q = quota_new();
	const struct endpoint e = { .limit_count = 0 };
	struct response r = { .status = 0 };
	struct quota_verdict v;
	struct arena a;

	arena_init(&a, 4096);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_OK);
	CU_ASSERT_EQUAL(v.refused, -1);
	CU_ASSERT_EQUAL(v.tightest, -1);
	quota_headers(&v, &e, &a, &r);
	CU_ASSERT_EQUAL(r.header_count, 0);
	arena_free(&a);
	free(q.limiter);
}

static void
each_client_has_his_own_bucket(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 5, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };

	CU_ASSERT_EQUAL(drain(&q, &e, &anonymous), 5);
	CU_ASSERT_EQUAL(drain(&q, &e, &neighbour), 5);
	CU_ASSERT_EQUAL(drain(&q, &e, &anonymous), 0);
	free(q.limiter);
}

static void
two_rules_never_share_a_bucket(void)
{
	const struct quota q = quota_new();
	struct limit_rule one[] = { per_second("default", 5, LIMIT_BY_CLIENT) };
	struct limit_rule two[] = { per_second("default", 5, LIMIT_BY_CLIENT) };
	const struct endpoint a = { .limits = one, .limit_count = 1 };
	const struct endpoint b = { .limits = two, .limit_count = 1 };

	CU_ASSERT_EQUAL(drain(&q, &a, &anonymous), 5);
	CU_ASSERT_EQUAL(drain(&q, &b, &anonymous), 5);
	free(q.limiter);
}

static void
a_limit_counts_by_client_tenant_or_address_as_it_says(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[3] = { per_second("c", 5, LIMIT_BY_CLIENT),
		per_second("t", 5, LIMIT_BY_TENANT), per_second("i", 5, LIMIT_BY_IP) };
	const struct quota_caller here = tenant_at("acme", "192.0.2.1");
	const struct quota_caller there = tenant_at("acme", "192.0.2.2");
	const struct quota_caller other = tenant_at("bolt", "192.0.2.1");
	const struct endpoint by_client = { .limits = &rules[0], .limit_count = 1 };
	const struct endpoint by_tenant = { .limits = &rules[1], .limit_count = 1 };
	const struct endpoint by_ip = { .limits = &rules[2], .limit_count = 1 };

	CU_ASSERT_EQUAL(drain(&q, &by_client, &here), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_client, &there), 0);
	CU_ASSERT_EQUAL(drain(&q, &by_client, &other), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_client, &anonymous), 5);

	CU_ASSERT_EQUAL(drain(&q, &by_tenant, &here), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_tenant, &there), 0);
	CU_ASSERT_EQUAL(drain(&q, &by_tenant, &other), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_tenant, &anonymous), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_tenant, &neighbour), 5);

	CU_ASSERT_EQUAL(drain(&q, &by_ip, &here), 5);
	CU_ASSERT_EQUAL(drain(&q, &by_ip, &other), 0);
	CU_ASSERT_EQUAL(drain(&q, &by_ip, &anonymous), 0);
	CU_ASSERT_EQUAL(drain(&q, &by_ip, &there), 5);
	free(q.limiter);
}

static void
a_tenant_with_an_addresss_name_does_not_drain_that_address(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 5, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };
	const struct quota_caller liar = tenant_at("192.0.2.1", "203.0.113.9");

	CU_ASSERT_EQUAL(drain(&q, &e, &liar), 5);
	CU_ASSERT_EQUAL(drain(&q, &e, &anonymous), 5);
	free(q.limiter);
}

static void
a_refusal_gives_back_what_the_rules_before_it_took(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("wide", 10, LIMIT_BY_CLIENT),
		per_second("mid", 8, LIMIT_BY_CLIENT), per_second("narrow", 3, LIMIT_BY_CLIENT) };
	const struct endpoint all = { .limits = rules, .limit_count = 3 };
	const struct endpoint wide = { .limits = rules, .limit_count = 1 };
	const struct endpoint mid = { .limits = rules + 1, .limit_count = 1 };

	rules[1].algorithm = LIMIT_SLIDING_WINDOW;
	CU_ASSERT_EQUAL(drain(&q, &all, &anonymous), 3);
	for (int i = 0; i < 50; i++)
		CU_ASSERT_EQUAL(take(&q, &all, &anonymous), ERR_LIMITED);
	CU_ASSERT_EQUAL(drain(&q, &wide, &anonymous), 7);
	CU_ASSERT_EQUAL(drain(&q, &mid, &anonymous), 5);
	free(q.limiter);
}

static void
a_refusal_names_its_rule_and_when_to_come_again(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("a", 10, LIMIT_BY_CLIENT),
		per_second("b", 2, LIMIT_BY_CLIENT), per_second("c", 5, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 3 };
	struct quota_verdict v;

	rules[1].window_ms = 7000; /* a token every 3.5 s */
	drain(&q, &e, &anonymous);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_LIMITED);
	CU_ASSERT_EQUAL(v.refused, 1);
	CU_ASSERT_EQUAL(v.tightest, 1);
	CU_ASSERT_EQUAL(v.retry_after_s, 4);
	CU_ASSERT_EQUAL(v.remaining[0], 8);
	CU_ASSERT_EQUAL(v.remaining[1], 0);
	CU_ASSERT_EQUAL(v.remaining[2], 3);
	CU_ASSERT_EQUAL(v.reset_s[1], 4);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now + 3500000000 - 1, &v), ERR_LIMITED);
	CU_ASSERT_EQUAL(v.retry_after_s, 1);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now + 3500000000, &v), ERR_OK);
	CU_ASSERT_EQUAL(v.refused, -1);
	free(q.limiter);
}

static void
a_rule_that_observes_counts_but_never_refuses(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("trial", 2, LIMIT_BY_CLIENT),
		per_second("default", 5, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 2 };
	struct quota_verdict v;
	unsigned observed = 0;

	rules[0].observe = true;
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_OK);
		observed += v.observed;
	}
	CU_ASSERT_EQUAL(observed, 3);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_LIMITED);
	CU_ASSERT_EQUAL(v.refused, 1);
	CU_ASSERT_EQUAL(v.observed, 0);
	free(q.limiter);
}

static void
a_refused_request_does_not_count_where_it_is_observed(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("trial", 3, LIMIT_BY_CLIENT),
		per_second("default", 1, LIMIT_BY_CLIENT) };
	const struct endpoint both = { .limits = rules, .limit_count = 2 };
	struct endpoint trial = { .limits = rules, .limit_count = 1 };

	rules[0].observe = true;
	for (int i = 0; i < 10; i++)
		(void)take(&q, &both, &anonymous);
	rules[0].observe = false;
	CU_ASSERT_EQUAL(drain(&q, &trial, &anonymous), 2);
	free(q.limiter);
}

static void
the_headers_tell_every_rule_and_the_tightest(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 100, LIMIT_BY_CLIENT),
		per_second("trial", 1, LIMIT_BY_CLIENT), per_second("hour", 10, LIMIT_BY_IP) };
	const struct endpoint e = { .limits = rules, .limit_count = 3 };
	struct response r;
	struct arena a;

	arena_init(&a, 65536);
	rules[0].burst = 200;
	rules[1].observe = true;
	rules[2].window_ms = 3600000;
	r = answer(&q, &e, &anonymous, now, &a);
	CU_ASSERT_EQUAL(r.header_count, 5);
	CU_ASSERT_TRUE(
	    header_is(&r, "RateLimit-Policy", "\"default\";q=100;w=1, \"hour\";q=10;w=3600"));
	CU_ASSERT_TRUE(header_is(&r, "RateLimit", "\"default\";r=199;t=1, \"hour\";r=9;t=360"));
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Limit", "10"));
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Remaining", "9"));
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Reset", "360"));
	arena_free(&a);
	free(q.limiter);
}

static void
the_headers_of_a_refusal_agree_with_its_retry_after(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 2, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };
	struct response r;
	struct arena a;

	arena_init(&a, 65536);
	rules[0].window_ms = 60000;
	drain(&q, &e, &anonymous);
	r = answer(&q, &e, &anonymous, now + second / 2, &a);
	CU_ASSERT_TRUE(header_is(&r, "RateLimit", "\"default\";r=0;t=30")); /* 29.5 s */
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Limit", "2"));
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Remaining", "0"));
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Reset", "30"));
	arena_free(&a);
	free(q.limiter);
}

static void
a_burst_below_the_quota_is_not_tight_while_it_is_full(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("half", 10, LIMIT_BY_CLIENT),
		per_second("smooth", 1000, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 2 };
	struct quota_verdict v;

	rules[1].burst = 20;
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_OK);
	CU_ASSERT_EQUAL(v.tightest, 0);
	free(q.limiter);
}

static void
windows_of_less_than_a_second_are_told_as_one(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 3, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };
	struct response r;
	struct arena a;

	arena_init(&a, 65536);
	rules[0].window_ms = 100;
	r = answer(&q, &e, &anonymous, now, &a);
	CU_ASSERT_TRUE(header_is(&r, "RateLimit-Policy", "\"default\";q=3;w=1"));
	CU_ASSERT_TRUE(header_is(&r, "RateLimit", "\"default\";r=2;t=1"));
	rules[0].window_ms = 1001;
	r = answer(&q, &e, &neighbour, now, &a);
	CU_ASSERT_TRUE(header_is(&r, "RateLimit-Policy", "\"default\";q=3;w=2"));
	arena_free(&a);
	free(q.limiter);
}

static void
the_longest_names_and_figures_fit(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[QUOTA_MAX_RULES];
	const struct endpoint e = { .limits = rules, .limit_count = QUOTA_MAX_RULES };
	static char name[1001];
	struct response r;
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof name - 1; i++)
		name[i] = '"'; /* each becomes two */
	for (size_t i = 0; i < QUOTA_MAX_RULES; i++) {
		rules[i] = per_second(name, 1000000000, LIMIT_BY_CLIENT);
		rules[i].window_ms = INT64_MAX;
		rules[i].burst = 1000000000;
	}
	r = answer(&q, &e, &anonymous, now, &a);
	CU_ASSERT_EQUAL(r.header_count, 5);
	CU_ASSERT_TRUE(response_find(&r, "RateLimit-Policy").len > 8 * 2002);
	CU_ASSERT_TRUE(header_is(&r, "X-RateLimit-Remaining", "999999999"));
	arena_free(&a);
	free(q.limiter);
}

static void
without_room_in_the_arena_there_are_no_headers(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 3, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };
	struct response r;
	struct arena a;

	arena_init(&a, 16);
	r = answer(&q, &e, &anonymous, now, &a);
	CU_ASSERT_EQUAL(r.header_count, 0);
	CU_ASSERT_TRUE(a.overflowed);
	arena_free(&a);
	free(q.limiter);
}

static void
a_client_without_a_slot_of_its_own_is_said_to_overflow(void)
{
	const struct quota q = quota_new();
	struct limit_rule rules[] = { per_second("default", 3, LIMIT_BY_CLIENT) };
	const struct endpoint e = { .limits = rules, .limit_count = 1 };
	struct quota_verdict v;
	unsigned own = 0;

	rules[0].window_ms = 3600000;
	for (int32_t i = 0; i < 20000; i++) {
		const struct slice name = { (const char *)&i, sizeof i };
		const struct quota_caller who = { .client = name, .ip = name };

		(void)quota_take(&q, &e, &who, now, &v);
		own += !v.overflow;
	}
	CU_ASSERT_EQUAL(own, 1024);
	CU_ASSERT_EQUAL(quota_take(&q, &e, &anonymous, now, &v), ERR_LIMITED);
	CU_ASSERT_TRUE(v.overflow);
	free(q.limiter);
}

UNIT_SUITE(quota, TEST(an_endpoint_without_limits_passes_and_says_nothing),
    TEST(each_client_has_his_own_bucket), TEST(two_rules_never_share_a_bucket),
    TEST(a_limit_counts_by_client_tenant_or_address_as_it_says),
    TEST(a_tenant_with_an_addresss_name_does_not_drain_that_address),
    TEST(a_refusal_gives_back_what_the_rules_before_it_took),
    TEST(a_refusal_names_its_rule_and_when_to_come_again),
    TEST(a_rule_that_observes_counts_but_never_refuses),
    TEST(a_refused_request_does_not_count_where_it_is_observed),
    TEST(the_headers_tell_every_rule_and_the_tightest),
    TEST(the_headers_of_a_refusal_agree_with_its_retry_after),
    TEST(a_burst_below_the_quota_is_not_tight_while_it_is_full),
    TEST(windows_of_less_than_a_second_are_told_as_one), TEST(the_longest_names_and_figures_fit),
    TEST(without_room_in_the_arena_there_are_no_headers),
    TEST(a_client_without_a_slot_of_its_own_is_said_to_overflow));
