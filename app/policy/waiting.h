#ifndef POLICY_WAITING_H
#define POLICY_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/admission.h"

/*
 * Who waits for a place on the lane, who comes next, and who is told to come back later.
 *
 *   calm      first come, first served, classes by their shares; a burst may wait for two intervals, or twice as long as 32 take
 *   crowded   all through an interval everybody had to wait, for more than half a call's time, and those who wait now
 *             are more than can be served in one: that is no burst any more (CoDel's test), and it serves
 *             nobody that the queue is long.  Those who ask for most (heavy) wait at most half a
 *             call's time, the newest of them first, for the oldest are the least worth an answer; those
 *             within their share come before them, and wait in turn as ever
 *
 * Fewer than 32 who wait for each other's turn all the time (as many clients before one connection) are no crowd.  Calm again when,
 * for an interval, a fifth of those who came found a place without waiting.  Times in it scale with what calls take, so nothing is
 * to be tuned: an interval is ten calls, at least 100 ms.  While that is unknown nobody is put out but for the bound and
 * deadlines.
 *
 * Pure: no lock, no clock, no allocation; waiters are the caller's, linked while they wait.  Times are monotonic ns.
 */
struct waiter {
	/* Set before it enters. */
	int64_t since_ns; /* when it began to wait; what was lost before we saw it counts */
	int64_t until_ns; /* its deadline: never begun afterwards */
	enum admission_class class;
	bool heavy; /* its client asks for more than others (policy/fair_share.h) */
	/* Ours. */
	struct waiter *next, *prev;
	enum shed_reason shed; /* why it was put out */
};

struct waiter_list {
	struct waiter *first, *last; /* by when they came */
	size_t count;
};

struct waiting {
	size_t most;
	struct waiter_list light[ADMISSION_CLASSES], heavy[ADMISSION_CLASSES];
	size_t count, heavies;
	bool crowded;
	int64_t
	    good_ns; /* when nobody waited, or one came in who had not waited long: the last time */
	int64_t looked_ns;			 /* when the counts below began */
	uint32_t came, came_in;			 /* since then; of them without waiting */
	int64_t light_ns;			 /* when one within its share came, the last time */
	int64_t call_ns;			 /* what a call takes, about; 0: unknown */
	int64_t each_ns;			 /* the same, over those that are served at once */
	uint64_t pass[ADMISSION_CLASSES], floor; /* stride scheduling of the classes */
};

void waiting_init(struct waiting *w, size_t most, int64_t now_ns);

/* One came and found a place. */
void waiting_passed(struct waiting *w, int64_t now_ns);
/* One comes and finds none.  ${busy}: how many are being served.  Who is put out for it, perhaps ${it} itself, is
 * put before *${out}, linked by next, with its reason. */
void waiting_enter(
    struct waiting *w, struct waiter *it, size_t busy, int64_t now_ns, struct waiter **out);
/* A place is free: who takes it, or NULL. */
struct waiter *waiting_next(struct waiting *w, size_t busy, int64_t now_ns, struct waiter **out);
/* Nobody has come or gone for a while. */
void waiting_sweep(struct waiting *w, size_t busy, int64_t now_ns, struct waiter **out);
/* A call is done that succeeded: how long it took. */
void waiting_learn(struct waiting *w, int64_t call_ns);

#endif
