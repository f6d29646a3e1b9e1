/* Goal: wherever a process that puts, takes and reclaims is killed or stopped, no token is there twice. */
#include <stdlib.h>
#include <sys/mman.h>

#include "policy/lease.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { SLOTS = 64, PUT = 5, TAKES = 2, SOON = 10 };

static const uint64_t client = 4711;
static const int64_t now = 1000000;
static const struct lease_grant grant = { PUT, 1001000, 0 };

struct walk {
	struct leases *leases;
	volatile unsigned taken, put;
	volatile uint64_t reclaimed;
};

static void *
share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static struct walk *
walk_begin(void)
{
	struct walk *w = share(sizeof *w);

	w->leases = share(leases_size(SLOTS));
	leases_init(w->leases, SLOTS);
	return w;
}

static void
walk_end(struct walk *w)
{
	(void)munmap(w->leases, leases_size(SLOTS));
	(void)munmap(w, sizeof *w);
}

static bool
take(struct leases *l)
{
	struct lease_view v;

	return lease_take(l, client, now, SOON, &v) == ERR_OK;
}

/* Counted before the put and after the take, so that what is in doubt never hides a token too many. */
static void
put_and_take(void *arg)
{
	struct walk *w = arg;

	w->put += PUT;
	lease_put(w->leases, client, now, &grant);
	for (int i = 0; i < TAKES; i++)
		if (take(w->leases))
			w->taken++;
}

static void
reclaim(void *arg)
{
	struct walk *w = arg;

	w->reclaimed += lease_reclaim(w->leases, client, grant.until_ms);
}

static void
reclaim_early(void *arg)
{
	struct walk *w = arg;

	w->reclaimed += lease_reclaim_early(w->leases, client);
}

static unsigned
drain(struct walk *w)
{
	unsigned n = 0;

	while (take(w->leases))
		n++;
	return n;
}

static void
killed_at_any_instruction_it_adds_no_token(void)
{
	struct walk *w = walk_begin();
	const unsigned steps = step_count(put_and_take, w);

	walk_end(w);
	for (unsigned at = 0; at <= steps; at++) {
		struct step s;

		w = walk_begin();
		s = step_start(put_and_take, w);
		(void)step_on(&s, at);
		step_kill(&s);
		CU_ASSERT_TRUE(w->taken + drain(w) <= w->put);
		walk_end(w);
	}
}

/* Another comes in between: both get on, and all tokens are there. */
static void
stopped_at_any_instruction_it_holds_nobody_up_and_loses_nothing(void)
{
	struct walk *w = walk_begin();
	const unsigned steps = step_count(put_and_take, w);

	walk_end(w);
	for (unsigned at = 0; at <= steps; at++) {
		struct step s;
		unsigned mine;

		w = walk_begin();
		lease_refuse(
		    w->leases, client, now - 10, now - 1); /* the slot is claimed already */
		s = step_start(put_and_take, w);
		(void)step_on(&s, at);
		lease_put(w->leases, client, now, &grant);
		mine = take(w->leases);
		step_to_end(&s);
		CU_ASSERT_TRUE(s.well);
		CU_ASSERT_EQUAL(mine + w->taken + drain(w), 2 * PUT);
		walk_end(w);
	}
}

static void
what_is_reclaimed_is_gone_wherever_it_is_stopped(void)
{
	struct walk *w = walk_begin();
	const unsigned steps = step_count(reclaim, w);

	walk_end(w);
	for (unsigned at = 0; at <= steps; at++) {
		struct step s;

		w = walk_begin();
		lease_put(w->leases, client, now, &grant);
		s = step_start(reclaim, w);
		(void)step_on(&s, at);
		w->reclaimed += lease_reclaim(w->leases, client, grant.until_ms);
		step_to_end(&s);
		CU_ASSERT_EQUAL(w->reclaimed, PUT);
		walk_end(w);
	}
}

/* Who leaves takes the tokens away while a sibling takes one: each token is with one of them. */
static void
what_a_leaving_one_reclaims_and_a_sibling_takes_is_all_there_was(void)
{
	struct walk *w = walk_begin();
	const unsigned steps = step_count(reclaim_early, w);

	walk_end(w);
	for (unsigned at = 0; at <= steps; at++) {
		struct step s;
		unsigned siblings;

		w = walk_begin();
		lease_put(w->leases, client, now, &grant);
		s = step_start(reclaim_early, w);
		(void)step_on(&s, at);
		siblings = take(w->leases);
		step_to_end(&s);
		CU_ASSERT_TRUE(s.well);
		CU_ASSERT_EQUAL(siblings + w->reclaimed, PUT);
		CU_ASSERT_EQUAL(drain(w), 0);
		walk_end(w);
	}
}

UNIT_SUITE(lease_steps, TEST(killed_at_any_instruction_it_adds_no_token),
    TEST(stopped_at_any_instruction_it_holds_nobody_up_and_loses_nothing),
    TEST(what_is_reclaimed_is_gone_wherever_it_is_stopped),
    TEST(what_a_leaving_one_reclaims_and_a_sibling_takes_is_all_there_was));
