/*
 * How often something may be done.
 */
#include "policy/pace.h"

#include <stdatomic.h>

static bool
take(_Atomic int64_t *next_ms, int64_t now_ms, int64_t every_ms)
{
	int64_t seen = atomic_load(next_ms);

	return now_ms >= seen && atomic_compare_exchange_strong(next_ms, &seen, now_ms + every_ms);
}

/* The kind is looked at first: one that is not due must not use up the turn of all others. */
bool
pace_take(struct pace *p, const struct pace_rules *r, uint64_t kind_hash, int64_t now_ms)
{
	_Atomic int64_t *kind = &p->kinds[kind_hash % PACE_KINDS];

	return now_ms >= atomic_load(kind) && take(&p->next_ms, now_ms, r->any_ms) &&
	       take(kind, now_ms, r->kind_ms);
}
