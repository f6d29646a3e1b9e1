#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/*
 * One arena per request: memory is handed out and given back all at once.
 *
 * Grows by malloc'd blocks up to ${max_bytes}; past that, or without memory,
 * arena_alloc() returns NULL and ${overflowed} stays set, so that ten small
 * allocations need one test.  arena_reset() keeps the first block: a kept
 * connection allocates nothing in its steady state.  Not for two threads at once.
 */
struct arena_block;

struct arena {
	struct arena_block *first, *current;
	size_t used_bytes, max_bytes; /* over all blocks */
	bool overflowed;
};

enum { ARENA_BLOCK_BYTES = 8192 };

void arena_init(struct arena *a, size_t max_bytes); /* allocates nothing yet */
void *arena_alloc(struct arena *a, size_t bytes);   /* zeroed, aligned for any type */
char *arena_copy(struct arena *a, struct slice s);  /* NUL-terminated copy */
struct slice arena_slice(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

#endif
