#ifndef RUNTIME_SNAPSHOT_H
#define RUNTIME_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "policy/capacity.h"
#include "policy/concurrency.h"
#include "policy/l1.h"
#include "service/forward.h"
#include "service/guard.h"
#include "service/ingest.h"
#include "service/queue.h"
#include "telemetry/activity.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/history.h"
#include "telemetry/limit_stats.h"
#include "telemetry/metrics.h"
#include "telemetry/scoreboard.h"

struct config;
struct runtime;
struct strbuf;

/*
 * Everything that is looked at from outside, of one moment: `/status`, `weir status`, `weir top` and the signals
 * for autoscaling are made of it.
 *
 * Gathered from the segment and the spool without asking any worker, so it takes a fraction of a millisecond
 * also when every worker is busy, stopped or dead.  Each word is true for itself; two of them may be of moments a
 * little apart.
 */
struct snapshot_member {
	struct member_view view;
	uint64_t requests; /* since it joined */
	struct activity_view activity;
};

struct snapshot_lag {
	char topic[FORWARD_TOPIC_BYTES];
	int partition;
	int64_t committed, high, behind; /* committed -1: nothing was ever committed */
};

struct snapshot_tickets {
	size_t held, limit; /* connections of this host; limit 0: none are counted */
};

enum { SNAPSHOT_WINDOW_S = 10 };

/* Of one endpoint, in the last SNAPSHOT_WINDOW_S seconds. */
struct snapshot_endpoint {
	char name[NAME_BYTES];
	enum endpoint_class class;
	int64_t ms; /* how long they really were; 0: not known, and so is the rest */
	uint64_t requests, errors, limited; /* errors: 500 and above; limited: 429 */
	uint64_t reads,
	    from_cache; /* reads that were answered, and those of them without a statement of their own */
	int64_t p50_us, p99_us; /* HISTORY_UNKNOWN: no request */
};

/* What a limit decided, ever. */
struct snapshot_limit {
	char policy[NAME_BYTES];
	uint64_t counts[LIMIT_RESULT__COUNT];
};

/* Of all together, by the history. */
struct snapshot_window {
	int64_t ms;			 /* how long it is; 0: nobody has kept a history */
	int64_t counted[HISTORY__COUNT]; /* of counters: how many in it */
};

struct snapshot {
	const struct config *config; /* lent, as the next one */
	const char *segment;
	int64_t now_ms, now_us; /* monotonic, wall */
	int64_t since_ms;	/* when the pool began: its supervisor, else its oldest member */
	bool supervised;
	struct snapshot_member members[SCOREBOARD_MEMBERS]; /* living ones */
	size_t member_count;
	uint64_t totals[METRIC__COUNT];
	struct guard_view breakers[GUARDS_MAX];
	size_t breaker_count;
	struct l1_stats cache;
	struct snapshot_tickets reads, writes;
	struct concurrency_view calls[CONCURRENCIES_MAX]; /* of each database that is read */
	size_t call_count;
	uint64_t hosts; /* that share Redis, last seen; 0: not known */
	struct queue_status spool;
	bool spool_known;
	int64_t spool_oldest_ms; /* 0: nothing waits */
	struct {
		enum ingest_state state;
		uint32_t pid;
		char reason[sizeof((struct ingest_shared *)0)->reason]; /* "" when it goes on */
	} consumer;
	struct {
		enum forward_state state;
		uint64_t delivered, restarts, out, out_bytes;
		int64_t confirmed_us; /* wall: what Kafka held then is applied; 0: not known */
		struct snapshot_lag lags[FORWARD_LAGS];
		size_t lag_count;
	} forwarder;
	struct snapshot_endpoint endpoints[ENDPOINT_ROWS]; /* the busiest first */
	size_t endpoint_count;
	struct snapshot_limit limits[LIMIT_ROWS];
	size_t limit_count;
	int64_t p50_us, p99_us;			  /* of all together; HISTORY_UNKNOWN */
	struct history_row row;			  /* this moment, as the history would keep it */
	struct history_row history[HISTORY_ROWS]; /* of the last ten minutes, oldest first */
	size_t history_count;
	struct snapshot_window window;
	struct capacity_state capacity; /* that is wanted: runtime/scaling.h */
};

struct snapshot *snapshot_new(void); /* NULL: no memory.  About 900 KiB */
void snapshot_free(struct snapshot **sp);

/* ${rt} has at least RUNTIME_SEGMENT and RUNTIME_QUEUE; it and its config are lent to ${out}.  Reads /proc once for each
 * member, and the spool's state in a read transaction. */
void snapshot_gather(const struct runtime *rt, struct snapshot *out);

/* What ${from} and ${to} are apart, as the window of a snapshot; for who keeps rows of its own. */
struct snapshot_window snapshot_between(
    const struct history_row *from, const struct history_row *to);

/* A second's worth of a counter in ${w}; negative: not known. */
double snapshot_rate(const struct snapshot_window *w, enum history_column c);
/* ${hits} of ${hits} and ${misses} in ${w}, 0 to 1; negative: none of both. */
double snapshot_ratio(
    const struct snapshot_window *w, enum history_column hits, enum history_column misses);

/* Sums over the workers. */
struct snapshot_sums {
	uint32_t workers, in_hand;
	struct activity_counts activity;
};
struct snapshot_sums snapshot_sum(const struct snapshot *s);

/* The word of a sample of FAMILY_SHED_BY: 'queue_full' of `reason="queue_full"`; absent for any other metric. */
struct slice snapshot_shed_reason(enum metric m);

/* What a person should look at, most urgent first: "the consumer has stopped: ...".  Texts in ${out}, of at most ${max}
 * lines; returns how many. */
enum { SNAPSHOT_ALARMS = 8, SNAPSHOT_ALARM_BYTES = 256 };
struct snapshot_alarm {
	bool grave; /* else only worth a look */
	char text[SNAPSHOT_ALARM_BYTES];
};
size_t snapshot_alarms(const struct snapshot *s, struct snapshot_alarm out[SNAPSHOT_ALARMS]);

const char *snapshot_member_name(enum member_kind k);
const char *snapshot_consumer_name(enum ingest_state s);
const char *snapshot_forwarder_name(enum forward_state s);
/* "watching" (a supervisor), a state of the consumer, or of a worker "idle" "working"; "silent" (no heartbeat for a while: stopped, or stuck). */
const char *snapshot_member_word(const struct snapshot *s, const struct snapshot_member *m);

/*
 * For people and for programs.  ${full}: also the threads of each worker, settings (without secrets), in
 * text the counters and in JSON the history.  Numbers are exact: integers to 64 bits, fractions as they were reckoned.
 */
void snapshot_text(const struct snapshot *s, bool full, struct strbuf *b);
void snapshot_json(const struct snapshot *s, bool full, struct strbuf *b);

#endif
