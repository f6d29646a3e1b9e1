/*
 * Goal: whatever the moment at which processes meet, or one is killed, there is one
 * leader, nobody is forgotten, and nothing is stuck.  Moments are instructions.
 */
#include <stdatomic.h>
#include <string.h>

#include "policy/flight.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/flights.h"
#include "tests/unit/policy/step.h"

/* One process's join, walked through by instructions. */
struct walk {
	struct flights *f;
	unsigned member;
	_Atomic unsigned role;
	struct flight_ticket ticket;
	uint64_t ring[FLIGHT_MEMBER_WORDS];
};

enum { NO_ROLE = 99, BUSY_KEY = 1000, TO_THE_END = INT32_MAX };

static struct walk *
walk_of(struct flights *f, unsigned member)
{
	struct walk *w =
	    mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		abort();
	*w = (struct walk){ .f = f, .member = member, .role = NO_ROLE };
	return w;
}

static void
walk_end(struct walk *w)
{
	(void)munmap(w, sizeof *w);
}

static void
join_in_steps(void *arg)
{
	struct walk *w = arg;

	w->role = flight_join(w->f, KEY(1), w->member, NOW_MS, LEASE_MS, &w->ticket);
}

static void
land_in_steps(void *arg)
{
	struct walk *w = arg;

	(void)flight_land(w->f, KEY(1), &w->ticket, FLIGHT_STORED, 0, w->ring);
}

static void
join_and_land_in_steps(void *arg)
{
	struct walk *w = arg;

	join_in_steps(w);
	(void)land(w->f, KEY(1), &w->ticket, FLIGHT_STORED);
}

/* One of both leads, the other waits for it, and the landing rings it. */
static bool
one_leads(struct walk *a, struct walk *b)
{
	struct walk *leader = a->role == FLIGHT_LEAD ? a : b, *waiter = leader == a ? b : a;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	return leader->role == FLIGHT_LEAD && waiter->role == FLIGHT_WAIT &&
	       waiter->ticket.slot == leader->ticket.slot &&
	       flight_land(a->f, KEY(1), &leader->ticket, FLIGHT_STORED, 0, ring) &&
	       rings(ring, waiter->member);
}

/*
 * The first slot is busy when A begins to look; after ${a_steps} it is free, and B joins; B is stopped
 * too, after ${b_steps}; A goes on to its end, then B.  So they come upon different free slots, and
 * each may find the other anywhere between its claim and its flight.
 */
static bool
two_joiners_have_one_leader(unsigned a_steps, unsigned b_steps)
{
	struct flights *f = flights_of(8);
	struct walk *a = walk_of(f, 1), *b = walk_of(f, 2);
	struct flight_ticket busy;
	struct step sa, sb;
	bool good;

	(void)flight_join(f, KEY(BUSY_KEY), 9, NOW_MS, LEASE_MS, &busy);
	sa = step_start(join_in_steps, a);
	(void)step_on(&sa, a_steps);
	(void)land(f, KEY(BUSY_KEY), &busy, FLIGHT_GONE);
	sb = step_start(join_in_steps, b);
	if (b_steps == TO_THE_END)
		step_to_end(&sb);
	(void)step_on(&sb, b_steps);
	step_to_end(&sa);
	step_to_end(&sb);
	good = sa.well && sb.well && one_leads(a, b);
	walk_end(a);
	walk_end(b);
	flights_end(f, 8);
	return good;
}

static unsigned
join_steps(void)
{
	struct flights *f = flights_of(8);
	struct walk *w = walk_of(f, 1);
	const unsigned count = step_count(join_in_steps, w);

	CU_ASSERT_EQUAL_FATAL(w->role, FLIGHT_LEAD);
	walk_end(w);
	flights_end(f, 8);
	return count;
}

/* Walking costs; under a sanitizer a join is many times longer, and gets fewer stops. */
enum { STEPS_IN_ALL = 60000 };

/* The stride with which a walk of ${count} steps may be stopped; squared: for every stop of a second one. */
static unsigned
stride_of(unsigned count, bool squared)
{
	unsigned stops = 3;

	while (stops < 150 && stops * (squared ? stops : 1) < STEPS_IN_ALL / (count + 1))
		stops++;
	return count / stops + 1;
}

static void
wherever_a_joiner_is_when_another_comes_one_leads(void)
{
	const unsigned count = join_steps(), stride = stride_of(count, false);
	unsigned bad = 0;

	for (unsigned n = 0; n <= count; n += stride)
		bad += !two_joiners_have_one_leader(n, TO_THE_END);
	CU_ASSERT_EQUAL(bad, 0);
}

static void
wherever_two_joiners_meet_one_leads(void)
{
	const unsigned count = join_steps(), stride = stride_of(count, true);
	unsigned bad = 0;

	for (unsigned n = 0; n <= count; n += stride)
		for (unsigned m = n % 7; m <= count; m += stride)
			bad += !two_joiners_have_one_leader(n, m);
	CU_ASSERT_EQUAL(bad, 0);
}

/* The other joins and looks as one does before parking, while the leader is ${steps} into its landing. */
static bool
a_waiter_learns(unsigned steps)
{
	struct flights *f = flights_of(8);
	struct walk *a = walk_of(f, 1), *b = walk_of(f, 2);
	struct step s;
	bool parks, good;

	join_in_steps(a);
	s = step_start(land_in_steps, a);
	(void)step_on(&s, steps);
	join_in_steps(b);
	parks = b->role == FLIGHT_WAIT && look(f, KEY(1), &b->ticket) == FLIGHT_FLYING;
	step_to_end(&s);
	good = s.well && (!parks || rings(a->ring, 2));
	walk_end(a);
	walk_end(b);
	flights_end(f, 8);
	return good;
}

static void
wherever_a_leader_is_in_its_landing_no_waiter_is_forgotten(void)
{
	struct flights *f = flights_of(8);
	struct walk *w = walk_of(f, 1);
	unsigned count, bad = 0;

	join_in_steps(w);
	count = step_count(land_in_steps, w);
	for (unsigned n = 0; n <= count; n += stride_of(count, false))
		bad += !a_waiter_learns(n);
	CU_ASSERT_EQUAL(bad, 0);
	walk_end(w);
	flights_end(f, 8);
}

/* Who knows the dead leader dead takes over; who does not waits at most for the lease. */
static bool
another_gets_on(const struct flights *left_behind, struct flights *f)
{
	static const struct flight_ticket none = { .slot = UINT32_MAX };
	struct flight_ticket t = none;
	enum flight_role role;

	memcpy(f, left_behind, flight_size(8));
	role = flight_join(f, KEY(1), 2, NOW_MS, LEASE_MS, &t);
	if (role == FLIGHT_WAIT && !flight_take_over(f, KEY(1), &t, 2, NOW_MS, LEASE_MS))
		return false;
	if (role == FLIGHT_ALONE || !land(f, KEY(1), &t, FLIGHT_STORED))
		return false;

	memcpy(f, left_behind, flight_size(8));
	for (unsigned key = 1; key <= 8; key++) /* the whole neighbourhood is to be had */
		if (flight_join(f, KEY(key), 2, NOW_MS + LEASE_MS, LEASE_MS, &t) != FLIGHT_LEAD)
			return false;
	return true;
}

static void
killed_at_any_instruction_a_leader_leaves_nothing_stuck(void)
{
	struct flights *f = flights_of(8), *copy = flights_of(8);
	struct walk *w = walk_of(f, 1);
	struct step s = step_start(join_and_land_in_steps, w);
	unsigned bad = 0, looks = 0;

	for (; looks < STEP_MAX && step_on(&s, 1); looks++)
		bad += !another_gets_on(f, copy); /* what stands there now is all it would leave */
	step_to_end(&s);
	CU_ASSERT_TRUE(s.well);
	CU_ASSERT_EQUAL(w->role, FLIGHT_LEAD);
	CU_ASSERT_TRUE(looks > 100);
	CU_ASSERT_EQUAL(bad, 0);
	walk_end(w);
	flights_end(f, 8);
	flights_end(copy, 8);
}

UNIT_SUITE(flight_walk, TEST(wherever_a_joiner_is_when_another_comes_one_leads),
    TEST(wherever_two_joiners_meet_one_leads),
    TEST(wherever_a_leader_is_in_its_landing_no_waiter_is_forgotten),
    TEST(killed_at_any_instruction_a_leader_leaves_nothing_stuck));
