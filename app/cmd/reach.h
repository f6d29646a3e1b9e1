#ifndef CMD_REACH_H
#define CMD_REACH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct catalog;
struct config;
struct guards;
struct kafka_place; /* client/kafka.h */
struct shards;

/*
 * The other servers as a command reaches them: by connections of its own, with guards of its own, so that what it finds
 * suspends nothing on the host.
 */
struct reach_redis {
	struct shards *shards;
	struct guards *guards;
};

/* The shards of REDIS_URL, their names looked up. */
enum err reach_redis_open(const struct config *c, struct reach_redis *out);
void reach_redis_close(struct reach_redis *r);

/* Every partition of the topics of ${catalog}, and how many members the group has; *${places_out} is freed by free(). */
enum err reach_kafka(const struct config *c, const struct catalog *catalog,
    struct kafka_place **places_out, size_t *count_out, size_t *members_out);

#endif
