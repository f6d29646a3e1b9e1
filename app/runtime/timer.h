#ifndef RUNTIME_TIMER_H
#define RUNTIME_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Timers of one reactor: a binary heap of structs that live inside what they time.  Setting, moving and stopping cost O(log n);
 * nothing is allocated but the heap's array, so timers_set() can fail only when that cannot grow.
 */
struct timer {
	int64_t at_ms; /* monotonic */
	size_t place;  /* in the heap, from 1; 0: not set */
	void (*fire)(struct timer *t);
};

struct timers {
	struct timer **heap; /* from 1 */
	size_t count, cap;
};

bool timers_set(struct timers *ts, struct timer *t, int64_t at_ms); /* also moves a set one */
void timers_stop(struct timers *ts, struct timer *t);
/* Fires what is due, at most 512 a call; a timer is stopped before its function runs. */
void timers_run(struct timers *ts, int64_t now_ms);
/* Until the next is due: 0 when one is, ${most_ms} when none comes earlier. */
int64_t timers_wait_ms(const struct timers *ts, int64_t now_ms, int64_t most_ms);
void timers_free(struct timers *ts);

#endif
