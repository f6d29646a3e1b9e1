#ifndef RUNTIME_LANE_H
#define RUNTIME_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct exchange;

/*
 * The blocking lane: threads for steps that may block, started when there is work and nobody idle, ended after
 * a minute without any; a bounded queue before them.
 */
struct lane;

struct lane_options {
	size_t threads; /* at most, 1..1024 */
	size_t queue;	/* waiting exchanges, at most */
	/* On a lane's thread, the ${thread}th of threads; hands ${x} back itself. */
	void (*run)(void *ctx, struct exchange *x, size_t thread, bool body);
	void *ctx;
};

enum err lane_open(const struct lane_options *o, struct lane **out);
void lane_close(struct lane **lp); /* what waits is still run */

/* Takes over ${x}.  False: the queue is full (or, for ${body}, half of the threads read bodies
 * already and as many wait); it stays the caller's. */
bool lane_submit(struct lane *l, struct exchange *x, bool body);

struct lane_state {
	size_t threads, threads_max, busy, waiting, waiting_max, bodies;
};
void lane_look(struct lane *l, struct lane_state *out);

#endif
