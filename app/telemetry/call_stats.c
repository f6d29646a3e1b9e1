/*
 * Counts of calls.
 */
#include "telemetry/call_stats.h"

const char *const call_result_names[CALL_RESULT__COUNT] = {
	[CALL_ANSWERED] = "answered",
	[CALL_SLOW] = "slow",
	[CALL_TIMEOUT] = "timeout",
	[CALL_FAILED] = "failed",
	[CALL_REFUSED] = "refused",
};

void
call_stats_count(struct call_stats *c, enum call_result r, int64_t took_ns)
{
	atomic_fetch_add_explicit(&c->results[r], 1, memory_order_relaxed);
	if (r != CALL_REFUSED)
		histogram_record(&c->took, took_ns);
}
