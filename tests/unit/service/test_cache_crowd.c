/*
 * Goal: however many processes and threads miss a key at once, it is queried once.
 */
#include "service/cache.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"
#include "tests/unit/service/cache_house.h"

enum { READERS = 8, ROUNDS = 300 };

struct crowd {
	struct house *h;
	pthread_barrier_t barrier;
	_Atomic unsigned queries[ROUNDS], answers, wrong;
};

static bool
query_and_land(const struct cache *c, struct crowd *crowd, struct cache_fill *f, unsigned round,
    struct arena *a)
{
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	struct cache_hit hit;
	uint32_t evicted;

	if (cache_begin(c, f, &e, v.v, NOW_MS, 1000, a, &hit) == L1_FRESH)
		return true;
	crowd->queries[round]++;
	return cache_fill_land(c, f, &e.cache, SLICE("block"), 0, NOW_MS, 1000, &evicted) == ERR_OK;
}

/* As the pipeline does it, but that it looks instead of parking. */
static bool
read_once(const struct cache *c, struct crowd *crowd, unsigned round, struct arena *a)
{
	const struct endpoint e = countries();
	const struct asked v = ask("DE", "1", NULL);
	struct cache_fill f;
	struct cache_hit hit;
	struct slice key;
	uint8_t reason;

	if (cache_key(&e, v.v, NULL, SLICE(""), a, &key) != ERR_OK)
		return false;
	for (;;) {
		if (cache_lookup(c, key, NOW_MS, 0, a, &hit) == L1_FRESH)
			return slice_eq_cstr(hit.block, "block");
		if (cache_join(c, key, NOW_MS, LEASE_MS, &f) != FLIGHT_WAIT)
			return query_and_land(c, crowd, &f, round, a);
		while (cache_look(c, &f, &reason) == FLIGHT_FLYING)
			(void)sched_yield();
	}
}

static void
read_in_rounds(struct crowd *crowd, unsigned member)
{
	const struct cache c = neighbour(crowd->h, member);
	struct arena a;

	arena_init(&a, 1 << 20);
	for (unsigned r = 0; r < ROUNDS; r++) {
		if (pthread_barrier_wait(&crowd->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			cache_purge_all(&c, 0);
		(void)pthread_barrier_wait(&crowd->barrier);
		if (read_once(&c, crowd, r, &a))
			crowd->answers++;
		else
			crowd->wrong++;
		arena_reset(&a);
	}
	arena_free(&a);
}

static struct crowd *
crowd_of(struct house *h, unsigned count)
{
	struct crowd *crowd = shared(sizeof *crowd);
	pthread_barrierattr_t attr;

	crowd->h = h;
	if (pthread_barrierattr_init(&attr) != 0 ||
	    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_barrier_init(&crowd->barrier, &attr, count) != 0)
		abort();
	(void)pthread_barrierattr_destroy(&attr);
	return crowd;
}

static void
crowd_check(struct crowd *crowd, unsigned readers)
{
	unsigned more = 0;

	for (unsigned r = 0; r < ROUNDS; r++)
		more += crowd->queries[r] != 1;
	CU_ASSERT_EQUAL(more, 0);
	CU_ASSERT_EQUAL(crowd->answers, readers * ROUNDS);
	CU_ASSERT_EQUAL(crowd->wrong, 0);
	(void)munmap(crowd, sizeof *crowd);
}

static void
eight_processes_that_miss_at_once_query_once(void)
{
	struct house *h = house_open();
	struct crowd *crowd;
	pid_t pids[READERS];

	h->c.ring = NULL; /* they look for themselves */
	crowd = crowd_of(h, READERS);
	for (unsigned i = 0; i < READERS; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		(void)alarm(120); /* a child that hangs is a failure */
		read_in_rounds(crowd, i);
		_exit(0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		int status;

		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	crowd_check(crowd, READERS);
	house_close(h);
}

struct reader {
	struct crowd *crowd;
	unsigned member;
};

static void *
read_in_a_thread(void *arg)
{
	const struct reader *r = arg;

	read_in_rounds(r->crowd, r->member);
	return NULL;
}

static void
threads_that_miss_at_once_query_once(void)
{
	struct house *h = house_open();
	struct reader readers[4];
	pthread_t threads[4];
	struct crowd *crowd;

	h->c.ring = NULL;
	crowd = crowd_of(h, 4);
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct reader){ crowd, i % 2 }; /* two of each process */
		if (pthread_create(&threads[i], NULL, read_in_a_thread, &readers[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	crowd_check(crowd, 4);
	house_close(h);
}

UNIT_SUITE(cache_crowd, TEST(eight_processes_that_miss_at_once_query_once),
    TEST(threads_that_miss_at_once_query_once));
