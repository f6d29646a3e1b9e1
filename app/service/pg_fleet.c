/*
 * The servers that reads are answered from.
 *
 * A turn: a place in the pool, then the guard, then the connection.  The place comes first, so that waiting for one is
 * nobody's fault but ours and no probe is held meanwhile.
 */
#include "service/pg_fleet.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/thread.h"
#include "client/pg.h"
#include "client/resolver.h"
#include "policy/concurrency.h"
#include "policy/tickets.h"
#include "service/store.h"
#include "telemetry/span.h"

enum {
	MEASURE_MS = 1000, /* how long a measured lag is believed */
	LOOK_MS = 200,	   /* how often the thread looks for a probe to send */
	PROBE_MS = 1000,
	PLACE_MS = 50,		/* a probe's patience for a ticket */
	SUSPEND_AFTER_MS = 150, /* less than a greeting may take when there is time */
	URL_BYTES_MAX = 64 * 1024,
	CACHE_LINE = 64,
};

struct server {
	struct pg_url url;
	bool replica;
	size_t name; /* in the resolver */
	struct guard guard;
	struct concurrency *calls; /* NULL: nobody counts them */
	_Atomic size_t preferred;  /* the address that answered last */
	_Atomic int64_t measured_ms;
	_Atomic bool lags;
	_Atomic uint64_t seen; /* a position that it has come to */
};

struct pg_fleet {
	struct arena arena; /* of the urls */
	struct server servers[PG_SERVERS_MAX];
	size_t count;
	int64_t max_lag_ms;
	unsigned member; /* who counts calls */
	struct resolver *resolver;
	struct pg_pool *pool;
	void *own_guards, *own_tickets; /* for who has no segment */
	pthread_t keeper;
	pthread_mutex_t keeper_lock;
	pthread_cond_t keeper_wakes;
	bool keeper_runs, closing;
};

/*
 * Without a receiver nothing is known of what the primary has done since, so the age of the last commit counts then,
 * however little there may be to replay.
 */
const char pg_fleet_lag_sql[] =
    "CASE WHEN NOT pg_is_in_recovery() THEN 0 "
    "WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() "
    "AND EXISTS (SELECT 1 FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL) THEN 0 "
    "ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) "
    "* 1000, 1e12) END::bigint AS behind_ms";

/* ---- Which one ----------------------------------------------------------------- */

static bool
is_due(const struct server *s, int64_t now_ms)
{
	return now_ms - atomic_load_explicit(&s->measured_ms, memory_order_relaxed) >= MEASURE_MS;
}

/* Lags for certain: one that lagged a while ago is tried again, by whoever then measures it. */
static bool
is_known_to_lag(const struct server *s, int64_t now_ms)
{
	return s->replica && atomic_load_explicit(&s->lags, memory_order_relaxed) &&
	       !is_due(s, now_ms);
}

static bool
has_room(const struct pg_fleet *f, const struct server *s)
{
	return s->calls == NULL ||
	       concurrency_running(s->calls, f->member) < concurrency_room(s->calls, f->member);
}

/* Who has as much to do as it can comes after who has not, each in the order that chance gave. */
static void
put_busy_last(const struct pg_fleet *f, struct pg_plan *plan, size_t from)
{
	size_t busy[PG_SERVERS_MAX], n = 0, to = from;

	for (size_t i = from; i < plan->count; i++)
		if (has_room(f, &f->servers[plan->order[i]]))
			plan->order[to++] = plan->order[i];
		else
			busy[n++] = plan->order[i];
	for (size_t i = 0; i < n; i++)
		plan->order[to++] = busy[i];
}

static void
add_replicas(const struct pg_fleet *f, bool lagging, int64_t now_ms, struct pg_plan *out)
{
	const size_t from = out->count;

	for (size_t i = 0; i < f->count; i++)
		if (f->servers[i].replica && is_known_to_lag(&f->servers[i], now_ms) == lagging)
			out->order[out->count++] = i;
	for (size_t n = out->count - from; n > 1; n--) {
		const size_t k = (size_t)(rand_u64() % n);
		const size_t last = out->order[from + n - 1];

		out->order[from + n - 1] = out->order[from + k];
		out->order[from + k] = last;
	}
	put_busy_last(f, out, from);
}

void
pg_fleet_plan(struct pg_fleet *f, bool primary_only, int64_t now_ms, struct pg_plan *out)
{
	const bool has_primary = !f->servers[f->count - 1].replica;

	out->count = 0;
	if (!primary_only || !has_primary)
		add_replicas(f, false, now_ms, out);
	if (has_primary)
		out->order[out->count++] = f->count - 1;
	out->last_resort = out->count;
	if (!primary_only || !has_primary)
		add_replicas(f, true, now_ms, out);
}

void
pg_plan_postpone(struct pg_plan *plan, size_t server)
{
	plan->order[plan->count++] = server;
}

bool
pg_fleet_measures(struct pg_fleet *f, size_t server, int64_t now_ms)
{
	struct server *s = &f->servers[server];
	int64_t before = atomic_load_explicit(&s->measured_ms, memory_order_relaxed);

	return s->replica && now_ms - before >= MEASURE_MS &&
	       atomic_compare_exchange_strong_explicit(
		   &s->measured_ms, &before, now_ms, memory_order_relaxed, memory_order_relaxed);
}

bool
pg_fleet_lags(struct pg_fleet *f, size_t server, int64_t behind_ms)
{
	struct server *s = &f->servers[server];
	const bool lags = behind_ms > f->max_lag_ms;

	if (atomic_exchange_explicit(&s->lags, lags, memory_order_relaxed) == lags)
		return lags;
	if (lags)
		log_warn("replica_lags", LOG_STR("name", s->guard.name),
		    LOG_STR("server", s->url.shown), LOG_INT("behind_ms", behind_ms),
		    LOG_STR("then", "it is read from when nobody else answers"));
	else
		log_info("replica_caught_up", LOG_STR("name", s->guard.name),
		    LOG_STR("server", s->url.shown));
	return lags;
}

/* Not the largest ever: a server that was restored from a backup begins anew. */
void
pg_fleet_saw(struct pg_fleet *f, size_t server, uint64_t position)
{
	atomic_store_explicit(&f->servers[server].seen, position, memory_order_relaxed);
}

bool
pg_fleet_has_seen(const struct pg_fleet *f, size_t server, uint64_t position)
{
	return atomic_load_explicit(&f->servers[server].seen, memory_order_relaxed) >= position;
}

/* ---- A connection to it -------------------------------------------------------- */

/* Tries the addresses of the name in turn, from the one that answered last, under the one deadline. */
static enum err
dial(struct pg_fleet *f, struct server *s, bool quiet, int64_t deadline_ms, struct pg **out,
    struct pg_fault *why_out)
{
	struct resolver_addresses found = { .count = 1 };
	const bool local = pg_url_is_local(&s->url);
	struct pg_address address;
	size_t first;
	enum err rc = ERR_UNAVAILABLE;

	if (!local)
		resolver_look(f->resolver, s->name, &found);
	if (found.count == 0 && why_out != NULL)
		*why_out = (struct pg_fault){ .sqlstate = "08001",
			.offset = -1,
			.message = "the name of its host is not known" };
	first = atomic_load_explicit(&s->preferred, memory_order_relaxed);
	for (size_t n = 0; n < found.count && rc == ERR_UNAVAILABLE; n++) {
		const size_t i = (first + n) % found.count;

		address = pg_url_address(&s->url, local ? NULL : found.text[i]);
		rc = pg_connect(&address, quiet, deadline_ms, out, why_out);
		if (rc == ERR_OK)
			atomic_store_explicit(&s->preferred, i, memory_order_relaxed);
	}
	return rc;
}

enum err
pg_fleet_dial(struct pg_fleet *f, size_t server, int64_t deadline_ms, struct pg **out,
    struct pg_fault *why_out)
{
	return dial(f, &f->servers[server], true, deadline_ms, out, why_out);
}

static enum err
dial_for_request(struct pg_fleet *f, struct server *s, int64_t deadline_ms, struct pg **out)
{
	struct span *span = span_begin(SPAN_INTERNAL, "connect");
	const enum err rc = dial(f, s, false, deadline_ms, out, NULL);

	span_end(span, rc);
	return rc;
}

void
pg_fleet_describe(const struct pg_fleet *f, size_t server, struct span *s)
{
	const struct pg_url *url = &f->servers[server].url;

	span_str(s, SPAN_KEY_DB_NAMESPACE, slice_of(url->database));
	span_str(s, SPAN_KEY_SERVER_ADDRESS, slice_of(url->host));
	if (!pg_url_is_local(url))
		span_int(s, SPAN_KEY_SERVER_PORT, url->port);
}

enum err
pg_fleet_enter(
    struct pg_fleet *f, size_t server, int64_t deadline_ms, int64_t connect_ms, struct pg_turn *out)
{
	struct server *s = &f->servers[server];
	enum err rc;

	out->called = false;
	if (!guard_admits(&s->guard, clock_mono_ms()))
		return ERR_UNAVAILABLE;
	rc = pg_pool_borrow(f->pool, server, deadline_ms, &out->lease);
	if (rc != ERR_OK)
		return rc;
	out->kept = out->lease.pg != NULL;
	rc = guard_enter(&s->guard, clock_mono_ms(), &out->pass);
	if (rc != ERR_OK) {
		pg_pool_return(f->pool, &out->lease);
		return rc;
	}
	out->called = true;
	out->begun_ns = clock_mono_ns();
	if (s->calls != NULL)
		concurrency_begin(s->calls, f->member);
	if (out->kept)
		pg_deadline(out->lease.pg, connect_ms);
	else
		rc = dial_for_request(f, s, connect_ms, &out->lease.pg);
	if (rc != ERR_OK)
		pg_fleet_leave(f, out, rc);
	return rc;
}

/* A probe never entered. */
static void
count_call(const struct pg_fleet *f, const struct pg_turn *turn, bool answered, int64_t now_ns)
{
	struct concurrency *calls = f->servers[turn->lease.server].calls;

	if (calls != NULL && turn->begun_ns != 0)
		concurrency_end(
		    calls, f->member, answered, (now_ns - turn->begun_ns) / 1000, now_ns / 1000000);
}

void
pg_fleet_leave(struct pg_fleet *f, struct pg_turn *turn, enum err result)
{
	const int64_t now_ns = clock_mono_ns(), now_ms = now_ns / 1000000;

	count_call(f, turn, result == ERR_OK, now_ns);

	/* Whoever gave it only a moment learned little of the server: that counts, and suspends it for nobody. */
	if (result == ERR_TIMEOUT && now_ms - turn->pass.begun_ms < SUSPEND_AFTER_MS)
		result = ERR_IO;
	guard_leave(&f->servers[turn->lease.server].guard, &turn->pass, result, now_ms);
	pg_pool_return(f->pool, &turn->lease);
}

size_t
pg_fleet_room(const struct pg_fleet *f)
{
	size_t room = 0, reach;

	for (size_t i = 0; i < f->count; i++) {
		const struct server *s = &f->servers[i];

		if (s->calls == NULL)
			return SIZE_MAX;
		if (guard_is_up(&s->guard))
			room += concurrency_room(s->calls, f->member);
	}
	if (room == 0)
		return SIZE_MAX;
	reach = pg_pool_reach(f->pool);
	return reach < room && reach > 0 ? reach : room;
}

/* ---- The keeper: probes outside of requests ------------------------------------- */

static void
probe(struct pg_fleet *f, size_t server)
{
	struct server *s = &f->servers[server];
	struct pg_turn turn = { .kept = false };
	int64_t now_ms = clock_mono_ms();
	enum err rc = ERR_OK;

	if (guard_is_up(&s->guard) ||
	    pg_pool_borrow(f->pool, server, now_ms + PLACE_MS, &turn.lease) != ERR_OK)
		return;
	now_ms = clock_mono_ms();
	if (guard_probe(&s->guard, now_ms, &turn.pass) != ERR_OK) {
		pg_pool_return(f->pool, &turn.lease);
		return;
	}
	if (turn.lease.pg == NULL)
		rc = dial(f, s, true, now_ms + PROBE_MS, &turn.lease.pg, NULL);
	if (rc == ERR_OK) {
		pg_deadline(turn.lease.pg, now_ms + PROBE_MS);
		rc = pg_run(turn.lease.pg,
		    &(struct pg_statement){ .name = "probe", .sql = "SELECT 1" }, NULL);
	}
	pg_fleet_leave(f, &turn, rc);
}

static void *
look_after(void *arg)
{
	struct pg_fleet *f = arg;

	(void)pthread_mutex_lock(&f->keeper_lock);
	while (!f->closing) {
		(void)thread_wait(&f->keeper_wakes, &f->keeper_lock, clock_mono_ms() + LOOK_MS);
		(void)pthread_mutex_unlock(&f->keeper_lock);
		for (size_t i = 0; i < f->count; i++)
			probe(f, i);
		(void)pthread_mutex_lock(&f->keeper_lock);
	}
	(void)pthread_mutex_unlock(&f->keeper_lock);
	return NULL;
}

static enum err
start_keeper(struct pg_fleet *f)
{
	f->keeper_runs = thread_start(THREAD_SMALL_STACK_BYTES, look_after, f, &f->keeper);
	return f->keeper_runs ? ERR_OK : ERR_NOMEM;
}

static void
stop_keeper(struct pg_fleet *f)
{
	if (!f->keeper_runs)
		return;
	(void)pthread_mutex_lock(&f->keeper_lock);
	f->closing = true;
	(void)pthread_cond_signal(&f->keeper_wakes);
	(void)pthread_mutex_unlock(&f->keeper_lock);
	(void)pthread_join(f->keeper, NULL); /* at most one probe's deadline for each server */
}

/* ---- Opening and closing ------------------------------------------------------- */

static void
add_server(struct pg_fleet *f, const struct pg_url *url, bool replica)
{
	struct server *s = &f->servers[f->count++];

	s->url = *url;
	s->replica = replica;
	atomic_init(&s->measured_ms, INT64_MIN / 2); /* due */
	atomic_init(&s->seen, 0);
}

/* The primary is the last one, and no replica of itself. */
static enum err
read_urls(struct pg_fleet *f, const struct store_options *o)
{
	struct pg_url urls[PG_URLS_MAX], primary[PG_URLS_MAX];
	const char *why;
	size_t count = 0, primaries = 0;
	enum err rc = pg_urls_parse(slice_of(o->url), &f->arena, urls, &count, &why);

	if (rc == ERR_OK && o->primary_url != NULL)
		rc = pg_urls_parse(slice_of(o->primary_url), &f->arena, primary, &primaries, &why);
	if (rc != ERR_OK || primaries > 1)
		return rc == ERR_OK ? ERR_INVALID : rc;
	for (size_t i = 0; i < count; i++)
		if (primaries == 0 || !pg_url_same_place(&urls[i], &primary[0]))
			add_server(f, &urls[i], true);
	if (primaries > 0)
		add_server(f, &primary[0], false);
	return ERR_OK;
}

static enum err
open_guards(struct pg_fleet *f, const struct store_options *o)
{
	/* Without a segment nobody counts with us: nothing opens. */
	static const struct breaker_rules patient = { .slow_ms = INT32_MAX,
		.failure_pct = 100,
		.reset_ms = 1,
		.volume = UINT16_MAX,
		.probe_lease_ms = PROBE_MS };
	struct guards *guards = o->guards;
	char name[32]; /* guard_open() measures it; here any number fits */
	enum err rc = ERR_OK;

	if (guards == NULL) {
		guards = f->own_guards = aligned_alloc(CACHE_LINE, guards_size());
		if (guards == NULL)
			return ERR_NOMEM;
		guards_init(guards);
	}
	for (size_t i = 0; i < f->count && rc == ERR_OK; i++) {
		(void)snprintf(name, sizeof name, "read-%zu", i + 1);
		rc = guard_open(guards, f->servers[i].replica ? name : "primary",
		    o->rules == NULL ? &patient : o->rules, true, &f->servers[i].guard);
	}
	return rc;
}

/* Without a row a server goes on without a bound. */
static void
open_calls(struct pg_fleet *f, const struct store_options *o)
{
	f->member = o->member;
	for (size_t i = 0; i < f->count && o->concurrencies != NULL; i++)
		if (concurrency_open(o->concurrencies, f->servers[i].guard.name, o->most_calls,
			&f->servers[i].calls) != ERR_OK)
			f->servers[i].calls = NULL;
}

static enum err
open_resolver(struct pg_fleet *f)
{
	const char *names[PG_SERVERS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < f->count; i++) {
		if (pg_url_is_local(&f->servers[i].url))
			continue;
		f->servers[i].name = n;
		names[n++] = f->servers[i].url.host;
	}
	return resolver_open(names, n, &f->resolver);
}

static enum err
open_pool(struct pg_fleet *f, const struct store_options *o)
{
	struct pg_pool_options options = {
		.tickets = o->tickets,
		.limit = o->tickets == NULL ? o->max_connections : o->host_connections,
		.share = o->max_connections,
		.idle_timeout_ms = o->idle_timeout_ms,
	};

	if (options.tickets == NULL) {
		/* Its size is that of a cache line many times over. */
		f->own_tickets = aligned_alloc(
		    CACHE_LINE, (tickets_size() + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
		if (f->own_tickets == NULL)
			return ERR_NOMEM;
		tickets_init(f->own_tickets);
		options.tickets = f->own_tickets;
	}
	return pg_pool_open(&options, &f->pool);
}

enum err
pg_fleet_open(const struct store_options *o, struct pg_fleet **out)
{
	struct pg_fleet *f = calloc(1, sizeof *f);
	enum err rc;

	if (f == NULL)
		return ERR_NOMEM;
	arena_init(&f->arena, URL_BYTES_MAX);
	thread_lock_init(&f->keeper_lock, &f->keeper_wakes);
	f->max_lag_ms = o->max_lag_ms;
	rc = read_urls(f, o);
	if (rc == ERR_OK)
		rc = open_guards(f, o);
	if (rc == ERR_OK) {
		open_calls(f, o);
		rc = open_resolver(f);
	}
	if (rc == ERR_OK)
		rc = open_pool(f, o);
	if (rc == ERR_OK)
		rc = start_keeper(f);
	if (rc == ERR_OK)
		*out = f;
	else
		pg_fleet_close(&f);
	return rc;
}

void
pg_fleet_close(struct pg_fleet **fp)
{
	struct pg_fleet *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	stop_keeper(f);
	pg_pool_close(&f->pool);
	resolver_close(&f->resolver);
	(void)pthread_cond_destroy(&f->keeper_wakes);
	(void)pthread_mutex_destroy(&f->keeper_lock);
	free(f->own_tickets);
	free(f->own_guards);
	arena_free(&f->arena);
	free(f);
}

void
pg_fleet_wait(struct pg_fleet *f, int64_t deadline_ms)
{
	(void)resolver_wait(f->resolver, deadline_ms);
}

void
pg_fleet_expire(struct pg_fleet *f, int64_t now_ms)
{
	pg_pool_expire(f->pool, now_ms);
}
