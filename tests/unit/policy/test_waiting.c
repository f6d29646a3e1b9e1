/*
 * Goal: a burst waits in turn; in a crowd nobody waits long, the newest of those who ask for most come first, and those
 * within their share before them; and as much is done as could be.
 */
#include "policy/waiting.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

enum { MOST = 64, MANY = 4096 };

#define MS(n) ((n)*INT64_C(1000000))

static struct waiting w;
static struct waiter *out;

static void
fresh(void)
{
	waiting_init(&w, MOST, 0);
	waiting_learn(&w, MS(10));
	out = NULL;
}

static struct waiter
comer(int64_t now_ns, enum admission_class class, bool heavy)
{
	return (struct waiter){
		.since_ns = now_ns, .until_ns = now_ns + MS(6000), .class = class, .heavy = heavy
	};
}

static void
enter(struct waiter *it, int64_t now_ns, enum admission_class class, bool heavy)
{
	*it = comer(now_ns, class, heavy);
	waiting_enter(&w, it, 2, now_ns, &out);
}

static size_t
count_out(enum shed_reason why)
{
	size_t n = 0;

	for (const struct waiter *it = out; it != NULL; it = it->next)
		n += it->shed == why;
	return n;
}

/* It has come to a crowd, of which one is left. */
static void
crowd(struct waiter *first, bool heavy)
{
	enter(first, MS(100), ADMISSION_NORMAL, heavy);
	w.crowded = true;
	w.looked_ns = MS(101);
}

static void
a_burst_is_served_in_turn(void)
{
	struct waiter a[8];

	fresh();
	for (int i = 0; i < 8; i++)
		enter(&a[i], MS(i), ADMISSION_NORMAL, true);
	for (int i = 0; i < 8; i++)
		CU_ASSERT_PTR_EQUAL(waiting_next(&w, 2, MS(20), &out), &a[i]);
	CU_ASSERT_PTR_NULL(waiting_next(&w, 2, MS(20), &out));
	CU_ASSERT_PTR_NULL(out);
}

static void
a_burst_does_not_wait_for_ever(void)
{
	struct waiter a[2];

	fresh();
	enter(&a[0], 0, ADMISSION_NORMAL, false);
	enter(&a[1], MS(50), ADMISSION_NORMAL, false);
	waiting_sweep(&w, 2, MS(320), &out); /* 32 of 10 ms each, two at a time, twice */
	CU_ASSERT_PTR_NULL(out);
	waiting_sweep(&w, 2, MS(321), &out);
	CU_ASSERT_PTR_EQUAL(out, &a[0]);
	CU_ASSERT_EQUAL(a[0].shed, SHED_QUEUE_WAIT);
	CU_ASSERT_EQUAL(w.count, 1);
}

static void
while_nothing_is_known_of_calls_only_the_deadline_counts(void)
{
	struct waiter a;

	waiting_init(&w, MOST, 0);
	out = NULL;
	enter(&a, 0, ADMISSION_NORMAL, true);
	waiting_sweep(&w, 2, MS(5999), &out);
	CU_ASSERT_PTR_NULL(out);
	waiting_sweep(&w, 2, MS(6000), &out);
	CU_ASSERT_PTR_EQUAL(out, &a);
	CU_ASSERT_EQUAL(a.shed, SHED_DEADLINE);
}

static void
slow_calls_make_a_long_interval(void)
{
	struct waiter a;

	waiting_init(&w, MOST, 0);
	waiting_learn(&w, MS(500));
	out = NULL;
	enter(&a, 0, ADMISSION_NORMAL, true);
	waiting_sweep(&w, 2, MS(5500), &out);
	CU_ASSERT_FALSE(w.crowded);
	CU_ASSERT_PTR_NULL(out);
}

static void
a_crowd_stands_for_an_interval_and_is_long(void)
{
	struct waiter a[32];

	fresh();
	for (int i = 0; i < 31; i++)
		enter(&a[i], 0, ADMISSION_NORMAL, true);
	waiting_sweep(&w, 2, MS(101), &out); /* of ten ms each, two at a time */
	CU_ASSERT_FALSE(w.crowded);
	enter(&a[31], MS(102), ADMISSION_NORMAL, true);
	CU_ASSERT_TRUE(w.crowded);
	CU_ASSERT_EQUAL(w.count, 1);
	CU_ASSERT_EQUAL(count_out(SHED_CONCURRENCY), 31);
}

static void
many_quick_ones_are_no_crowd(void)
{
	struct waiter a[40];

	waiting_init(&w, MOST, 0);
	waiting_learn(&w, MS(1));
	out = NULL;
	for (int i = 0; i < 40; i++)
		enter(&a[i], 0, ADMISSION_NORMAL, true);
	waiting_sweep(&w, 2, MS(101), &out); /* 20 ms of work */
	CU_ASSERT_FALSE(w.crowded);
}

static void
what_was_lost_before_counts(void)
{
	struct waiter a = comer(MS(-310), ADMISSION_NORMAL, false);

	fresh();
	waiting_enter(&w, &a, 2, 0, &out);
	waiting_sweep(&w, 2, MS(11), &out);
	CU_ASSERT_PTR_EQUAL(out, &a);
}

static void
who_has_no_time_left_does_not_wait(void)
{
	struct waiter a = comer(0, ADMISSION_NORMAL, false);

	fresh();
	a.until_ns = MS(5);
	waiting_enter(&w, &a, 2, MS(5), &out);
	CU_ASSERT_PTR_EQUAL(out, &a);
	CU_ASSERT_EQUAL(a.shed, SHED_DEADLINE);
}

static void
in_a_crowd_the_newest_is_next_and_the_oldest_goes(void)
{
	struct waiter a, b, c;

	fresh();
	crowd(&a, true);
	enter(&b, MS(102), ADMISSION_NORMAL, true);
	enter(&c, MS(103), ADMISSION_NORMAL, true);
	CU_ASSERT_EQUAL(count_out(SHED_CONCURRENCY), 2);
	CU_ASSERT_PTR_EQUAL(waiting_next(&w, 2, MS(103), &out), &c);
}

static void
as_many_wait_as_half_of_those_being_served(void)
{
	struct waiter a, b[16];

	fresh();
	crowd(&a, true);
	for (int i = 0; i < 16; i++) {
		b[i] = comer(MS(102), ADMISSION_NORMAL, true);
		waiting_enter(&w, &b[i], 16, MS(102), &out);
	}
	CU_ASSERT_EQUAL(w.count, 8);
	for (int i = 15; i >= 8; i--)
		CU_ASSERT_PTR_EQUAL(waiting_next(&w, 16, MS(102), &out), &b[i]);
}

static void
those_within_their_share_come_first_and_in_turn(void)
{
	struct waiter a, heavy, light[4];

	fresh();
	crowd(&a, true);
	for (int i = 0; i < 4; i++)
		enter(&light[i], MS(102 + i), ADMISSION_NORMAL, false);
	enter(&heavy, MS(106), ADMISSION_NORMAL, true);
	CU_ASSERT_PTR_EQUAL(out, &a);
	CU_ASSERT_EQUAL(a.shed, SHED_TENANT_SHARE);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_PTR_EQUAL(waiting_next(&w, 2, MS(107), &out), &light[i]);
	CU_ASSERT_PTR_EQUAL(waiting_next(&w, 2, MS(107), &out), &heavy);
}

static void
bulk_goes_first(void)
{
	struct waiter a, bulk, normal;

	fresh();
	crowd(&a, true);
	enter(&bulk, MS(102), ADMISSION_BULK, false); /* a is the oldest, and bulk matters less */
	CU_ASSERT_PTR_EQUAL(out, &bulk);
	CU_ASSERT_EQUAL(bulk.shed, SHED_PRIORITY);
	out = NULL;
	enter(&normal, MS(103), ADMISSION_NORMAL, true);
	CU_ASSERT_PTR_EQUAL(out, &a);
}

/* While all of them wait: of 13 places critical has 8, normal 4, bulk 1. */
static void
classes_have_their_shares_and_none_starves(void)
{
	static struct waiter a[ADMISSION_CLASSES][20];
	unsigned begun[ADMISSION_CLASSES] = { 0 };

	fresh();
	for (int i = 0; i < 20; i++)
		for (int k = 0; k < ADMISSION_CLASSES; k++)
			enter(&a[k][i], 0, (enum admission_class)k, false);
	for (int i = 0; i < 13; i++)
		begun[waiting_next(&w, 2, 0, &out)->class]++;
	CU_ASSERT_EQUAL(begun[ADMISSION_CRITICAL], 8);
	CU_ASSERT_EQUAL(begun[ADMISSION_NORMAL], 4);
	CU_ASSERT_EQUAL(begun[ADMISSION_BULK], 1);
}

static void
when_all_places_are_taken_a_heavy_one_makes_room(void)
{
	struct waiter a[MOST], one, two;

	fresh();
	enter(&a[0], 0, ADMISSION_NORMAL, true);
	for (int i = 1; i < MOST; i++)
		enter(&a[i], 0, ADMISSION_NORMAL, false);
	enter(&one, MS(1), ADMISSION_NORMAL, false);
	CU_ASSERT_PTR_EQUAL(out, &a[0]);
	CU_ASSERT_EQUAL(a[0].shed, SHED_QUEUE_FULL);
	out = NULL;
	enter(&two, MS(2), ADMISSION_CRITICAL, false);
	CU_ASSERT_PTR_EQUAL(out, &two); /* all that wait are within their share */
	CU_ASSERT_EQUAL(w.count, MOST);
}

static void
it_is_calm_again_when_a_fifth_finds_a_place(void)
{
	struct waiter a, b;

	fresh();
	crowd(&a, true);
	CU_ASSERT_PTR_EQUAL(waiting_next(&w, 2, MS(102), &out), &a);
	for (int i = 0; i < 3; i++) {
		enter(&b, MS(110 + i), ADMISSION_NORMAL, true);
		(void)waiting_next(&w, 2, MS(110 + i), &out);
	}
	waiting_passed(&w, MS(150));
	CU_ASSERT_TRUE(w.crowded);
	waiting_sweep(&w, 2, MS(202), &out);
	CU_ASSERT_FALSE(w.crowded); /* one of four */
}

/* ---- A whole server ------------------------------------------------------------ */

/* ${hands} calls at once, each of 10 ms; clients that come at random. */
struct client {
	double per_ms;
	bool heavy;
	unsigned came, served, shed;
	double waits_ms[MANY];
};

struct arrival {
	struct waiter waiter;
	struct client *client;
	int64_t came_ns;
};

static uint64_t seed;

static double
chance(void)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (double)(seed >> 11) / (double)(UINT64_C(1) << 53);
}

static void
shed_all(void)
{
	for (; out != NULL; out = out->next)
		((struct arrival *)(void *)out)->client->shed++;
}

static void
begin_call(const struct arrival *a, int64_t now_ns, int64_t *free_at)
{
	a->client->waits_ms[a->client->served++ % MANY] = (double)(now_ns - a->came_ns) / 1e6;
	*free_at = now_ns + MS(10);
}

static void
serve_for(struct client *clients, size_t n, size_t hands, int64_t ms)
{
	static struct arrival arrivals[65536];
	size_t next = 0;
	int64_t free_at[64] = { 0 };

	waiting_init(&w, 1024, 0);
	out = NULL;
	seed = 7;
	for (int64_t now = 0; now < MS(ms); now += MS(1) / 10) {
		for (size_t h = 0; h < hands; h++) {
			struct waiter *it = NULL;

			if (free_at[h] > now)
				continue;
			if (free_at[h] > now - MS(1) / 10 && free_at[h] > 0)
				waiting_learn(&w, MS(10));
			it = waiting_next(&w, hands, now, &out);
			if (it != NULL)
				begin_call((struct arrival *)(void *)it, now, &free_at[h]);
		}
		for (size_t i = 0; i < n; i++) {
			struct arrival *a = &arrivals[next % 65536];
			size_t h = 0;

			if (chance() >= clients[i].per_ms / 10)
				continue;
			next++;
			clients[i].came++;
			*a = (struct arrival){ comer(now, ADMISSION_NORMAL, clients[i].heavy),
				&clients[i], now };
			while (h < hands && free_at[h] > now)
				h++;
			if (h < hands && w.count == 0) {
				waiting_passed(&w, now);
				begin_call(a, now, &free_at[h]);
			} else {
				waiting_enter(&w, &a->waiter, hands, now, &out);
			}
		}
		shed_all();
	}
}

static int
by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
p99_wait_ms(struct client *c)
{
	const size_t n = c->served < MANY ? c->served : MANY; /* the newest */

	qsort(c->waits_ms, n, sizeof *c->waits_ms, by_size);
	return c->waits_ms[n * 99 / 100];
}

static void
at_three_times_what_can_be_done_answers_stay_quick_and_as_many(void)
{
	static struct client c;

	c = (struct client){ .per_ms = 1.2, .heavy = true }; /* four hands do 0.4 */
	serve_for(&c, 1, 4, 20000);
	CU_ASSERT_TRUE(c.served > 0.97 * 0.4 * 20000);
	CU_ASSERT_TRUE(p99_wait_ms(&c) <= 10);
	CU_ASSERT_TRUE(c.served + c.shed + 100 > c.came);
}

static void
below_what_can_be_done_next_to_nobody_is_refused(void)
{
	static struct client c;

	c = (struct client){ .per_ms = 0.3, .heavy = true };
	serve_for(&c, 1, 4, 20000);
	CU_ASSERT_TRUE(c.shed < c.came / 100); /* busy spells happen at three quarters, too */
}

static void
one_at_twenty_times_his_share_costs_the_others_nothing(void)
{
	static struct client c[10];
	unsigned came = 0, served = 0;

	memset(c, 0, sizeof c);
	for (int i = 1; i < 10; i++)
		c[i].per_ms = 0.04 * 0.9; /* a tenth of what four hands do, nearly */
	c[0] = (struct client){ .per_ms = 0.8, .heavy = true };
	serve_for(c, 10, 4, 20000);
	for (int i = 1; i < 10; i++) {
		came += c[i].came;
		served += c[i].served;
	}
	CU_ASSERT_TRUE(served > 0.98 * came);
	CU_ASSERT_TRUE(c[0].served > 0.7 * (0.4 * 20000 - came)); /* all that they leave, nearly */
	CU_ASSERT_TRUE(c[0].served + served > 0.95 * 0.4 * 20000);
}

UNIT_SUITE(waiting, TEST(a_burst_is_served_in_turn), TEST(a_burst_does_not_wait_for_ever),
    TEST(while_nothing_is_known_of_calls_only_the_deadline_counts),
    TEST(slow_calls_make_a_long_interval), TEST(a_crowd_stands_for_an_interval_and_is_long),
    TEST(many_quick_ones_are_no_crowd), TEST(what_was_lost_before_counts),
    TEST(who_has_no_time_left_does_not_wait),
    TEST(in_a_crowd_the_newest_is_next_and_the_oldest_goes),
    TEST(as_many_wait_as_half_of_those_being_served),
    TEST(those_within_their_share_come_first_and_in_turn), TEST(bulk_goes_first),
    TEST(classes_have_their_shares_and_none_starves),
    TEST(when_all_places_are_taken_a_heavy_one_makes_room),
    TEST(it_is_calm_again_when_a_fifth_finds_a_place),
    TEST(at_three_times_what_can_be_done_answers_stay_quick_and_as_many),
    TEST(below_what_can_be_done_next_to_nobody_is_refused),
    TEST(one_at_twenty_times_his_share_costs_the_others_nothing));
