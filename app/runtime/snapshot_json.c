/*
 * A snapshot for programs.
 *
 * Names are what the page and people's scripts rely on: they are added to, and not changed.
 */
#include <inttypes.h>

#include "base/arena.h"
#include "base/json_write.h"
#include "base/str.h"
#include "base/version.h"
#include "runtime/breakers.h"
#include "runtime/config.h"
#include "runtime/snapshot.h"

enum { SETTINGS_BYTES = 256 * 1024, METRIC_NAME_BYTES = 512 };

/* What is negative is not known. */
static void
fraction(struct strbuf *b, const char *name, double value)
{
	if (value < 0)
		json_write_null(b, name);
	else
		json_write_f64(b, name, value);
}

/* -1 is not known. */
static void
gauge(struct strbuf *b, const char *name, int64_t value)
{
	if (value == HISTORY_UNKNOWN)
		json_write_null(b, name);
	else
		json_write_i64(b, name, value);
}

static double
per_second(uint64_t n, int64_t ms)
{
	return (double)n * 1000 / (double)ms;
}

/*
 * The parts, in the order in which they are read.
 */
static void
add_alarms(const struct snapshot *s, struct strbuf *b)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];
	const size_t n = snapshot_alarms(s, alarms);

	json_write_open(b, "alarms", '[');
	for (size_t i = 0; i < n; i++) {
		json_write_open(b, NULL, '{');
		json_write_bool(b, "grave", alarms[i].grave);
		json_write_cstr(b, "text", alarms[i].text);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_window(const struct snapshot *s, struct strbuf *b)
{
	const struct snapshot_window *w = &s->window;

	json_write_open(b, "window", '{');
	json_write_i64(b, "ms", w->ms);
	fraction(b, "requestsPerS", snapshot_rate(w, HISTORY_REQUESTS));
	fraction(b, "errorsPerS", snapshot_rate(w, HISTORY_ERRORS));
	fraction(b, "limitedPerS", snapshot_rate(w, HISTORY_LIMITED));
	fraction(b, "shedPerS", snapshot_rate(w, HISTORY_SHED));
	fraction(b, "queriesPerS", snapshot_rate(w, HISTORY_QUERIES));
	fraction(b, "writesPerS", snapshot_rate(w, HISTORY_WRITES));
	fraction(b, "appliedPerS", snapshot_rate(w, HISTORY_APPLIED));
	fraction(b, "l1HitRatio", snapshot_ratio(w, HISTORY_L1_HITS, HISTORY_L1_MISSES));
	fraction(b, "l2HitRatio", snapshot_ratio(w, HISTORY_L2_HITS, HISTORY_L2_MISSES));
	gauge(b, "p50Us", s->row.values[HISTORY_P50_US]);
	gauge(b, "p99Us", s->row.values[HISTORY_P99_US]);
	strbuf_add_char(b, '}');
}

static void
add_row(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "row", '{');
	json_write_i64(b, "atMs", s->row.at_ms);
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		gauge(b, history_infos[i].name, s->row.values[i]);
	strbuf_add_char(b, '}');
}

static void
add_lane_counts(const struct activity_counts *c, struct strbuf *b)
{
	json_write_open(b, "lanes", '{');
	json_write_u64(b, "busy", c->busy);
	json_write_u64(b, "bodies", c->bodies);
	json_write_u64(b, "threads", c->threads);
	json_write_u64(b, "max", c->threads_max);
	json_write_u64(b, "waiting", c->waiting);
	json_write_u64(b, "waitingMax", c->waiting_max);
	strbuf_add_char(b, '}');
	json_write_open(b, "parked", '{');
	json_write_u64(b, "queue", c->at[ACTIVITY_QUEUE]);
	json_write_u64(b, "flight", c->at[ACTIVITY_FLIGHT]);
	json_write_u64(b, "turn", c->at[ACTIVITY_TURN]);
	strbuf_add_char(b, '}');
}

static void
add_oldest(const struct snapshot *s, const struct activity_oldest *o, struct strbuf *b)
{
	if (o->place == ACTIVITY_NOWHERE) {
		json_write_null(b, "oldest");
		return;
	}
	json_write_open(b, "oldest", '{');
	json_write_cstr(b, "endpoint", o->endpoint);
	json_write_i64(b, "ageMs", s->now_ms - o->since_ms);
	json_write_cstr(b, "place", activity_place_name(o->place));
	strbuf_add_char(b, '}');
}

/* Those that do something. */
static void
add_threads(const struct snapshot *s, const struct activity_view *a, struct strbuf *b)
{
	json_write_open(b, "threads", '[');
	for (size_t i = 0; i < ACTIVITY_LANES; i++) {
		const struct activity_lane *l = &a->lanes[i];

		if (l->work == ACTIVITY_IDLE)
			continue;
		json_write_open(b, NULL, '{');
		json_write_i64(b, "thread", (int64_t)i);
		json_write_cstr(b, "does", l->work == ACTIVITY_BODY ? "body" : "steps");
		json_write_cstr(b, "endpoint", l->endpoint);
		json_write_i64(b, "forMs", s->now_ms - l->since_ms);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_member(const struct snapshot *s, const struct snapshot_member *m, bool full, struct strbuf *b)
{
	json_write_open(b, NULL, '{');
	json_write_cstr(b, "kind", snapshot_member_name(m->view.kind));
	json_write_i64(b, "pid", m->view.pid);
	json_write_cstr(b, "state", snapshot_member_word(s, m));
	json_write_i64(b, "upMs", s->now_ms - m->view.joined_ms);
	json_write_i64(b, "beatAgeMs", s->now_ms - m->view.beat_ms);
	json_write_u64(b, "inHand", m->view.in_hand);
	json_write_u64(b, "requests", m->requests);
	if (m->view.kind == MEMBER_WORKER) {
		json_write_cstr(b, "reactor", m->activity.waits ? "waiting" : "working");
		json_write_u64(b, "connections", m->activity.counts.connections);
		add_lane_counts(&m->activity.counts, b);
		add_oldest(s, &m->activity.oldest, b);
		if (full)
			add_threads(s, &m->activity, b);
	}
	strbuf_add_char(b, '}');
}

static void
add_members(const struct snapshot *s, bool full, struct strbuf *b)
{
	const struct snapshot_sums sum = snapshot_sum(s);

	json_write_u64(b, "inHand", sum.in_hand);
	json_write_u64(b, "connections", sum.activity.connections);
	add_lane_counts(&sum.activity, b);
	json_write_open(b, "members", '[');
	for (size_t i = 0; i < s->member_count; i++)
		add_member(s, &s->members[i], full, b);
	strbuf_add_char(b, ']');
}

static void
add_consumer(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "consumer", '{');
	json_write_cstr(b, "state", snapshot_consumer_name(s->consumer.state));
	json_write_u64(b, "pid", s->consumer.pid);
	json_write_cstr(b, "reason", s->consumer.reason);
	strbuf_add_char(b, '}');
}

static void
add_cache(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "cache", '{');
	json_write_u64(b, "entries", s->cache.entries);
	json_write_u64(b, "bytesUsed", s->cache.bytes_used);
	json_write_u64(b, "bytesTotal", s->cache.bytes_total);
	json_write_u64(b, "emptied", s->cache.emptied);
	strbuf_add_char(b, '}');
}

static void
add_spool(const struct snapshot *s, struct strbuf *b)
{
	if (!s->spool_known) {
		json_write_null(b, "spool");
		return;
	}
	json_write_open(b, "spool", '{');
	json_write_u64(b, "waiting", s->spool.waiting);
	json_write_i64(b, "oldestMs", s->spool_oldest_ms);
	json_write_u64(b, "keys", s->spool.keys);
	json_write_i64(b, "bytes", s->spool.bytes);
	json_write_i64(b, "maxBytes", s->spool.max_bytes);
	json_write_u64(b, "lastSeq", s->spool.last_seq);
	json_write_u64(b, "appliedSeq", s->spool.applied_seq);
	json_write_bool(b, "full", s->spool.full);
	strbuf_add_char(b, '}');
}

static void
add_forwarder(const struct snapshot *s, struct strbuf *b)
{
	if (s->forwarder.state == FORWARD_NONE) {
		json_write_null(b, "forwarder");
		return;
	}
	json_write_open(b, "forwarder", '{');
	json_write_cstr(b, "state", snapshot_forwarder_name(s->forwarder.state));
	json_write_u64(b, "delivered", s->forwarder.delivered);
	json_write_u64(b, "restarts", s->forwarder.restarts);
	json_write_open(b, "partitions", '[');
	for (size_t i = 0; i < s->forwarder.lag_count; i++) {
		const struct snapshot_lag *lag = &s->forwarder.lags[i];

		json_write_open(b, NULL, '{');
		json_write_cstr(b, "topic", lag->topic);
		json_write_i64(b, "partition", lag->partition);
		json_write_i64(b, "committed", lag->committed);
		json_write_i64(b, "high", lag->high);
		json_write_i64(b, "lag", lag->behind);
		strbuf_add_char(b, '}');
	}
	strbuf_add_cstr(b, "]}");
}

static void
add_tickets(const char *name, const struct snapshot_tickets *t, struct strbuf *b)
{
	if (t->limit == 0) {
		json_write_null(b, name);
		return;
	}
	json_write_open(b, name, '{');
	json_write_u64(b, "held", t->held);
	json_write_u64(b, "limit", t->limit);
	strbuf_add_char(b, '}');
}

static void
add_endpoint(const struct snapshot_endpoint *e, struct strbuf *b)
{
	json_write_open(b, NULL, '{');
	json_write_cstr(b, "name", e->name);
	json_write_cstr(b, "priority", endpoint_class_names[e->class]);
	fraction(b, "requestsPerS", per_second(e->requests, e->ms));
	fraction(b, "errorsPerS", per_second(e->errors, e->ms));
	fraction(b, "limitedPerS", per_second(e->limited, e->ms));
	fraction(b, "cacheRatio", e->reads == 0 ? -1 : (double)e->from_cache / (double)e->reads);
	gauge(b, "p50Us", e->p50_us);
	gauge(b, "p99Us", e->p99_us);
	strbuf_add_char(b, '}');
}

static void
add_endpoints(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "endpoints", '[');
	for (size_t i = 0; i < s->endpoint_count; i++)
		add_endpoint(&s->endpoints[i], b);
	strbuf_add_char(b, ']');
}

/* How many reads each database is given at once: now, as was learnt, and at most. */
static void
add_calls(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "databaseReads", '[');
	for (size_t i = 0; i < s->call_count; i++) {
		json_write_open(b, NULL, '{');
		json_write_cstr(b, "target", s->calls[i].name);
		json_write_u64(b, "running", s->calls[i].running);
		json_write_u64(b, "limit", s->calls[i].limit);
		json_write_u64(b, "max", s->calls[i].most);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_limits(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "limits", '[');
	for (size_t i = 0; i < s->limit_count; i++) {
		json_write_open(b, NULL, '{');
		json_write_cstr(b, "policy", s->limits[i].policy);
		for (size_t r = 0; r < LIMIT_RESULT__COUNT; r++)
			json_write_u64(b, limit_result_names[r], s->limits[i].counts[r]);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_sheds(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "shed", '{');
	for (size_t i = 0; i < METRIC__COUNT; i++) {
		const struct slice reason = snapshot_shed_reason((enum metric)i);

		if (reason.ptr == NULL)
			continue;
		json_write_text(b, NULL, reason);
		strbuf_addf(b, ":%" PRIu64, s->totals[i]);
	}
	strbuf_add_char(b, '}');
}

static void
add_capacity(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "capacity", '{');
	fraction(b, "ratio", s->capacity.ratio);
	json_write_cstr(b, "reason", capacity_reason_name(s->capacity.reason));
	strbuf_add_char(b, '}');
}

static void
add_counters(const struct snapshot *s, struct strbuf *b)
{
	struct strbuf name = STRBUF_INIT(METRIC_NAME_BYTES);

	json_write_open(b, "counters", '{');
	for (size_t i = 0; i < METRIC__COUNT; i++) {
		if (metric_infos[i].labels == NULL)
			continue;
		name.len = 0;
		metric_name((enum metric)i, &name);
		json_write_text(b, NULL, strbuf_slice(&name));
		strbuf_addf(b, ":%" PRIu64, s->totals[i]);
	}
	strbuf_free(&name);
	strbuf_add_char(b, '}');
}

/* Columns once, then rows of numbers: ten minutes are 600 of them. */
static void
add_history(const struct snapshot *s, struct strbuf *b)
{
	json_write_open(b, "history", '{');
	json_write_open(b, "columns", '[');
	json_write_cstr(b, NULL, "atMs");
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		json_write_cstr(b, NULL, history_infos[i].name);
	strbuf_add_char(b, ']');
	json_write_open(b, "rows", '[');
	for (size_t i = 0; i < s->history_count; i++) {
		const struct history_row *row = &s->history[i];

		json_write_open(b, NULL, '[');
		json_write_i64(b, NULL, row->at_ms);
		for (size_t c = 0; c < HISTORY__COUNT; c++)
			json_write_i64(b, NULL, row->values[c]);
		strbuf_add_char(b, ']');
	}
	strbuf_add_cstr(b, "]}");
}

static void
add_settings(const struct config *c, struct strbuf *b)
{
	struct arena a;

	arena_init(&a, SETTINGS_BYTES);
	json_write_open(b, "settings", '[');
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const struct config_info *info = &config_infos[i];

		json_write_open(b, NULL, '{');
		json_write_cstr(b, "name", info->name);
		json_write_cstr(b, "value", config_shown(info, c->texts[i].value, &a));
		json_write_cstr(b, "origin", c->texts[i].origin);
		json_write_bool(b, "isDefault", c->texts[i].is_default);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
	b->failed = b->failed || a.overflowed;
	arena_free(&a);
}

void
snapshot_json(const struct snapshot *s, bool full, struct strbuf *b)
{
	json_write_open(b, NULL, '{');
	json_write_cstr(b, "version", WEIR_VERSION);
	json_write_i64(b, "timeMs", s->now_us / 1000);
	json_write_i64(b, "upMs", s->now_ms - s->since_ms);
	json_write_bool(b, "supervised", s->supervised);
	json_write_cstr(b, "stateDir", s->config->state_dir);
	json_write_cstr(b, "segment", s->segment);
	if (s->hosts == 0)
		json_write_null(b, "hosts");
	else
		json_write_u64(b, "hosts", s->hosts);
	add_alarms(s, b);
	add_window(s, b);
	add_row(s, b);
	add_members(s, full, b);
	add_consumer(s, b);
	add_cache(s, b);
	add_spool(s, b);
	add_forwarder(s, b);
	add_tickets("readConnections", &s->reads, b);
	add_tickets("writeConnections", &s->writes, b);
	add_calls(s, b);
	json_write_key(b, "breakers");
	breakers_json(s->breakers, s->breaker_count, s->now_ms, b);
	add_endpoints(s, b);
	add_limits(s, b);
	add_sheds(s, b);
	add_capacity(s, b);
	add_counters(s, b);
	if (full) {
		add_history(s, b);
		add_settings(s->config, b);
	}
	strbuf_add_cstr(b, "}\n");
}
