/*
 * One worker process: puts its parts together, runs the desk, and is told to stop.
 *
 * Where an exchange is while it is in hand is desk.c's business.
 */
#include "runtime/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container.h"
#include "base/fault.h"
#include "base/log.h"
#include "client/fcgi.h"
#include "client/shm.h"
#include "policy/admission.h"
#include "policy/concurrency.h"
#include "runtime/config.h"
#include "runtime/consumer.h"
#include "runtime/desk.h"
#include "runtime/edits.h"
#include "runtime/forwarder.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/signals.h"
#include "service/catalog.h"
#include "service/idempotency.h"
#include "service/ledger.h"
#include "service/otel_settings.h"
#include "service/purges.h"
#include "service/slow_log.h"
#include "service/store.h"
#include "telemetry/activity.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/scoreboard.h"

enum {
	STEP_BACK_MS = 100,
	TURN_MS = 500,	  /* the heartbeat's longest pause */
	PUBLISH_MS = 250, /* what is in hand, for those who look */
	CHECK_MS = 1000,  /* whether the segment is still the one that newcomers find */
	STOP_MS = 5000,	  /* fast stop: what is in hand may take this long */
	LATE_COPY_S = 3,  /* of what endpoints answer: the supervisor is stuck */
	ARENA_SPARE = 1 << 20,
	COPIES_OF_BODY = 4,   /* as read, decoded, canonical, as the record of the spool */
	COPIES_OF_ANSWER = 2, /* from L1, and cut to its fields */
};

struct worker {
	const struct worker_options *o;
	struct runtime rt;
	struct pipeline_env env;
	struct front_clocks fronts;
	struct desk desk;
	struct consumer *consumer;
	struct slow_log *slow_log;   /* NULL: none */
	struct forwarder *forwarder; /* of a worker without a supervisor, as the consumer */
	struct source signals, lifeline;
	enum { RUNNING, DRAINING, STOPPING, ENDED } state;
	int64_t end_ms, checked_ms, published_ms;
	bool open;  /* rt is */
	bool again; /* ends, and could begin again at once */
};

/*
 * Being told to stop.
 */
static void
stop(struct worker *w, bool graceful)
{
	const int64_t now_ms = reactor_now_ms(w->desk.reactor);

	if (w->state == STOPPING || (graceful && w->state == DRAINING))
		return;
	w->state = graceful ? DRAINING : STOPPING;
	w->end_ms = now_ms + (graceful ? w->o->config->drain_ms : STOP_MS);
	reactor_drain(w->desk.reactor, !graceful);
}

static void
signal_came(struct source *s, uint32_t events)
{
	struct worker *w = CONTAINER_OF(s, struct worker, signals);
	int signal;

	(void)events;
	while ((signal = signals_next(s->fd)) != 0) {
		if (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT)
			w->again = false;
		switch (signal) {
		case SIGTERM:
		case SIGINT:
			stop(w, false);
			break;
		case SIGQUIT:
			stop(w, true);
			break;
		case SIGUSR1:
			(void)log_reopen();
			slow_log_reopen(w->slow_log);
			break;
		case SIGHUP:
			reactor_step_back(w->desk.reactor, STEP_BACK_MS);
			break;
		default:
			break;
		}
	}
}

static void
supervisor_died(struct source *s, uint32_t events)
{
	struct worker *w = CONTAINER_OF(s, struct worker, lifeline);

	(void)events;
	log_warn("supervisor_gone", LOG_STR("then", "this worker ends"));
	w->state = ENDED;
}

/* What the dead had going on at the databases is not. */
static void
forget_dead(const struct worker *w)
{
	struct member_view v;

	for (unsigned m = 0; m < SCOREBOARD_MEMBERS; m++) {
		scoreboard_view(w->rt.scoreboard, m, &v);
		if (v.kind == MEMBER_NONE || !v.alive)
			concurrencies_forget(w->rt.regions->concurrencies, m);
	}
}

/* The largest that one exchange may need. */
static size_t
arena_max_bytes(const struct catalog *endpoints, const struct config *c)
{
	int64_t body = 0;

	for (size_t i = 0; i < endpoints->count; i++)
		if (endpoints->endpoints[i]->max_body_bytes > body)
			body = endpoints->endpoints[i]->max_body_bytes;
	return (size_t)(COPIES_OF_BODY * body + COPIES_OF_ANSWER * c->max_response_bytes) +
	       ARENA_SPARE;
}

/*
 * Exchanges in hand keep the catalog that they began with; those that come next, and the consumer, have the new one.  Topics are
 * fixed in the forwarder and in Kafka's consumer: there the worker begins again, when what it has in hand is answered.
 */
static void
look_at_edits(struct worker *w)
{
	const struct catalog *fresh = edits_look(w->o->edits);

	if (fresh != NULL) {
		w->env.arena_max_bytes = arena_max_bytes(fresh, w->o->config);
		w->env.catalog = fresh;
		if (w->consumer != NULL)
			consumer_catalog(w->consumer, fresh);
		catalog_release(&w->rt.catalog);
		w->rt.catalog = fresh;
		if (w->o->config->kafka_brokers != NULL) {
			w->again = true;
			stop(w, true);
		}
	}
	edits_keep(w->o->edits, w->rt.state_dir_fd);
}

static void
look_around(struct worker *w)
{
	const int64_t now_ms = reactor_now_ms(w->desk.reactor);

	scoreboard_beat(w->rt.scoreboard, w->rt.member, now_ms);
	scoreboard_in_hand(w->rt.scoreboard, w->rt.member, desk_in_hand(&w->desk));
	/* The supervisor does, where there is one: it has the time. */
	endpoint_stats_tick(
	    w->rt.regions->endpoints, now_ms, w->o->supervisor_fd == -1 ? 1 : LATE_COPY_S);
	if (now_ms - w->published_ms >= PUBLISH_MS) {
		w->published_ms = now_ms;
		desk_publish(&w->desk);
	}
	if (now_ms - w->checked_ms >= CHECK_MS) {
		w->checked_ms = now_ms;
		store_expire(w->rt.store, now_ms);
		forget_dead(w);
		ledger_expire(w->rt.ledger, now_ms - w->o->config->db_idle_timeout_ms);
		if (!shm_check(w->rt.regions->shm) && w->state == RUNNING) {
			log_warn("segment_gone", LOG_STR("path", shm_path(w->rt.regions->shm)),
			    LOG_STR("then", "this worker ends, its successor makes a new one"));
			w->again = true;
			stop(w, false);
		}
		if (w->o->edits != NULL && w->state == RUNNING)
			look_at_edits(w);
	}
	if (w->state == STOPPING || w->state == DRAINING) {
		const bool idle =
		    reactor_connections(w->desk.reactor) == 0 && desk_is_empty(&w->desk);

		if (idle || now_ms >= w->end_ms)
			w->state = ENDED;
	}
}

/*
 * Putting it together.
 */
void
worker_pipeline(const struct config *c, struct runtime *rt, struct pipeline_env *out)
{
	*out = (struct pipeline_env){
		.catalog = rt->catalog,
		.cache = &rt->cache,
		.l2 = rt->shards == NULL ? NULL : &rt->l2,
		.quota = &rt->quota,
		.queue = rt->queue,
		.idempotency = rt->idempotency,
		.store = rt->store,
		.tenants = &rt->tenants,
		.scoreboard = rt->scoreboard,
		.endpoints = rt->regions->endpoints,
		.limits = rt->regions->limits,
		.member = rt->member,
		.exporter = rt->exporter,
		.slow_ns = c->slow_ms == 0 ? INT64_MAX : c->slow_ms * 1000000,
		.ignores_traces = !c->otel->propagates,
		.ledger = rt->ledger,
		.base_path = slice_of(c->base_path),
		.trusted = c->trusted_proxies.list,
		.trusted_count = c->trusted_proxies.count,
		.arena_max_bytes = arena_max_bytes(rt->catalog, c),
		.fair_share = rt->regions->fair_share,
		.client_seed = rt->regions->seeds->limiter,
		.max_in_hand = WORKER_IN_HAND_MAX,
	};
}

static void
fill_env(struct worker *w)
{
	worker_pipeline(w->o->config, &w->rt, &w->env);
	w->env.slow_log = w->slow_log;
	w->env.fronts = &w->fronts;
	w->env.web_root = w->o->web_root;
	w->env.in_hand = &w->desk.in_hand;
	w->env.resume = desk_resume;
}

/* An endpoint that nobody asked for yet is seen with zeros. */
static void
show_endpoints(const struct worker *w)
{
	for (size_t i = 0; i < w->rt.catalog->count; i++) {
		const struct endpoint *e = w->rt.catalog->endpoints[i];

		endpoint_stats_claim(w->rt.regions->endpoints, e->name_hash, e->name,
		    (enum endpoint_class)pipeline_class(e));
	}
}

static enum err
watch(struct worker *w, struct source *s, int fd, void (*ready)(struct source *, uint32_t))
{
	*s = (struct source){ .ready = ready, .fd = fd };
	return reactor_watch(w->desk.reactor, s);
}

static enum err
open_parts(struct worker *w, int signal_fd)
{
	const struct config *c = w->o->config;
	const struct desk_options desk = { .env = &w->env,
		.doorbell = w->rt.doorbell,
		.scoreboard = w->rt.scoreboard,
		.member = w->rt.member,
		.threads = (size_t)c->threads,
		.activity = activity_of(w->rt.regions->activity, w->rt.member) };
	enum err rc = desk_open(&desk, &w->desk);

	if (rc == ERR_OK)
		rc = watch(w, &w->signals, signal_fd, signal_came);
	if (rc == ERR_OK && w->o->supervisor_fd != -1)
		rc = watch(w, &w->lifeline, w->o->supervisor_fd, supervisor_died);
	if (rc == ERR_OK)
		rc = queue_start(w->rt.queue);
	if (rc == ERR_OK && w->rt.purges != NULL)
		rc = purges_listen(w->rt.purges);
	if (rc == ERR_OK && w->rt.idempotency != NULL)
		rc = idempotency_start(w->rt.idempotency);
	if (rc == ERR_OK && w->o->supervisor_fd == -1)
		rc = consumer_start(&w->rt, &w->consumer);
	if (rc == ERR_OK && w->o->supervisor_fd == -1)
		rc = forwarder_start(&w->rt, &w->forwarder);
	if (rc == ERR_OK)
		rc = reactor_listen(
		    w->desk.reactor, w->o->listen_fd, c->listen_allow.list, c->listen_allow.count);
	return rc;
}

static bool
open_all(struct worker *w, int *signal_fd)
{
	const unsigned needs = RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_CATALOG | RUNTIME_STORE |
			       RUNTIME_DATABASE | RUNTIME_KEYS | RUNTIME_QUEUE | RUNTIME_REDIS |
			       RUNTIME_TRACES;

	fcgi_init();
	if (signals_open(signal_fd) != ERR_OK || runtime_open(w->o->config, w->o->handlers, needs,
						     MEMBER_WORKER, w->o->faults, &w->rt) != ERR_OK)
		return false;
	w->open = true;
	if (w->o->config->slow_ms > 0 &&
	    slow_log_open(w->o->config->slow_log, w->rt.regions->plans, &w->slow_log) != ERR_OK) {
		log_error("slow_log_open_failed", LOG_STR("path", w->o->config->slow_log),
		    LOG_STR("reason", strerror(errno)));
		return false;
	}
	fill_env(w);
	show_endpoints(w);
	if (open_parts(w, *signal_fd) == ERR_OK)
		return true;
	log_error("worker_start_failed", LOG_STR("reason", strerror(errno)));
	return false;
}

static void
run(struct worker *w)
{
	log_info("worker_ready", LOG_INT("member", w->rt.member),
	    LOG_INT("endpoints", w->rt.catalog->count));
	while (w->state != ENDED) {
		reactor_turn(w->desk.reactor, TURN_MS);
		look_around(w);
	}
	/* Threads that still hold something would keep us past the bound: the process's end lets go of all. */
	if (!desk_is_empty(&w->desk))
		_exit(0);
}

enum worker_end
worker_run(const struct worker_options *o)
{
	struct worker *w = calloc(1, sizeof *w);
	enum worker_end end = WORKER_FAILED;
	int signal_fd = -1;

	if (w == NULL)
		return end;
	w->o = o;
	w->desk.mailbox.fd = -1;
	if (open_all(w, &signal_fd)) {
		run(w);
		end = w->again ? WORKER_AGAIN : WORKER_TOLD;
	} else if (o->faults->errors > 0) {
		end = WORKER_MISCONFIGURED;
	}
	consumer_stop(&w->consumer);
	forwarder_stop(&w->forwarder);
	desk_close(&w->desk);
	slow_log_close(&w->slow_log);
	if (w->open)
		runtime_close(&w->rt);
	if (signal_fd != -1)
		(void)close(signal_fd);
	free(w);
	return end;
}
