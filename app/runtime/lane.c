/*
 * Threads for what blocks.  Two queues, one lock: bodies are kept apart, so that slow senders can never
 * hold more than half of the threads.
 */
#include "runtime/lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/ring.h"
#include "base/thread.h"

enum { IDLE_SECONDS = 60 };

struct lane {
	struct lane_options o;
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	struct ring steps, bodies;
	size_t threads, idle, reading, reading_max;
	bool *
	    seats; /* which of the threads there are: each has a number, which is free again when it ends */
	bool bodys_turn; /* the queues take turns, so that neither starves behind the other */
	bool closing;
};

/* The next exchange that this thread may run, or NULL. */
static struct exchange *
next_job(struct lane *l, bool *body_out)
{
	const bool may_read = l->bodies.count > 0 && l->reading < l->reading_max;

	*body_out = may_read && (l->bodys_turn || l->steps.count == 0);
	l->bodys_turn = !*body_out;
	return ring_pop(*body_out ? &l->bodies : &l->steps);
}

/* Waits for work with the lock held; false: nothing came for a minute. */
static bool
wait_for_work(struct lane *l)
{
	struct timespec until;
	int rc;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	l->idle++;
	rc = pthread_cond_timedwait(&l->work, &l->lock, &until);
	l->idle--;
	return rc != ETIMEDOUT;
}

/* There is one: no more threads are started than there are seats. */
static size_t
take_seat(struct lane *l)
{
	size_t seat = 0;

	while (l->seats[seat])
		seat++;
	l->seats[seat] = true;
	return seat;
}

static void *
lane_thread(void *arg)
{
	struct lane *l = arg;
	struct exchange *x;
	bool body, stay = true;
	size_t seat;

	(void)pthread_mutex_lock(&l->lock);
	seat = take_seat(l);
	for (;;) {
		x = next_job(l, &body);
		if (x ==
		    NULL) { /* once more after a wait that ended for time: work may have come just then */
			if (l->closing || !stay)
				break;
			stay = wait_for_work(l);
			continue;
		}
		stay = true;
		l->reading += body;
		(void)pthread_mutex_unlock(&l->lock);
		l->o.run(l->o.ctx, x, seat, body);
		(void)pthread_mutex_lock(&l->lock);
		l->reading -= body;
	}
	l->seats[seat] = false;
	l->threads--;
	(void)pthread_cond_signal(&l->ended);
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}

static bool
start_thread(struct lane *l)
{
	if (!thread_start(THREAD_SMALL_STACK_BYTES, lane_thread, l, NULL))
		return false;
	l->threads++;
	return true;
}

static size_t
waiting(const struct lane *l)
{
	return l->steps.count + l->bodies.count;
}

bool
lane_submit(struct lane *l, struct exchange *x, bool body)
{
	struct ring *ring = body ? &l->bodies : &l->steps;
	bool taken;

	(void)pthread_mutex_lock(&l->lock);
	taken = ring_push(ring, x);
	/* An idle thread that was signalled counts as idle until it wakes: it takes one job, not all that came since. */
	if (taken && waiting(l) > l->idle && l->threads < l->o.threads && !start_thread(l) &&
	    l->threads == 0) {
		(void)ring_remove(ring, x); /* not one thread to be had: nobody would ever run it */
		taken = false;
	}
	if (taken)
		(void)pthread_cond_signal(&l->work);
	(void)pthread_mutex_unlock(&l->lock);
	return taken;
}

void
lane_look(struct lane *l, struct lane_state *out)
{
	(void)pthread_mutex_lock(&l->lock);
	*out = (struct lane_state){ .threads = l->threads,
		.threads_max = l->o.threads,
		.waiting_max = l->o.queue,
		.busy = l->threads - l->idle,
		.waiting = waiting(l),
		.bodies = l->reading };
	(void)pthread_mutex_unlock(&l->lock);
}

enum err
lane_open(const struct lane_options *o, struct lane **out)
{
	struct lane *l = calloc(1, sizeof *l);
	pthread_condattr_t attr;

	if (l == NULL)
		return ERR_NOMEM;
	l->o = *o;
	l->reading_max = o->threads / 2 > 0 ? o->threads / 2 : 1;
	l->seats = calloc(o->threads, sizeof *l->seats);
	if (l->seats == NULL || !ring_init(&l->steps, o->queue) ||
	    !ring_init(&l->bodies, o->queue)) {
		ring_free(&l->steps);
		free(l->seats);
		free(l);
		return ERR_NOMEM;
	}
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&l->work, &attr);
	(void)pthread_cond_init(&l->ended, &attr);
	(void)pthread_condattr_destroy(&attr);
	*out = l;
	return ERR_OK;
}

void
lane_close(struct lane **lp)
{
	struct lane *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	(void)pthread_mutex_lock(&l->lock);
	l->closing = true;
	(void)pthread_cond_broadcast(&l->work);
	while (l->threads > 0)
		(void)pthread_cond_wait(&l->ended, &l->lock);
	(void)pthread_mutex_unlock(&l->lock);
	ring_free(&l->steps);
	ring_free(&l->bodies);
	free(l->seats);
	(void)pthread_cond_destroy(&l->work);
	(void)pthread_cond_destroy(&l->ended);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}
