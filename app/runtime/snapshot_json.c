/*
 * A snapshot for programs.
 *
 * Names are what the page and people's scripts rely on: they are added to, and not changed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/str.h"
#include "base/version.h"
#include "runtime/breakers.h"
#include "runtime/config.h"
#include "runtime/snapshot.h"

enum { NUMBER_BYTES = 40, DIGITS_MAX = 17, SETTINGS_BYTES = 256 * 1024, METRIC_NAME_BYTES = 512 };

/*
 * The grammar.  A comma is due where something stands before that is not an opening.
 */
static void
comma(struct strbuf *b)
{
	const char last = b->len == 0 ? '{' : b->ptr[b->len - 1];

	if (last != '{' && last != '[' && last != ':')
		strbuf_add_char(b, ',');
}

static void
key(struct strbuf *b, const char *name)
{
	comma(b);
	strbuf_addf(b, "\"%s\":", name);
}

static void
open_as(struct strbuf *b, const char *name, char bracket)
{
	key(b, name);
	strbuf_add_char(b, bracket);
}

static void
open_item(struct strbuf *b, char bracket)
{
	comma(b);
	strbuf_add_char(b, bracket);
}

static void
text(struct strbuf *b, const char *name, const char *value)
{
	key(b, name);
	strbuf_add_json(b, slice_of(value));
}

static void
whole(struct strbuf *b, const char *name, int64_t value)
{
	key(b, name);
	strbuf_add_i64(b, value);
}

static void
count(struct strbuf *b, const char *name, uint64_t value)
{
	key(b, name);
	strbuf_addf(b, "%" PRIu64, value);
}

static void
truth(struct strbuf *b, const char *name, bool value)
{
	key(b, name);
	strbuf_add_cstr(b, value ? "true" : "false");
}

static void
nothing(struct strbuf *b, const char *name)
{
	key(b, name);
	strbuf_add_cstr(b, "null");
}

/* The fewest digits that are read back as ${value}; what is negative is not known. */
static void
fraction(struct strbuf *b, const char *name, double value)
{
	char number[NUMBER_BYTES] = "null";

	for (int digits = 1; value >= 0 && digits <= DIGITS_MAX; digits++) {
		(void)snprintf(number, sizeof number, "%.*g", digits, value);
		if (!(strtod(number, NULL) < value) && !(strtod(number, NULL) > value))
			break;
	}
	key(b, name);
	strbuf_add_cstr(b, number);
}

/* -1 is not known. */
static void
gauge(struct strbuf *b, const char *name, int64_t value)
{
	if (value == HISTORY_UNKNOWN)
		nothing(b, name);
	else
		whole(b, name, value);
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

	open_as(b, "alarms", '[');
	for (size_t i = 0; i < n; i++) {
		open_item(b, '{');
		truth(b, "grave", alarms[i].grave);
		text(b, "text", alarms[i].text);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_window(const struct snapshot *s, struct strbuf *b)
{
	const struct snapshot_window *w = &s->window;

	open_as(b, "window", '{');
	whole(b, "ms", w->ms);
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
	open_as(b, "row", '{');
	whole(b, "atMs", s->row.at_ms);
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		gauge(b, history_infos[i].name, s->row.values[i]);
	strbuf_add_char(b, '}');
}

static void
add_lane_counts(const struct activity_counts *c, struct strbuf *b)
{
	open_as(b, "lanes", '{');
	count(b, "busy", c->busy);
	count(b, "bodies", c->bodies);
	count(b, "threads", c->threads);
	count(b, "max", c->threads_max);
	count(b, "waiting", c->waiting);
	count(b, "waitingMax", c->waiting_max);
	strbuf_add_char(b, '}');
	open_as(b, "parked", '{');
	count(b, "queue", c->at[ACTIVITY_QUEUE]);
	count(b, "flight", c->at[ACTIVITY_FLIGHT]);
	count(b, "turn", c->at[ACTIVITY_TURN]);
	strbuf_add_char(b, '}');
}

static void
add_oldest(const struct snapshot *s, const struct activity_oldest *o, struct strbuf *b)
{
	if (o->place == ACTIVITY_NOWHERE) {
		nothing(b, "oldest");
		return;
	}
	open_as(b, "oldest", '{');
	text(b, "endpoint", o->endpoint);
	whole(b, "ageMs", s->now_ms - o->since_ms);
	text(b, "place", activity_place_name(o->place));
	strbuf_add_char(b, '}');
}

/* Those that do something. */
static void
add_threads(const struct snapshot *s, const struct activity_view *a, struct strbuf *b)
{
	open_as(b, "threads", '[');
	for (size_t i = 0; i < ACTIVITY_LANES; i++) {
		const struct activity_lane *l = &a->lanes[i];

		if (l->work == ACTIVITY_IDLE)
			continue;
		open_item(b, '{');
		whole(b, "thread", (int64_t)i);
		text(b, "does", l->work == ACTIVITY_BODY ? "body" : "steps");
		text(b, "endpoint", l->endpoint);
		whole(b, "forMs", s->now_ms - l->since_ms);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_member(const struct snapshot *s, const struct snapshot_member *m, bool full, struct strbuf *b)
{
	open_item(b, '{');
	text(b, "kind", snapshot_member_name(m->view.kind));
	whole(b, "pid", m->view.pid);
	text(b, "state", snapshot_member_word(s, m));
	whole(b, "upMs", s->now_ms - m->view.joined_ms);
	whole(b, "beatAgeMs", s->now_ms - m->view.beat_ms);
	count(b, "inHand", m->view.in_hand);
	count(b, "requests", m->requests);
	if (m->view.kind == MEMBER_WORKER) {
		text(b, "reactor", m->activity.waits ? "waiting" : "working");
		count(b, "connections", m->activity.counts.connections);
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

	count(b, "inHand", sum.in_hand);
	count(b, "connections", sum.activity.connections);
	add_lane_counts(&sum.activity, b);
	open_as(b, "members", '[');
	for (size_t i = 0; i < s->member_count; i++)
		add_member(s, &s->members[i], full, b);
	strbuf_add_char(b, ']');
}

static void
add_consumer(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "consumer", '{');
	text(b, "state", snapshot_consumer_name(s->consumer.state));
	count(b, "pid", s->consumer.pid);
	text(b, "reason", s->consumer.reason);
	strbuf_add_char(b, '}');
}

static void
add_cache(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "cache", '{');
	count(b, "entries", s->cache.entries);
	count(b, "bytesUsed", s->cache.bytes_used);
	count(b, "bytesTotal", s->cache.bytes_total);
	count(b, "emptied", s->cache.emptied);
	strbuf_add_char(b, '}');
}

static void
add_spool(const struct snapshot *s, struct strbuf *b)
{
	if (!s->spool_known) {
		nothing(b, "spool");
		return;
	}
	open_as(b, "spool", '{');
	count(b, "waiting", s->spool.waiting);
	whole(b, "oldestMs", s->spool_oldest_ms);
	count(b, "keys", s->spool.keys);
	whole(b, "bytes", s->spool.bytes);
	whole(b, "maxBytes", s->spool.max_bytes);
	count(b, "lastSeq", s->spool.last_seq);
	count(b, "appliedSeq", s->spool.applied_seq);
	truth(b, "full", s->spool.full);
	strbuf_add_char(b, '}');
}

static void
add_forwarder(const struct snapshot *s, struct strbuf *b)
{
	if (s->forwarder.state == FORWARD_NONE) {
		nothing(b, "forwarder");
		return;
	}
	open_as(b, "forwarder", '{');
	text(b, "state", snapshot_forwarder_name(s->forwarder.state));
	count(b, "delivered", s->forwarder.delivered);
	count(b, "restarts", s->forwarder.restarts);
	open_as(b, "partitions", '[');
	for (size_t i = 0; i < s->forwarder.lag_count; i++) {
		const struct snapshot_lag *lag = &s->forwarder.lags[i];

		open_item(b, '{');
		text(b, "topic", lag->topic);
		whole(b, "partition", lag->partition);
		whole(b, "committed", lag->committed);
		whole(b, "high", lag->high);
		whole(b, "lag", lag->behind);
		strbuf_add_char(b, '}');
	}
	strbuf_add_cstr(b, "]}");
}

static void
add_tickets(const char *name, const struct snapshot_tickets *t, struct strbuf *b)
{
	if (t->limit == 0) {
		nothing(b, name);
		return;
	}
	open_as(b, name, '{');
	count(b, "held", t->held);
	count(b, "limit", t->limit);
	strbuf_add_char(b, '}');
}

static void
add_endpoint(const struct snapshot_endpoint *e, struct strbuf *b)
{
	open_item(b, '{');
	text(b, "name", e->name);
	text(b, "priority", endpoint_class_names[e->class]);
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
	open_as(b, "endpoints", '[');
	for (size_t i = 0; i < s->endpoint_count; i++)
		add_endpoint(&s->endpoints[i], b);
	strbuf_add_char(b, ']');
}

/* How many reads each database is given at once: now, as was learnt, and at most. */
static void
add_calls(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "databaseReads", '[');
	for (size_t i = 0; i < s->call_count; i++) {
		open_item(b, '{');
		text(b, "target", s->calls[i].name);
		count(b, "running", s->calls[i].running);
		count(b, "limit", s->calls[i].limit);
		count(b, "max", s->calls[i].most);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_limits(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "limits", '[');
	for (size_t i = 0; i < s->limit_count; i++) {
		open_item(b, '{');
		text(b, "policy", s->limits[i].policy);
		for (size_t r = 0; r < LIMIT_RESULT__COUNT; r++)
			count(b, limit_result_names[r], s->limits[i].counts[r]);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}

static void
add_sheds(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "shed", '{');
	for (size_t i = 0; i < METRIC__COUNT; i++) {
		const struct slice reason = snapshot_shed_reason((enum metric)i);

		if (reason.ptr == NULL)
			continue;
		comma(b);
		strbuf_add_json(b, reason);
		strbuf_addf(b, ":%" PRIu64, s->totals[i]);
	}
	strbuf_add_char(b, '}');
}

static void
add_capacity(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "capacity", '{');
	fraction(b, "ratio", s->capacity.ratio);
	text(b, "reason", capacity_reason_name(s->capacity.reason));
	strbuf_add_char(b, '}');
}

static void
add_counters(const struct snapshot *s, struct strbuf *b)
{
	struct strbuf name = STRBUF_INIT(METRIC_NAME_BYTES);

	open_as(b, "counters", '{');
	for (size_t i = 0; i < METRIC__COUNT; i++) {
		if (metric_infos[i].labels == NULL)
			continue;
		name.len = 0;
		metric_name((enum metric)i, &name);
		comma(b);
		strbuf_add_json(b, strbuf_slice(&name));
		strbuf_addf(b, ":%" PRIu64, s->totals[i]);
	}
	strbuf_free(&name);
	strbuf_add_char(b, '}');
}

/* Columns once, then rows of numbers: ten minutes are 600 of them. */
static void
add_history(const struct snapshot *s, struct strbuf *b)
{
	open_as(b, "history", '{');
	open_as(b, "columns", '[');
	strbuf_add_cstr(b, "\"atMs\"");
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		strbuf_addf(b, ",\"%s\"", history_infos[i].name);
	strbuf_add_char(b, ']');
	open_as(b, "rows", '[');
	for (size_t i = 0; i < s->history_count; i++) {
		const struct history_row *row = &s->history[i];

		open_item(b, '[');
		strbuf_add_i64(b, row->at_ms);
		for (size_t c = 0; c < HISTORY__COUNT; c++) {
			strbuf_add_char(b, ',');
			strbuf_add_i64(b, row->values[c]);
		}
		strbuf_add_char(b, ']');
	}
	strbuf_add_cstr(b, "]}");
}

static void
add_settings(const struct config *c, struct strbuf *b)
{
	struct arena a;

	arena_init(&a, SETTINGS_BYTES);
	open_as(b, "settings", '[');
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const struct config_info *info = &config_infos[i];

		open_item(b, '{');
		text(b, "name", info->name);
		text(b, "value", config_shown(info, c->texts[i].value, &a));
		text(b, "origin", c->texts[i].origin);
		truth(b, "isDefault", c->texts[i].is_default);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
	b->failed = b->failed || a.overflowed;
	arena_free(&a);
}

void
snapshot_json(const struct snapshot *s, bool full, struct strbuf *b)
{
	strbuf_add_char(b, '{');
	text(b, "version", WEIR_VERSION);
	whole(b, "timeMs", s->now_us / 1000);
	whole(b, "upMs", s->now_ms - s->since_ms);
	truth(b, "supervised", s->supervised);
	text(b, "stateDir", s->config->state_dir);
	text(b, "segment", s->segment);
	if (s->hosts == 0)
		nothing(b, "hosts");
	else
		count(b, "hosts", s->hosts);
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
	key(b, "breakers");
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
