/*
 * Redis and Kafka, for commands.
 */
#include "cmd/reach.h"

#include <stdlib.h>

#include "base/clock.h"
#include "client/kafka.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/guard.h"
#include "service/shards.h"
#include "service/topics.h"

enum { GUARDS_ALIGN = 64, RESOLVE_WAIT_MS = 5000, KAFKA_PLACES = 4096, KAFKA_WAIT_MS = 5000 };

enum err
reach_redis_open(const struct config *c, struct reach_redis *out)
{
	const struct breaker_rules rules = runtime_breaker_rules(c);
	struct shards_options o = { .urls = c->redis_url,
		.timeout_ms = c->redis_timeout_ms,
		.guards = aligned_alloc(GUARDS_ALIGN, guards_size()),
		.rules = &rules,
		.max_connections = 1 };
	enum err rc;

	*out = (struct reach_redis){ .guards = o.guards };
	if (o.guards == NULL)
		return ERR_NOMEM;
	guards_init(o.guards);
	rc = shards_open(&o, &out->shards);
	if (rc == ERR_OK)
		(void)shards_wait(out->shards, clock_mono_ms() + RESOLVE_WAIT_MS);
	else
		reach_redis_close(out);
	return rc;
}

void
reach_redis_close(struct reach_redis *r)
{
	shards_close(&r->shards);
	free(r->guards);
	r->guards = NULL;
}

enum err
reach_kafka(const struct config *c, const struct catalog *catalog, struct kafka_place **places_out,
    size_t *count_out, size_t *members_out)
{
	const struct kafka_consumer_options o = {
		.common = { .brokers = c->kafka_brokers,
		    .client_id = "weir-check",
		    .settings = c->kafka_settings,
		    .setting_count = c->kafka_setting_count },
		.group = c->kafka_group,
	};
	struct kafka_place *places = calloc(KAFKA_PLACES, sizeof *places);
	struct kafka_consumer *k = NULL;
	struct topics topics;
	enum err rc = topics_make(catalog, c->kafka_topic, &topics);

	if (rc == ERR_OK)
		rc = places == NULL ? ERR_NOMEM : kafka_consumer_open(&o, &k);
	if (rc == ERR_OK)
		rc = kafka_places(
		    k, topics.names, topics.count, KAFKA_WAIT_MS, places, KAFKA_PLACES, count_out);
	if (rc == ERR_OK)
		rc = kafka_members(k, c->kafka_group, KAFKA_WAIT_MS, members_out);
	kafka_consumer_close(&k, 0);
	topics_free(&topics);
	if (rc != ERR_OK) {
		free(places);
		places = NULL;
	}
	*places_out = places;
	return rc;
}
