/*
 * A reply as a tree: an array owns its items.  Every look at one takes NULL, so that a reply of another shape
 * than was expected reads as nothing, and never as a crash.
 */
#include "client/redis_reply.h"

#include <stdlib.h>
#include <string.h>

struct redis_reply *
redis_reply_new(enum redis_type type, const char *text, size_t len)
{
	struct redis_reply *r = calloc(1, sizeof *r + len + 1);

	if (r == NULL)
		return NULL;
	r->type = type;
	r->count = len;
	if (len > 0)
		memcpy(r->text, text, len);
	return r;
}

struct redis_reply *
redis_reply_new_array(size_t count)
{
	struct redis_reply *r = redis_reply_new(REDIS_ARRAY, NULL, 0);

	if (r == NULL)
		return NULL;
	r->items = calloc(count > 0 ? count : 1, sizeof(struct redis_reply *));
	r->count = count;
	if (r->items == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void
redis_reply_free(struct redis_reply **rp)
{
	struct redis_reply *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	if (r->items != NULL)
		for (size_t i = 0; i < r->count; i++)
			redis_reply_free(&r->items[i]); /* as deep as the parser lets a reply be */
	free(r->items);
	free(r);
}

enum redis_type
redis_reply_type(const struct redis_reply *r)
{
	return r == NULL ? REDIS_NIL : r->type;
}

int64_t
redis_reply_integer(const struct redis_reply *r)
{
	int64_t n = 0;

	if (redis_reply_type(r) == REDIS_INTEGER)
		return r->integer;
	if (redis_reply_type(r) == REDIS_TEXT)
		(void)slice_to_i64(redis_reply_text(r), &n);
	return n;
}

struct slice
redis_reply_text(const struct redis_reply *r)
{
	const enum redis_type type = redis_reply_type(r);

	if (type != REDIS_TEXT && type != REDIS_STATUS && type != REDIS_ERROR)
		return (struct slice){ NULL, 0 };
	return (struct slice){ r->text, r->count };
}

size_t
redis_reply_count(const struct redis_reply *r)
{
	return redis_reply_type(r) == REDIS_ARRAY ? r->count : 0;
}

const struct redis_reply *
redis_reply_at(const struct redis_reply *r, size_t i)
{
	return i < redis_reply_count(r) ? r->items[i] : NULL;
}
