#ifndef TELEMETRY_CALL_STATS_H
#define TELEMETRY_CALL_STATS_H

#include "telemetry/histogram.h"

/*
 * What calls to one other server came to, and what they took: words in shared memory that only grow.  Not sharded,
 * for a call costs a thousand times what counting it does.  All zero is empty.
 */
enum call_result {
	CALL_ANSWERED,
	CALL_SLOW,    /* answered, but later than its breaker's bound */
	CALL_TIMEOUT, /* missed its deadline */
	CALL_FAILED,  /* refused, or broken off */
	CALL_REFUSED, /* not made: the breaker was open */
	CALL_RESULT__COUNT
};
extern const char *const call_result_names[CALL_RESULT__COUNT];

struct call_stats {
	_Atomic uint64_t results[CALL_RESULT__COUNT];
	struct histogram took; /* of those that were made */
};

void call_stats_count(struct call_stats *c, enum call_result r, int64_t took_ns);

#endif
