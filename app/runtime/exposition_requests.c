/*
 * Metrics of requests, of what limits decided, and of the cache.
 */
#include "base/hash.h"
#include "runtime/config.h"
#include "runtime/exposition_room.h"
#include "runtime/worker.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/limit_stats.h"

static const double ns_per_s = 1e9;

/*
 * Requests.
 */
void
expose_requests(struct exposition *e)
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

void
expose_served(struct exposition *e)
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
void
expose_request_seconds(struct exposition *e)
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

void
expose_recent_seconds(struct exposition *e)
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

void
expose_waits(struct exposition *e)
{
	for (int q = 0; q < ENDPOINT_QUEUE__COUNT; q++) {
		struct histogram_view v = { .count = 0 };

		endpoint_stats_waits(e->rt->regions->endpoints, (enum endpoint_queue)q, &v);
		label(e, "queue", endpoint_queue_names[q]);
		prometheus_histogram(&e->p, &v, endpoint_edge_us, ENDPOINT_EDGES, NULL, NULL);
	}
}

void
expose_in_hand(struct exposition *e)
{
	for (int place = ACTIVITY_NOWHERE + 1; place < ACTIVITY_PLACE__COUNT; place++) {
		label(e, "place", activity_place_name((enum activity_place)place));
		count(e, e->sums.activity.at[place]);
	}
}

void
expose_in_hand_max(struct exposition *e)
{
	number(e, (double)e->rt->config->workers * WORKER_IN_HAND_MAX);
}

void
expose_connections(struct exposition *e)
{
	count(e, e->sums.activity.connections);
}

/*
 * Limits and the cache.
 */
void
expose_limit_decisions(struct exposition *e)
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

void
expose_limit_hosts(struct exposition *e)
{
	if (e->s->hosts > 0)
		count(e, e->s->hosts);
}

void
expose_cache_emptied(struct exposition *e)
{
	count(e, e->s->cache.emptied);
}

void
expose_cache_entries(struct exposition *e)
{
	count(e, e->s->cache.entries);
}

void
expose_cache_bytes(struct exposition *e)
{
	count(e, e->s->cache.bytes_used);
}

void
expose_cache_bytes_max(struct exposition *e)
{
	count(e, e->s->cache.bytes_total);
}

void
expose_refreshes(struct exposition *e)
{
	count(e, e->sums.activity.refreshes);
}

void
expose_refreshes_max(struct exposition *e)
{
	count(e, e->sums.activity.refreshes_max);
}
