/*
 * Goal: a limit stays exact when many processes take at once, meet new clients at the same moment,
 * reuse each other's slots, and are killed in between.
 *
 * The thread sanitizer sees one process, so there the crowd are threads and nobody is killed.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/limiter.h"
#include "tests/support/unit.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CROWD_OF_THREADS 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CROWD_OF_THREADS 1
#endif

enum { CROWD = 8, SLOTS = 1 << 16, KEYS = 1 << 14, ROUNDS = 1500 };

static const int64_t second = 1000000000;
static const int64_t start = 5000 * (int64_t)1000000000;

/* All that the crowd shares. */
struct hall {
	pthread_barrier_t barrier;
	_Atomic uint32_t granted, overflowed, too_soon;
	_Atomic uint32_t gate;	    /* clients from here on may not yet come */
	_Atomic uint32_t of[KEYS];  /* granted to each key */
	_Atomic int64_t last[KEYS]; /* when, at the latest */
	struct limiter *limiter;
};

struct visitor {
	struct hall *hall;
	unsigned index;
	void (*run)(struct hall *h, unsigned index);
};

static void *
share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static struct hall *
hall_open(uint32_t slots)
{
	struct hall *h = share(sizeof *h);
	pthread_barrierattr_t attr;

	h->limiter = share(limiter_size(slots));
	limiter_init(h->limiter, slots);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&h->barrier, &attr, CROWD);
	pthread_barrierattr_destroy(&attr);
	return h;
}

static void
hall_close(struct hall *h, uint32_t slots)
{
	(void)munmap(h->limiter, limiter_size(slots));
	(void)munmap(h, sizeof *h);
}

#ifdef CROWD_OF_THREADS

static void *
visit(void *arg)
{
	const struct visitor *v = arg;

	v->run(v->hall, v->index);
	return NULL;
}

/* Runs ${run} CROWD times at once; false when one of them failed. */
static bool
crowd_run(struct hall *h, void (*run)(struct hall *h, unsigned index))
{
	pthread_t threads[CROWD];
	struct visitor visitors[CROWD];

	for (unsigned i = 0; i < CROWD; i++) {
		visitors[i] = (struct visitor){ .hall = h, .index = i, .run = run };
		if (pthread_create(&threads[i], NULL, visit, &visitors[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	return true;
}

#else

static pid_t
visitor_start(const struct visitor *v)
{
	const pid_t pid = fork();

	if (pid == -1)
		abort();
	if (pid != 0)
		return pid;
	v->run(v->hall, v->index);
	_exit(0);
}

/* Runs ${run} CROWD times at once; false when one of them failed. */
static bool
crowd_run(struct hall *h, void (*run)(struct hall *h, unsigned index))
{
	pid_t pids[CROWD];
	bool good = true;

	for (unsigned i = 0; i < CROWD; i++)
		pids[i] = visitor_start(&(struct visitor){ .hall = h, .index = i, .run = run });
	for (unsigned i = 0; i < CROWD; i++) {
		int status = -1;

		good = waitpid(pids[i], &status, 0) == pids[i] && status == 0 && good;
	}
	return good;
}

#endif

/* One token for client ${k}, counted when granted. */
static bool
take_for(struct hall *h, const struct limiter_rule *r, uint32_t k, int64_t now_ns)
{
	struct limiter_state s;

	if (limiter_take(h->limiter, r, k + UINT64_C(1000003), now_ns, &s) != ERR_OK)
		return false;
	if (s.overflow)
		atomic_fetch_add(&h->overflowed, 1);
	atomic_fetch_add(&h->of[k], 1);
	atomic_fetch_add(&h->granted, 1);
	return true;
}

static const struct limiter_rule thousand = {
	.seed = 1, .quota = 1000, .window_ns = 3600000000000, .burst = 1000
};

static void
hammer_one_new_key(struct hall *h, unsigned index)
{
	(void)index;
	pthread_barrier_wait(&h->barrier);
	for (int i = 0; i < 8000; i++)
		(void)take_for(h, &thousand, 7, start);
}

static void
eight_processes_are_granted_exactly_the_thousand_of_a_new_client(void)
{
	for (int round = 0; round < 20; round++) {
		struct hall *h = hall_open(1024);

		CU_ASSERT_TRUE(crowd_run(h, hammer_one_new_key));
		CU_ASSERT_EQUAL(h->granted, 1000);
		CU_ASSERT_EQUAL(h->overflowed, 0);
		hall_close(h, 1024);
	}
}

static const struct limiter_rule ten = {
	.seed = 2, .quota = 10, .window_ns = 3600000000000, .burst = 10
};
static const struct limiter_rule ten_sliding = {
	.seed = 3, .quota = 10, .window_ns = 3600000000000, .sliding = true
};

/* Everybody meets every client at about the same moment, half of them in a sliding window. */
static void
meet_all_clients(struct hall *h, unsigned index)
{
	(void)index;
	pthread_barrier_wait(&h->barrier);
	for (uint32_t k = 0; k < KEYS; k++)
		while (take_for(h, k % 2 == 0 ? &ten : &ten_sliding, k, start))
			;
}

static unsigned
clients_with_other_than(const struct hall *h, uint32_t tokens)
{
	unsigned n = 0;

	for (uint32_t k = 0; k < KEYS; k++)
		n += h->of[k] != tokens;
	return n;
}

static void
a_client_whom_all_meet_at_once_gets_one_bucket(void)
{
	for (int round = 0; round < 3; round++) {
		struct hall *h = hall_open(SLOTS);

		CU_ASSERT_TRUE(crowd_run(h, meet_all_clients));
		CU_ASSERT_EQUAL(clients_with_other_than(h, 10), 0);
		CU_ASSERT_EQUAL(h->overflowed, 0);
		hall_close(h, SLOTS);
	}
}

static const struct limiter_rule rare = {
	.seed = 4, .quota = 10, .window_ns = 1000000000, .burst = 1
};

/* Takes for ${k}, unless counted in the shared slot; two grants must lie a tenth of a second apart. */
static void
take_and_compare(struct hall *h, uint32_t k, int64_t now_ns)
{
	struct limiter_state s;
	int64_t last = atomic_load(&h->last[k]);

	if (limiter_take(h->limiter, &rare, k, now_ns, &s) != ERR_OK || s.overflow)
		return;
	while (last < now_ns && !atomic_compare_exchange_weak(&h->last[k], &last, now_ns))
		;
	if (last != 0 && llabs(now_ns - last) < second / 10)
		atomic_fetch_add(&h->too_soon, 1);
	atomic_fetch_add(&h->granted, 1);
}

/* A small table, so that slots change their owners all the time; a round is 50 ms. */
static void
live_in_a_small_house(struct hall *h, unsigned index)
{
	uint32_t rnd = 2463534242u * (index + 1);

	for (int64_t round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&h->barrier);
		for (int i = 0; i < 8; i++) {
			rnd ^= rnd << 13;
			rnd ^= rnd >> 17;
			rnd ^= rnd << 5;
			take_and_compare(h,
			    rnd % 3 == 0 ? rnd % KEYS : (uint32_t)round % 16 + rnd % 8,
			    start + round * second / 20 + (int64_t)(rnd % 4));
		}
	}
}

static void
slots_that_change_owners_all_the_time_grant_no_token_too_soon(void)
{
	struct hall *h = hall_open(1024);

	CU_ASSERT_TRUE(crowd_run(h, live_in_a_small_house));
	CU_ASSERT_EQUAL(h->too_soon, 0);
	CU_ASSERT_TRUE(h->granted > ROUNDS);
	hall_close(h, 1024);
}

#ifndef CROWD_OF_THREADS

enum { KILLS = 200, STEP = KEYS / KILLS };

/* As meet_all_clients(), but nobody goes ahead of the gate. */
static void
meet_clients_up_to_the_gate(struct hall *h, unsigned index)
{
	const uint32_t gate = h->gate;

	(void)index; /* a newcomer needs no clients that all others have left behind */
	for (uint32_t k = gate > 2 * STEP ? gate - 2 * STEP : 0; k < KEYS; k++) {
		while (k >= h->gate)
			(void)sched_yield();
		while (take_for(h, k % 2 == 0 ? &ten : &ten_sliding, k, start))
			;
	}
}

/* Opens the gate step by step and kills somebody somewhere in each; returns how many. */
static unsigned
meet_under_fire(struct hall *h)
{
	const struct visitor v = { .hall = h, .run = meet_clients_up_to_the_gate };
	pid_t pids[CROWD];
	unsigned killed = 0;

	for (unsigned i = 0; i < CROWD; i++)
		pids[i] = visitor_start(&v);
	for (unsigned n = 0; n < KILLS; n++) {
		const uint32_t when = h->granted + (uint32_t)random() % (STEP * 9);
		int status = 0;

		h->gate += STEP;
		while (h->granted < when)
			(void)sched_yield();
		(void)kill(pids[n % CROWD], SIGKILL);
		(void)waitpid(pids[n % CROWD], &status, 0);
		killed += WIFSIGNALED(status);
		pids[n % CROWD] = visitor_start(&v);
	}
	h->gate = KEYS;
	for (unsigned i = 0; i < CROWD; i++)
		(void)waitpid(pids[i], NULL, 0);
	return killed;
}

static void
a_killed_process_loses_at_most_one_token_and_adds_none(void)
{
	struct hall *h = hall_open(SLOTS);
	const unsigned killed = meet_under_fire(h);
	unsigned too_many = 0, missing = 0;

	CU_ASSERT_EQUAL(killed, KILLS);
	for (uint32_t k = 0; k < KEYS; k++) {
		while (take_for(h, k % 2 == 0 ? &ten : &ten_sliding, k, start))
			;
		too_many += h->of[k] > 10;
		missing += h->of[k] < 10 ? 10 - h->of[k] : 0;
	}
	CU_ASSERT_EQUAL(too_many, 0);
	CU_ASSERT_TRUE(missing <= KILLS);
	CU_ASSERT_EQUAL(h->overflowed, 0);
	hall_close(h, SLOTS);
}

UNIT_SUITE(limiter_killed, TEST(a_killed_process_loses_at_most_one_token_and_adds_none));

#endif

UNIT_SUITE(limiter_crowd, TEST(eight_processes_are_granted_exactly_the_thousand_of_a_new_client),
    TEST(a_client_whom_all_meet_at_once_gets_one_bucket),
    TEST(slots_that_change_owners_all_the_time_grant_no_token_too_soon));
