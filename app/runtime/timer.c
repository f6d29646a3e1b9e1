/*
 * The reactor's timers.  An idle connection has none; a hot request, answered at once, sets none.
 */
#include "runtime/timer.h"

#include <stdlib.h>

enum { FIRED_A_RUN = 512 }; /* ten thousand deadlines at once must not hold up everybody else */

static void
place(struct timers *ts, size_t at, struct timer *t)
{
	ts->heap[at] = t;
	t->place = at;
}

static void
sift_up(struct timers *ts, size_t at)
{
	struct timer *t = ts->heap[at];

	for (; at > 1 && ts->heap[at / 2]->at_ms > t->at_ms; at /= 2)
		place(ts, at, ts->heap[at / 2]);
	place(ts, at, t);
}

static void
sift_down(struct timers *ts, size_t at)
{
	struct timer *t = ts->heap[at];
	size_t child;

	for (; (child = 2 * at) <= ts->count; at = child) {
		if (child < ts->count && ts->heap[child + 1]->at_ms < ts->heap[child]->at_ms)
			child++;
		if (ts->heap[child]->at_ms >= t->at_ms)
			break;
		place(ts, at, ts->heap[child]);
	}
	place(ts, at, t);
}

static bool
grow(struct timers *ts)
{
	const size_t cap = ts->cap == 0 ? 64 : 2 * ts->cap;
	struct timer **heap = realloc(ts->heap, (cap + 1) * sizeof(*heap));

	if (heap == NULL)
		return false;
	ts->heap = heap;
	ts->cap = cap;
	return true;
}

bool
timers_set(struct timers *ts, struct timer *t, int64_t at_ms)
{
	timers_stop(ts, t);
	if (ts->count == ts->cap && !grow(ts))
		return false;
	t->at_ms = at_ms;
	place(ts, ++ts->count, t);
	sift_up(ts, ts->count);
	return true;
}

void
timers_stop(struct timers *ts, struct timer *t)
{
	const size_t at = t->place;
	struct timer *last;

	if (at == 0)
		return;
	t->place = 0;
	last = ts->heap[ts->count--];
	if (last == t)
		return;
	place(ts, at, last);
	sift_up(ts, at);
	sift_down(ts, last->place);
}

void
timers_run(struct timers *ts, int64_t now_ms)
{
	for (int i = 0; i < FIRED_A_RUN && ts->count > 0 && ts->heap[1]->at_ms <= now_ms; i++) {
		struct timer *t = ts->heap[1];

		timers_stop(ts, t);
		t->fire(t);
	}
}

int64_t
timers_wait_ms(const struct timers *ts, int64_t now_ms, int64_t most_ms)
{
	int64_t left;

	if (ts->count == 0)
		return most_ms;
	left = ts->heap[1]->at_ms - now_ms;
	if (left < 0)
		return 0;
	return left < most_ms ? left : most_ms;
}

void
timers_free(struct timers *ts)
{
	free(ts->heap);
	*ts = (struct timers){ 0 };
}
