/*
 * Goal: many processes and threads at once have one leader for each key, whoever of
 * them is killed.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/flight.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/flights.h"

enum { TAKERS = 8, STUCK_AFTER_S = 120 };

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

UNIT_SUITE(flight_crowd, TEST(of_eight_processes_that_join_at_once_one_leads_each_time),
    TEST(one_of_eight_processes_takes_over_from_a_killed_leader),
    TEST(whoever_is_killed_no_key_stays_stuck_longer_than_a_lease),
    TEST(threads_never_lead_the_same_key_at_once));
