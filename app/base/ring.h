#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

/* A bounded queue of pointers, first in first out.  The caller locks. */
struct ring {
	void **items;
	size_t cap, head, count;
};

bool ring_init(struct ring *r, size_t cap);	    /* false: no memory */
bool ring_push(struct ring *r, void *item);	    /* false: full */
void *ring_pop(struct ring *r);			    /* NULL: empty */
bool ring_remove(struct ring *r, const void *item); /* keeps the order; false: not in it */
void ring_free(struct ring *r);

#endif
