/*
 * What one process holds: opened in the order in which the next one needs the last, given back in
 * reverse.
 *
 * This is where settings become the options of each module; nothing below knows the config.
 */
#include "runtime/runtime.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/engines.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "client/shm.h"
#include "pipeline/handler.h"
#include "policy/concurrency.h"
#include "runtime/config.h"
#include "runtime/doorbell.h"
#include "runtime/exposition.h"
#include "runtime/regions.h"
#include "runtime/snapshot.h"
#include "runtime/state_dir.h"
#include "service/catalog.h"
#include "service/exporter.h"
#include "service/fleet.h"
#include "service/handler_files.h"
#include "service/idempotency.h"
#include "service/ledger.h"
#include "service/metrics_exporter.h"
#include "service/pg_url.h"
#include "service/primary.h"
#include "service/purges.h"
#include "service/queue.h"
#include "service/retries.h"
#include "service/shards.h"
#include "service/store.h"
#include "telemetry/activity.h"
#include "telemetry/scoreboard.h"

enum { LEDGER_CONNECTIONS = 2 }; /* of one process: a look at one row by its key */
enum { HOST_NAME_BYTES = 65 };

struct opening {
	struct runtime *r;
	const struct config *c;
	const struct handler_set *handlers;
	unsigned needs;
	enum member_kind kind;
	struct fault_list *faults;
};

static enum err
open_state_dir(struct opening *o)
{
	if (o->needs & RUNTIME_JOIN && access(o->c->state_dir, F_OK) == -1)
		return ERR_NOT_FOUND;
	return state_dir_open(o->c->state_dir, o->faults, &o->r->state_dir_fd);
}

static void
ring(void *ctx, unsigned member)
{
	struct runtime *r = ctx;

	if (r->doorbell != NULL)
		doorbell_ring(r->doorbell, member);
}

/* Said by who makes the segment: once for each life of the host's pool, not once a process. */
static void
say_fleeting(const struct runtime *r)
{
	const char *fs = shm_made(r->regions->shm) ? state_dir_fleeting(r->state_dir_fd) : NULL;

	if (fs != NULL)
		log_warn("state_dir_fleeting", LOG_STR("path", r->config->state_dir),
		    LOG_STR("file_system", fs),
		    LOG_STR("so", "an accepted write lives no longer than this file system"));
}

static enum err
open_segment(struct opening *o)
{
	struct runtime *r = o->r;
	const struct regions_options options = {
		.state_dir_fd = r->state_dir_fd,
		.state_dir = o->c->state_dir,
		.path = o->c->shm,
		.cache_bytes = o->c->cache_bytes,
		.spool_bytes = o->c->spool_bytes,
		.key_ttl_ms = o->c->idempotency_ttl_ms,
		.fleet = o->c->redis_url != NULL,
		.keep = o->needs & RUNTIME_KEEP,
		.join_only = o->needs & RUNTIME_JOIN,
	};
	const enum err rc = regions_open(&options, &r->regions);

	if (rc != ERR_OK)
		return rc;
	r->scoreboard = r->regions->scoreboard;
	r->ingest = r->regions->ingest;
	r->guards = r->regions->guards;
	r->forward = r->regions->forward;
	r->quota =
	    (struct quota){ .limiter = r->regions->limiter, .seed = r->regions->seeds->limiter };
	r->cache = (struct cache){
		.l1 = r->regions->l1,
		.positions = r->regions->positions,
		.flights = r->regions->flights,
		.seed = r->regions->seeds->cache,
		.member = SCOREBOARD_MEMBERS, /* nobody, until open_member() */
		.ring = ring,
		.ctx = r,
	};
	say_fleeting(r);
	return ERR_OK;
}

static enum err
open_member(struct opening *o)
{
	struct runtime *r = o->r;
	enum err rc = scoreboard_join(r->scoreboard, o->kind, clock_mono_ms(), &r->member);

	if (rc != ERR_OK)
		return rc;
	rc = doorbell_open(r->state_dir_fd, r->member, &r->doorbell);
	if (rc != ERR_OK) {
		scoreboard_leave(r->scoreboard, r->member);
		return rc;
	}
	activity_clear(activity_of(r->regions->activity, r->member));
	r->cache.member = r->member;
	concurrencies_forget(r->regions->concurrencies, r->member); /* what a forerunner had */
	cache_sweep(&r->cache);
	return ERR_OK;
}

/* The catalog names the folder; which setting is to blame is known here. */
static void
blame_handlers(const struct config *c, struct fault_list *faults)
{
	struct slice rest = slice_of(c->handlers);
	char path[PATH_MAX];

	while (rest.ptr != NULL) {
		const struct slice folder = slice_cut(&rest, ':');

		(void)snprintf(path, sizeof path, "%.*s", (int)folder.len, folder.ptr);
		if (access(path, R_OK | X_OK) == -1) {
			fault_add(faults, c->texts[CONFIG_KEY_handlers].origin, 0,
			    "WEIR_HANDLERS is \"%s\", expected folders that can be read",
			    c->handlers);
			return;
		}
	}
}

static enum err
load_catalog(const struct config *c, const struct handler_set *handlers,
    const struct handler_files *files, struct fault_list *faults, const struct catalog **out)
{
	const struct catalog_options options = {
		.files = files,
		.postgresql = config_on_postgresql(c),
		.timeout_ms = c->db_timeout_ms,
		.max_body_bytes = c->max_body_bytes,
		.limit_quota = (uint64_t)c->rate_limit_points,
		.limit_window_ms = c->rate_limit_duration_ms,
		.limit_algorithm = (enum limit_algorithm)c->rate_limit_algorithm,
		.built_in = handlers->built_in,
		.built_in_count = handlers->built_in_count,
		.read_handler = handlers->sql_read,
		.write_handler = handlers->sql_write,
	};

	return catalog_load(&options, faults, out);
}

enum err
runtime_files(const struct config *c, struct fault_list *faults, struct handler_files *out)
{
	const size_t errors_before = faults->errors;
	const enum err rc = handler_files_read(c->handlers, faults, out);

	if (faults->errors > errors_before)
		blame_handlers(c, faults);
	return rc;
}

enum err
runtime_catalog(const struct config *c, const struct handler_set *handlers,
    const struct handler_files *files, struct fault_list *faults, const struct catalog **out)
{
	const size_t errors_before = faults->errors;
	struct handler_files own = { .list = NULL };
	enum err rc = ERR_OK;

	if (files == NULL && c->files_fd != -1)
		rc = handler_files_load(c->files_fd, &own);
	else if (files == NULL)
		rc = runtime_files(c, faults, &own);
	if (rc == ERR_OK)
		rc = load_catalog(c, handlers, files != NULL ? files : &own, faults, out);
	handler_files_free(&own);
	if (rc == ERR_OK && faults->errors > errors_before) {
		catalog_release(out); /* a file that could not be read */
		rc = ERR_INVALID;
	}
	return rc;
}

/* A host may run several weirs, and a container's host name may be all it has of its own. */
static void
name_instance(struct runtime *r)
{
	char host[HOST_NAME_BYTES] = "";
	const char *dir = r->config->state_dir;

	(void)gethostname(host, sizeof host - 1);
	(void)snprintf(r->kafka_instance, sizeof r->kafka_instance, "weir-%s-%08x", host,
	    (unsigned)(hash64(0, dir, strlen(dir)) & UINT32_MAX));
}

static enum err
open_catalog(struct opening *o)
{
	struct runtime *r = o->r;
	const enum err rc = runtime_catalog(o->c, o->handlers, NULL, o->faults, &r->catalog);

	if (rc != ERR_OK || o->c->kafka_brokers == NULL)
		return rc;
	name_instance(r);
	r->kafka = (struct kafka_options){ .brokers = o->c->kafka_brokers,
		.client_id = "weir",
		.settings = o->c->kafka_settings,
		.setting_count = o->c->kafka_setting_count };
	return topics_make(r->catalog, o->c->kafka_topic, &r->topics);
}

/* What a probe may take before another is sent: slower, its answer would count as a failure anyway.  A server gets its
 * load back over the time that it was left alone for. */
struct breaker_rules
runtime_breaker_rules(const struct config *c)
{
	enum { RAMP_MAX_MS = 10000 };
	const int64_t reset_ms = c->circuit_breaker_reset_timeout_ms;

	return (struct breaker_rules){
		.slow_ms = c->circuit_breaker_timeout_ms,
		.failure_pct = (unsigned)c->circuit_breaker_threshold_pct,
		.reset_ms = reset_ms,
		.volume = (unsigned)c->circuit_breaker_volume_threshold,
		.probe_lease_ms = c->circuit_breaker_timeout_ms,
		.ramp_ms = reset_ms < RAMP_MAX_MS ? reset_ms : RAMP_MAX_MS,
	};
}

/* A resolver that never answers may delay a start by this, and no request ever. */
enum {
	RESOLVE_WAIT_MS = 1000,
	BACKGROUND_CALLS = 4,
	BLOCK_PER_ANSWER = 4 /* a copy block: the text, and an offset for each cell of it */
};

/* This process's share of the host's connections, and never more than it has threads.  Only where no ticket is needed for
 * one, it has one in any case. */
static size_t
share_of_pool(const struct config *c)
{
	const int64_t share = c->db_read_pool_max / c->workers;

	if (share < 1 && !config_on_postgresql(c))
		return 1;
	return (size_t)(share < c->threads ? share : c->threads);
}

/* What all workers together can have going on at once: the limits that are learnt begin there. */
static uint32_t
most_calls(const struct config *c)
{
	const int64_t all = c->workers * c->threads;

	return (uint32_t)(all < c->db_read_pool_max ? all : c->db_read_pool_max);
}

/* Of the host, where there is a segment; counted where there is a member. */
static struct retries
retries_of(const struct opening *o, enum retry_kind kind)
{
	const struct regions *g = o->r->regions;

	return (struct retries){ .budget = g == NULL ? NULL : retries_budget(g->retries, kind),
		.scoreboard = (o->needs & RUNTIME_MEMBER) != 0 ? o->r->scoreboard : NULL,
		.member = o->r->member };
}

static enum err
open_store(struct opening *o)
{
	const struct retries retries = retries_of(o, RETRY_DATABASE);
	const struct breaker_rules rules = runtime_breaker_rules(o->c);
	const struct store_options options = {
		.url = o->c->db_read_url,
		.timeout_ms = o->c->db_timeout_ms,
		.idle_timeout_ms = o->c->db_idle_timeout_ms,
		.max_connections = share_of_pool(o->c),
		.max_response_bytes = (size_t)o->c->max_response_bytes,
		.primary_url = config_on_postgresql(o->c) ? o->c->db_write_url : NULL,
		.max_lag_ms = o->c->db_read_max_lag_ms,
		.tickets = o->r->regions == NULL ? NULL : o->r->regions->read_tickets,
		.host_connections = (size_t)o->c->db_read_pool_max,
		.guards = o->r->guards,
		.rules = &rules,
		.concurrencies = o->needs & RUNTIME_MEMBER ? o->r->regions->concurrencies : NULL,
		.member = o->r->member,
		.most_calls = most_calls(o->c),
		.retries = &retries,
	};
	const enum err rc = store_open(&options, &o->r->store);

	if (rc == ERR_OK)
		store_wait(o->r->store, clock_mono_ms() + RESOLVE_WAIT_MS);
	return rc;
}

enum err
runtime_database_open(const struct config *c, const struct regions *regions, struct database *out)
{
	const struct breaker_rules rules = runtime_breaker_rules(c);
	const struct primary_options options = { .url = c->db_write_url,
		.timeout_ms = c->db_timeout_ms,
		.guards = regions == NULL ? NULL : regions->guards,
		.rules = &rules,
		.tickets = regions == NULL ? NULL : regions->write_tickets,
		.host_connections = (size_t)c->db_write_pool_max };
	enum err rc = ERR_OK;

	*out = (struct database){ .options.url = c->db_write_url };
	if (ENGINE_POSTGRESQL && config_on_postgresql(c))
		rc = primary_open(&options, &out->primary);
	if (ENGINE_POSTGRESQL && out->primary != NULL)
		primary_wait(out->primary, clock_mono_ms() + RESOLVE_WAIT_MS);
	out->options.primary = out->primary;
	return rc;
}

void
runtime_database_close(struct database *d)
{
	if (ENGINE_POSTGRESQL)
		primary_close(&d->primary);
}

static enum err
open_database(struct opening *o)
{
	struct runtime *r = o->r;
	const enum err rc = runtime_database_open(o->c, r->regions, &r->database);

	return rc == ERR_OK ? ledger_open(&r->database.options, LEDGER_CONNECTIONS, &r->ledger)
			    : rc;
}

static enum err
open_tenants(struct opening *o)
{
	struct runtime *r = o->r;

	r->tenants = (struct tenants){ .shared = r->regions->tenants,
		.limiter = r->regions->limiter,
		.seed = r->regions->seeds->limiter,
		.ledger = r->ledger };
	return ERR_OK;
}

static enum err
open_queue(struct opening *o)
{
	const struct queue_options options = {
		.state_dir_fd = o->r->state_dir_fd,
		.state_dir = o->c->state_dir,
		.max_bytes = o->c->spool_bytes,
		.key_ttl_ms = o->c->idempotency_ttl_ms,
		.ack_forwarded = o->c->ack == CONFIG_ACK_KAFKA,
		.shared = o->r->regions->queue,
	};

	return queue_open(&options, &o->r->queue);
}

static enum err
open_shards(struct opening *o)
{
	const struct retries retries = retries_of(o, RETRY_REDIS);
	const struct breaker_rules rules = runtime_breaker_rules(o->c);
	const struct shards_options options = {
		.urls = o->c->redis_url,
		.timeout_ms = o->c->redis_timeout_ms,
		.guards = o->r->guards,
		.rules = &rules,
		.retries = &retries,
		.max_connections = (size_t)o->c->threads + BACKGROUND_CALLS,
		.calls = o->r->regions->redis_calls,
	};
	const enum err rc = shards_open(&options, &o->r->shards);

	if (rc == ERR_OK)
		(void)shards_wait(o->r->shards, clock_mono_ms() + RESOLVE_WAIT_MS);
	return rc;
}

static enum err
open_l2(struct opening *o)
{
	struct runtime *r = o->r;
	const struct purges_options options = {
		.shards = r->shards,
		.shared = r->regions->purges,
		.l1 = r->regions->l1,
		.positions = r->regions->positions,
		.seed = r->regions->seeds->cache,
		.state_dir_fd = r->state_dir_fd,
		.timeout_ms = o->c->redis_timeout_ms,
	};
	const uint64_t host =
	    hash64(options.seed, "host", 4); /* the seed itself is nobody's to know */
	const enum err rc = purges_open(&options, &r->purges);

	r->cache.purges = r->purges;
	r->l2 = (struct l2){ .shards = r->shards,
		.purges = r->purges,
		.max_block_bytes = BLOCK_PER_ANSWER * (size_t)o->c->max_response_bytes };
	hex_encode(&host, sizeof host, r->l2.host);
	return rc;
}

static enum err
open_fleet(struct opening *o)
{
	struct runtime *r = o->r;
	const struct fleet_options options = {
		.shards = r->shards,
		.leases = r->regions->leases,
		.limiter = r->regions->limiter,
		.shared = r->regions->fleet,
		.on_failure = (enum fleet_on_failure)o->c->rate_limit_on_redis_failure,
		.timeout_ms = o->c->redis_timeout_ms,
		.background = o->needs & RUNTIME_MEMBER,
	};
	const enum err rc = fleet_open(&options, &r->fleet);

	r->quota.fleet = r->fleet;
	return rc;
}

static enum err
open_idempotency(struct opening *o)
{
	const struct idempotency_options options = {
		.shards = o->r->shards,
		.host = o->r->l2.host,
		.key_ttl_ms = o->c->idempotency_ttl_ms,
	};

	return idempotency_open(&options, &o->r->idempotency);
}

static enum err
open_redis(struct opening *o)
{
	enum err rc;

	if (o->c->redis_url == NULL)
		return ERR_OK;
	rc = open_shards(o);
	if (rc == ERR_OK)
		rc = open_fleet(o);
	if (rc == ERR_OK)
		rc = open_l2(o);
	return rc == ERR_OK ? open_idempotency(o) : rc;
}

/* On the exporter's thread. */
static void
write_metrics(void *ctx, struct strbuf *out)
{
	const struct runtime *r = ctx;
	struct snapshot *s = snapshot_new();

	if (s == NULL) {
		out->failed = true;
		return;
	}
	snapshot_gather(r, s);
	exposition_otlp(r, s, out);
	snapshot_free(&s);
}

static enum err
open_exporters(struct opening *o)
{
	const struct exporter_options options = {
		.settings = o->c->otel,
		.role = o->kind == MEMBER_WORKER ? "worker" : "consumer",
		.scoreboard = o->r->scoreboard,
		.member = o->r->member,
	};
	const struct metrics_exporter_options metrics = {
		.settings = o->c->otel,
		.write = write_metrics,
		.ctx = o->r,
		.state_dir_fd = o->r->state_dir_fd,
	};
	const enum err rc = exporter_open(&options, &o->r->exporter);

	return rc == ERR_OK ? metrics_exporter_open(&metrics, &o->r->metrics_exporter) : rc;
}

/* In this order. */
static const struct part {
	unsigned need; /* 0: always */
	const char *what;
	enum err (*open)(struct opening *o);
} parts[] = {
	{ 0, "the state folder", open_state_dir },
	{ RUNTIME_SEGMENT, "the shared segment", open_segment },
	{ RUNTIME_MEMBER, "a place in the scoreboard", open_member },
	{ RUNTIME_CATALOG, "the endpoint files", open_catalog },
	{ RUNTIME_STORE, "the read database", open_store },
	{ RUNTIME_DATABASE, "the write database", open_database },
	{ RUNTIME_KEYS, "the API keys", open_tenants },
	{ RUNTIME_QUEUE, "the spool", open_queue },
	{ RUNTIME_REDIS, "the shards of REDIS_URL", open_redis },
	{ RUNTIME_TRACES, "the exporters of OTLP", open_exporters },
};

enum err
runtime_open(const struct config *c, const struct handler_set *handlers, unsigned needs, int kind,
    struct fault_list *faults, struct runtime *out)
{
	struct opening o = { out, c, handlers, needs, (enum member_kind)kind, faults };
	const size_t errors_before = faults->errors;
	enum err rc = ERR_OK;

	*out = (struct runtime){ .config = c, .state_dir_fd = -1 };
	for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == ERR_OK; i++) {
		if (parts[i].need != 0 && (needs & parts[i].need) == 0)
			continue;
		rc = parts[i].open(&o);
		if (rc != ERR_OK && faults->errors == errors_before &&
		    !(rc == ERR_NOT_FOUND && needs & RUNTIME_JOIN))
			fault_add(faults, c->state_dir, 0, "%s cannot be opened (%s)",
			    parts[i].what, err_name(rc));
	}
	if (rc != ERR_OK)
		runtime_close(out);
	return rc;
}

void
runtime_close(struct runtime *r)
{
	exporter_close(&r->exporter);
	metrics_exporter_close(&r->metrics_exporter);
	queue_close(&r->queue); /* its committer settles keys */
	idempotency_close(&r->idempotency);
	purges_close(&r->purges);
	fleet_close(&r->fleet);
	shards_close(&r->shards);
	ledger_close(&r->ledger);
	runtime_database_close(&r->database);
	store_close(&r->store);
	topics_free(&r->topics);
	catalog_release(&r->catalog);
	if (r->doorbell != NULL) {
		doorbell_close(&r->doorbell);
		scoreboard_leave(r->scoreboard, r->member);
	}
	regions_close(&r->regions);
	if (r->state_dir_fd != -1)
		(void)close(r->state_dir_fd);
	r->state_dir_fd = -1;
}
