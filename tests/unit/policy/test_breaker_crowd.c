/*
 * Goal: of many processes that hammer one breaker, killed at random, never two hold a probe at one time,
 * no call is counted twice, and the breaker is never stuck.
 *
 * The thread sanitizer sees one process, so there the crowd are threads and nobody is killed.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/policy/breakers.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CROWD_OF_THREADS 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CROWD_OF_THREADS 1
#endif

enum {
	CROWD = 8,
	KILLS = 200,
	STEP_MS = 5000,
	SERIALS = 1 << 18,
	FORGETS_EACH = 8,
	COUNTED = 5000
};

/* Short, so that much happens: a millisecond is one act of one of the crowd. */
static const struct breaker_rules hasty = {
	.slow_ms = 1000, .failure_pct = 50, .reset_ms = 20, .volume = 5, .probe_lease_ms = 50
};

/* All that the crowd shares. */
struct hall {
	struct breaker *breaker;
	_Atomic int64_t clock_ms, gate_ms; /* nobody goes beyond the gate */
	_Atomic uint32_t begun;
	_Atomic int64_t granted_ms[SERIALS], ended_ms[SERIALS]; /* of the probe with that serial */
};

struct visitor {
	struct hall *hall;
	unsigned index;
	void (*run)(struct hall *h, unsigned index);
};

static struct hall *
hall_open(void)
{
	struct hall *h =
	    mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (h == MAP_FAILED)
		abort();
	h->breaker = breaker_make();
	h->clock_ms = h->gate_ms = START_MS;
	return h;
}

static void
hall_close(struct hall *h)
{
	breaker_end(h->breaker);
	(void)munmap(h, sizeof *h);
}

static uint32_t
draw(uint32_t *rnd)
{
	*rnd ^= *rnd << 13;
	*rnd ^= *rnd >> 17;
	*rnd ^= *rnd << 5;
	return *rnd;
}

static enum breaker_outcome
draw_outcome(uint32_t *rnd)
{
	const uint32_t n = draw(rnd) % 16;

	if (n == 0)
		return BREAKER_STALLED;
	return n < 8 ? BREAKER_FAILED : BREAKER_ANSWERED;
}

static void
send_probe(struct hall *h, struct breaker_ticket t, int64_t now_ms, uint32_t *rnd)
{
	atomic_store(&h->granted_ms[t.serial], now_ms);
	if (draw(rnd) % FORGETS_EACH == 0)
		return;
	for (uint32_t i = draw(rnd) % 64; i > 0; i--)
		(void)sched_yield();
	now_ms = atomic_fetch_add(&h->clock_ms, 1);
	atomic_store(&h->ended_ms[t.serial], now_ms);
	(void)breaker_report(h->breaker, &hasty, &t, draw_outcome(rnd), now_ms);
}

static void
hammer(struct hall *h, unsigned index)
{
	uint32_t rnd = 2463534242u * (index + 1) + atomic_fetch_add(&h->begun, 1);
	struct breaker_ticket t;
	struct breaker_change c;
	int64_t now_ms;

	for (;;) {
		now_ms = atomic_fetch_add(&h->clock_ms, 1);
		if (now_ms > START_MS + (int64_t)KILLS * STEP_MS)
			return;
		while (now_ms > atomic_load(&h->gate_ms))
			(void)sched_yield();
		if (breaker_allow(h->breaker, &t))
			(void)breaker_report(h->breaker, &hasty, &t, draw_outcome(&rnd), now_ms);
		else if (breaker_probe(h->breaker, &hasty, now_ms, &t, &c))
			send_probe(h, t, now_ms, &rnd);
	}
}

/* Probes that were granted while another had neither ended nor used up its lease. */
static unsigned
overlaps(const struct hall *h, unsigned *granted_out)
{
	int64_t lease_end_ms = 0;
	unsigned bad = 0;

	*granted_out = 0;
	for (size_t i = 0; i < SERIALS; i++) {
		const int64_t granted_ms = h->granted_ms[i], ended_ms = h->ended_ms[i];

		if (granted_ms == 0)
			continue; /* or its process was killed before it could say so */
		bad += granted_ms < lease_end_ms;
		lease_end_ms = granted_ms + hasty.probe_lease_ms;
		if (ended_ms != 0 && ended_ms < lease_end_ms)
			lease_end_ms = ended_ms;
		++*granted_out;
	}
	return bad;
}

/* What the dead have left behind is over when their leases are. */
static void
check_not_stuck(struct hall *h)
{
	const int64_t now_ms =
	    h->clock_ms + hasty.probe_lease_ms + hasty.reset_ms + BREAKER_PAUSE_MS;
	struct breaker_ticket t;
	struct breaker_change c;

	if (!breaker_allow(h->breaker, &t)) {
		CU_ASSERT_TRUE(breaker_probe(h->breaker, &hasty, now_ms, &t, &c));
		(void)breaker_report(h->breaker, &hasty, &t, BREAKER_ANSWERED, now_ms);
	}
	CU_ASSERT_EQUAL(view(h->breaker, now_ms).state, BREAKER_CLOSED);
	CU_ASSERT_TRUE(breaker_allow(h->breaker, &t));
}

static void
check_hall(struct hall *h)
{
	unsigned granted;

	CU_ASSERT_EQUAL(overlaps(h, &granted), 0);
	CU_ASSERT_TRUE(granted > KILLS);
	CU_ASSERT_TRUE(view(h->breaker, h->clock_ms).opened > KILLS / 4);
	check_not_stuck(h);
}

/* All in one second, and the breaker stays closed. */
static void
answer_many(struct hall *h, unsigned index)
{
	struct breaker_ticket t;

	(void)index;
	for (int i = 0; i < COUNTED; i++)
		if (breaker_allow(h->breaker, &t))
			(void)breaker_report(h->breaker, &hasty, &t, BREAKER_ANSWERED, START_MS);
}

#ifdef CROWD_OF_THREADS

static void *
visit(void *arg)
{
	const struct visitor *v = arg;

	v->run(v->hall, v->index);
	return NULL;
}

static void
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

static void
crowd_run(struct hall *h, void (*run)(struct hall *h, unsigned index))
{
	pid_t pids[CROWD];

	for (unsigned i = 0; i < CROWD; i++)
		pids[i] = visitor_start(&(struct visitor){ .hall = h, .index = i, .run = run });
	for (unsigned i = 0; i < CROWD; i++)
		(void)waitpid(pids[i], NULL, 0);
}

/* Opens the gate step by step and kills somebody somewhere in each; returns how many. */
static unsigned
hammer_under_fire(struct hall *h)
{
	pid_t pids[CROWD];
	unsigned killed = 0;

	for (unsigned i = 0; i < CROWD; i++)
		pids[i] = visitor_start(&(struct visitor){ .hall = h, .index = i, .run = hammer });
	for (unsigned n = 0; n < KILLS; n++) {
		const int64_t when_ms = h->gate_ms + random() % STEP_MS;
		const unsigned i = n % CROWD;
		int status = 0;

		h->gate_ms += STEP_MS;
		while (h->clock_ms < when_ms)
			(void)sched_yield();
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], &status, 0);
		killed += WIFSIGNALED(status);
		pids[i] = visitor_start(&(struct visitor){ .hall = h, .index = i, .run = hammer });
	}
	h->gate_ms = INT64_MAX;
	for (unsigned i = 0; i < CROWD; i++)
		(void)waitpid(pids[i], NULL, 0);
	return killed;
}

static void
killed_at_random_the_crowd_never_has_two_probes_and_is_never_stuck(void)
{
	struct hall *h = hall_open();

	CU_ASSERT_TRUE(
	    hammer_under_fire(h) > KILLS / 2); /* the last ones may have come to their end */
	check_hall(h);
	hall_close(h);
}

UNIT_SUITE(
    breaker_killed, TEST(killed_at_random_the_crowd_never_has_two_probes_and_is_never_stuck));

#endif

static void
the_crowd_never_has_two_probes_at_one_time(void)
{
	struct hall *h = hall_open();

	h->gate_ms = INT64_MAX;
	crowd_run(h, hammer);
	check_hall(h);
	hall_close(h);
}

static void
every_call_of_the_crowd_is_counted_once(void)
{
	struct hall *h = hall_open();

	crowd_run(h, answer_many);
	CU_ASSERT_EQUAL(view(h->breaker, START_MS).calls, CROWD * COUNTED);
	CU_ASSERT_EQUAL(view(h->breaker, START_MS).failures, 0);
	hall_close(h);
}

UNIT_SUITE(breaker_crowd, TEST(the_crowd_never_has_two_probes_at_one_time),
    TEST(every_call_of_the_crowd_is_counted_once));
