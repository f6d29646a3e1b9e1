#ifndef RUNTIME_LANE_H
#define RUNTIME_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct exchange;
struct waiter; /* policy/waiting.h; an exchange has one */

/*
 * The blocking lane: threads for steps that may block, started when there is work and nobody idle, ended after
 * a minute without any; bounded queues before them.
 *
 * Calls to the database begin only while there is room for one, and wait as policy/waiting.h says; what is put out there is
 * handed back with its reason.  All else (a key to be looked up, a lease to be fetched, a body) is short, or
 * kept to half of the threads, and comes first.
 */
struct lane;

enum lane_job { LANE_CALL, LANE_OTHER, LANE_BODY };

struct lane_options {
	size_t threads; /* at most, 1..1024 */
	size_t queue;	/* waiting exchanges, at most */
	/* On a lane's thread, the ${thread}th of threads; hands ${x} back itself.  Returns how long the call of it took, in ns;
	 * 0: there was none, or it failed. */
	int64_t (*run)(void *ctx, struct exchange *x, size_t thread, bool body);
	/* How many calls may be going on at once now, at least 1; under our lock.  NULL: as many as there are threads. */
	size_t (*room)(void *ctx);
	/* Those put out by a lane's thread, linked by next, each with its reason; they are the callee's. */
	void (*put_out)(void *ctx, struct waiter *list);
	void *ctx;
};

enum err lane_open(const struct lane_options *o, struct lane **out);
void lane_close(struct lane **lp); /* what waits is still run */

/*
 * Takes over ${x}, whose waiter says what it is.  Returns those that were put out for it, perhaps itself, linked by
 * next, each with its reason; they are the caller's (again).  NULL: none.
 */
struct waiter *lane_submit(
    struct lane *l, struct exchange *x, enum lane_job job, size_t *waiting_out);
/* Puts out who has waited too long; to be called now and then while *${waiting_out}, calls that wait for room, is not
 * 0. */
struct waiter *lane_sweep(struct lane *l, size_t *waiting_out);

struct lane_state {
	size_t threads, threads_max, busy, waiting, waiting_max, bodies, bodies_max;
	size_t calls; /* of the busy ones */
	bool crowded;
};
void lane_look(struct lane *l, struct lane_state *out);

#endif
