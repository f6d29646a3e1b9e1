#ifndef CLIENT_REDIS_REPLY_H
#define CLIENT_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/redis.h"

/*
 * How a reply is kept, for redis.c, which makes them as they are parsed; everybody else comes in by redis.h.
 */
struct redis_reply {
	enum redis_type type;
	int64_t integer;
	size_t count; /* of items, or of bytes in text */
	struct redis_reply **items;
	char text[]; /* with a NUL behind it */
};

/* NULL without memory. */
struct redis_reply *redis_reply_new(enum redis_type type, const char *text, size_t len);
struct redis_reply *redis_reply_new_array(size_t count); /* its items are NULL as yet */

#endif
