/*
 * The consumer's loop around service/ingest.h, and the lock that makes it the only one.
 *
 *   WAITING --consumer.lock--> AT WORK --told to stop--> ended
 *      ^                          |
 *      +--- somebody wants it ----+
 *
 * It waits in short pieces, so that a stop and a wish are seen soon whatever the database does.
 */
#include "runtime/consumer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/engines.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/wake.h"
#include "runtime/config.h"
#include "runtime/forwarder.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "service/catalog.h"
#include "service/exporter.h"
#include "service/ingest.h"
#include "service/queue.h"
#include "service/source.h"
#include "service/writer.h"
#include "telemetry/activity.h"
#include "telemetry/scoreboard.h"

enum {
	PIECE_MS = 250,
	WANTED_EVERY_MS = 500,
	BATCH_MAX = 1000,
	OPEN_AGAIN_MS = 2000,
	DRAIN_PATIENCE_MS = 30000, /* a group gives us our partitions in a few seconds */
};

#define LOCK_NAME "consumer.lock"
#define WANT_NAME "consumer.want"

struct consumer {
	struct runtime *rt;
	pthread_t thread;
	_Atomic uint32_t stop;
	bool beats; /* the member slot is ours alone, not that of a worker that beats itself */
	int64_t wanted_checked_ms;
	bool wanted;
	const struct catalog *catalog;	       /* held */
	_Atomic(const struct catalog *) fresh; /* held; NULL: there is none since */
};

/* What is at work while the lock is held. */
struct job {
	struct source *source;
	struct ingest *ingest;
};

static enum err
open_source(struct runtime *rt, struct source **out)
{
	const struct source_kafka_options o = {
		.kafka = &rt->kafka,
		.topics = &rt->topics,
		.group = rt->config->kafka_group,
		.instance = rt->kafka_instance,
		.progress = rt->forward,
		.key_ttl_ms = rt->config->idempotency_ttl_ms,
		.buffer_max = 4 * BATCH_MAX,
	};

	return ENGINE_KAFKA && rt->config->kafka_brokers != NULL
		   ? source_kafka_open(&o, out)
		   : source_spool_open(rt->queue, out);
}

static void
close_job(struct job *j)
{
	ingest_close(&j->ingest);
	source_close(&j->source);
}

static enum err
open_job(struct runtime *rt, const struct catalog *catalog, struct job *j)
{
	enum err rc = open_source(rt, &j->source);
	const struct ingest_options o = {
		.database = rt->database.options,
		.source = j->source,
		.catalog = catalog,
		.cache = &rt->cache,
		.exporter = rt->exporter,
		.topics = rt->config->kafka_brokers == NULL ? NULL : &rt->topics,
		.scoreboard = rt->scoreboard,
		.member = rt->member,
		.key_ttl_ms = rt->config->idempotency_ttl_ms,
		.tables_by_others = rt->config->migrate == CONFIG_MIGRATE_OFF,
		.batch_max = BATCH_MAX,
		.shared = rt->ingest,
	};

	if (rc == ERR_OK)
		rc = ingest_open(&o, &j->ingest);
	if (rc != ERR_OK)
		close_job(j);
	return rc;
}

/* So that who asks for an operation finds the tables before the first event; tried again with that event. */
static void
migrate(const struct runtime *rt)
{
	struct writer_failure why;
	struct writer *w;
	enum err rc = writer_open(&rt->database.options, &w, &why);

	if (rc == ERR_OK)
		rc = writer_migrate(w, &why);
	if (rc != ERR_OK)
		log_warn("migrate_failed", LOG_STR("sqlstate", why.sqlstate),
		    LOG_STR("reason", why.message));
	writer_close(&w);
}

static bool
is_stopped(const struct consumer *c)
{
	return atomic_load(&c->stop) != 0;
}

/* A piece of waiting; shorter when told to stop. */
static void
nap(struct consumer *c, int64_t ms)
{
	wake_wait(&c->stop, 0, ms < PIECE_MS ? ms : PIECE_MS);
}

static void
beat(struct consumer *c, int64_t now_ms)
{
	struct activity_counts counts = { .connections = 0 };

	if (!c->beats)
		return;
	scoreboard_beat(c->rt->scoreboard, c->rt->member, now_ms);
	counts.spans = exporter_waiting(c->rt->exporter, &counts.spans_max);
	activity_publish(activity_of(c->rt->regions->activity, c->rt->member), &counts,
	    ACTIVITY_NOWHERE, 0, (struct slice){ 0 });
}

/* Does somebody hold consumer.want? */
static bool
is_wanted(struct consumer *c, int64_t now_ms)
{
	int fd;

	if (c->wanted_checked_ms != 0 && now_ms - c->wanted_checked_ms < WANTED_EVERY_MS)
		return c->wanted;
	c->wanted_checked_ms = now_ms;
	c->wanted = lock_file(c->rt->state_dir_fd, WANT_NAME, LOCK_SHARED, 0, &fd) == ERR_CONFLICT;
	lock_file_release(&fd);
	return c->wanted;
}

/* What is at work is closed, and opened again with the new one. */
static void
take_catalog(struct consumer *c, struct job *j)
{
	const struct catalog *fresh = atomic_exchange(&c->fresh, NULL);

	if (fresh == NULL)
		return;
	close_job(j);
	catalog_release(&c->catalog);
	c->catalog = fresh;
}

/* One thing to do; returns how long to wait before the next. */
static int64_t
turn(struct consumer *c, struct job *j)
{
	int64_t wait_ms = 0;
	enum err rc;

	if (j->ingest == NULL)
		return open_job(c->rt, c->catalog, j) == ERR_OK ? 0 : OPEN_AGAIN_MS;
	rc = ingest_step(j->ingest, &wait_ms);
	if (rc == ERR_NOT_FOUND)
		source_wait(j->source, PIECE_MS);
	if (rc == ERR_OK || rc == ERR_NOT_FOUND)
		return wait_ms;
	return wait_ms > PIECE_MS ? wait_ms : PIECE_MS;
}

/* Holding the lock: goes on until it is told to stop or is wanted. */
static void
work(struct consumer *c)
{
	struct job job = { 0 };
	int64_t now_ms = clock_mono_ms(), due_ms = now_ms;

	if (c->rt->config->migrate == CONFIG_MIGRATE_ON)
		migrate(c->rt);
	while (!is_stopped(c) && !is_wanted(c, now_ms)) {
		take_catalog(c, &job);
		if (now_ms < due_ms)
			nap(c, due_ms - now_ms);
		else
			due_ms = clock_mono_ms() + turn(c, &job);
		now_ms = clock_mono_ms();
		beat(c, now_ms);
	}
	close_job(&job);
}

static void *
run(void *arg)
{
	struct consumer *c = arg;
	int fd;

	while (!is_stopped(c)) {
		const int64_t now_ms = clock_mono_ms();

		beat(c, now_ms);
		if (is_wanted(c, now_ms) ||
		    lock_file(c->rt->state_dir_fd, LOCK_NAME, LOCK_EXCLUSIVE, 0, &fd) != ERR_OK) {
			nap(c, PIECE_MS);
			continue;
		}
		log_info("consumer_begins", LOG_STR("state_dir", c->rt->config->state_dir));
		work(c);
		lock_file_release(&fd);
		log_info("consumer_ends", LOG_STR("why", is_stopped(c) ? "stopped" : "wanted"));
	}
	return NULL;
}

enum err
consumer_start(struct runtime *rt, struct consumer **out)
{
	struct consumer *c = calloc(1, sizeof *c);
	struct member_view us;

	*out = NULL;
	if (c == NULL)
		return ERR_NOMEM;
	c->rt = rt;
	c->catalog = catalog_hold(rt->catalog);
	scoreboard_view(rt->scoreboard, rt->member, &us);
	c->beats = us.kind == MEMBER_CONSUMER;
	if (!thread_start(0, run, c, &c->thread)) {
		catalog_release(&c->catalog);
		free(c);
		return ERR_NOMEM;
	}
	*out = c;
	return ERR_OK;
}

void
consumer_stop(struct consumer **cp)
{
	const struct catalog *fresh;
	struct consumer *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	atomic_store(&c->stop, 1);
	wake_all(&c->stop);
	(void)pthread_join(c->thread, NULL);
	fresh = atomic_load(&c->fresh);
	catalog_release(&fresh);
	catalog_release(&c->catalog);
	free(c);
}

void
consumer_catalog(struct consumer *c, const struct catalog *catalog)
{
	const struct catalog *unseen = atomic_exchange(&c->fresh, catalog_hold(catalog));

	catalog_release(&unseen);
	wake_all(&c->stop);
}

/* With Kafka: is there anything that was accepted here and did not get there yet? */
static bool
is_forwarded(struct runtime *rt)
{
	struct queue_status st;

	return rt->config->kafka_brokers == NULL ||
	       (queue_status_read(rt->queue, &st) == ERR_OK && st.waiting == 0);
}

/* Steps until nothing is left.  Kafka may be away: no progress for some time is ERR_UNAVAILABLE. */
static enum err
drain(struct runtime *rt, struct job *j, int64_t most_ms)
{
	const int64_t began_ms = clock_mono_ms();
	int64_t wait_ms, moved_ms = began_ms;
	enum err rc = ERR_OK;

	while (rc == ERR_OK && clock_mono_ms() - began_ms < most_ms) {
		scoreboard_beat(rt->scoreboard, rt->member, clock_mono_ms());
		rc = ingest_step(j->ingest, &wait_ms);
		if (rc == ERR_OK)
			moved_ms = clock_mono_ms();
		if (rc != ERR_NOT_FOUND)
			continue;
		if (is_forwarded(rt) && source_is_drained(j->source))
			return ERR_OK;
		source_wait(j->source, PIECE_MS);
		rc = clock_mono_ms() - moved_ms < DRAIN_PATIENCE_MS ? ERR_OK : ERR_UNAVAILABLE;
	}
	return rc;
}

enum err
consumer_drain(struct runtime *rt, int64_t most_ms)
{
	struct forwarder *forwarder;
	struct job job = { 0 };
	enum err rc;
	int fd;

	rc = lock_file(rt->state_dir_fd, LOCK_NAME, LOCK_EXCLUSIVE, 0, &fd);
	if (rc != ERR_OK)
		return rc;
	rc = forwarder_start(rt, &forwarder);
	if (rc == ERR_OK)
		rc = open_job(rt, rt->catalog, &job);
	if (rc == ERR_OK)
		rc = drain(rt, &job, most_ms);
	close_job(&job);
	forwarder_stop(&forwarder);
	lock_file_release(&fd);
	return rc;
}

enum err
consumer_place_take(int state_dir_fd, int64_t wait_ms, struct consumer_place *out)
{
	const int64_t until_ms = clock_mono_ms() + wait_ms;
	enum err rc;

	*out = CONSUMER_PLACE_NONE;
	rc = lock_file(state_dir_fd, WANT_NAME, LOCK_EXCLUSIVE, wait_ms, &out->want_fd);
	if (rc != ERR_OK)
		return rc;
	wait_ms = until_ms - clock_mono_ms();
	rc = lock_file(
	    state_dir_fd, LOCK_NAME, LOCK_EXCLUSIVE, wait_ms > 0 ? wait_ms : 0, &out->lock_fd);
	if (rc != ERR_OK)
		consumer_place_give(out);
	return rc;
}

void
consumer_place_give(struct consumer_place *p)
{
	lock_file_release(&p->lock_fd);
	lock_file_release(&p->want_fd);
}
