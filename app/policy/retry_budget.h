#ifndef POLICY_RETRY_BUDGET_H
#define POLICY_RETRY_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How many calls may be made a second time: a part of the calls of the last ten seconds, and a few in any case.
 *
 * Whoever fails under load is not helped by more of it: without a bound, each caller that tries again doubles what a
 * weak server gets.  One budget is shared by all processes of the host.
 *
 *   retry_budget_call()   for each call that is the first of its kind
 *   it failed, and another may be made: retry_budget_take(), then the pause, then that call
 *
 * A retry counts from the moment when it is decided, not when it is sent, so those that wait out their pause count
 * too, and a burst of failures cannot overshoot.  Of any number of callers at one moment no more are granted than there
 * is room for.
 *
 * Pure: time is an argument, no lock, no clock, no allocation.  A process may be killed at any instruction: it leaves at most
 * one retry that nobody makes, for ten seconds.  Cost: one atomic add; to take, two and ten loads.
 */
enum { RETRY_WINDOW_MS = 10000 }; /* rolls by the second */

struct retry_rules {
	unsigned pct;	/* of the calls in the window */
	unsigned floor; /* retries in the window that are granted in any case */
};

struct retry_budget;

size_t retry_budget_size(void);	   /* a multiple of 64 */
void retry_budget_init(void *mem); /* ${mem} aligned to 64 bytes; nothing is counted */

void retry_budget_call(struct retry_budget *b, int64_t now_ms);
/* True: one more call may be made, and is counted. */
bool retry_budget_take(struct retry_budget *b, const struct retry_rules *r, int64_t now_ms);

struct retry_view {
	uint64_t calls, retries; /* in the window */
};
void retry_budget_look(const struct retry_budget *b, int64_t now_ms, struct retry_view *out);
/* How many retries the calls of ${v} allow in the window. */
uint64_t retry_budget_limit(const struct retry_view *v, const struct retry_rules *r);

#endif
