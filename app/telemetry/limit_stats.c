/*
 * Shards of counters.
 */
#include "telemetry/limit_stats.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum { SHARDS = 8 };

static const char other_name[] = "other";

const char *const limit_result_names[LIMIT_RESULT__COUNT] = {
	[LIMIT_ALLOWED] = "allowed",
	[LIMIT_REFUSED] = "refused",
	[LIMIT_OBSERVED] = "observed",
};

struct limit_stats {
	struct names names;
	struct {
		alignas(64) _Atomic uint64_t counts[LIMIT_RESULT__COUNT];
	} cells[LIMIT_ROWS][SHARDS];
};

size_t
limit_stats_size(void)
{
	return sizeof(struct limit_stats);
}

void
limit_stats_init(void *mem)
{
	memset(mem, 0, sizeof(struct limit_stats));
}

void
limit_stats_count(struct limit_stats *l, unsigned member, struct slice policy, enum limit_result r)
{
	const uint32_t row =
	    slice_eq_cstr(policy, other_name)
		? NAMES_NONE
		: names_claim(&l->names, hash64(0, policy.ptr, policy.len), policy);

	atomic_fetch_add_explicit(
	    &l->cells[row][member % SHARDS].counts[r], 1, memory_order_relaxed);
}

bool
limit_stats_view(const struct limit_stats *l, uint32_t row, char name[NAME_BYTES],
    uint64_t counts_out[LIMIT_RESULT__COUNT])
{
	if (row == NAMES_NONE)
		memcpy(name, other_name, sizeof other_name);
	else if (!names_read(&l->names, row, name))
		return false;
	memset(counts_out, 0, LIMIT_RESULT__COUNT * sizeof *counts_out);
	for (size_t shard = 0; shard < SHARDS; shard++)
		for (size_t i = 0; i < LIMIT_RESULT__COUNT; i++)
			counts_out[i] += atomic_load_explicit(
			    &l->cells[row][shard].counts[i], memory_order_relaxed);
	return true;
}
