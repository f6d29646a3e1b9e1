#ifndef POLICY_ADMISSION_H
#define POLICY_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Why a request is refused with 503 although nothing is wrong with it, and how much of its time was gone before
 * it was seen.
 *
 * Pure: time and randomness are arguments.
 */
enum shed_reason {
	SHED_NONE,
	SHED_IN_HAND,	 /* too many requests are in this process, whatever they wait for */
	SHED_QUEUE_FULL, /* the queue before the lane has no place */
	SHED_QUEUE_WAIT, /* it has waited longer than answers are worth at this load */
	SHED_CONCURRENCY, /* the downstream has as much to do as it can; the wait would be too long */
	SHED_TENANT_SHARE, /* its client asks for more than its share, and others wait */
	SHED_PRIORITY,	   /* its class gave way to a more important one */
	SHED_DEADLINE,	   /* what is left of its time is too little */
	SHED_ABANDONED,	   /* nobody is there to read an answer */
	SHED__COUNT
};

/* "queue_wait" ...: labels of metrics, logs and spans; "none". */
const char *shed_reason_name(enum shed_reason r);
/* A sentence for the client; names nothing internal. */
const char *shed_reason_detail(enum shed_reason r);

/* How important an endpoint is (`priority:`); in this order. */
enum admission_class { ADMISSION_CRITICAL, ADMISSION_NORMAL, ADMISSION_BULK, ADMISSION_CLASSES };

/* Whole seconds for Retry-After: 1 to 4 at random, so that those who were refused together do not come back
 * together. */
int64_t admission_retry_after_s(uint64_t random);

/*
 * How long a front server's request had been on its way when it was seen: what its REQUEST_START says.  The clock of a
 * front on this host is ours.  Another's may be wrong by any constant: the smallest difference seen in a minute
 * is taken for that, so what is told is what is lost beyond the fastest request's way.
 */
enum {
	FRONTS_MAX = 16,      /* clocks that are known; the one unheard of the longest goes */
	LOST_MOST_MS = 60000, /* a larger difference is a wrong clock, not a wait */
	FRONT_WINDOW_MS = 60000,
};

struct front_clock {
	uint64_t front;	     /* 0: free */
	int64_t began_ms;    /* of the present window */
	int64_t smallest_us; /* in it */
	int64_t before_us;   /* in the window before; INT64_MAX: none */
	int64_t heard_ms;
};

struct front_clocks { /* of one thread; zeroed: nothing is known */
	struct front_clock at[FRONTS_MAX];
};

/*
 * Microseconds lost, 0..LOST_MOST_MS.  ${front}: which one, 0: on this host.  ${start_us}: wall time as it tells, 0:
 * it does not; ${seen_us}: wall time by our clock; ${now_ms}: monotonic.
 */
int64_t front_clocks_lost_us(
    struct front_clocks *c, uint64_t front, int64_t start_us, int64_t seen_us, int64_t now_ms);

#endif
