#ifndef POLICY_BREAKER_H
#define POLICY_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Circuit breaker over memory shared by all processes of the host.
 *
 *   CLOSED --failure rate in the rolling 10 s window, over the volume--> OPEN --reset_ms--> HALF_OPEN
 *      ^                                                                  ^                    |
 *      +------------------------ the probe has answered ------------------+--- it has not -----+
 *
 * Pure: time is an argument, no lock, no clock, no allocation.  Half-open lets one probe through, which is a
 * lease: whoever holds it may be killed, and after the lease another probes.  SUSPENDED is OPEN that only a probe
 * sent outside of requests ends.  Forced states stay until they are given back.
 */
struct breaker_rules {
	int64_t slow_ms;      /* CIRCUIT_BREAKER_TIMEOUT: a slower call is a failure */
	unsigned failure_pct; /* CIRCUIT_BREAKER_THRESHOLD: this rate opens */
	int64_t reset_ms;     /* CIRCUIT_BREAKER_RESET_TIMEOUT: open to half-open */
	unsigned
	    volume; /* CIRCUIT_BREAKER_VOLUME_THRESHOLD: calls in the window before it may open */
	int64_t probe_lease_ms; /* how long a probe may take before another is sent */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_SUSPENDED };
enum breaker_force { BREAKER_AUTO, BREAKER_FORCED_OPEN, BREAKER_FORCED_CLOSED };

struct breaker;
size_t breaker_size(void);
void breaker_init(void *mem);

struct breaker_view {
	enum breaker_state state;
	enum breaker_force force;
	int64_t since_ms;
	uint64_t calls, failures, slow; /* in the window */
	uint64_t opened;		/* times, ever */
};

#endif
