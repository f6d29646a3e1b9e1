/* Goal: what was leased is handed out once, until its end, and what is known about the limit is remembered. */
#include "policy/lease.h"

#include <stdlib.h>

#include "tests/support/unit.h"

enum { SLOTS = 64, ALIGN = 64, SOON = 10, MAX = 200 };

static const uint64_t client = 4711, other = 815;
static const int64_t now = 1000000;

static struct leases *
fresh(void)
{
	struct leases *l = aligned_alloc(ALIGN, leases_size(SLOTS));

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	leases_init(l, SLOTS);
	return l;
}

static void
put(struct leases *l, uint64_t key, uint64_t tokens, int64_t until_ms, int64_t pause_ms)
{
	const struct lease_grant g = { tokens, until_ms, pause_ms };

	lease_put(l, key, now, &g);
}

static enum err
take(struct leases *l, uint64_t key, int64_t at_ms)
{
	struct lease_view v;

	return lease_take(l, key, at_ms, SOON, &v);
}

static unsigned
drain(struct leases *l, uint64_t key, int64_t at_ms)
{
	unsigned n = 0;

	while (take(l, key, at_ms) == ERR_OK)
		n++;
	return n;
}

static void
nothing_is_known_of_a_new_client(void)
{
	struct leases *l = fresh();
	struct lease_view v;

	CU_ASSERT_EQUAL(take(l, client, now), ERR_NOT_FOUND);
	lease_look(l, client, now, &v);
	CU_ASSERT_EQUAL(v.left, 0);
	CU_ASSERT_FALSE(v.known);
	free(l);
}

static void
exactly_the_leased_tokens_are_there_and_only_for_their_client(void)
{
	struct leases *l = fresh();

	put(l, client, 5, now + 1000, 0);
	CU_ASSERT_EQUAL(take(l, other, now), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(drain(l, client, now), 5);
	CU_ASSERT_EQUAL(take(l, client, now), ERR_NOT_FOUND); /* ask for more */
	free(l);
}

static void
grants_add_up_and_the_later_end_counts(void)
{
	struct leases *l = fresh();

	put(l, client, 5, now + 1000, 0);
	put(l, client, 3, now + 2000, 0);
	put(l, client, 2, now + 500, 0);
	CU_ASSERT_EQUAL(drain(l, client, now + 1999), 10);
	free(l);
}

static void
a_lease_that_has_ended_is_nobodys_but_may_be_given_back_once(void)
{
	struct leases *l = fresh();

	put(l, client, 5, now + 1000, 0);
	CU_ASSERT_EQUAL(lease_reclaim(l, client, now + 999), 0);
	CU_ASSERT_EQUAL(take(l, client, now + 1000), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(lease_reclaim(l, client, now + 1000), 5);
	CU_ASSERT_EQUAL(lease_reclaim(l, client, now + 1000), 0);
	free(l);
}

static void
a_lease_may_be_given_back_before_its_end_and_leaves_nothing_known(void)
{
	struct leases *l = fresh();

	put(l, client, 5, now + 1000, 70);
	CU_ASSERT_EQUAL(take(l, client, now), ERR_OK);
	CU_ASSERT_EQUAL(lease_reclaim_early(l, client), 4);
	CU_ASSERT_EQUAL(lease_reclaim_early(l, client), 0);
	CU_ASSERT_EQUAL(take(l, client, now), ERR_NOT_FOUND);
	lease_refuse(l, client, now, now + 1000);
	CU_ASSERT_EQUAL(lease_reclaim_early(l, client), 0);
	CU_ASSERT_EQUAL(take(l, client, now), ERR_LIMITED);
	free(l);
}

static void
a_new_grant_does_not_wake_tokens_that_have_ended(void)
{
	struct leases *l = fresh();
	const struct lease_grant g = { 2, now + 9000, 0 };

	put(l, client, 5, now + 1000, 0);
	lease_put(l, client, now + 5000, &g);
	CU_ASSERT_EQUAL(drain(l, client, now + 5000), 2);
	free(l);
}

static void
what_comes_late_is_lost(void)
{
	struct leases *l = fresh();

	put(l, client, 5, now, 0);
	CU_ASSERT_EQUAL(drain(l, client, now), 0);
	free(l);
}

static void
over_the_limit_is_remembered_until_then(void)
{
	struct leases *l = fresh();
	struct lease_view v;

	lease_refuse(l, client, now, now + 300);
	CU_ASSERT_EQUAL(lease_take(l, client, now + 299, SOON, &v), ERR_LIMITED);
	CU_ASSERT_EQUAL(v.until_ms, now + 300);
	CU_ASSERT_EQUAL(take(l, client, now + 300), ERR_NOT_FOUND);
	lease_refuse(l, client, now, now + 365 * INT64_C(86400000));
	CU_ASSERT_EQUAL(take(l, client, now + LEASE_MS_MAX), ERR_NOT_FOUND); /* asked again */
	free(l);
}

static void
a_refusal_does_not_take_tokens_away(void)
{
	struct leases *l = fresh();

	put(l, client, 2, now + 1000, 0);
	lease_refuse(l, client, now, now + 300);
	CU_ASSERT_EQUAL(drain(l, client, now), 2);
	free(l);
}

static void
after_all_that_there_was_comes_a_pause(void)
{
	struct leases *l = fresh();

	put(l, client, 2, now + 1000, 50);
	CU_ASSERT_EQUAL(take(l, client, now + 100), ERR_OK);
	CU_ASSERT_EQUAL(take(l, client, now + 200), ERR_OK);
	CU_ASSERT_EQUAL(take(l, client, now + 249), ERR_LIMITED);
	CU_ASSERT_EQUAL(take(l, client, now + 250), ERR_NOT_FOUND);
	free(l);
}

static void
a_crowd_behind_a_refusal_asks_once(void)
{
	struct leases *l = fresh();

	lease_refuse(l, client, now, now + 300);
	CU_ASSERT_TRUE(lease_begin_asking(l, client, now + 301, 100));
	CU_ASSERT_EQUAL(take(l, client, now + 301), ERR_LIMITED);
	CU_ASSERT_EQUAL(take(l, client, now + 300 + SOON), ERR_NOT_FOUND); /* too long ago */
	lease_end_asking(l, client);
	CU_ASSERT_EQUAL(take(l, client, now + 301), ERR_NOT_FOUND);
	free(l);
}

static void
one_asks_at_a_time_and_a_dead_one_not_for_ever(void)
{
	struct leases *l = fresh();

	CU_ASSERT_TRUE(lease_begin_asking(l, client, now, 100));
	CU_ASSERT_FALSE(lease_begin_asking(l, client, now + 99, 100));
	CU_ASSERT_TRUE(lease_begin_asking(l, client, now + 100, 100));
	lease_end_asking(l, client);
	CU_ASSERT_TRUE(lease_begin_asking(l, client, now + 101, 100));
	free(l);
}

/* ${rate} tokens a millisecond are used; returns what is asked for in the end. */
static uint64_t
settled_want(struct leases *l, uint64_t rate, int64_t *at_ms)
{
	uint64_t want = 0;

	for (int i = 0; i < 50; i++) {
		const uint64_t got = want = lease_want(l, client, *at_ms, MAX);
		const struct lease_grant g = { got, *at_ms + 1000000, 0 };

		lease_put(l, client, *at_ms, &g);
		*at_ms += (int64_t)(got / rate > 0 ? got / rate : 1);
		(void)drain(l, client, *at_ms);
	}
	return want;
}

static void
a_lease_grows_with_the_rate_up_to_its_share_and_shrinks_again(void)
{
	struct leases *l = fresh();
	int64_t at = now;

	CU_ASSERT_EQUAL(lease_want(l, client, at, MAX), 1); /* a newcomer */
	at += 1;
	CU_ASSERT_TRUE(lease_want(l, client, at, MAX) <= 8); /* fourfold at most */
	CU_ASSERT_EQUAL(settled_want(l, 5, &at), MAX);
	CU_ASSERT_EQUAL(lease_want(l, client, at + 3600000, MAX), 1); /* an hour of silence */
	CU_ASSERT_EQUAL(lease_want(l, other, at, 1), 1);
	free(l);
}

static void
a_refill_is_due_at_half(void)
{
	struct leases *l = fresh();
	struct lease_view v;
	int64_t at = now;

	CU_ASSERT_EQUAL(settled_want(l, 5, &at), MAX);
	CU_ASSERT_EQUAL(lease_want(l, client, at, MAX), MAX);
	lease_put(l, client, at, &(struct lease_grant){ MAX, at + 1000, 0 });
	for (unsigned i = 0; i < MAX / 2 - 1; i++) {
		CU_ASSERT_EQUAL(lease_take(l, client, at, SOON, &v), ERR_OK);
		CU_ASSERT_FALSE(v.refill);
	}
	CU_ASSERT_EQUAL(lease_take(l, client, at, SOON, &v), ERR_OK);
	CU_ASSERT_TRUE(v.refill);
	CU_ASSERT_EQUAL(v.left, MAX / 2);
	free(l);
}

static void
what_the_bucket_told_is_told_on(void)
{
	struct leases *l = fresh();
	struct lease_view v;

	put(l, client, 5, now + 1000, 0);
	lease_tell(l, client, 70, now + 400);
	CU_ASSERT_EQUAL(lease_take(l, client, now, SOON, &v), ERR_OK);
	CU_ASSERT_EQUAL(v.left + v.told, 74);
	CU_ASSERT_EQUAL(v.reset_ms, now + 400);
	CU_ASSERT_TRUE(v.known);
	free(l);
}

static void
in_a_full_table_live_tokens_stay_and_newcomers_go_without(void)
{
	struct leases *l = fresh();
	unsigned lost = 0;

	for (uint64_t key = 1; key <= 20 * SLOTS; key++)
		put(l, key, 1, now + 1000, 0);
	for (uint64_t key = 1; key <= 20 * SLOTS; key++)
		lost += take(l, key, now) != ERR_OK;
	CU_ASSERT_EQUAL(lost, 19 * SLOTS);
	put(l, client, 3, now + 1000, 0); /* a used-up slot is free again */
	CU_ASSERT_EQUAL(drain(l, client, now), 3);
	free(l);
}

static void
a_clock_that_has_started_again_is_not_refused_for_ever(void)
{
	struct leases *l = fresh();
	const int64_t uptime = INT64_C(30) * 86400000;

	lease_refuse(l, client, uptime, uptime + 30000);
	lease_put(l, other, uptime, &(struct lease_grant){ 5, uptime + 30000, 0 });
	CU_ASSERT_EQUAL(take(l, client, now), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(take(l, other, now), ERR_NOT_FOUND);
	put(l, client, 2, now + 1000, 0);
	CU_ASSERT_EQUAL(drain(l, client, now), 2);
	free(l);
}

/* Of slots of which one in 16 is looked at, so what is in use is about what it says. */
static void
what_is_in_use_is_about_what_is_told(void)
{
	enum { MANY = 4096, HELD = 1024 };
	struct leases *l = aligned_alloc(ALIGN, leases_size(MANY));
	uint32_t used;

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	leases_init(l, MANY);
	CU_ASSERT_EQUAL(leases_usage(l, now, &used), MANY);
	CU_ASSERT_EQUAL(used, 0);
	for (uint64_t key = 1; key <= HELD / 2; key++) {
		put(l, key * UINT64_C(0x9e3779b97f4a7c15), 1, now + 1000, 0);
		lease_refuse(l, key * UINT64_C(0xd6e8feb86659fd93), now, now + 1000);
	}
	CU_ASSERT_EQUAL(leases_usage(l, now, &used), MANY);
	CU_ASSERT_TRUE(used > HELD / 2 && used < 2 * HELD);
	(void)leases_usage(l, now + 1001, &used);
	CU_ASSERT_EQUAL(used, 0);
	free(l);
}

static void
sizes_out_of_range_are_none(void)
{
	CU_ASSERT_EQUAL(leases_size(0), 0);
	CU_ASSERT_EQUAL(leases_size(63), 0);
	CU_ASSERT_EQUAL(leases_size(96), 0);
	CU_ASSERT_TRUE(leases_size(1 << 16) >= 64 << 16);
}

UNIT_SUITE(lease, TEST(nothing_is_known_of_a_new_client),
    TEST(exactly_the_leased_tokens_are_there_and_only_for_their_client),
    TEST(grants_add_up_and_the_later_end_counts),
    TEST(a_lease_that_has_ended_is_nobodys_but_may_be_given_back_once),
    TEST(a_lease_may_be_given_back_before_its_end_and_leaves_nothing_known),
    TEST(a_new_grant_does_not_wake_tokens_that_have_ended), TEST(what_comes_late_is_lost),
    TEST(over_the_limit_is_remembered_until_then), TEST(a_refusal_does_not_take_tokens_away),
    TEST(after_all_that_there_was_comes_a_pause), TEST(a_crowd_behind_a_refusal_asks_once),
    TEST(one_asks_at_a_time_and_a_dead_one_not_for_ever),
    TEST(a_lease_grows_with_the_rate_up_to_its_share_and_shrinks_again),
    TEST(a_refill_is_due_at_half), TEST(what_the_bucket_told_is_told_on),
    TEST(in_a_full_table_live_tokens_stay_and_newcomers_go_without),
    TEST(a_clock_that_has_started_again_is_not_refused_for_ever),
    TEST(what_is_in_use_is_about_what_is_told), TEST(sizes_out_of_range_are_none));
