/*
 * A bounded queue of pointers in one array that is written round and round.
 *
 * Bounded on purpose: a queue that may grow hides overload until memory ends.
 */
#include "base/ring.h"

#include <stdlib.h>

bool
ring_init(struct ring *r, size_t cap)
{
	*r = (struct ring){ .items = calloc(cap == 0 ? 1 : cap, sizeof *r->items), .cap = cap };
	return r->items != NULL;
}

static void **
cell(const struct ring *r, size_t nth)
{
	return &r->items[(r->head + nth) % r->cap];
}

bool
ring_push(struct ring *r, void *item)
{
	if (r->count == r->cap)
		return false;
	*cell(r, r->count) = item;
	r->count++;
	return true;
}

void *
ring_pop(struct ring *r)
{
	void *item;

	if (r->count == 0)
		return NULL;
	item = *cell(r, 0);
	r->head = (r->head + 1) % r->cap;
	r->count--;
	return item;
}

bool
ring_remove(struct ring *r, const void *item)
{
	size_t nth = 0;

	while (nth < r->count && *cell(r, nth) != item)
		nth++;
	if (nth == r->count)
		return false;
	for (; nth + 1 < r->count; nth++)
		*cell(r, nth) = *cell(r, nth + 1);
	r->count--;
	return true;
}

void
ring_free(struct ring *r)
{
	free(r->items);
	*r = (struct ring){ .items = NULL };
}
