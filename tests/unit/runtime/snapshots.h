#ifndef TESTS_UNIT_RUNTIME_SNAPSHOTS_H
#define TESTS_UNIT_RUNTIME_SNAPSHOTS_H

#include <string.h>

#include "runtime/config.h"
#include "runtime/snapshot.h"

/*
 * A snapshot made by hand, for tests of those who show one: a busy pool with a stopped consumer and an open
 * breaker.  Times are round, and one text has what JSON must escape.
 */
enum { SNAPSHOT_NOW_MS = 1000000 };

static inline void
members_by_hand(struct snapshot *s)
{
	struct snapshot_member *const supervisor = &s->members[0], *const worker = &s->members[1],
				      *const consumer = &s->members[2];

	s->member_count = 3;
	supervisor->view = (struct member_view){ .kind = MEMBER_SUPERVISOR,
		.pid = 100,
		.joined_ms = s->since_ms,
		.beat_ms = s->now_ms - 500,
		.alive = true };
	worker->view = (struct member_view){ .kind = MEMBER_WORKER,
		.pid = 101,
		.joined_ms = s->since_ms + 10,
		.beat_ms = s->now_ms - 20,
		.in_hand = 3,
		.alive = true };
	worker->requests = 12345;
	worker->activity.waits = true;
	worker->activity.counts = (struct activity_counts){ .connections = 8,
		.at = { [ACTIVITY_LANE] = 2, [ACTIVITY_QUEUE] = 1 },
		.threads = 4,
		.threads_max = 16,
		.busy = 2,
		.waiting = 5,
		.waiting_max = 1024,
		.bodies = 1 };
	worker->activity.oldest = (struct activity_oldest){
		.place = ACTIVITY_LANE, .since_ms = s->now_ms - 250, .endpoint = "countries"
	};
	worker->activity.lanes[2] = (struct activity_lane){
		.work = ACTIVITY_STEPS, .since_ms = s->now_ms - 240, .endpoint = "countries"
	};
	consumer->view = (struct member_view){ .kind = MEMBER_CONSUMER,
		.pid = 102,
		.joined_ms = s->since_ms + 20,
		.beat_ms = s->now_ms - 100,
		.alive = true };
}

static inline void
parts_by_hand(struct snapshot *s)
{
	s->totals[METRIC_QUERIES] = INT64_MAX;
	s->breakers[0] = (struct guard_view){ .name = "redis-1",
		.breaker = { .state = BREAKER_OPEN, .since_ms = s->now_ms - 4000, .opened = 2 } };
	s->breaker_count = 1;
	s->calls[0] =
	    (struct concurrency_view){ .name = "replica-1", .limit = 12, .most = 50, .running = 7 };
	s->call_count = 1;
	s->cache =
	    (struct l1_stats){ .entries = 52, .bytes_used = 1 << 20, .bytes_total = 16 << 20 };
	s->hosts = 3;
	s->spool =
	    (struct queue_status){ .waiting = 7, .keys = 70, .bytes = 4096, .max_bytes = 1 << 20 };
	s->spool_known = true;
	s->spool_oldest_ms = 61000;
	s->consumer.state = INGEST_STOPPED;
	s->consumer.pid = 102;
	strcpy(s->consumer.reason, "notes: 42P01 no \"notes\"");
}

static inline void
traffic_by_hand(struct snapshot *s)
{
	s->endpoints[0] = (struct snapshot_endpoint){ .name = "countries",
		.ms = 10000,
		.requests = 1000,
		.errors = 5,
		.reads = 900,
		.from_cache = 450,
		.p50_us = 40,
		.p99_us = 12000 };
	s->endpoints[1] = (struct snapshot_endpoint){
		.name = "quiet", .ms = 10000, .p50_us = HISTORY_UNKNOWN, .p99_us = HISTORY_UNKNOWN
	};
	s->endpoint_count = 2;
	strcpy(s->limits[0].policy, "default");
	s->limits[0].counts[LIMIT_ALLOWED] = 900;
	s->limits[0].counts[LIMIT_REFUSED] = 100;
	s->limit_count = 1;
	s->totals[METRIC_SHED] = 17;
	s->capacity = (struct capacity_state){ .ratio = 1.25, .reason = CAPACITY_LANES };
	s->p50_us = 40;
	s->p99_us = 12000;
	s->row.at_ms = s->now_ms;
	s->row.values[HISTORY_P50_US] = 40;
	s->row.values[HISTORY_P99_US] = 12000;
	s->row.values[HISTORY_LAG] = HISTORY_UNKNOWN;
	s->history[0].at_ms = s->now_ms - 1000;
	s->history[1].at_ms = s->now_ms;
	s->history[1].values[HISTORY_REQUESTS] = 100;
	s->history_count = 2;
	s->window = (struct snapshot_window){ .ms = 3000,
		.counted = {
		    [HISTORY_REQUESTS] = 1000, [HISTORY_L1_HITS] = 2, [HISTORY_L1_MISSES] = 1 } };
}

static inline struct snapshot *
snapshot_by_hand(const struct config *c)
{
	struct snapshot *s = snapshot_new();

	if (s == NULL)
		return NULL;
	s->config = c;
	s->segment = "/dev/shm/weir-test";
	s->now_ms = SNAPSHOT_NOW_MS;
	s->now_us = 1800000000123456;
	s->since_ms = SNAPSHOT_NOW_MS - 7500000;
	s->supervised = true;
	members_by_hand(s);
	parts_by_hand(s);
	traffic_by_hand(s);
	return s;
}

#endif
