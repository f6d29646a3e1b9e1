#ifndef POLICY_BREAKER_H
#define POLICY_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Circuit breaker over memory shared by all processes of the host.
 *
 *             over failure_pct, of at least volume calls          reset_ms passed: a probe is leased
 *   CLOSED ------------------------------------------> OPEN -----------------------> HALF_OPEN
 *    | ^ ^                                              ^                              |  |  |
 *    | | |                                              +-------- the probe failed ----+  |  |
 *    | | +----------------------------------------------------- the probe has answered ---+  |
 *    | +--- a probe has answered ---+                                                        |
 *    +----- a deadline missed ---> SUSPENDED <------------------ the probe missed its deadline
 *
 * Closed by the probe of a half-open one, it is on its ramp: a server that failed under its load gets that load back by
 * and by, 10 % of the calls at once and all of them after ramp_ms (breaker_admits()).  There is none after SUSPENDED:
 * that one did not fail under load but was silent for a moment, the next missed deadline stops everybody at once, and
 * what it lets wait until then is bounded by the connections; a ramp would only make a stall of 20 ms longer.
 *
 * Pure: time is an argument, no lock, no clock, no allocation.  What decides is one atomic word, so a process may be
 * killed at any instruction.  A probe is a lease: after probe_lease_ms another is sent, and a report of the first
 * no longer counts.  Calls that were begun before the last change of state never count.  An answer opens nothing.
 * Cost: one load to enter, one swap to report, ten more loads when the call failed.
 */
struct breaker_rules {
	int64_t slow_ms;      /* CIRCUIT_BREAKER_TIMEOUT: a slower call is a failure */
	unsigned failure_pct; /* CIRCUIT_BREAKER_THRESHOLD: this rate opens */
	int64_t reset_ms;     /* CIRCUIT_BREAKER_RESET_TIMEOUT: open to half-open */
	unsigned
	    volume; /* CIRCUIT_BREAKER_VOLUME_THRESHOLD: calls in the window before it may open */
	int64_t probe_lease_ms; /* how long a probe may take before another is sent */
	int64_t ramp_ms;	/* from closed again to all calls; 0: all at once */
};

enum {
	BREAKER_WINDOW_MS = 10000, /* rolls by the second */
	BREAKER_PAUSE_MS = 500,	   /* between the probes of a suspended downstream */
	BREAKER_RAMP_LEAST_PCT = 10
};

enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN,
	BREAKER_SUSPENDED,
	BREAKER__COUNT
};
/* What a person has ordered: no call passes, not even a probe; or each passes. */
enum breaker_force { BREAKER_AUTO, BREAKER_FORCED_OPEN, BREAKER_FORCED_CLOSED };

enum breaker_outcome {
	BREAKER_ANSWERED,
	BREAKER_SLOW, /* answered, but later than slow_ms: a failure */
	BREAKER_FAILED,
	BREAKER_STALLED /* a failure that suspends at once */
};

struct breaker;

struct breaker_ticket { /* of one call */
	uint32_t serial;
	bool probe;
};

struct breaker_change { /* nothing has changed when ${from} is ${to} */
	enum breaker_state from, to;
	uint64_t calls, failures, slow; /* in the window */
};

size_t breaker_size(void);    /* a multiple of 64 */
void breaker_init(void *mem); /* ${mem} aligned to 64 bytes; closed, and nothing counted */

/* Whether a call may pass without being a probe. */
bool breaker_allow(const struct breaker *b, struct breaker_ticket *out);

/* Whether one of the many calls that come by themselves may be made: as above, and on the ramp only a share of them,
 * drawn by ${random32}, any random word.  Leaves nothing behind: ask once for each call. */
bool breaker_admits(
    const struct breaker *b, const struct breaker_rules *r, int64_t now_ms, uint32_t random32);

/* Whether a probe is due, and is ours to send: open for reset_ms, suspended since the last one's pause, or
 * the lease of another is over.  *${change_out} is filled in both cases. */
bool breaker_probe(struct breaker *b, const struct breaker_rules *r, int64_t now_ms,
    struct breaker_ticket *out, struct breaker_change *change_out);

struct breaker_change breaker_report(struct breaker *b, const struct breaker_rules *r,
    const struct breaker_ticket *t, enum breaker_outcome outcome, int64_t now_ms);

/* The call was not made: nothing is counted, and a probe is due again. */
void breaker_withdraw(struct breaker *b, const struct breaker_ticket *t, int64_t now_ms);

/* Meanwhile calls are counted, and nothing else changes.  Given back (BREAKER_AUTO): what was forced open goes on as
 * it was before; what was forced closed goes on closed. */
void breaker_force(struct breaker *b, enum breaker_force force, int64_t now_ms);

struct breaker_view {
	enum breaker_state state;
	enum breaker_force force;
	int64_t since_ms;		  /* it became closed, or left that state; 0: never */
	uint64_t calls, failures, slow;	  /* in the window; slow ones are failures as well */
	uint64_t opened;		  /* times it left closed, ever */
	uint64_t entered[BREAKER__COUNT]; /* times it came to that state, ever */
	unsigned admitted_pct;		  /* of the calls that breaker_admits() is asked for */
};
void breaker_look(const struct breaker *b, int64_t now_ms, struct breaker_view *out);

/* "closed" "open" "half-open" "suspended", or "forced-open" "forced-closed". */
const char *breaker_word(enum breaker_state state, enum breaker_force force);

#endif
