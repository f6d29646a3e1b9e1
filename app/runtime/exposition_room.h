#ifndef RUNTIME_EXPOSITION_ROOM_H
#define RUNTIME_EXPOSITION_ROOM_H

#include <stdio.h>

#include "base/str.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/snapshot.h"
#include "telemetry/prometheus.h"

/*
 * What the writers behind the table in exposition.c share: one for each family that does not lie in the members' slots.
 * Each writes the samples of one family, or none.  Not for anybody else.
 */
struct exposition {
	const struct runtime *rt;
	const struct snapshot *s;
	struct snapshot_sums sums;
	struct prometheus p;
};

static inline void
label(struct exposition *e, const char *name, const char *value)
{
	prometheus_label(&e->p, name, slice_of(value));
}

static inline void
label_number(struct exposition *e, const char *name, int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%lld", (long long)value);
	label(e, name, text);
}

static inline void
count(struct exposition *e, uint64_t value)
{
	prometheus_count(&e->p, value);
}

static inline void
number(struct exposition *e, double value)
{
	prometheus_number(&e->p, value);
}

/* exposition_requests.c */
void expose_requests(struct exposition *e);
void expose_served(struct exposition *e);
void expose_request_seconds(struct exposition *e);
void expose_recent_seconds(struct exposition *e);
void expose_waits(struct exposition *e);
void expose_in_hand(struct exposition *e);
void expose_in_hand_max(struct exposition *e);
void expose_connections(struct exposition *e);
void expose_limit_decisions(struct exposition *e);
void expose_limit_hosts(struct exposition *e);
void expose_cache_emptied(struct exposition *e);
void expose_cache_entries(struct exposition *e);
void expose_cache_bytes(struct exposition *e);
void expose_cache_bytes_max(struct exposition *e);
void expose_refreshes(struct exposition *e);
void expose_refreshes_max(struct exposition *e);

/* exposition_servers.c */
void expose_tickets(struct exposition *e);
void expose_tickets_max(struct exposition *e);
void expose_calls(struct exposition *e);
void expose_call_seconds(struct exposition *e);
void expose_redis_calls(struct exposition *e);
void expose_redis_seconds(struct exposition *e);
void expose_calls_running(struct exposition *e);
void expose_calls_limit(struct exposition *e);
void expose_calls_most(struct exposition *e);
void expose_breaker(struct exposition *e);
void expose_breaker_opened(struct exposition *e);
void expose_breaker_changes(struct exposition *e);
void expose_breaker_admitted(struct exposition *e);
void expose_retry_budget(struct exposition *e);
void expose_retry_budget_max(struct exposition *e);
void expose_spool_events(struct exposition *e);
void expose_spool_oldest(struct exposition *e);
void expose_spool_keys(struct exposition *e);
void expose_spool_bytes(struct exposition *e);
void expose_spool_bytes_max(struct exposition *e);
void expose_consumer(struct exposition *e);
void expose_consumer_lag(struct exposition *e);
void expose_consumer_lag_seconds(struct exposition *e);
void expose_forwarded(struct exposition *e);
void expose_forwarder_out(struct exposition *e);
void expose_forwarder_out_max(struct exposition *e);
void expose_forwarder_bytes(struct exposition *e);
void expose_forwarder_bytes_max(struct exposition *e);
void expose_forwarder_restarts(struct exposition *e);

/* exposition_pool.c */
void expose_workers(struct exposition *e);
void expose_workers_max(struct exposition *e);
void expose_lanes_busy(struct exposition *e);
void expose_lanes_max(struct exposition *e);
void expose_lanes_waiting(struct exposition *e);
void expose_lanes_waiting_max(struct exposition *e);
void expose_bodies(struct exposition *e);
void expose_bodies_max(struct exposition *e);
void expose_slots_used(struct exposition *e);
void expose_slots_max(struct exposition *e);
void expose_members(struct exposition *e);
void expose_members_max(struct exposition *e);
void expose_spans(struct exposition *e);
void expose_spans_max(struct exposition *e);
void expose_capacity(struct exposition *e);
void expose_refused_ratio(struct exposition *e);
void expose_lane_utilisation(struct exposition *e);
void expose_build(struct exposition *e);
void expose_start(struct exposition *e);

#endif
