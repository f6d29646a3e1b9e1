/*
 * For each family of metrics_keys.inc: its words in the members' slots, and what a writer of this table finds elsewhere.
 */
#include "runtime/exposition.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/version.h"
#include "policy/concurrency.h"
#include "runtime/config.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/scaling.h"
#include "runtime/snapshot.h"
#include "telemetry/call_stats.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/limit_stats.h"
#include "telemetry/otlp_metrics.h"

static const double ms_per_s = 1000, us_per_s = 1e6, ns_per_s = 1e9;

enum { NUMBER_BYTES = 24 };

struct exposition {
	const struct runtime *rt;
	const struct snapshot *s;
	struct snapshot_sums sums;
	struct prometheus p;
};

static void
label(struct exposition *e, const char *name, const char *value)
{
	prometheus_label(&e->p, name, slice_of(value));
}

static void
label_number(struct exposition *e, const char *name, int64_t value)
{
	char text[NUMBER_BYTES];

	(void)snprintf(text, sizeof text, "%lld", (long long)value);
	label(e, name, text);
}

static void
count(struct exposition *e, uint64_t value)
{
	prometheus_count(&e->p, value);
}

static void
number(struct exposition *e, double value)
{
	prometheus_number(&e->p, value);
}

/*
 * Requests.
 */
static void
requests(struct exposition *e)
{
	struct endpoint_view v;

	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if (!endpoint_stats_view(e->rt->regions->endpoints, row, &v))
			continue;
		for (size_t i = 0; i < ENDPOINT_CODES; i++) {
			if (v.codes[i] == 0)
				continue;
			label(e, "endpoint", v.name);
			if (endpoint_codes[i] == 0)
				label(e, "code", "other");
			else
				label_number(e, "code", endpoint_codes[i]);
			count(e, v.codes[i]);
		}
	}
}

static void
served(struct exposition *e)
{
	struct endpoint_view v;

	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if (!endpoint_stats_view(e->rt->regions->endpoints, row, &v))
			continue;
		for (size_t i = 0; i < SERVED__COUNT; i++) {
			if (v.served[i] == 0)
				continue;
			label(e, "endpoint", v.name);
			label(e, "source", served_from_names[i]);
			count(e, v.served[i]);
		}
	}
}

struct row_of {
	const struct endpoint_stats *stats;
	uint32_t row;
};

static bool
exemplar(const void *ctx, size_t edge, struct prometheus_exemplar *out)
{
	const struct row_of *of = ctx;
	struct endpoint_exemplar x;

	if (!endpoint_stats_exemplar(of->stats, of->row, edge, &x))
		return false;
	hex_encode(x.trace_id, sizeof x.trace_id, out->trace_id);
	out->took_ns = x.took_ns;
	out->wall_us = x.wall_us;
	return true;
}

/* A row that nobody was counted in has no histogram: it would be twenty lines of zeros. */
static void
request_seconds(struct exposition *e)
{
	struct row_of of = { e->rt->regions->endpoints, 0 };
	struct endpoint_view v;

	for (; of.row < ENDPOINT_ROWS; of.row++) {
		if (!endpoint_stats_view(of.stats, of.row, &v) || v.took.count == 0)
			continue;
		label(e, "endpoint", v.name);
		prometheus_histogram(
		    &e->p, &v.took, endpoint_edge_us, ENDPOINT_EDGES, exemplar, &of);
	}
}

static void
recent_seconds(struct exposition *e)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = { { "50", 0.5 }, { "99", 0.99 } };
	struct endpoint_view v;

	for (int class = 0; class < ENDPOINT_CLASS__COUNT; class ++) {
		if (endpoint_stats_recent_class(
			e->rt->regions->endpoints, class, e->s->now_ms, SNAPSHOT_WINDOW_S, &v) <= 0)
			continue;
		for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
			label(e, "priority", endpoint_class_names[class]);
			label(e, "percentile", quantiles[i].name);
			number(
			    e, (double)histogram_quantile_ns(&v.took, quantiles[i].q) / ns_per_s);
		}
	}
}

static void
waits(struct exposition *e)
{
	for (int q = 0; q < ENDPOINT_QUEUE__COUNT; q++) {
		struct histogram_view v = { .count = 0 };

		endpoint_stats_waits(e->rt->regions->endpoints, (enum endpoint_queue)q, &v);
		label(e, "queue", endpoint_queue_names[q]);
		prometheus_histogram(&e->p, &v, endpoint_edge_us, ENDPOINT_EDGES, NULL, NULL);
	}
}

static void
in_hand(struct exposition *e)
{
	for (int place = ACTIVITY_NOWHERE + 1; place < ACTIVITY_PLACE__COUNT; place++) {
		label(e, "place", activity_place_name((enum activity_place)place));
		count(e, e->sums.activity.at[place]);
	}
}

static void
connections(struct exposition *e)
{
	count(e, e->sums.activity.connections);
}

/*
 * Limits and the cache.
 */
static void
limit_decisions(struct exposition *e)
{
	uint64_t counts[LIMIT_RESULT__COUNT];
	char name[NAME_BYTES];

	for (uint32_t row = 0; row < LIMIT_ROWS; row++) {
		if (!limit_stats_view(e->rt->regions->limits, row, name, counts))
			continue;
		for (size_t i = 0; i < LIMIT_RESULT__COUNT; i++) {
			label(e, "policy", name);
			label(e, "result", limit_result_names[i]);
			count(e, counts[i]);
		}
	}
}

static void
limit_hosts(struct exposition *e)
{
	if (e->s->hosts > 0)
		count(e, e->s->hosts);
}

static void
cache_emptied(struct exposition *e)
{
	count(e, e->s->cache.emptied);
}

static void
cache_entries(struct exposition *e)
{
	count(e, e->s->cache.entries);
}

static void
cache_bytes(struct exposition *e)
{
	count(e, e->s->cache.bytes_used);
}

static void
cache_bytes_max(struct exposition *e)
{
	count(e, e->s->cache.bytes_total);
}

/*
 * Other servers.
 */
static void
tickets_of(struct exposition *e, const char *pool, const struct snapshot_tickets *t, size_t value)
{
	if (t->limit == 0)
		return;
	label(e, "pool", pool);
	count(e, value);
}

static void
tickets(struct exposition *e)
{
	tickets_of(e, "read", &e->s->reads, e->s->reads.held);
	tickets_of(e, "write", &e->s->writes, e->s->writes.held);
}

static void
tickets_max(struct exposition *e)
{
	tickets_of(e, "read", &e->s->reads, e->s->reads.limit);
	tickets_of(e, "write", &e->s->writes, e->s->writes.limit);
}

static void
results_of(struct exposition *e, const char *kind, const struct call_view *c)
{
	for (size_t i = 0; i < CALL_RESULT__COUNT; i++) {
		label(e, kind, c->name);
		label(e, "result", call_result_names[i]);
		count(e, c->results[i]);
	}
}

static void
took(struct exposition *e, const char *kind, const struct call_view *c)
{
	if (c->took.count == 0)
		return;
	label(e, kind, c->name);
	prometheus_histogram(&e->p, &c->took, endpoint_edge_us, ENDPOINT_EDGES, NULL, NULL);
}

static void
calls(struct exposition *e)
{
	struct call_view c;

	for (size_t row = 0; row < GUARDS_MAX; row++)
		if (guards_calls(e->rt->guards, row, &c))
			results_of(e, "target", &c);
}

static void
call_seconds(struct exposition *e)
{
	struct call_view c;

	for (size_t row = 0; row < GUARDS_MAX; row++)
		if (guards_calls(e->rt->guards, row, &c))
			took(e, "target", &c);
}

static void
redis_calls(struct exposition *e)
{
	struct call_view c;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		if (call_table_view(e->rt->regions->redis_calls, row, &c))
			results_of(e, "operation", &c);
}

static void
redis_seconds(struct exposition *e)
{
	struct call_view c;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		if (call_table_view(e->rt->regions->redis_calls, row, &c))
			took(e, "operation", &c);
}

static void
each_concurrency(struct exposition *e, uint32_t (*value)(const struct concurrency_view *v))
{
	struct concurrency_view rows[CONCURRENCIES_MAX];
	const size_t n = concurrencies_look(e->rt->regions->concurrencies, rows);

	for (size_t i = 0; i < n; i++) {
		label(e, "target", rows[i].name);
		count(e, value(&rows[i]));
	}
}

static uint32_t
running_of(const struct concurrency_view *v)
{
	return v->running;
}

static uint32_t
limit_of(const struct concurrency_view *v)
{
	return v->limit;
}

static uint32_t
most_of(const struct concurrency_view *v)
{
	return v->most;
}

static void
calls_running(struct exposition *e)
{
	each_concurrency(e, running_of);
}

static void
calls_limit(struct exposition *e)
{
	each_concurrency(e, limit_of);
}

static void
calls_most(struct exposition *e)
{
	each_concurrency(e, most_of);
}

static void
breaker(struct exposition *e)
{
	static const char *const words[] = { "closed", "open", "half-open", "suspended",
		"forced-open", "forced-closed" };

	for (size_t i = 0; i < e->s->breaker_count; i++) {
		const struct guard_view *g = &e->s->breakers[i];
		const struct slice word =
		    slice_of(breaker_word(g->breaker.state, g->breaker.force));

		for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
			label(e, "target", g->name);
			label(e, "state", words[w]);
			count(e, slice_eq_cstr(word, words[w]));
		}
	}
}

static void
breaker_opened(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++) {
		label(e, "target", e->s->breakers[i].name);
		count(e, e->s->breakers[i].breaker.opened);
	}
}

static void
breaker_changes(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++)
		for (size_t to = 0; to < BREAKER__COUNT; to++) {
			label(e, "target", e->s->breakers[i].name);
			label(e, "to", breaker_word((enum breaker_state)to, BREAKER_AUTO));
			count(e, e->s->breakers[i].breaker.entered[to]);
		}
}

static void
breaker_admitted(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++) {
		label(e, "target", e->s->breakers[i].name);
		number(e, (double)e->s->breakers[i].breaker.admitted_pct / 100);
	}
}

/*
 * Writes.
 */
static void
of_spool(struct exposition *e, double value)
{
	if (e->s->spool_known)
		number(e, value);
}

static void
spool_events(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.waiting);
}

static void
spool_oldest(struct exposition *e)
{
	of_spool(e, (double)e->s->spool_oldest_ms / ms_per_s);
}

static void
spool_keys(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.keys);
}

static void
spool_bytes(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.bytes);
}

static void
spool_bytes_max(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.max_bytes);
}

static void
consumer(struct exposition *e)
{
	for (int state = INGEST_IDLE; state <= INGEST_STOPPED; state++) {
		label(e, "state", snapshot_consumer_name((enum ingest_state)state));
		count(e, e->s->consumer.state == (enum ingest_state)state);
	}
}

/* Without Kafka the spool is all that may lie before the consumer. */
static void
consumer_lag(struct exposition *e)
{
	if (e->s->forwarder.state == FORWARD_NONE)
		spool_events(e);
	for (size_t i = 0; i < e->s->forwarder.lag_count; i++) {
		const struct snapshot_lag *lag = &e->s->forwarder.lags[i];

		label(e, "topic", lag->topic);
		label_number(e, "partition", lag->partition);
		number(e, (double)lag->behind);
	}
}

static void
consumer_lag_seconds(struct exposition *e)
{
	const int64_t lag_ms = scaling_lag_ms(e->s);

	if (lag_ms >= 0)
		number(e, (double)lag_ms / ms_per_s);
}

static void
forwarded(struct exposition *e)
{
	if (e->s->forwarder.state != FORWARD_NONE)
		count(e, e->s->forwarder.delivered);
}

static void
forwarder_restarts(struct exposition *e)
{
	if (e->s->forwarder.state != FORWARD_NONE)
		count(e, e->s->forwarder.restarts);
}

/*
 * Processes.
 */
static void
workers(struct exposition *e)
{
	static const char *const words[] = { "idle", "working", "silent" };

	for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
		uint64_t n = 0;

		for (size_t i = 0; i < e->s->member_count; i++) {
			const struct snapshot_member *m = &e->s->members[i];

			n += m->view.kind == MEMBER_WORKER &&
			     slice_eq_cstr(slice_of(snapshot_member_word(e->s, m)), words[w]);
		}
		label(e, "state", words[w]);
		count(e, n);
	}
}

static void
workers_max(struct exposition *e)
{
	number(e, (double)e->rt->config->workers);
}

static void
lanes_busy(struct exposition *e)
{
	count(e, e->sums.activity.busy);
}

static void
lanes_max(struct exposition *e)
{
	count(e, e->sums.activity.threads_max);
}

static void
lanes_waiting(struct exposition *e)
{
	count(e, e->sums.activity.waiting);
}

static void
lanes_waiting_max(struct exposition *e)
{
	count(e, e->sums.activity.waiting_max);
}

static void
members(struct exposition *e)
{
	for (int kind = MEMBER_SUPERVISOR; kind <= MEMBER_CONSUMER; kind++) {
		uint64_t n = 0;

		for (size_t i = 0; i < e->s->member_count; i++)
			n += e->s->members[i].view.kind == (enum member_kind)kind;
		label(e, "kind", snapshot_member_name((enum member_kind)kind));
		count(e, n);
	}
}

static void
members_max(struct exposition *e)
{
	count(e, SCOREBOARD_MEMBERS);
}

/*
 * For who scales.
 */
static void
capacity(struct exposition *e)
{
	label(e, "reason", capacity_reason_name(e->s->capacity.reason));
	number(e, e->s->capacity.ratio);
}

static void
refused_ratio(struct exposition *e)
{
	const struct snapshot_window *w = &e->s->window;
	const int64_t all = w->counted[HISTORY_REQUESTS];

	if (w->ms <= 0)
		return;
	label(e, "reason", "limited");
	number(e, all <= 0 ? 0 : (double)w->counted[HISTORY_LIMITED] / (double)all);
	label(e, "reason", "shed");
	number(e, all <= 0 ? 0 : (double)w->counted[HISTORY_SHED] / (double)all);
}

static void
lane_utilisation(struct exposition *e)
{
	const struct activity_counts *c = &e->sums.activity;

	if (c->threads_max > 0)
		number(e, (double)c->busy / (double)c->threads_max);
}

static void
build(struct exposition *e)
{
	label(e, "version", WEIR_VERSION);
	count(e, 1);
}

static void
start(struct exposition *e)
{
	number(e,
	    (double)e->s->now_us / us_per_s - (double)(e->s->now_ms - e->s->since_ms) / ms_per_s);
}

static void (*const writers[FAMILY__COUNT])(struct exposition *e) = {
	[FAMILY_REQUESTS_BY] = requests,
	[FAMILY_SERVED] = served,
	[FAMILY_REQUEST_SECONDS] = request_seconds,
	[FAMILY_RECENT_SECONDS] = recent_seconds,
	[FAMILY_QUEUE_WAIT] = waits,
	[FAMILY_IN_HAND] = in_hand,
	[FAMILY_CONNECTIONS] = connections,
	[FAMILY_LIMIT_DECISIONS] = limit_decisions,
	[FAMILY_LIMIT_HOSTS] = limit_hosts,
	[FAMILY_CACHE_EMPTIED] = cache_emptied,
	[FAMILY_CACHE_ENTRIES] = cache_entries,
	[FAMILY_CACHE_BYTES] = cache_bytes,
	[FAMILY_CACHE_BYTES_MAX] = cache_bytes_max,
	[FAMILY_TICKETS] = tickets,
	[FAMILY_TICKETS_MAX] = tickets_max,
	[FAMILY_CALLS] = calls,
	[FAMILY_CALL_SECONDS] = call_seconds,
	[FAMILY_REDIS_CALLS] = redis_calls,
	[FAMILY_REDIS_SECONDS] = redis_seconds,
	[FAMILY_CALLS_RUNNING] = calls_running,
	[FAMILY_CALLS_LIMIT] = calls_limit,
	[FAMILY_CALLS_MOST] = calls_most,
	[FAMILY_BREAKER] = breaker,
	[FAMILY_BREAKER_OPENED] = breaker_opened,
	[FAMILY_BREAKER_CHANGES] = breaker_changes,
	[FAMILY_BREAKER_ADMITTED] = breaker_admitted,
	[FAMILY_SPOOL_EVENTS] = spool_events,
	[FAMILY_SPOOL_OLDEST] = spool_oldest,
	[FAMILY_SPOOL_KEYS] = spool_keys,
	[FAMILY_SPOOL_BYTES] = spool_bytes,
	[FAMILY_SPOOL_BYTES_MAX] = spool_bytes_max,
	[FAMILY_CONSUMER] = consumer,
	[FAMILY_CONSUMER_LAG] = consumer_lag,
	[FAMILY_CONSUMER_LAG_SECONDS] = consumer_lag_seconds,
	[FAMILY_FORWARDED] = forwarded,
	[FAMILY_FORWARDER_RESTARTS] = forwarder_restarts,
	[FAMILY_WORKERS] = workers,
	[FAMILY_WORKERS_MAX] = workers_max,
	[FAMILY_LANES_BUSY] = lanes_busy,
	[FAMILY_LANES_MAX] = lanes_max,
	[FAMILY_LANES_WAITING] = lanes_waiting,
	[FAMILY_LANES_WAITING_MAX] = lanes_waiting_max,
	[FAMILY_MEMBERS] = members,
	[FAMILY_MEMBERS_MAX] = members_max,
	[FAMILY_CAPACITY] = capacity,
	[FAMILY_REFUSED_RATE] = refused_ratio,
	[FAMILY_LANE_UTILISATION] = lane_utilisation,
	[FAMILY_BUILD] = build,
	[FAMILY_START] = start,
};

/* The table lists a family's words right behind it, but here nothing relies on that. */
static void
words_of(struct exposition *e, enum family f)
{
	for (size_t m = 0; m < METRIC__COUNT; m++) {
		if (metric_infos[m].family != f || metric_infos[m].labels == NULL)
			continue;
		prometheus_labels(&e->p, metric_infos[m].labels);
		count(e, e->s->totals[m]);
	}
}

static void
write_all(struct exposition *e)
{
	for (size_t f = 0; f < FAMILY__COUNT; f++) {
		prometheus_family(&e->p, (enum family)f);
		words_of(e, (enum family)f);
		if (writers[f] != NULL)
			writers[f](e);
	}
}

void
exposition_write(const struct runtime *rt, const struct snapshot *s, enum prometheus_form form,
    struct strbuf *out)
{
	struct exposition e = { .rt = rt, .s = s, .sums = snapshot_sum(s) };

	prometheus_init(&e.p, form, out);
	write_all(&e);
	prometheus_end(&e.p);
}

void
exposition_otlp(const struct runtime *rt, const struct snapshot *s, struct strbuf *out)
{
	struct exposition e = { .rt = rt, .s = s, .sums = snapshot_sum(s) };
	struct otlp_metrics m = { .out = out,
		.start_ns = s->now_us * 1000 - (s->now_ms - s->since_ms) * 1000000,
		.now_ns = s->now_us * 1000 };

	prometheus_init_sink(&e.p, &otlp_metrics_sink, &m);
	write_all(&e);
	otlp_metrics_end(&m);
}
