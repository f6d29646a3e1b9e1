/* Goal: who asks for most is told so, others are not, and both are soon forgotten. */
#include "policy/fair_share.h"

#include <stdlib.h>

#include "tests/support/unit.h"

enum { CLIENTS = 10, CALL_US = 10000 };

static struct fair_share *f;

static void
fresh(void)
{
	f = aligned_alloc(64, (fair_share_size() + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fair_share_init(f);
}

static uint64_t
client(unsigned n)
{
	return (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t
chance(void)
{
	static uint64_t seed;

	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return seed >> 20;
}

/* One asks; with ${served} it is served, too. */
static bool
ask(unsigned n, bool served, int64_t now_ms)
{
	int64_t asked_us;
	const bool heavy = fair_share_ask(f, client(n), now_ms, chance(), &asked_us);

	if (served)
		fair_share_served(f, client(n), CALL_US, asked_us, now_ms);
	return heavy;
}

/* Three seconds in which each client asks ${per_second} times, all are served, and the first asks ${times} as often and
 * is served when he is not heavy.  Counts those that were heavy in the last second. */
static void
three_seconds(unsigned per_second, unsigned times, unsigned heavy[CLIENTS], unsigned asked[CLIENTS])
{
	for (int64_t ms = 1; ms <= 3000; ms++)
		for (unsigned n = 0; n < CLIENTS; n++) {
			const unsigned rate = n == 0 ? per_second * times : per_second;
			const int64_t due = ms * rate / 1000 - (ms - 1) * rate / 1000;

			for (int64_t i = 0; i < due; i++) {
				const bool is = ask(n, n != 0 || times == 1, ms);

				heavy[n] += is && ms > 2000;
				asked[n] += ms > 2000;
			}
		}
}

static void
alone_one_is_the_greatest(void)
{
	fresh();
	CU_ASSERT_TRUE(ask(0, true, 1));
	CU_ASSERT_TRUE(ask(0, true, 2));
	free(f);
}

static void
among_equals_all_are(void)
{
	unsigned heavy[CLIENTS] = { 0 }, asked[CLIENTS] = { 0 };

	fresh();
	three_seconds(20, 1, heavy, asked);
	for (unsigned n = 0; n < CLIENTS; n++)
		CU_ASSERT_EQUAL(heavy[n], asked[n]);
	free(f);
}

static void
beside_twenty_times_his_share_only_he_is(void)
{
	unsigned others = 0, heavy[CLIENTS] = { 0 }, asked[CLIENTS] = { 0 };

	fresh();
	three_seconds(20, 20, heavy, asked);
	CU_ASSERT_EQUAL(heavy[0], asked[0]);
	for (unsigned n = 1; n < CLIENTS; n++)
		others += heavy[n];
	CU_ASSERT_TRUE(
	    others < 9 * 20 / 6); /* they ask for a ninth more than a tenth of what is done */
	free(f);
}

/* What is done is half of what nine ask for, and one asks for more than all of them. */
static void
each_has_his_part_of_what_can_be_done(void)
{
	unsigned within[CLIENTS] = { 0 };

	fresh();
	for (int64_t ms = 1; ms <= 6000; ms++) {
		for (unsigned n = 0; n < CLIENTS; n++) {
			const unsigned rate = n == 0 ? 700 : 36;
			const int64_t due = ms * rate / 1000 - (ms - 1) * rate / 1000;

			for (int64_t i = 0; i < due; i++)
				within[n] += !ask(n, false, ms) && ms > 3000;
		}
		if (ms % 5 == 0) /* 200 a second are served */
			fair_share_served(f, client(0), CALL_US, CALL_US, ms);
	}
	CU_ASSERT_EQUAL(within[0], 0);
	for (unsigned n = 1; n < CLIENTS; n++)
		CU_ASSERT_TRUE(within[n] > 3 * 14 && within[n] < 3 * 26); /* of twenty a second */
	free(f);
}

static void
few_calls_that_cost_much_weigh_as_many_that_cost_little(void)
{
	int64_t asked_us;
	unsigned heavy = 0;

	fresh();
	for (int64_t ms = 1; ms <= 3000; ms++) {
		if (ms % 50 == 0) /* twenty a second */
			for (unsigned n = 1; n < CLIENTS; n++)
				heavy += ask(n, true, ms) && ms > 2000;
		if (ms % 500 == 0) { /* two a second, of half a second each */
			(void)fair_share_ask(f, client(0), ms, chance(), &asked_us);
			fair_share_served(f, client(0), 500000, asked_us, ms);
		}
	}
	CU_ASSERT_TRUE(heavy < 18); /* of 180 */
	CU_ASSERT_TRUE(ask(0, false, 3001));
	free(f);
}

static void
what_was_asked_fades(void)
{
	struct fair_share_view v;

	fresh();
	for (int i = 0; i < 1000; i++)
		(void)ask(0, true, 10);
	for (int i = 0; i < 10; i++)
		(void)ask(1, true, 10);
	CU_ASSERT_FALSE(ask(1, true, 20)); /* far within the half of what was served */
	fair_share_look(f, 20, &v);
	CU_ASSERT_EQUAL(v.clients, 2);
	CU_ASSERT_TRUE(v.greatest_us > 100 * CALL_US);
	fair_share_look(f, 60000, &v);
	CU_ASSERT_EQUAL(v.greatest_us, 0);
	CU_ASSERT_EQUAL(v.served_us, 0);
	CU_ASSERT_EQUAL(v.clients, 1); /* the one who looks: never none, for it divides */
	CU_ASSERT_TRUE(ask(1, true, 60000));
	free(f);
}

static void
a_clock_that_is_a_moment_behind_does_no_harm(void)
{
	struct fair_share_view v;

	fresh();
	(void)ask(0, true, 5000);
	(void)ask(0, true, 4998);
	fair_share_look(f, 5000, &v);
	CU_ASSERT_TRUE(v.greatest_us > 0 && v.greatest_us < 3 * CALL_US);
	free(f);
}

UNIT_SUITE(fair_share, TEST(alone_one_is_the_greatest), TEST(among_equals_all_are),
    TEST(beside_twenty_times_his_share_only_he_is), TEST(each_has_his_part_of_what_can_be_done),
    TEST(few_calls_that_cost_much_weigh_as_many_that_cost_little), TEST(what_was_asked_fades),
    TEST(a_clock_that_is_a_moment_behind_does_no_harm));
