/*
 * The loops around service/forward.h, and the lock that makes it the only one.
 *
 * Two threads: one forwards and never waits long for a broker, for clients may wait for it
 * (WEIR_ACK=kafka); the other asks how far the consumers are, and may wait.
 */
#include "runtime/forwarder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/wake.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/forward.h"
#include "service/guard.h"

enum {
	PIECE_MS = 250,
	OPEN_AGAIN_MS = 2000,
	WATCH_EVERY_MS = 1000,
	WATCH_TIMEOUT_MS = 1000, /* of one look; a stop waits for it */
};

#define LOCK_NAME "forwarder.lock"

struct forwarder {
	struct runtime *rt;
	pthread_t forwards, watches;
	_Atomic uint32_t stop;
	_Atomic uint32_t at_work; /* we hold the lock */
};

static bool
is_stopped(const struct forwarder *f)
{
	return atomic_load(&f->stop) != 0;
}

static void
nap(struct forwarder *f, int64_t ms)
{
	wake_wait(&f->stop, 0, ms);
}

/*
 * The one that forwards.
 */
static void
forward(struct forwarder *f)
{
	const struct breaker_rules rules = runtime_breaker_rules(f->rt->config);
	struct guard guard;
	struct forward_options o = {
		.driver = &forward_driver_kafka,
		.kafka = &f->rt->kafka,
		.topics = &f->rt->topics,
		.catalog = f->rt->catalog,
		.queue = f->rt->queue,
		.shared = f->rt->forward,
		.exporter = f->rt->exporter,
		.guard = &guard,
		.stalled_ms = f->rt->config->circuit_breaker_timeout_ms,
		.prompt = f->rt->config->ack == CONFIG_ACK_KAFKA,
	};
	struct forward *forward = NULL;

	if (guard_open(f->rt->guards, "kafka", &rules, true, &guard) != ERR_OK)
		o.guard = NULL; /* no row is left: Kafka does without */
	while (!is_stopped(f)) {
		if (forward != NULL)
			(void)forward_step(forward);
		else if (forward_open(&o, &forward) != ERR_OK)
			nap(f, OPEN_AGAIN_MS);
	}
	forward_close(&forward);
}

static void *
run_forward(void *arg)
{
	struct forwarder *f = arg;
	int fd;

	while (!is_stopped(f)) {
		if (lock_file(f->rt->state_dir_fd, LOCK_NAME, LOCK_EXCLUSIVE, 0, &fd) != ERR_OK) {
			nap(f, PIECE_MS);
			continue;
		}
		log_info("forwarder_begins", LOG_STR("brokers", f->rt->config->kafka_brokers));
		atomic_store(&f->at_work, 1);
		forward(f);
		atomic_store(&f->at_work, 0);
		lock_file_release(&fd);
		log_info("forwarder_ends", LOG_STR("why", "stopped"));
	}
	return NULL;
}

/*
 * The one that watches; it works where the forwarder does.
 */
static void *
run_watch(void *arg)
{
	struct forwarder *f = arg;
	const struct forward_watch_options o = {
		.kafka = &f->rt->kafka,
		.topics = &f->rt->topics,
		.group = f->rt->config->kafka_group,
		.queue = f->rt->queue,
		.shared = f->rt->forward,
	};
	struct forward_watch *watch = NULL;

	while (!is_stopped(f)) {
		if (atomic_load(&f->at_work) != 0 &&
		    (watch != NULL || forward_watch_open(&o, &watch) == ERR_OK))
			forward_watch_step(watch, WATCH_TIMEOUT_MS);
		nap(f, WATCH_EVERY_MS);
	}
	forward_watch_close(&watch);
	return NULL;
}

static bool
start_threads(struct forwarder *f)
{
	if (!thread_start(0, run_forward, f, &f->forwards))
		return false;
	if (thread_start(0, run_watch, f, &f->watches))
		return true;
	atomic_store(&f->stop, 1);
	wake_all(&f->stop);
	(void)pthread_join(f->forwards, NULL);
	return false;
}

enum err
forwarder_start(struct runtime *rt, struct forwarder **out)
{
	struct forwarder *f;

	*out = NULL;
	if (rt->config->kafka_brokers == NULL)
		return ERR_OK;
	f = calloc(1, sizeof *f);
	if (f == NULL)
		return ERR_NOMEM;
	f->rt = rt;
	if (!start_threads(f)) {
		free(f);
		return ERR_NOMEM;
	}
	*out = f;
	return ERR_OK;
}

void
forwarder_stop(struct forwarder **fp)
{
	struct forwarder *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	atomic_store(&f->stop, 1);
	wake_all(&f->stop);
	(void)pthread_join(f->forwards, NULL);
	(void)pthread_join(f->watches, NULL);
	free(f);
}
