/*
 * One arena per request.
 *
 * A block of ARENA_BLOCK_BYTES serves small pieces one after the other.  What
 * does not fit and is large gets a block of its own, so that the small one
 * keeps filling: malloc'd memory stays under 4/3 of what was handed out, and
 * one block.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
	struct arena_block *next;
	size_t cap, used;
	alignas(max_align_t) char bytes[];
};

enum { LARGE_BYTES = ARENA_BLOCK_BYTES / 4 };

void
arena_init(struct arena *a, size_t max_bytes)
{
	*a = (struct arena){ .max_bytes = max_bytes };
}

static struct arena_block *
block_new(size_t cap)
{
	struct arena_block *b = malloc(sizeof *b + cap);

	if (b != NULL)
		*b = (struct arena_block){ .cap = cap };
	return b;
}

/* A new block behind the current one. */
static struct arena_block *
block_add(struct arena *a, size_t cap)
{
	struct arena_block *b = block_new(cap);

	if (b == NULL)
		return NULL;
	b->next = a->current->next;
	a->current->next = b;
	return b;
}

/* The block with room for ${bytes}, made if there is none. */
static struct arena_block *
block_for(struct arena *a, size_t bytes)
{
	struct arena_block *b;

	if (a->first == NULL)
		a->first = a->current = block_new(ARENA_BLOCK_BYTES);
	if (a->first == NULL || bytes <= a->current->cap - a->current->used)
		return a->first == NULL ? NULL : a->current;
	if (bytes > LARGE_BYTES)
		return block_add(a, bytes);
	b = block_add(a, ARENA_BLOCK_BYTES);
	if (b != NULL)
		a->current = b;
	return b;
}

void *
arena_alloc(struct arena *a, size_t bytes)
{
	const size_t unit = alignof(max_align_t);
	const size_t left = a->max_bytes - a->used_bytes;
	struct arena_block *b = NULL;
	size_t rounded = 0;
	char *p;

	if (bytes <= left && bytes <= SIZE_MAX / 2) {
		rounded = bytes == 0 ? unit : (bytes + unit - 1) / unit * unit;
		if (rounded <= left)
			b = block_for(a, rounded);
	}
	if (b == NULL) {
		a->overflowed = true;
		return NULL;
	}
	p = b->bytes + b->used;
	b->used += rounded;
	a->used_bytes += rounded;
	return memset(p, 0, rounded);
}

char *
arena_copy(struct arena *a, struct slice s)
{
	char *p = s.len == SIZE_MAX ? NULL : arena_alloc(a, s.len + 1);

	if (p != NULL && s.len > 0)
		memcpy(p, s.ptr, s.len);
	return p;
}

struct slice
arena_slice(struct arena *a, struct slice s)
{
	const char *p = s.ptr == NULL ? NULL : arena_copy(a, s);

	return (struct slice){ .ptr = p, .len = p == NULL ? 0 : s.len };
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	char *p;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (p == NULL) {
		a->overflowed = true;
		return NULL;
	}
	va_start(args, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, args);
	va_end(args);
	return p;
}

static void
free_chain(struct arena_block *b)
{
	while (b != NULL) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
}

void
arena_reset(struct arena *a)
{
	if (a->first != NULL) {
		free_chain(a->first->next);
		a->first->next = NULL;
		a->first->used = 0;
	}
	a->current = a->first;
	a->used_bytes = 0;
	a->overflowed = false;
}

void
arena_free(struct arena *a)
{
	free_chain(a->first);
	arena_init(a, a->max_bytes);
}
