/*
 * Counts of calls.
 */
#include "telemetry/call_stats.h"

#include <string.h>

#include "base/hash.h"

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

void
call_table_init(struct call_table *t)
{
	memset(t, 0, sizeof *t);
}

void
call_table_count(struct call_table *t, struct slice operation, enum call_result r, int64_t took_ns)
{
	const uint64_t key = hash64(0, operation.ptr, operation.len);

	call_stats_count(&t->rows[names_claim(&t->names, key, operation)], r, took_ns);
}

void
call_stats_view(const struct call_stats *c, struct call_view *out)
{
	memset(out->results, 0, sizeof out->results);
	memset(&out->took, 0, sizeof out->took);
	for (size_t r = 0; r < CALL_RESULT__COUNT; r++)
		out->results[r] = atomic_load_explicit(&c->results[r], memory_order_relaxed);
	histogram_add(&c->took, &out->took);
}

bool
call_table_view(const struct call_table *t, uint32_t row, struct call_view *out)
{
	if (row == NAMES_NONE)
		memcpy(out->name, "other", sizeof "other");
	else if (!names_read(&t->names, row, out->name))
		return false;
	call_stats_view(&t->rows[row], out);
	return true;
}
