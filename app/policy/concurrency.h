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
 * For each level of concurrency (1 2 3 4 6 8 12 ...) it is remembered what came of it: calls per second, cubed,
 * over the time that one took.  That is largest at the knee of the curve: below, throughput falls with the level; above,
 * only the time grows.  The limit stays at the best level, and now and then one short window is spent at a
 * neighbour's, less often the longer nothing better is found; so it finds the knee wherever it moves, from above or
 * below, and no call is ever refused for a probe.  Only windows in which the limit was in use teach anything.
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
