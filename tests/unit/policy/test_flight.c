/*
 * Goal: of all who miss one key exactly one leads, whoever is killed, and nobody
 * waits for a flight that has no leader.
 */
#include "policy/flight.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { LEASE_MS = 1000, NOW_MS = 5000, TAKERS = 8, STUCK_AFTER_S = 120 };

/* Keys that differ only above: with 8 slots all share the one neighbourhood. */
#define KEY(n) ((uint64_t)(n) << 32 | 1)

static struct flights *
flights_of(uint32_t slots)
{
	void *mem = mmap(
	    NULL, flight_size(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	flight_init(mem, slots);
	return mem;
}

static void
flights_end(struct flights *f, uint32_t slots)
{
	(void)munmap(f, flight_size(slots));
}

static struct flight_ticket
lead(struct flights *f, uint64_t key, unsigned member, int64_t now_ms)
{
	struct flight_ticket t;

	CU_ASSERT_EQUAL(flight_join(f, key, member, now_ms, LEASE_MS, &t), FLIGHT_LEAD);
	return t;
}

static struct flight_ticket
wait_on(struct flights *f, uint64_t key, unsigned member, int64_t now_ms)
{
	struct flight_ticket t;

	CU_ASSERT_EQUAL(flight_join(f, key, member, now_ms, LEASE_MS, &t), FLIGHT_WAIT);
	return t;
}

static bool
land(struct flights *f, uint64_t key, const struct flight_ticket *t, enum flight_state outcome)
{
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	return flight_land(f, key, t, outcome, 7, ring);
}

static enum flight_state
look(const struct flights *f, uint64_t key, struct flight_ticket *t)
{
	uint8_t reason;

	return flight_look(f, key, t, &reason);
}

static bool
rings(const uint64_t ring[FLIGHT_MEMBER_WORDS], unsigned member)
{
	return (ring[member / 64] >> member % 64 & 1) != 0;
}

static unsigned
ring_count(const uint64_t ring[FLIGHT_MEMBER_WORDS])
{
	unsigned n = 0;

	for (unsigned m = 0; m < FLIGHT_MEMBERS; m++)
		n += rings(ring, m);
	return n;
}

static void
a_size_that_is_no_power_of_two_is_refused(void)
{
	CU_ASSERT_EQUAL(flight_size(0), 0);
	CU_ASSERT_EQUAL(flight_size(4), 0);
	CU_ASSERT_EQUAL(flight_size(24), 0);
	CU_ASSERT_EQUAL(flight_size(1 << 21), 0);
	CU_ASSERT_TRUE(flight_size(8) >= 8 * 64);
}

static void
the_first_leads_and_the_others_wait_for_it(void)
{
	struct flights *f = flights_of(64);
	struct flight_ticket a = lead(f, KEY(1), 3, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 4, NOW_MS + 1);

	CU_ASSERT_EQUAL(b.leader, 3);
	CU_ASSERT_EQUAL(b.deadline_ms, NOW_MS + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(look(f, KEY(1), &a), FLIGHT_FLYING);
	(void)lead(f, KEY(2), 4, NOW_MS); /* another key is another flight */
	flights_end(f, 64);
}

static void
a_landing_rings_every_waiting_member_and_no_other(void)
{
	static const unsigned members[] = { 0, 1, 47, 48, 63, 64, 95, 96, 191, 192, 254, 255 };
	const size_t count = sizeof members / sizeof *members;
	struct flights *f = flights_of(64);
	struct flight_ticket t = lead(f, KEY(1), 9, NOW_MS);
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	for (size_t i = 0; i < count; i++)
		for (unsigned twice = 0; twice < 2; twice++)
			(void)wait_on(f, KEY(1), members[i], NOW_MS);
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring));
	for (size_t i = 0; i < count; i++)
		CU_ASSERT_TRUE(rings(ring, members[i]));
	CU_ASSERT_EQUAL(ring_count(ring), count);
	CU_ASSERT_FALSE(flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring)); /* only once */
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	flights_end(f, 64);
}

static void
waiters_read_how_it_ended(void)
{
	static const enum flight_state outcomes[] = { FLIGHT_STORED, FLIGHT_NOT_STORED,
		FLIGHT_FAILED, FLIGHT_GONE };
	struct flights *f = flights_of(64);

	for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
		struct flight_ticket a = lead(f, KEY(i), 1, NOW_MS);
		struct flight_ticket b = wait_on(f, KEY(i), 2, NOW_MS);
		uint8_t reason = 99;

		CU_ASSERT_TRUE(land(f, KEY(i), &a, outcomes[i]));
		CU_ASSERT_EQUAL(flight_look(f, KEY(i), &b, &reason), outcomes[i]);
		CU_ASSERT_EQUAL(reason, outcomes[i] == FLIGHT_FAILED ? 7 : 0);
	}
	flights_end(f, 64);
}

static void
after_a_landing_the_next_leads_and_old_tickets_see_it_gone(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);

	CU_ASSERT_TRUE(land(f, KEY(1), &a, FLIGHT_FAILED));
	(void)lead(f, KEY(1), 3, NOW_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_GONE);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_ticket_for_no_slot_is_gone(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket t = { .slot = 8 };

	CU_ASSERT_EQUAL(look(f, KEY(1), &t), FLIGHT_GONE);
	CU_ASSERT_FALSE(flight_take_over(f, KEY(1), &t, 1, NOW_MS, LEASE_MS));
	CU_ASSERT_FALSE(land(f, KEY(1), &t, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
when_the_lease_is_over_the_next_takes_over_and_waiters_stay(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS), c;
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	(void)wait_on(f, KEY(1), 3, NOW_MS + LEASE_MS - 1);
	c = lead(f, KEY(1), 3, NOW_MS + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(b.leader, 3);
	CU_ASSERT_EQUAL(b.deadline_ms, NOW_MS + 2 * LEASE_MS);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED)); /* it has lost the lease */
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &c, FLIGHT_STORED, 0, ring));
	CU_ASSERT_TRUE(rings(ring, 2));
	flights_end(f, 8);
}

static void
of_those_who_know_the_leader_dead_one_takes_over(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);
	struct flight_ticket c = wait_on(f, KEY(1), 3, NOW_MS);

	CU_ASSERT_TRUE(flight_take_over(f, KEY(1), &b, 2, NOW_MS + 10, LEASE_MS));
	CU_ASSERT_FALSE(flight_take_over(f, KEY(1), &c, 3, NOW_MS + 10, LEASE_MS));
	CU_ASSERT_EQUAL(look(f, KEY(1), &c), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(c.leader, 2);
	CU_ASSERT_EQUAL(c.deadline_ms, NOW_MS + 10 + LEASE_MS);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	CU_ASSERT_TRUE(land(f, KEY(1), &b, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_member_that_takes_over_from_itself_has_one_leader_too(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket slow = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket next = lead(f, KEY(1), 1, NOW_MS + LEASE_MS);

	CU_ASSERT_FALSE(land(f, KEY(1), &slow, FLIGHT_STORED));
	CU_ASSERT_TRUE(land(f, KEY(1), &next, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_refresh_leads_only_where_nobody_does_and_is_never_rung(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a, b;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	CU_ASSERT_TRUE(flight_try_lead(f, KEY(1), 1, NOW_MS, LEASE_MS, &a));
	CU_ASSERT_FALSE(flight_try_lead(f, KEY(1), 2, NOW_MS, LEASE_MS, &b));
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &a, FLIGHT_STORED, 0, ring));
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	CU_ASSERT_TRUE(flight_try_lead(f, KEY(1), 2, NOW_MS, LEASE_MS, &b));
	flights_end(f, 8);
}

static void
a_full_neighbourhood_sends_the_next_alone_until_a_lease_is_over(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket t;

	for (unsigned i = 0; i < 8; i++)
		(void)lead(f, KEY(i), 1, NOW_MS);
	CU_ASSERT_EQUAL(flight_join(f, KEY(8), 1, NOW_MS, LEASE_MS, &t), FLIGHT_ALONE);
	CU_ASSERT_FALSE(flight_try_lead(f, KEY(8), 1, NOW_MS, LEASE_MS, &t));
	CU_ASSERT_FALSE(land(f, KEY(8), &t, FLIGHT_STORED));
	(void)lead(f, KEY(8), 1, NOW_MS + LEASE_MS);
	flights_end(f, 8);
}

static void
a_late_leader_takes_no_waiters_of_the_slots_next_flight(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket late, next;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	for (unsigned i = 1; i < 8; i++)
		(void)lead(f, KEY(100 + i), 1, NOW_MS + LEASE_MS);
	late = lead(f, KEY(1), 1, NOW_MS);
	(void)wait_on(f, KEY(1), 5, NOW_MS);
	next = lead(f, KEY(2), 2, NOW_MS + LEASE_MS); /* the only slot with a lease that is over */
	CU_ASSERT_EQUAL(late.slot, next.slot);
	(void)wait_on(f, KEY(2), 6, NOW_MS + LEASE_MS);
	CU_ASSERT_FALSE(flight_land(f, KEY(1), &late, FLIGHT_STORED, 0, ring));
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	CU_ASSERT_TRUE(flight_land(f, KEY(2), &next, FLIGHT_STORED, 0, ring));
	CU_ASSERT_TRUE(rings(ring, 6));
	CU_ASSERT_FALSE(rings(ring, 5)); /* the flight before */
	flights_end(f, 8);
}

static void
a_newcomer_sweeps_what_its_forerunner_led(void)
{
	struct flights *f = flights_of(64);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS), b, other;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	b = wait_on(f, KEY(1), 2, NOW_MS);
	other = lead(f, KEY(2), 3, NOW_MS);
	flight_sweep(f, 1, ring);
	CU_ASSERT_TRUE(rings(ring, 2));
	CU_ASSERT_EQUAL(ring_count(ring), 1);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_GONE);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	(void)lead(f, KEY(1), 2, NOW_MS);
	CU_ASSERT_TRUE(land(f, KEY(2), &other, FLIGHT_STORED));
	flights_end(f, 64);
}

/* The deadline is kept modulo 2^37 ms. */
static void
a_host_that_is_up_for_years_keeps_its_leases(void)
{
	const int64_t now_ms = (INT64_C(1) << 37) - 5;
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, now_ms);
	struct flight_ticket b = wait_on(f, KEY(1), 2, now_ms + 20);

	CU_ASSERT_EQUAL(b.deadline_ms, now_ms + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(b.deadline_ms, now_ms + LEASE_MS);
	CU_ASSERT_TRUE(land(f, KEY(1), &a, FLIGHT_STORED));
	(void)lead(f, KEY(1), 1, now_ms);
	(void)lead(f, KEY(1), 2, now_ms + LEASE_MS);
	flights_end(f, 8);
}

static void
the_serial_may_go_around(void)
{
	struct flights *f = flights_of(8);
	uint64_t ring[FLIGHT_MEMBER_WORDS];
	unsigned lost = 0;

	for (unsigned i = 0; i < 70000; i++) {
		struct flight_ticket t, w;

		lost += flight_join(f, KEY(1), 1, NOW_MS, LEASE_MS, &t) != FLIGHT_LEAD;
		lost += flight_join(f, KEY(1), 2, NOW_MS, LEASE_MS, &w) != FLIGHT_WAIT;
		lost += !flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring);
		lost += !rings(ring, 2);
	}
	CU_ASSERT_EQUAL(lost, 0);
	flights_end(f, 8);
}

/* What the processes of one test share. */
struct stage {
	pthread_barrier_t barrier;
	_Atomic unsigned leads, waits, others, wrong;
};

static struct stage *
stage_of(unsigned count)
{
	struct stage *s =
	    mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	if (s == MAP_FAILED || pthread_barrierattr_init(&attr) != 0 ||
	    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_barrier_init(&s->barrier, &attr, count) != 0)
		abort();
	(void)pthread_barrierattr_destroy(&attr);
	return s;
}

static void
stage_end(struct stage *s)
{
	(void)munmap(s, sizeof *s);
}

static pid_t
child(void (*run)(struct stage *, struct flights *, unsigned), struct stage *s, struct flights *f,
    unsigned member)
{
	const pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)alarm(STUCK_AFTER_S); /* a child that hangs is a failure, not a hanging test */
	run(s, f, member);
	_exit(0);
}

static bool
ended_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum { ROUNDS = 1000, BYSTANDERS = 6 };

/*
 * One of the eight first takes six of the eight slots for other keys and lands them while the others join:
 * so they come upon different free slots.
 */
static void
join_in_rounds(struct stage *s, struct flights *f, unsigned member)
{
	for (unsigned r = 0; r < ROUNDS; r++) {
		const bool mover = r % TAKERS == member;
		struct flight_ticket t, busy[BYSTANDERS];
		enum flight_role role;

		for (unsigned i = 0; mover && i < BYSTANDERS; i++)
			s->wrong += flight_join(f, KEY(1000000 + i), member, NOW_MS, LEASE_MS,
					&busy[i]) != FLIGHT_LEAD;
		(void)pthread_barrier_wait(&s->barrier);
		for (unsigned i = BYSTANDERS; mover && i > 0; i--)
			s->wrong += !land(f, KEY(1000000 + i - 1), &busy[i - 1], FLIGHT_GONE);
		role = flight_join(f, KEY(r), member, NOW_MS, LEASE_MS, &t);
		s->leads += role == FLIGHT_LEAD;
		s->waits += role == FLIGHT_WAIT;
		(void)pthread_barrier_wait(&s->barrier);
		if (role == FLIGHT_LEAD)
			s->wrong += !land(f, KEY(r), &t, FLIGHT_STORED);
		(void)pthread_barrier_wait(&s->barrier);
		s->wrong += role == FLIGHT_WAIT && look(f, KEY(r), &t) != FLIGHT_STORED;
		(void)pthread_barrier_wait(&s->barrier);
	}
}

static void
of_eight_processes_that_join_at_once_one_leads_each_time(void)
{
	struct flights *f = flights_of(8);
	struct stage *s = stage_of(TAKERS);
	pid_t pids[TAKERS];

	for (unsigned i = 0; i < TAKERS; i++)
		pids[i] = child(join_in_rounds, s, f, i);
	for (unsigned i = 0; i < TAKERS; i++)
		CU_ASSERT_TRUE(ended_well(pids[i]));
	CU_ASSERT_EQUAL(s->leads, ROUNDS);
	CU_ASSERT_EQUAL(s->waits, ROUNDS * (TAKERS - 1));
	CU_ASSERT_EQUAL(s->wrong, 0);
	stage_end(s);
	flights_end(f, 8);
}

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

	for (; step_on(&s, 1); looks++)
		bad += !another_gets_on(
		    f, copy); /* what stands in the segment now is all it would leave */
	CU_ASSERT_TRUE(s.well);
	CU_ASSERT_EQUAL(w->role, FLIGHT_LEAD);
	CU_ASSERT_TRUE(looks > 100);
	CU_ASSERT_EQUAL(bad, 0);
	walk_end(w);
	flights_end(f, 8);
	flights_end(copy, 8);
}

static void
lead_and_hang(struct stage *s, struct flights *f, unsigned member)
{
	struct flight_ticket t;

	s->leads += flight_join(f, KEY(1), member, NOW_MS, LEASE_MS, &t) == FLIGHT_LEAD;
	for (;;)
		(void)pause();
}

static void
wait_and_take_over(struct stage *s, struct flights *f, unsigned member)
{
	struct flight_ticket t;

	s->waits += flight_join(f, KEY(1), member, NOW_MS, LEASE_MS, &t) == FLIGHT_WAIT;
	(void)pthread_barrier_wait(&s->barrier); /* all wait for it */
	(void)pthread_barrier_wait(&s->barrier); /* it is dead */
	if (flight_take_over(f, KEY(1), &t, member, NOW_MS, LEASE_MS)) {
		s->others++;
		(void)pthread_barrier_wait(&s->barrier);
		s->wrong += !land(f, KEY(1), &t, FLIGHT_STORED);
	} else {
		s->wrong += look(f, KEY(1), &t) != FLIGHT_FLYING || t.leader == TAKERS;
		(void)pthread_barrier_wait(&s->barrier);
	}
}

static void
one_of_eight_processes_takes_over_from_a_killed_leader(void)
{
	for (unsigned round = 0; round < 20; round++) {
		struct flights *f = flights_of(8);
		struct stage *s = stage_of(TAKERS + 1);
		const pid_t leader = child(lead_and_hang, s, f, TAKERS);
		pid_t pids[TAKERS];

		while (s->leads == 0)
			(void)sched_yield();
		for (unsigned i = 0; i < TAKERS; i++)
			pids[i] = child(wait_and_take_over, s, f, i);
		(void)pthread_barrier_wait(&s->barrier);
		(void)kill(leader, SIGKILL);
		(void)waitpid(leader, NULL, 0);
		(void)pthread_barrier_wait(&s->barrier);
		(void)pthread_barrier_wait(&s->barrier); /* one has taken over */
		for (unsigned i = 0; i < TAKERS; i++)
			CU_ASSERT_TRUE(ended_well(pids[i]));
		CU_ASSERT_EQUAL(s->leads, 1);
		CU_ASSERT_EQUAL(s->waits, TAKERS);
		CU_ASSERT_EQUAL(s->others, 1);
		CU_ASSERT_EQUAL(s->wrong, 0);
		stage_end(s);
		flights_end(f, 8);
	}
}

/* For ever: joins, leads, lands; time stands still, so no lease ever ends. */
static void
fly_for_ever(struct stage *s, struct flights *f, unsigned member)
{
	for (unsigned i = 0;; i++) {
		struct flight_ticket t;

		if (flight_join(f, KEY(i % 12), member, NOW_MS, LEASE_MS, &t) == FLIGHT_LEAD)
			s->leads += land(f, KEY(i % 12), &t, FLIGHT_STORED);
	}
}

static void
whoever_is_killed_no_key_stays_stuck_longer_than_a_lease(void)
{
	struct flights *f = flights_of(8);
	struct stage *s = stage_of(1);
	unsigned led = 0;

	for (unsigned kills = 0; kills < 100; kills++) {
		pid_t pids[3];

		for (unsigned i = 0; i < 3; i++)
			pids[i] = child(fly_for_ever, s, f, i);
		(void)usleep(500 + 97 * kills % 1500);
		for (unsigned i = 0; i < 3; i++)
			(void)kill(pids[i], SIGKILL);
		for (unsigned i = 0; i < 3; i++)
			(void)waitpid(pids[i], NULL, 0);
	}
	for (unsigned i = 0; i < 100; i++) {
		const int64_t now_ms = NOW_MS + LEASE_MS * (1 + i);
		struct flight_ticket t;

		led += flight_join(f, KEY(i % 12), 9, now_ms, LEASE_MS, &t) == FLIGHT_LEAD &&
		       land(f, KEY(i % 12), &t, FLIGHT_STORED);
	}
	CU_ASSERT_TRUE(s->leads > 0);
	CU_ASSERT_EQUAL(led, 100);
	stage_end(s);
	flights_end(f, 8);
}

struct crew {
	struct flights *f;
	_Atomic unsigned flying[4], led, doubled, lost;
};

static void *
fly_in_a_thread(void *arg)
{
	struct crew *c = arg;

	for (unsigned i = 0; i < 20000; i++) {
		const unsigned k = i / 3 % 4;
		struct flight_ticket t;
		uint64_t ring[FLIGHT_MEMBER_WORDS];

		if (flight_join(c->f, KEY(k), i % FLIGHT_MEMBERS, NOW_MS, LEASE_MS, &t) !=
		    FLIGHT_LEAD)
			continue;
		c->doubled += atomic_fetch_add(&c->flying[k], 1) != 0;
		c->led++;
		atomic_fetch_sub(&c->flying[k], 1);
		c->lost += !flight_land(c->f, KEY(k), &t, FLIGHT_GONE, 0, ring);
	}
	return NULL;
}

static void
threads_never_lead_the_same_key_at_once(void)
{
	struct crew c = { .f = flights_of(8) };
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, fly_in_a_thread, &c) != 0)
			abort();
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CU_ASSERT_TRUE(c.led > 0);
	CU_ASSERT_EQUAL(c.doubled, 0);
	CU_ASSERT_EQUAL(c.lost, 0);
	flights_end(c.f, 8);
}

UNIT_SUITE(flight, TEST(a_size_that_is_no_power_of_two_is_refused),
    TEST(the_first_leads_and_the_others_wait_for_it),
    TEST(a_landing_rings_every_waiting_member_and_no_other), TEST(waiters_read_how_it_ended),
    TEST(after_a_landing_the_next_leads_and_old_tickets_see_it_gone),
    TEST(a_ticket_for_no_slot_is_gone),
    TEST(when_the_lease_is_over_the_next_takes_over_and_waiters_stay),
    TEST(of_those_who_know_the_leader_dead_one_takes_over),
    TEST(a_member_that_takes_over_from_itself_has_one_leader_too),
    TEST(a_refresh_leads_only_where_nobody_does_and_is_never_rung),
    TEST(a_full_neighbourhood_sends_the_next_alone_until_a_lease_is_over),
    TEST(a_late_leader_takes_no_waiters_of_the_slots_next_flight),
    TEST(a_newcomer_sweeps_what_its_forerunner_led),
    TEST(a_host_that_is_up_for_years_keeps_its_leases), TEST(the_serial_may_go_around),
    TEST(of_eight_processes_that_join_at_once_one_leads_each_time),
    TEST(wherever_a_joiner_is_when_another_comes_one_leads),
    TEST(wherever_two_joiners_meet_one_leads),
    TEST(wherever_a_leader_is_in_its_landing_no_waiter_is_forgotten),
    TEST(killed_at_any_instruction_a_leader_leaves_nothing_stuck),
    TEST(one_of_eight_processes_takes_over_from_a_killed_leader),
    TEST(whoever_is_killed_no_key_stays_stuck_longer_than_a_lease),
    TEST(threads_never_lead_the_same_key_at_once));
