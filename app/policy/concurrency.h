#ifndef POLICY_CONCURRENCY_H
#define POLICY_CONCURRENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * How many calls a downstream is given at once, by all processes of the host together: as many as make it answer the most,
 * and no more, for beyond that each only waits longer.  Learnt from the calls themselves.
 *
 * There are levels of concurrency (1 2 3 4 6 8 12 ...).  Now and then a neighbour of the present one is tried, in short
 * windows that take turns with the present one's, so that both have the same weather, and what counts is how many
 * calls were done: a higher level must bring at least a third of what it costs in waiting, a lower one
 * may lose as much.  So it settles at the knee of the curve wherever that moves, from above or below; the longer nothing better is found, the
 * rarer the trials, and no call is ever refused for one.  Only windows in which the limit was in use teach anything.
 *
 * Pure, over shared memory.  Each member counts what it has running in a word of its own, so who dies leaves a
 * number that concurrency_forget() takes away, and never a count that is wrong.  What is learnt is words that
 * whoever closes a window writes; killed in between, one window is lost.  Times are monotonic.
 */
enum { CONCURRENCIES_MAX = 24, CONCURRENCY_MEMBERS = 256, CONCURRENCY_NAME_BYTES = 24 };

struct concurrency;   /* one downstream */
struct concurrencies; /* the region: rows claimed by name */

size_t concurrencies_size(void);
void concurrencies_init(void *mem); /* ${mem} aligned to 64 bytes */

/* The row of ${name}, made when there is none: its limit begins at ${most}.  ERR_FULL; ERR_TOO_LARGE: the name. */
enum err concurrency_open(
    struct concurrencies *all, const char *name, uint32_t most, struct concurrency **out);

/* A call of ${member} begins, and has ended after ${took_us}.  ${answered}: it is a call to learn from; one that failed says
 * nothing of how much the downstream can do. */
void concurrency_begin(struct concurrency *c, unsigned member);
void concurrency_end(
    struct concurrency *c, unsigned member, bool answered, int64_t took_us, int64_t now_ms);

/* How many calls ${member} may have running now: its equal part, or all that the others leave. */
uint32_t concurrency_room(const struct concurrency *c, unsigned member);

uint32_t concurrency_running(const struct concurrency *c, unsigned member);

/* ${member} is not there (any more): what it had running is not. */
void concurrencies_forget(struct concurrencies *all, unsigned member);

struct concurrency_view {
	char name[CONCURRENCY_NAME_BYTES];
	uint32_t limit, most, running;
};
/* All rows, in the order in which they were claimed; returns how many. */
size_t concurrencies_look(
    const struct concurrencies *all, struct concurrency_view out[CONCURRENCIES_MAX]);

#endif
