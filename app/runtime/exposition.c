/*
 * For each family of metrics_keys.inc: its words in the members' slots, and what a writer of this table finds elsewhere.
 */
#include "runtime/exposition.h"

#include "runtime/exposition_room.h"
#include "telemetry/otlp_metrics.h"

static void (*const writers[FAMILY__COUNT])(struct exposition *e) = {
	[FAMILY_REQUESTS_BY] = expose_requests,
	[FAMILY_SERVED] = expose_served,
	[FAMILY_REQUEST_SECONDS] = expose_request_seconds,
	[FAMILY_RECENT_SECONDS] = expose_recent_seconds,
	[FAMILY_QUEUE_WAIT] = expose_waits,
	[FAMILY_IN_HAND] = expose_in_hand,
	[FAMILY_IN_HAND_MAX] = expose_in_hand_max,
	[FAMILY_CONNECTIONS] = expose_connections,
	[FAMILY_LIMIT_DECISIONS] = expose_limit_decisions,
	[FAMILY_LIMIT_HOSTS] = expose_limit_hosts,
	[FAMILY_CACHE_EMPTIED] = expose_cache_emptied,
	[FAMILY_CACHE_ENTRIES] = expose_cache_entries,
	[FAMILY_CACHE_BYTES] = expose_cache_bytes,
	[FAMILY_CACHE_BYTES_MAX] = expose_cache_bytes_max,
	[FAMILY_REFRESHES_RUNNING] = expose_refreshes,
	[FAMILY_REFRESHES_MAX] = expose_refreshes_max,
	[FAMILY_TICKETS] = expose_tickets,
	[FAMILY_TICKETS_MAX] = expose_tickets_max,
	[FAMILY_CALLS] = expose_calls,
	[FAMILY_CALL_SECONDS] = expose_call_seconds,
	[FAMILY_REDIS_CALLS] = expose_redis_calls,
	[FAMILY_REDIS_SECONDS] = expose_redis_seconds,
	[FAMILY_CALLS_RUNNING] = expose_calls_running,
	[FAMILY_CALLS_LIMIT] = expose_calls_limit,
	[FAMILY_CALLS_MOST] = expose_calls_most,
	[FAMILY_BREAKER] = expose_breaker,
	[FAMILY_BREAKER_OPENED] = expose_breaker_opened,
	[FAMILY_BREAKER_CHANGES] = expose_breaker_changes,
	[FAMILY_BREAKER_ADMITTED] = expose_breaker_admitted,
	[FAMILY_RETRY_BUDGET] = expose_retry_budget,
	[FAMILY_RETRY_BUDGET_MAX] = expose_retry_budget_max,
	[FAMILY_SPOOL_EVENTS] = expose_spool_events,
	[FAMILY_SPOOL_OLDEST] = expose_spool_oldest,
	[FAMILY_SPOOL_KEYS] = expose_spool_keys,
	[FAMILY_SPOOL_BYTES] = expose_spool_bytes,
	[FAMILY_SPOOL_BYTES_MAX] = expose_spool_bytes_max,
	[FAMILY_CONSUMER] = expose_consumer,
	[FAMILY_CONSUMER_LAG] = expose_consumer_lag,
	[FAMILY_CONSUMER_LAG_SECONDS] = expose_consumer_lag_seconds,
	[FAMILY_FORWARDED] = expose_forwarded,
	[FAMILY_FORWARDER_OUT] = expose_forwarder_out,
	[FAMILY_FORWARDER_OUT_MAX] = expose_forwarder_out_max,
	[FAMILY_FORWARDER_BYTES] = expose_forwarder_bytes,
	[FAMILY_FORWARDER_BYTES_MAX] = expose_forwarder_bytes_max,
	[FAMILY_FORWARDER_RESTARTS] = expose_forwarder_restarts,
	[FAMILY_WORKERS] = expose_workers,
	[FAMILY_WORKERS_MAX] = expose_workers_max,
	[FAMILY_LANES_BUSY] = expose_lanes_busy,
	[FAMILY_LANES_MAX] = expose_lanes_max,
	[FAMILY_LANES_WAITING] = expose_lanes_waiting,
	[FAMILY_LANES_WAITING_MAX] = expose_lanes_waiting_max,
	[FAMILY_BODIES] = expose_bodies,
	[FAMILY_BODIES_MAX] = expose_bodies_max,
	[FAMILY_SLOTS] = expose_slots_used,
	[FAMILY_SLOTS_MAX] = expose_slots_max,
	[FAMILY_MEMBERS] = expose_members,
	[FAMILY_MEMBERS_MAX] = expose_members_max,
	[FAMILY_SPANS_WAITING] = expose_spans,
	[FAMILY_SPANS_MAX] = expose_spans_max,
	[FAMILY_CAPACITY] = expose_capacity,
	[FAMILY_REFUSED_RATE] = expose_refused_ratio,
	[FAMILY_LANE_UTILISATION] = expose_lane_utilisation,
	[FAMILY_BUILD] = expose_build,
	[FAMILY_START] = expose_start,
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
