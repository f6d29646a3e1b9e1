/*
 * Goal: the lane runs everything it took exactly once, keeps bodies to half of its threads, and says no when
 * it is full; the mailbox loses nothing between many threads and one.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "pipeline/exchange.h"
#include "runtime/lane.h"
#include "runtime/mailbox.h"
#include "tests/support/unit.h"

enum { JOBS = 200 };

struct hall {
	struct mailbox box;
	pthread_mutex_t gate; /* held: jobs wait inside */
	_Atomic int inside, most;
	_Atomic int seats[4];	      /* by how many each is taken at once */
	struct exchange *began[JOBS]; /* in order; exact with one thread only */
	_Atomic int began_count;
};

static int64_t
job(void *ctx, struct exchange *x, size_t thread, bool body)
{
	struct hall *h = ctx;
	const int now = atomic_fetch_add(&h->inside, 1) + 1;
	int most = atomic_load(&h->most);

	(void)body;
	CU_ASSERT_TRUE_FATAL(thread < 4);
	CU_ASSERT_EQUAL(atomic_fetch_add(&h->seats[thread], 1), 0);

	h->began[atomic_fetch_add(&h->began_count, 1)] = x;
	while (now > most && !atomic_compare_exchange_weak(&h->most, &most, now))
		;
	(void)pthread_mutex_lock(&h->gate);
	(void)pthread_mutex_unlock(&h->gate);
	(void)atomic_fetch_sub(&h->seats[thread], 1);
	(void)atomic_fetch_sub(&h->inside, 1);
	mailbox_post(&h->box, x);
	return 0;
}

/* True: it was taken. */
static bool
submit(struct lane *l, struct exchange *x, enum lane_job job_kind)
{
	size_t waiting;

	x->waiter.until_ns = INT64_MAX;
	x->waiter.class = ADMISSION_NORMAL;
	return lane_submit(l, x, job_kind, &waiting) == NULL;
}

static size_t
collect(struct hall *h, size_t want)
{
	size_t got = 0;

	while (got < want) {
		struct pollfd p = { .fd = h->box.fd, .events = POLLIN };

		if (poll(&p, 1, 10000) != 1)
			break; /* lost: the caller's count tells */
		for (struct exchange *x = mailbox_take(&h->box); x != NULL; x = x->mail_next) {
			x->step++;
			got++;
		}
	}
	return got;
}

static struct hall *
hall_open(struct hall *h)
{
	*h = (struct hall){ .inside = 0 };
	(void)pthread_mutex_init(&h->gate, NULL);
	CU_ASSERT_EQUAL_FATAL(mailbox_open(&h->box), ERR_OK);
	return h;
}

static void
test_every_exchange_is_run_once_and_comes_back(void)
{
	struct exchange *x = calloc(JOBS, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	const struct lane_options o = {
		.threads = 4, .queue = JOBS, .run = job, .ctx = hall_open(&h)
	};

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_TRUE(submit(l, &x[i], (enum lane_job)(i % 3)));
	CU_ASSERT_EQUAL(collect(&h, JOBS), JOBS);
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_EQUAL(x[i].step, 1);
	lane_close(&l);
	CU_ASSERT_PTR_NULL(l);
	mailbox_close(&h.box);
	free(x);
}

static void
test_bodies_take_at_most_half_of_the_threads(void)
{
	struct exchange *x = calloc(10, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	struct lane_state s;
	const struct lane_options o = {
		.threads = 4, .queue = 16, .run = job, .ctx = hall_open(&h)
	};

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	(void)pthread_mutex_lock(&h.gate);
	for (int i = 0; i < 8; i++)
		CU_ASSERT_TRUE(submit(l, &x[i], LANE_BODY));
	/* A step gets through although more bodies wait than there are threads. */
	CU_ASSERT_TRUE(submit(l, &x[8], LANE_OTHER));
	while (atomic_load(&h.inside) < 3)
		(void)sched_yield();
	lane_look(l, &s);
	CU_ASSERT_EQUAL(s.bodies, 2);
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, 9), 9);
	CU_ASSERT_TRUE(atomic_load(&h.most) <= 4);
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

static void
test_a_full_queue_says_no(void)
{
	struct exchange *x = calloc(8, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	size_t taken = 0;
	const struct lane_options o = {
		.threads = 1, .queue = 2, .run = job, .ctx = hall_open(&h)
	};

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	(void)pthread_mutex_lock(&h.gate);
	for (int i = 0; i < 8; i++)
		taken += submit(l, &x[i], LANE_OTHER);
	/* Two wait; a third may be with the thread already. */
	CU_ASSERT_TRUE(taken == 2 || taken == 3);
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, taken), taken);
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

/* An idle thread that was told of one job must not be counted on for the next. */
static void
test_a_burst_uses_all_threads_although_one_was_idle(void)
{
	struct exchange *x = calloc(5, sizeof *x);
	const int64_t until_ms = clock_mono_ms() + 10000;
	struct hall h;
	struct lane *l = NULL;
	struct lane_state s = { .busy = 1 };
	const struct lane_options o = {
		.threads = 4, .queue = 16, .run = job, .ctx = hall_open(&h)
	};

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	CU_ASSERT_TRUE(submit(l, &x[4], LANE_OTHER));
	CU_ASSERT_EQUAL(collect(&h, 1), 1);
	for (; s.busy > 0; lane_look(l, &s))
		(void)sched_yield();
	(void)pthread_mutex_lock(&h.gate);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_TRUE(submit(l, &x[i], LANE_OTHER));
	while (atomic_load(&h.inside) < 4 && clock_mono_ms() < until_ms)
		(void)sched_yield();
	CU_ASSERT_EQUAL(atomic_load(&h.inside), 4);
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, 4), 4);
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

static void
test_bodies_and_steps_take_turns(void)
{
	struct exchange *x = calloc(7, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	const struct lane_options o = {
		.threads = 1, .queue = 16, .run = job, .ctx = hall_open(&h)
	};

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	(void)pthread_mutex_lock(&h.gate);
	CU_ASSERT_TRUE(submit(l, &x[0], LANE_OTHER));
	while (atomic_load(&h.inside) < 1)
		(void)sched_yield();
	for (int i = 1; i < 7; i++)
		CU_ASSERT_TRUE(submit(
		    l, &x[i], i > 3 ? LANE_BODY : LANE_OTHER)); /* three steps, then three bodies */
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, 7), 7);
	for (int i = 1; i < 7; i += 2)
		CU_ASSERT_TRUE((h.began[i] >= &x[4]) != (h.began[i + 1] >= &x[4]));
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

static size_t
room_for_two(void *ctx)
{
	(void)ctx;
	return 2;
}

static void
put_out_goes_nowhere(void *ctx, struct waiter *list)
{
	(void)ctx;
	CU_ASSERT_PTR_NULL(list);
}

static void
test_calls_wait_for_room_and_nothing_else_waits_for_them(void)
{
	struct exchange *x = calloc(7, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	struct lane_state s;
	size_t waiting;
	const struct lane_options o = { .threads = 4,
		.queue = 16,
		.run = job,
		.room = room_for_two,
		.put_out = put_out_goes_nowhere,
		.ctx = hall_open(&h) };

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	(void)pthread_mutex_lock(&h.gate);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_TRUE(submit(l, &x[i], LANE_CALL));
	CU_ASSERT_TRUE(submit(l, &x[5], LANE_OTHER));
	CU_ASSERT_TRUE(submit(l, &x[6], LANE_BODY));
	while (atomic_load(&h.inside) < 4)
		(void)sched_yield();
	lane_look(l, &s);
	CU_ASSERT_EQUAL(s.calls, 2);
	CU_ASSERT_EQUAL(s.waiting, 3);
	CU_ASSERT_PTR_NULL(lane_sweep(l, &waiting));
	CU_ASSERT_EQUAL(waiting, 3);
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, 7), 7);
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

static void
test_a_call_whose_time_is_over_is_handed_back(void)
{
	struct exchange *x = calloc(4, sizeof *x);
	struct hall h;
	struct lane *l = NULL;
	struct waiter *out;
	size_t waiting;
	const struct lane_options o = { .threads = 4,
		.queue = 16,
		.run = job,
		.room = room_for_two,
		.put_out = put_out_goes_nowhere,
		.ctx = hall_open(&h) };

	CU_ASSERT_EQUAL_FATAL(lane_open(&o, &l), ERR_OK);
	(void)pthread_mutex_lock(&h.gate);
	CU_ASSERT_TRUE(submit(l, &x[0], LANE_CALL));
	CU_ASSERT_TRUE(submit(l, &x[1], LANE_CALL));
	x[2].waiter = (struct waiter){ .until_ns = 1 };
	out = lane_submit(l, &x[2], LANE_CALL, &waiting);
	CU_ASSERT_PTR_EQUAL(out, &x[2].waiter);
	CU_ASSERT_EQUAL(x[2].waiter.shed, SHED_DEADLINE);
	CU_ASSERT_EQUAL(waiting, 0);
	x[3].waiter = (struct waiter){ .until_ns = clock_mono_ns() + 2000000 };
	CU_ASSERT_PTR_NULL(lane_submit(l, &x[3], LANE_CALL, &waiting));
	while ((out = lane_sweep(l, &waiting)) == NULL && waiting > 0)
		(void)sched_yield();
	CU_ASSERT_PTR_EQUAL(out, &x[3].waiter);
	(void)pthread_mutex_unlock(&h.gate);
	CU_ASSERT_EQUAL(collect(&h, 2), 2);
	lane_close(&l);
	mailbox_close(&h.box);
	free(x);
}

UNIT_SUITE(lane, TEST(test_every_exchange_is_run_once_and_comes_back),
    TEST(test_bodies_take_at_most_half_of_the_threads), TEST(test_a_full_queue_says_no),
    TEST(test_a_burst_uses_all_threads_although_one_was_idle),
    TEST(test_bodies_and_steps_take_turns),
    TEST(test_calls_wait_for_room_and_nothing_else_waits_for_them),
    TEST(test_a_call_whose_time_is_over_is_handed_back));
