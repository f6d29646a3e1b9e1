/*
 * Threads for what blocks.  Three queues, one lock: calls to the database wait for room there; bodies are kept apart, so
 * that slow senders can never hold more than half of the threads; what is left is short.
 */
#include "runtime/lane.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/ring.h"
#include "base/thread.h"
#include "pipeline/exchange.h"
#include "policy/waiting.h"

enum { IDLE_MS = 60000 };

struct lane {
	struct lane_options o;
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	struct waiting waiting; /* calls that found no room */
	struct ring calls;	/* that have found some */
	struct ring others, bodies;
	size_t threads, idle, reading, reading_max;
	size_t calling; /* that have room, begun or not */
	bool *
	    seats; /* which of the threads there are: each has a number, which is free again when it ends */
	bool bodys_turn; /* the queues take turns, so that neither starves behind the other */
	bool closing;
};

static struct exchange *
exchange_of(struct waiter *w)
{
	return CONTAINER_OF(w, struct exchange, waiter);
}

static bool
has_room(const struct lane *l)
{
	if (l->calling == 0)
		return true; /* one at a time is never too much */
	return l->calling < l->o.threads && (l->o.room == NULL || l->calling < l->o.room(l->o.ctx));
}

struct job {
	struct exchange *x; /* NULL: there is none that this thread may run */
	enum lane_job kind;
};

/* A call that may begin now: one that has room already, or the next of those that wait. */
static struct exchange *
next_call(struct lane *l, struct waiter **out)
{
	struct exchange *x = ring_pop(&l->calls);
	struct waiter *w;

	if (x != NULL)
		return x;
	if (l->waiting.count == 0 || (!l->closing && !has_room(l)))
		return NULL;
	w = waiting_next(&l->waiting, l->calling, clock_mono_ns(), out);
	if (w == NULL)
		return NULL;
	l->calling++;
	return exchange_of(w);
}

static struct job
next_job(struct lane *l, struct waiter **out)
{
	const bool may_read = l->bodies.count > 0 && l->reading < l->reading_max;
	struct job j = { .kind = LANE_BODY };

	if (may_read && l->bodys_turn)
		j.x = ring_pop(&l->bodies);
	if (j.x == NULL) {
		j.kind = LANE_OTHER;
		j.x = ring_pop(&l->others);
	}
	if (j.x == NULL) {
		j.kind = LANE_CALL;
		j.x = next_call(l, out);
	}
	if (j.x == NULL && may_read) {
		j.kind = LANE_BODY;
		j.x = ring_pop(&l->bodies);
	}
	l->bodys_turn = j.kind != LANE_BODY;
	return j;
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

/* The lock is held, and is let go of meanwhile. */
static void
run_job(struct lane *l, struct job j, size_t seat)
{
	int64_t call_ns;

	l->reading += j.kind == LANE_BODY;
	(void)pthread_mutex_unlock(&l->lock);
	call_ns = l->o.run(l->o.ctx, j.x, seat, j.kind == LANE_BODY);
	(void)pthread_mutex_lock(&l->lock);
	l->reading -= j.kind == LANE_BODY;
	l->calling -= j.kind == LANE_CALL;
	if (call_ns > 0)
		waiting_learn(&l->waiting, call_ns);
}

/* The lock is held, and is let go of meanwhile. */
static void
hand_back(struct lane *l, struct waiter *out)
{
	if (out == NULL)
		return;
	(void)pthread_mutex_unlock(&l->lock);
	l->o.put_out(l->o.ctx, out);
	(void)pthread_mutex_lock(&l->lock);
}

/* Waits for work with the lock held; false: nothing came for a minute. */
static bool
wait_for_work(struct lane *l)
{
	bool stay;

	l->idle++;
	stay = thread_wait(&l->work, &l->lock, clock_mono_ms() + IDLE_MS);
	l->idle--;
	return stay;
}

static void *
lane_thread(void *arg)
{
	struct lane *l = arg;
	bool stay = true;
	size_t seat;

	(void)pthread_mutex_lock(&l->lock);
	seat = take_seat(l);
	for (;;) {
		struct waiter *out = NULL;
		const struct job j = next_job(l, &out);

		hand_back(l, out);
		if (j.x != NULL) {
			stay = true;
			run_job(l, j, seat);
			continue;
		}
		/* Once more after a wait that ended for time: work may have come just then. */
		if (l->closing || !stay)
			break;
		stay = wait_for_work(l);
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

/* What threads could run now, if they were idle. */
static size_t
ready(const struct lane *l)
{
	return l->calls.count + l->others.count + l->bodies.count;
}

static void
refuse(struct waiter *w, enum shed_reason why, struct waiter **out)
{
	w->shed = why;
	w->next = *out;
	*out = w;
}

/* There is something in ${ring} for a thread: wakes one, or starts one. */
static bool
call_thread(struct lane *l, struct ring *ring, struct exchange *x)
{
	/* An idle thread that was signalled counts as idle until it wakes: it takes one job, not all that came since. */
	if (ready(l) > l->idle && l->threads < l->o.threads && !start_thread(l) &&
	    l->threads == 0) {
		(void)ring_remove(ring, x); /* not one thread to be had: nobody would ever run it */
		return false;
	}
	(void)pthread_cond_signal(&l->work);
	return true;
}

static void
submit_to(struct lane *l, struct ring *ring, struct exchange *x, struct waiter **out)
{
	if (!ring_push(ring, x) || !call_thread(l, ring, x))
		refuse(&x->waiter, SHED_QUEUE_FULL, out);
}

/* Nobody is passed by one who comes later, but by those who are more important. */
static void
submit_call(struct lane *l, struct exchange *x, struct waiter **out)
{
	const int64_t now_ns = clock_mono_ns();

	if (l->waiting.count > 0 || !has_room(l)) {
		waiting_enter(&l->waiting, &x->waiter, l->calling, now_ns, out);
		return;
	}
	waiting_passed(&l->waiting, now_ns);
	if (!ring_push(&l->calls, x)) {
		refuse(&x->waiter, SHED_QUEUE_FULL, out);
		return;
	}
	l->calling++;
	if (!call_thread(l, &l->calls, x)) {
		l->calling--;
		refuse(&x->waiter, SHED_QUEUE_FULL, out);
	}
}

/* Another process has left room, or a thread has not come round yet: whoever waits may begin. */
static void
let_in(struct lane *l, struct waiter **out)
{
	while (l->waiting.count > 0 && l->calls.count < l->calls.cap && has_room(l)) {
		struct waiter *w = waiting_next(&l->waiting, l->calling, clock_mono_ns(), out);

		if (w == NULL)
			return;
		l->calling++;
		(void)ring_push(&l->calls, exchange_of(w));
		(void)call_thread(
		    l, &l->calls, exchange_of(w)); /* there are threads: it waited for them */
	}
}

struct waiter *
lane_submit(struct lane *l, struct exchange *x, enum lane_job job, size_t *waiting_out)
{
	struct waiter *out = NULL;

	(void)pthread_mutex_lock(&l->lock);
	switch (job) {
	case LANE_CALL:
		let_in(l, &out);
		submit_call(l, x, &out);
		break;
	case LANE_OTHER:
		submit_to(l, &l->others, x, &out);
		break;
	case LANE_BODY:
		submit_to(l, &l->bodies, x, &out);
		break;
	}
	*waiting_out = l->waiting.count;
	(void)pthread_mutex_unlock(&l->lock);
	return out;
}

struct waiter *
lane_sweep(struct lane *l, size_t *waiting_out)
{
	struct waiter *out = NULL;

	(void)pthread_mutex_lock(&l->lock);
	let_in(l, &out);
	waiting_sweep(&l->waiting, l->calling, clock_mono_ns(), &out);
	*waiting_out = l->waiting.count;
	(void)pthread_mutex_unlock(&l->lock);
	return out;
}

void
lane_look(struct lane *l, struct lane_state *out)
{
	(void)pthread_mutex_lock(&l->lock);
	*out = (struct lane_state){ .threads = l->threads,
		.threads_max = l->o.threads,
		.waiting_max = l->o.queue,
		.busy = l->threads - l->idle,
		.waiting = l->waiting.count + ready(l),
		.bodies = l->reading,
		.bodies_max = l->reading_max,
		.calls = l->calling,
		.crowded = l->waiting.crowded };
	(void)pthread_mutex_unlock(&l->lock);
}

static void
free_queues(struct lane *l)
{
	ring_free(&l->calls);
	ring_free(&l->others);
	ring_free(&l->bodies);
	free(l->seats);
	free(l);
}

enum err
lane_open(const struct lane_options *o, struct lane **out)
{
	struct lane *l = calloc(1, sizeof *l);
	bool made;

	if (l == NULL)
		return ERR_NOMEM;
	l->o = *o;
	l->reading_max = o->threads / 2 > 0 ? o->threads / 2 : 1;
	l->seats = calloc(o->threads, sizeof *l->seats);
	made = ring_init(&l->calls, o->threads);
	made = ring_init(&l->others, o->queue) && made;
	made = ring_init(&l->bodies, o->queue) && made;
	if (l->seats == NULL || !made) {
		free_queues(l);
		return ERR_NOMEM;
	}
	waiting_init(&l->waiting, o->queue, clock_mono_ns());
	thread_lock_init(&l->lock, &l->work);
	(void)pthread_cond_init(&l->ended, NULL);
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
	(void)pthread_cond_destroy(&l->work);
	(void)pthread_cond_destroy(&l->ended);
	(void)pthread_mutex_destroy(&l->lock);
	free_queues(l);
}
