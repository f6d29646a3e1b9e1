/*
 * The retry budget over shared memory: a window of ten words, each the calls and the retries of one second.
 *
 * Who takes counts himself first and looks then.  Of those that are granted, the one that was counted last has seen all
 * others, so there are never more than the limit; who finds too many takes himself out again.
 */
#include "policy/retry_budget.h"

#include <stdatomic.h>
#include <string.h>

enum {
	SECONDS = RETRY_WINDOW_MS / 1000,
	CACHE_LINE_BYTES = 64,
	/* A word: which second (modulo 2^32), its calls, its retries. */
	SECOND_AT = 32,
	CALLS_AT = 12,
	RETRIES_MAX = (1 << CALLS_AT) - 1, /* of one second: none more is granted in it */
	CALLS_MAX = (1 << (SECOND_AT - CALLS_AT)) - 1,
};

struct retry_budget {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t seconds[SECONDS];
};

static const uint64_t one_call = UINT64_C(1) << CALLS_AT;

size_t
retry_budget_size(void)
{
	return sizeof(struct retry_budget);
}

void
retry_budget_init(void *mem)
{
	memset(mem, 0, sizeof(struct retry_budget));
}

static uint32_t
second_of(int64_t ms)
{
	return (uint32_t)(ms / 1000);
}

static uint64_t
calls_of(uint64_t word)
{
	return word >> CALLS_AT & CALLS_MAX;
}

static uint64_t
retries_of(uint64_t word)
{
	return word & RETRIES_MAX;
}

/* False: it has no room, or ${second} was a whole window ago, for who was stopped. */
static bool
count_in(struct retry_budget *b, uint32_t second, bool retry)
{
	_Atomic uint64_t *word = &b->seconds[second % SECONDS];
	uint64_t seen = atomic_load(word), next;

	do {
		const uint32_t held = (uint32_t)(seen >> SECOND_AT);

		if ((int32_t)(held - second) > 0)
			return false;
		next = held == second ? seen : (uint64_t)second << SECOND_AT;
		if (retry ? retries_of(next) == RETRIES_MAX : calls_of(next) == CALLS_MAX)
			return false;
		next += retry ? 1 : one_call;
	} while (!atomic_compare_exchange_weak(word, &seen, next));
	return true;
}

/* Takes a retry out again, unless its second is over and forgotten. */
static void
uncount(struct retry_budget *b, uint32_t second)
{
	_Atomic uint64_t *word = &b->seconds[second % SECONDS];
	uint64_t seen = atomic_load(word);

	while ((uint32_t)(seen >> SECOND_AT) == second && retries_of(seen) > 0 &&
	       !atomic_compare_exchange_weak(word, &seen, seen - 1))
		continue;
}

void
retry_budget_call(struct retry_budget *b, int64_t now_ms)
{
	(void)count_in(b, second_of(now_ms), false);
}

/* Seconds that are newer than ours count too: another process has read its clock later. */
void
retry_budget_look(const struct retry_budget *b, int64_t now_ms, struct retry_view *out)
{
	const uint32_t first = second_of(now_ms) - (SECONDS - 1);

	*out = (struct retry_view){ 0 };
	for (size_t i = 0; i < SECONDS; i++) {
		const uint64_t word = atomic_load(&b->seconds[i]);

		if ((int32_t)((uint32_t)(word >> SECOND_AT) - first) < 0)
			continue;
		out->calls += calls_of(word);
		out->retries += retries_of(word);
	}
}

uint64_t
retry_budget_limit(const struct retry_view *v, const struct retry_rules *r)
{
	const uint64_t limit = v->calls * r->pct / 100;

	return limit > r->floor ? limit : r->floor;
}

bool
retry_budget_take(struct retry_budget *b, const struct retry_rules *r, int64_t now_ms)
{
	const uint32_t second = second_of(now_ms);
	struct retry_view v;

	if (!count_in(b, second, true))
		return false;
	retry_budget_look(b, now_ms, &v);
	if (v.retries <= retry_budget_limit(&v, r))
		return true;
	uncount(b, second);
	return false;
}
