/*
 * Goal: a limit admits exactly what it says, at any rate, for one caller at a time.
 * Many processes at once, and killed ones: test_limiter_crowd.c.
 */
#include <stdlib.h>

#include "policy/limiter.h"
#include "tests/support/unit.h"

static const int64_t second = 1000000000;
static const int64_t day = 86400 * (int64_t)1000000000;

static struct limiter *
table_new(uint32_t slots)
{
	void *mem = aligned_alloc(64, limiter_size(slots));

	if (mem == NULL)
		abort();
	limiter_init(mem, slots);
	return mem;
}

static struct limiter_rule
bucket_of(uint64_t quota, int64_t window_ns, uint64_t burst)
{
	return (struct limiter_rule){
		.seed = 77, .quota = quota, .window_ns = window_ns, .burst = burst
	};
}

static struct limiter_rule
window_of(uint64_t quota, int64_t window_ns)
{
	return (struct limiter_rule){
		.seed = 78, .quota = quota, .window_ns = window_ns, .sliding = true
	};
}

static bool
take(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns)
{
	struct limiter_state s;

	return limiter_take(l, r, key, now_ns, &s) == ERR_OK;
}

/* Takes at ${now_ns} until refused. */
static uint64_t
drain(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns)
{
	uint64_t n = 0;

	while (take(l, r, key, now_ns))
		n++;
	return n;
}

/* The wait that a refusal at ${now_ns} tells; 0 when it was none. */
static int64_t
wait_of(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns)
{
	struct limiter_state s;

	limiter_take(l, r, key, now_ns, &s);
	return s.retry_after_ns;
}

static uint64_t
left(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns)
{
	struct limiter_state s;

	limiter_look(l, r, key, now_ns, &s);
	return s.remaining;
}

static void
only_powers_of_two_within_bounds_have_a_size(void)
{
	CU_ASSERT_EQUAL(limiter_size(0), 0);
	CU_ASSERT_EQUAL(limiter_size(512), 0);
	CU_ASSERT_EQUAL(limiter_size(1023), 0);
	CU_ASSERT_EQUAL(limiter_size(1u << 25), 0);
	CU_ASSERT_EQUAL(limiter_size(2048) - limiter_size(1024), 1024 * 32);
	CU_ASSERT_TRUE(limiter_size(1u << 24) > (size_t)1 << 29);
}

static void
a_new_client_may_take_the_whole_burst_and_no_more(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = bucket_of(10, second, 25);

	CU_ASSERT_EQUAL(drain(l, &r, 1, 5 * second), 25);
	CU_ASSERT_EQUAL(drain(l, &r, 2, 5 * second), 25);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 5 * second), 0);
	free(l);
}

static void
each_answer_tells_what_is_left_and_when_it_is_whole_again(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = bucket_of(10, second, 3);
	struct limiter_state s;

	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, second, &s), ERR_OK);
	CU_ASSERT_EQUAL(s.remaining, 2);
	CU_ASSERT_EQUAL(s.reset_ns, second / 10);
	CU_ASSERT_EQUAL(s.retry_after_ns, 0);
	CU_ASSERT_FALSE(s.overflow);
	drain(l, &r, 1, second);
	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, second + 1, &s), ERR_LIMITED);
	CU_ASSERT_EQUAL(s.remaining, 0);
	CU_ASSERT_EQUAL(s.reset_ns, 3 * second / 10 - 1);
	CU_ASSERT_EQUAL(s.retry_after_ns, second / 10 - 1);
	free(l);
}

static void
a_refused_request_costs_nothing(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule b = bucket_of(1, second, 1), w = window_of(1, second);

	CU_ASSERT_TRUE(take(l, &b, 1, 10 * second));
	CU_ASSERT_TRUE(take(l, &w, 2, 10 * second));
	for (int i = 0; i < 1000; i++) {
		CU_ASSERT_FALSE(take(l, &b, 1, 10 * second + i));
		CU_ASSERT_FALSE(take(l, &w, 2, 10 * second + i));
	}
	CU_ASSERT_TRUE(take(l, &b, 1, 11 * second));
	CU_ASSERT_TRUE(take(l, &w, 2, 12 * second));
	free(l);
}

static void
three_a_second_is_three_a_second_for_ever(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = bucket_of(3, second, 3);
	const int64_t start = 123456789123457;
	int64_t now = start;
	uint64_t n = drain(l, &r, 9, start);

	CU_ASSERT_EQUAL(n, 3);
	CU_ASSERT_EQUAL(wait_of(l, &r, 9, start), 333333334);
	while (now < start + 10000 * second) { /* as greedy as can be */
		now += wait_of(l, &r, 9, now);
		n += drain(l, &r, 9, now);
	}
	CU_ASSERT_EQUAL(now, start + 10000 * second);
	CU_ASSERT_EQUAL(n, 3 + 30000);
	free(l);
}

/* Token number k after the burst must come at start + k * window / quota, rounded up; *${late_out} is
 * the most by which one came later.  False when one came earlier.  With a burst of 1 a token that comes
 * between two ns is late for good: the bucket was full, and full buckets gain nothing. */
static bool
greedy_run(const struct limiter_rule *r, int64_t start, uint64_t tokens, int64_t *late_out)
{
	struct limiter *l = table_new(1024);
	bool good = drain(l, r, 9, start) == r->burst;
	int64_t now = start;

	*late_out = 0;
	for (uint64_t k = 1; good && k <= tokens; k++) {
		const uint64_t need = (k * (uint64_t)r->window_ns + r->quota - 1) / r->quota;
		int64_t late;

		now += wait_of(l, r, 9, now);
		late = now - start - (int64_t)need;
		/* several tokens may come within one ns */
		good = late >= 0 && (take(l, r, 9, now) || wait_of(l, r, 9, now) == 0);
		if (late > *late_out)
			*late_out = late;
	}
	free(l);
	return good;
}

static void
no_rate_drifts_in_the_clients_favour(void)
{
	static const struct {
		uint64_t quota;
		int64_t window_ns;
		uint64_t burst;
	} cases[] = {
		{ 1, 1000000000, 1 },
		{ 7, 1000000000, 10 },
		{ 997, 1000000000, 997 },
		{ 100, 60000000000, 5 },
		{ 524287, 1000000000, 3 },
		{ 13, 86400000000000, 2 },
		{ 11, 604800000000000, 2000 },
		{ 3, 1000000, 2 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct limiter_rule r =
		    bucket_of(cases[i].quota, cases[i].window_ns, cases[i].burst);
		int64_t late = -1;

		CU_ASSERT_TRUE(greedy_run(&r, 31536000000000007, 3000, &late));
		CU_ASSERT_EQUAL(late, 0);
	}
}

static void
rates_of_a_million_and_more_come_at_most_a_nanosecond_late(void)
{
	static const uint64_t quotas[] = { 524289, 1000000, 7000001, 99999989 };

	for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
		const struct limiter_rule r = bucket_of(quotas[i], second, 2);
		int64_t late = -1;

		CU_ASSERT_TRUE(greedy_run(&r, 987654321, 3000, &late));
		CU_ASSERT_TRUE(late <= 1);
	}
}

static void
the_greatest_figures_neither_overflow_nor_lock_out(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule fast = bucket_of(1000000000, second, 1000000000);
	const struct limiter_rule slow = bucket_of(1, 365 * day, 1000000000);
	const struct limiter_rule odd = bucket_of(999999937, 30 * day, 1000000000);
	struct limiter_state s;

	CU_ASSERT_EQUAL(limiter_take(l, &fast, 1, 300 * day, &s), ERR_OK);
	CU_ASSERT_EQUAL(s.remaining, 999999999);
	CU_ASSERT_EQUAL(s.reset_ns, 1);
	CU_ASSERT_EQUAL(limiter_take(l, &odd, 2, 300 * day, &s), ERR_OK);
	CU_ASSERT_EQUAL(s.remaining, 999999999);
	CU_ASSERT_EQUAL(s.reset_ns, 2592001); /* 30 days in ns, by the quota, rounded up */
	for (int i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL(limiter_take(l, &slow, 3, 300 * day, &s), ERR_OK);
	CU_ASSERT_TRUE(s.reset_ns >= 292 * 365 * (day / 2));
	CU_ASSERT_EQUAL(limiter_take(l, &fast, 1, INT64_MAX, &s), ERR_OK);
	CU_ASSERT_EQUAL(limiter_take(l, &fast, 4, -5, &s), ERR_OK);
	free(l);
}

static void
a_full_billion_a_second_refills_in_one_second(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = bucket_of(1000000000, second, 1000);

	CU_ASSERT_EQUAL(drain(l, &r, 1, second), 1000);
	CU_ASSERT_EQUAL(drain(l, &r, 1, second + 1), 1);
	CU_ASSERT_EQUAL(drain(l, &r, 1, second + 500), 499);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 3 * second), 1000);
	free(l);
}

static void
the_window_counts_the_last_one_by_the_part_that_still_lies_in_it(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = window_of(10, second);

	CU_ASSERT_EQUAL(drain(l, &r, 1, 100 * second), 10);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 101 * second - 1), 0);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 101 * second), 0);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 101 * second + second / 10 - 1), 0);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 101 * second + second / 10), 1);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 101 * second + second / 2), 4);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 104 * second), 10);
	free(l);
}

static void
the_window_tells_what_is_left_and_when_it_ends(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = window_of(10, second);
	struct limiter_state s;

	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, 100 * second + 1, &s), ERR_OK);
	CU_ASSERT_EQUAL(s.remaining, 9);
	CU_ASSERT_EQUAL(s.reset_ns, second - 1);
	drain(l, &r, 1, 100 * second + 1);
	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, 100 * second + 1, &s), ERR_LIMITED);
	CU_ASSERT_EQUAL(s.remaining, 0);
	CU_ASSERT_EQUAL(s.retry_after_ns, second - 1 + second / 10);
	free(l);
}

static void
the_largest_window_quota_is_exact(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = window_of(LIMITER_WINDOW_MAX, 3600 * second);

	CU_ASSERT_EQUAL(drain(l, &r, 1, 7200 * second), LIMITER_WINDOW_MAX);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 3 * 3600 * second), 0);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 4 * 3600 * second - 1), LIMITER_WINDOW_MAX - 1);
	free(l);
}

/* Not 0, so that a multiply keeps it going. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* True when a refused client gets his token at the told moment and not 1 ns before. */
static bool
wait_is_exact(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns)
{
	struct limiter_state s;
	const int64_t wait = wait_of(l, r, key, now_ns);

	limiter_look(l, r, key, now_ns + wait - 1, &s);
	return wait > 0 && s.retry_after_ns == 1 && take(l, r, key, now_ns + wait);
}

static void
retry_after_is_exact_to_the_nanosecond(void)
{
	struct limiter *l = table_new(1024);
	uint64_t rnd = 88172645463325252;

	for (uint64_t key = 1; key <= 2000; key++) {
		const uint64_t quota = 1 + next_random(&rnd) % 50;
		const int64_t window = 1000000 + (int64_t)(next_random(&rnd) % 5000000000);
		const struct limiter_rule r =
		    key % 2 == 0 ? window_of(quota, window)
				 : bucket_of(quota, window, 1 + next_random(&rnd) % 60);
		int64_t now = (int64_t)key * 20 * second; /* the last key's slot is long free */

		for (int step = 0; step < 20; step++) {
			now += (int64_t)(next_random(&rnd) % ((uint64_t)window / 8));
			(void)take(l, &r, key, now);
		}
		drain(l, &r, key, now);
		CU_ASSERT_TRUE(wait_is_exact(l, &r, key, now));
	}
	free(l);
}

static void
a_look_takes_nothing_and_tells_the_truth(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule rules[] = { bucket_of(5, second, 8), window_of(8, second) };

	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(left(l, &rules[i], i, 50 * second), 8);
		CU_ASSERT_TRUE(take(l, &rules[i], i, 50 * second));
		CU_ASSERT_EQUAL(left(l, &rules[i], i, 50 * second), 7);
		CU_ASSERT_EQUAL(left(l, &rules[i], i, 50 * second), 7);
		CU_ASSERT_EQUAL(drain(l, &rules[i], i, 50 * second), 7);
		CU_ASSERT_EQUAL(left(l, &rules[i], i, 50 * second), 0);
	}
	free(l);
}

static void
what_is_given_back_may_be_taken_again(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule rules[] = { bucket_of(5, second, 8), window_of(8, second) };
	struct limiter_state s;

	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(limiter_take(l, &rules[i], i, 50 * second, &s), ERR_OK);
		drain(l, &rules[i], i, 50 * second);
		limiter_give_back(l, &rules[i], i, 50 * second, &s);
		CU_ASSERT_EQUAL(drain(l, &rules[i], i, 50 * second), 1);
	}
	free(l);
}

static void
giving_back_never_fills_beyond_the_brim(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule rules[] = { bucket_of(5, second, 8), window_of(8, second) };
	struct limiter_state s = { .overflow = false };

	for (size_t i = 0; i < 2; i++) {
		limiter_give_back(l, &rules[i], i, 50 * second, &s); /* never seen */
		CU_ASSERT_EQUAL(limiter_take(l, &rules[i], i, 50 * second, &s), ERR_OK);
		for (int n = 0; n < 5; n++)
			limiter_give_back(l, &rules[i], i, 50 * second, &s);
		CU_ASSERT_EQUAL(drain(l, &rules[i], i, 50 * second), 8);
	}
	free(l);
}

static void
a_token_given_back_in_the_next_window_comes_off_the_last_ones_count(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule r = window_of(8, second);
	struct limiter_state s, then;

	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, 50 * second, &then), ERR_OK);
	CU_ASSERT_EQUAL(drain(l, &r, 1, 50 * second), 7);
	CU_ASSERT_EQUAL(limiter_take(l, &r, 1, 51 * second + second / 2, &s), ERR_OK); /* 4 + 1 */
	CU_ASSERT_EQUAL(s.remaining, 3);
	limiter_give_back(l, &r, 1, 50 * second, &then); /* 3.5 + 1 */
	CU_ASSERT_EQUAL(drain(l, &r, 1, 51 * second + second / 2), 3);
	CU_ASSERT_EQUAL(left(l, &r, 1, 52 * second), 4);
	limiter_give_back(l, &r, 1, 50 * second, &then); /* two windows ago: counts no more */
	CU_ASSERT_EQUAL(left(l, &r, 1, 52 * second), 4);
	free(l);
}

/* Fills all slots; returns how many clients got none. */
static unsigned
crowd_in(struct limiter *l, const struct limiter_rule *r, unsigned clients, int64_t now_ns)
{
	unsigned overflowed = 0;

	for (uint64_t key = 1; key <= clients; key++) {
		struct limiter_state s;

		(void)limiter_take(l, r, key << 20 ^ r->seed, now_ns, &s);
		overflowed += s.overflow;
	}
	return overflowed;
}

static void
without_a_free_slot_the_rules_clients_share_one(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule hour = bucket_of(1, 3600 * second, 1);
	const struct limiter_rule many = {
		.seed = 5, .quota = 10, .window_ns = 3600 * second, .burst = 10
	};
	struct limiter_state s;
	unsigned granted = 0;

	CU_ASSERT_EQUAL(crowd_in(l, &hour, 20000, second), 20000 - 1024);
	for (uint64_t key = 1; key <= 100; key++) {
		granted += limiter_take(l, &many, key, second, &s) == ERR_OK;
		CU_ASSERT_TRUE(s.overflow);
	}
	CU_ASSERT_EQUAL(granted, 10);
	limiter_look(l, &many, 1, second, &s);
	CU_ASSERT_TRUE(s.overflow);
	CU_ASSERT_EQUAL(s.remaining, 0);
	CU_ASSERT_TRUE(s.retry_after_ns > 0);
	limiter_give_back(l, &many, 100, second, &s);
	CU_ASSERT_EQUAL(left(l, &many, 50, second), 1);
	free(l);
}

static void
a_slot_is_reused_only_when_its_bucket_is_full_again(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule hour = bucket_of(1, 3600 * second, 1);
	const struct limiter_rule window = window_of(5, 3600 * second);

	crowd_in(l, &hour, 20000, second);
	CU_ASSERT_EQUAL(crowd_in(l, &window, 1000, 3600 * second), 1000);
	CU_ASSERT_EQUAL(crowd_in(l, &window, 20000, 7200 * second - 1), 20000 - 1024);
	/* used in the window that began at 1 h: counts until 3 h, and a second of rest */
	CU_ASSERT_EQUAL(crowd_in(l, &hour, 20000, 3 * 3600 * second), 20000);
	CU_ASSERT_EQUAL(crowd_in(l, &hour, 20000, 3 * 3600 * second + second), 20000 - 1024);
	free(l);
}

static void
a_million_others_give_the_heavy_client_not_one_token_more(void)
{
	struct limiter *l = table_new(1u << 12);
	const struct limiter_rule r = bucket_of(100, second, 200);
	const uint64_t heavy = 0; /* also a key */
	int64_t now = 1000 * second;
	uint64_t granted = 0;

	for (uint64_t other = 1; other <= 1000000; other++) {
		(void)take(l, &r, other * 0x9e3779b97f4a7c15, now);
		granted += take(l, &r, heavy, now);
		now += 4000; /* 4 s in all, of which the last step is after the last request */
	}
	CU_ASSERT_EQUAL(granted, 200 + 399);
	free(l);
}

static void
the_clock_may_start_again(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule b = bucket_of(5, second, 8), w = window_of(8, second);
	const struct limiter_rule hour = bucket_of(1, 3600 * second, 1);

	drain(l, &b, 1, 40 * day);
	drain(l, &w, 2, 40 * day);
	crowd_in(l, &hour, 20000, 40 * day);
	CU_ASSERT_EQUAL(drain(l, &b, 1, second), 8);
	CU_ASSERT_EQUAL(drain(l, &w, 2, second), 8);
	CU_ASSERT_EQUAL(drain(l, &b, 1, second), 0);
	CU_ASSERT_EQUAL(drain(l, &w, 2, second), 0);
	/* the slots of clients that never come back are free too, and count as usual from now on */
	CU_ASSERT_EQUAL(crowd_in(l, &hour, 20000, 2 * second), 20000 - 1022);
	CU_ASSERT_EQUAL(crowd_in(l, &hour, 20000, 3 * second), 20000 - 1022);
	CU_ASSERT_EQUAL(drain(l, &b, 1, 2 * second), 5);
	free(l);
}

static void
the_now_of_a_process_that_was_stopped_gains_nothing(void)
{
	struct limiter *l = table_new(1024);
	const struct limiter_rule b = bucket_of(5, second, 8), w = window_of(8, second);

	drain(l, &b, 1, 100 * second);
	drain(l, &w, 2, 100 * second);
	for (int64_t late = 1; late < 60; late++) {
		CU_ASSERT_EQUAL(drain(l, &b, 1, 100 * second - late * second), 0);
		CU_ASSERT_EQUAL(drain(l, &w, 2, 100 * second - late * second), 0);
	}
	CU_ASSERT_EQUAL(wait_of(l, &b, 1, 90 * second), 10 * second + second / 5);
	CU_ASSERT_EQUAL(wait_of(l, &w, 2, 90 * second), 11 * second + second / 8);
	CU_ASSERT_EQUAL(drain(l, &b, 1, 101 * second), 5);
	free(l);
}

static void
usage_counts_who_has_taken_until_their_buckets_are_full_again(void)
{
	enum { SLOTS_OF_USAGE = 1 << 14, CLIENTS = 4000 };
	const struct limiter_rule r = bucket_of(10, second, 10);
	struct limiter *l = table_new(SLOTS_OF_USAGE);
	uint32_t used = 1;

	CU_ASSERT_EQUAL(limiter_usage(l, second, &used), SLOTS_OF_USAGE);
	CU_ASSERT_EQUAL(used, 0);
	for (uint64_t key = 1; key <= CLIENTS; key++)
		(void)take(l, &r, key, second);
	(void)limiter_usage(l, second, &used);
	CU_ASSERT_TRUE(used > CLIENTS * 3 / 4 && used < CLIENTS * 5 / 4);
	(void)limiter_usage(l, 10 * second, &used);
	CU_ASSERT_EQUAL(used, 0);
	free(l);
}

UNIT_SUITE(limiter, TEST(usage_counts_who_has_taken_until_their_buckets_are_full_again),
    TEST(only_powers_of_two_within_bounds_have_a_size),
    TEST(a_new_client_may_take_the_whole_burst_and_no_more),
    TEST(each_answer_tells_what_is_left_and_when_it_is_whole_again),
    TEST(a_refused_request_costs_nothing), TEST(three_a_second_is_three_a_second_for_ever),
    TEST(no_rate_drifts_in_the_clients_favour),
    TEST(rates_of_a_million_and_more_come_at_most_a_nanosecond_late),
    TEST(the_greatest_figures_neither_overflow_nor_lock_out),
    TEST(a_full_billion_a_second_refills_in_one_second),
    TEST(the_window_counts_the_last_one_by_the_part_that_still_lies_in_it),
    TEST(the_window_tells_what_is_left_and_when_it_ends), TEST(the_largest_window_quota_is_exact),
    TEST(retry_after_is_exact_to_the_nanosecond), TEST(a_look_takes_nothing_and_tells_the_truth),
    TEST(what_is_given_back_may_be_taken_again), TEST(giving_back_never_fills_beyond_the_brim),
    TEST(a_token_given_back_in_the_next_window_comes_off_the_last_ones_count),
    TEST(without_a_free_slot_the_rules_clients_share_one),
    TEST(a_slot_is_reused_only_when_its_bucket_is_full_again),
    TEST(a_million_others_give_the_heavy_client_not_one_token_more),
    TEST(the_clock_may_start_again), TEST(the_now_of_a_process_that_was_stopped_gains_nothing));
