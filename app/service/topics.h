#ifndef SERVICE_TOPICS_H
#define SERVICE_TOPICS_H

#include <stddef.h>

#include "base/err.h"

struct catalog;
struct endpoint;

/*
 * Which topics of Kafka there are: KAFKA_TOPIC, and those that `queue:` names.
 */
struct topics {
	const char **names; /* the first is KAFKA_TOPIC; the texts are lent */
	size_t count;
};

/* ${fallback}: KAFKA_TOPIC.  ERR_NOMEM. */
enum err topics_make(const struct catalog *c, const char *fallback, struct topics *out);
void topics_free(struct topics *t);

/* Where writes of ${e} go; ${e} NULL: its file is gone. */
const char *topics_of(const struct topics *t, const struct endpoint *e);

#endif
