#ifndef SERVICE_GUARD_H
#define SERVICE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/breaker.h"
#include "telemetry/call_stats.h"

/*
 * What every call to another server goes through: one guard for each downstream of the host (`redis-1`,
 * `kafka`, `read-1`, `primary`), shared by all its processes in the segment.
 *
 *   guard_enter --ERR_OK--> the call --> guard_leave, or guard_withdraw when there was none
 *        | ERR_UNAVAILABLE: do not call; it is open, or suspended
 *
 * A change of state is logged once for the host, by the process whose call made it.  Safe when a process is
 * killed between enter and leave: its probe is a lease that ends by itself, and its call was never counted.
 * Any thread may call; a few atomic operations, no lock.  Times are monotonic milliseconds.
 */
enum { GUARDS_MAX = 64, GUARD_NAME_BYTES = 24 }; /* of the host; a name with its end */

struct guards; /* the region in the segment: rows claimed by name */

size_t guards_size(void);
void guards_init(void *mem); /* ${mem}: aligned to 64 bytes */

struct guard {
	struct breaker *breaker;  /* in the segment */
	struct call_stats *calls; /* there too */
	struct breaker_rules rules;
	char name[GUARD_NAME_BYTES];
	/*
	 * A call that misses its deadline suspends the downstream at once.  Whatever is wrong, only
	 * guard_probe() ends that: no request waits for it again until a probe, sent outside of any
	 * request, has answered.
	 */
	bool suspends;
};

struct guard_pass {
	int64_t begun_ms;
	uint32_t serial;  /* of the breaker, when the call was begun */
	bool probe;	  /* this call decides whether the breaker closes */
	int64_t begun_ns; /* by the clock, for what it took */
};

/* Finds the row of ${name}, or claims one; rows are never given back.  ERR_FULL: no row is left.  ERR_TOO_LARGE: the
 * name is too long. */
enum err guard_open(struct guards *g, const char *name, const struct breaker_rules *rules,
    bool suspends, struct guard *out);

enum err guard_enter(const struct guard *g, int64_t now_ms, struct guard_pass *pass_out);
/* ${result}: ERR_TIMEOUT, ERR_UNAVAILABLE and ERR_IO are failures of the downstream; all else it has
 * answered, whatever it said.  An answer slower than the rules' slow_ms is a failure as well. */
void guard_leave(
    const struct guard *g, const struct guard_pass *pass, enum err result, int64_t now_ms);
/* The call was not made after all (no free connection, no memory): it says nothing about the downstream. */
void guard_withdraw(const struct guard *g, const struct guard_pass *pass, int64_t now_ms);

/* For who probes outside of requests, as often as it likes: ERR_OK: a probe is due and it is yours to send
 * (a lease); finish it with guard_leave().  ERR_UNAVAILABLE: none is due, or nothing is wrong. */
enum err guard_probe(const struct guard *g, int64_t now_ms, struct guard_pass *pass_out);

/* Whether a call that is no probe would pass now: one load. */
bool guard_is_up(const struct guard *g);

/*
 * The same for the calls of requests, which come by themselves and in crowds: on the ramp after it was open, a share of
 * them is told that it is not up, and goes the way of an open breaker.  Ask once for each request, before it waits for a
 * connection.  Not for who comes one call at a time (the consumer, the forwarder), nor for what ends something that was
 * begun (a lock given back).
 */
bool guard_admits(const struct guard *g, int64_t now_ms);

/*
 * For people: what `weir breaker` and `weir status` see.
 */
struct guard_view {
	char name[GUARD_NAME_BYTES];
	struct breaker_view breaker;
};

/* All rows, in the order in which they were claimed; returns how many. */
size_t guards_look(const struct guards *g, int64_t now_ms, struct guard_view out[GUARDS_MAX]);

/* What was counted of a row, 0 to GUARDS_MAX - 1.  False: it is free. */
bool guards_calls(const struct guards *g, size_t row, struct call_view *out);

/* Orders, or gives back, what the breaker of ${name} does; logged.  ERR_NOT_FOUND: no such row. */
enum err guards_force(struct guards *g, const char *name, enum breaker_force force, int64_t now_ms);

#endif
