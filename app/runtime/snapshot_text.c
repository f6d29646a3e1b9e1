/*
 * A snapshot for people: what is urgent first, then how much, then who does what.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/str.h"
#include "base/version.h"
#include "runtime/breakers.h"
#include "runtime/config.h"
#include "runtime/snapshot.h"

enum { AMOUNT_BYTES = 32, SETTINGS_BYTES = 256 * 1024, LABEL_COLUMNS = 13 };

/*
 * Amounts.
 */
static const char *
span_text(int64_t ms, char out[AMOUNT_BYTES])
{
	const int64_t s = ms / 1000;

	if (ms < 1000)
		(void)snprintf(out, AMOUNT_BYTES, "%" PRId64 " ms", ms);
	else if (ms < 10000)
		(void)snprintf(out, AMOUNT_BYTES, "%.1f s", (double)ms / 1000);
	else if (s < 120)
		(void)snprintf(out, AMOUNT_BYTES, "%" PRId64 " s", s);
	else if (s < 7200)
		(void)snprintf(out, AMOUNT_BYTES, "%" PRId64 " min", s / 60);
	else if (s < 172800)
		(void)snprintf(
		    out, AMOUNT_BYTES, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
	else
		(void)snprintf(
		    out, AMOUNT_BYTES, "%" PRId64 " d %" PRId64 " h", s / 86400, s / 3600 % 24);
	return out;
}

static const char *
bytes_text(uint64_t bytes, char out[AMOUNT_BYTES])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes;
	size_t unit = 0;

	while (n >= 1024 && unit + 1 < sizeof units / sizeof *units) {
		n /= 1024;
		unit++;
	}
	(void)snprintf(
	    out, AMOUNT_BYTES, unit == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[unit]);
	return out;
}

static void
label(struct strbuf *b, const char *name)
{
	strbuf_addf(b, "%-*s", LABEL_COLUMNS, name);
}

/*
 * The head.
 */
static void
add_head(const struct snapshot *s, struct strbuf *b)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];
	const size_t n = snapshot_alarms(s, alarms);
	char up[AMOUNT_BYTES];

	strbuf_addf(b, "weir " WEIR_VERSION ", up %s%s\n", span_text(s->now_ms - s->since_ms, up),
	    s->supervised ? "" : ", without a supervisor");
	label(b, "state folder");
	strbuf_addf(b, "%s\n", s->config->state_dir);
	label(b, "segment");
	strbuf_addf(b, "%s\n", s->segment);
	if (s->hosts > 0) {
		label(b, "hosts");
		strbuf_addf(b, "%" PRIu64 " share Redis\n", s->hosts);
	}
	for (size_t i = 0; i < n; i++)
		strbuf_addf(b, "%s%s  %s\n", i == 0 ? "\n" : "", alarms[i].grave ? "!!" : " !",
		    alarms[i].text);
	strbuf_add_char(b, '\n');
}

/*
 * How much.
 */
static void
add_rates(const struct snapshot *s, struct strbuf *b)
{
	const struct snapshot_window *w = &s->window;
	const int64_t p50 = s->row.values[HISTORY_P50_US], p99 = s->row.values[HISTORY_P99_US];

	if (w->ms <= 0)
		return;
	label(b, "traffic");
	strbuf_addf(b, "%.1f requests/s over the last %.0f s", snapshot_rate(w, HISTORY_REQUESTS),
	    (double)w->ms / 1000);
	if (p50 != HISTORY_UNKNOWN && p99 != HISTORY_UNKNOWN)
		strbuf_addf(
		    b, ", p50 %.2f ms, p99 %.2f ms", (double)p50 / 1000, (double)p99 / 1000);
	strbuf_add_char(b, '\n');
	label(b, "refused");
	strbuf_addf(b, "%.1f limited/s, %.1f shed/s, %.1f errors/s\n",
	    snapshot_rate(w, HISTORY_LIMITED), snapshot_rate(w, HISTORY_SHED),
	    snapshot_rate(w, HISTORY_ERRORS));
}

static void
add_ratio(const char *level, double ratio, struct strbuf *b)
{
	if (ratio >= 0)
		strbuf_addf(b, "%s %.1f %% hits, ", level, ratio * 100);
}

static void
add_cache(const struct snapshot *s, struct strbuf *b)
{
	char used[AMOUNT_BYTES], total[AMOUNT_BYTES];

	label(b, "cache");
	add_ratio("L1", snapshot_ratio(&s->window, HISTORY_L1_HITS, HISTORY_L1_MISSES), b);
	add_ratio("L2", snapshot_ratio(&s->window, HISTORY_L2_HITS, HISTORY_L2_MISSES), b);
	strbuf_addf(b, "%" PRIu64 " copies, %s of %s\n", s->cache.entries,
	    bytes_text(s->cache.bytes_used, used), bytes_text(s->cache.bytes_total, total));
}

static void
add_hands(const struct snapshot *s, struct strbuf *b)
{
	const struct snapshot_sums sum = snapshot_sum(s);
	const struct activity_counts *c = &sum.activity;

	label(b, "in hand");
	strbuf_addf(b, "%" PRIu32 " of %" PRIu32 " connections\n", sum.in_hand, c->connections);
	label(b, "lanes");
	strbuf_addf(b, "%" PRIu32 " of %" PRIu32 " busy, %" PRIu32 " wait\n", c->busy,
	    c->threads_max, c->waiting);
	label(b, "parked");
	strbuf_addf(b, "%" PRIu32 " for the queue, %" PRIu32 " for another's query\n",
	    c->at[ACTIVITY_QUEUE], c->at[ACTIVITY_FLIGHT] + c->at[ACTIVITY_TURN]);
}

/* By reason, those that happened. */
static void
add_sheds(const struct snapshot *s, struct strbuf *b)
{
	bool any = false;

	for (size_t i = 0; i < METRIC__COUNT; i++) {
		const struct slice reason = snapshot_shed_reason((enum metric)i);

		if (reason.ptr == NULL || s->totals[i] == 0)
			continue;
		if (!any)
			label(b, "shed");
		strbuf_addf(b, "%s%" PRIu64 " %.*s", any ? ", " : "", s->totals[i], (int)reason.len,
		    reason.ptr);
		any = true;
	}
	strbuf_add_cstr(b, any ? "\n" : "");
}

static void
add_limits(const struct snapshot *s, struct strbuf *b)
{
	for (size_t i = 0; i < s->limit_count; i++) {
		const struct snapshot_limit *l = &s->limits[i];

		label(b, i == 0 ? "limits" : "");
		strbuf_addf(b,
		    "%s: %" PRIu64 " allowed, %" PRIu64 " refused, %" PRIu64 " observed\n",
		    l->policy, l->counts[LIMIT_ALLOWED], l->counts[LIMIT_REFUSED],
		    l->counts[LIMIT_OBSERVED]);
	}
}

static void
add_tickets(const char *name, const struct snapshot_tickets *t, struct strbuf *b)
{
	if (t->limit == 0)
		return;
	label(b, name);
	strbuf_addf(b, "%zu of %zu connections\n", t->held, t->limit);
}

/* What each database is given at once. */
static void
add_calls(const struct snapshot *s, struct strbuf *b)
{
	for (size_t i = 0; i < s->call_count; i++) {
		const struct concurrency_view *v = &s->calls[i];

		label(b, i == 0 ? "at once" : "");
		strbuf_addf(b, "%s: %" PRIu32 " of %" PRIu32 " reads, at most %" PRIu32 "\n",
		    v->name, v->running, v->limit, v->most);
	}
}

static void
add_spool(const struct snapshot *s, struct strbuf *b)
{
	char oldest[AMOUNT_BYTES], used[AMOUNT_BYTES], max[AMOUNT_BYTES];

	label(b, "spool");
	if (!s->spool_known) {
		strbuf_add_cstr(b, "cannot be read\n");
		return;
	}
	strbuf_addf(b, "%" PRIu64 " waiting", s->spool.waiting);
	if (s->spool.waiting > 0)
		strbuf_addf(b, ", the oldest for %s", span_text(s->spool_oldest_ms, oldest));
	strbuf_addf(b, "; %" PRIu64 " keys; %s of %s%s\n", s->spool.keys,
	    bytes_text((uint64_t)s->spool.bytes, used),
	    bytes_text((uint64_t)s->spool.max_bytes, max), s->spool.full ? ", full" : "");
}

/* Nothing without Kafka. */
static void
add_forwarder(const struct snapshot *s, struct strbuf *b)
{
	if (s->forwarder.state == FORWARD_NONE)
		return;
	label(b, "forwarder");
	strbuf_addf(b, "%s, %" PRIu64 " delivered, %" PRIu64 " restarts\n",
	    snapshot_forwarder_name(s->forwarder.state), s->forwarder.delivered,
	    s->forwarder.restarts);
	for (size_t i = 0; i < s->forwarder.lag_count; i++)
		strbuf_addf(b, "  %s/%d: %" PRId64 " behind\n", s->forwarder.lags[i].topic,
		    s->forwarder.lags[i].partition, s->forwarder.lags[i].behind);
}

static void
add_consumer(const struct snapshot *s, struct strbuf *b)
{
	label(b, "consumer");
	strbuf_addf(b, "%s%s%s\n\n", snapshot_consumer_name(s->consumer.state),
	    *s->consumer.reason == '\0' ? "" : ": ", s->consumer.reason);
}

/*
 * Who does what.
 */
static void
add_member(const struct snapshot *s, const struct snapshot_member *m, struct strbuf *b)
{
	const struct activity_counts *c = &m->activity.counts;
	const struct activity_oldest *o = &m->activity.oldest;
	char up[AMOUNT_BYTES], beat[AMOUNT_BYTES], age[AMOUNT_BYTES];

	strbuf_addf(b, "%-10s %8d %-8s %12s %12s %8" PRIu32 " %12" PRIu64,
	    snapshot_member_name(m->view.kind), (int)m->view.pid, snapshot_member_word(s, m),
	    span_text(s->now_ms - m->view.joined_ms, up),
	    span_text(s->now_ms - m->view.beat_ms, beat), m->view.in_hand, m->requests);
	if (m->view.kind == MEMBER_WORKER)
		strbuf_addf(b, " %4" PRIu32 "/%-3" PRIu32, c->busy, c->threads_max);
	if (m->view.kind == MEMBER_WORKER && o->place != ACTIVITY_NOWHERE)
		strbuf_addf(b, "  %s for %s, %s", *o->endpoint == '\0' ? "a request" : o->endpoint,
		    span_text(s->now_ms - o->since_ms, age), activity_place_name(o->place));
	strbuf_add_char(b, '\n');
}

static void
add_threads(const struct snapshot *s, const struct snapshot_member *m, struct strbuf *b)
{
	char age[AMOUNT_BYTES];

	for (size_t i = 0; i < ACTIVITY_LANES && m->view.kind == MEMBER_WORKER; i++) {
		const struct activity_lane *l = &m->activity.lanes[i];

		if (l->work != ACTIVITY_IDLE)
			strbuf_addf(b, "  lane %-3zu  %s%s for %s\n", i, l->endpoint,
			    l->work == ACTIVITY_BODY ? ", its body," : "",
			    span_text(s->now_ms - l->since_ms, age));
	}
}

static void
add_members(const struct snapshot *s, bool full, struct strbuf *b)
{
	strbuf_addf(b, "%-10s %8s %-8s %12s %12s %8s %12s %6s    %s\n", "process", "pid", "state",
	    "up", "heartbeat", "in hand", "requests", "lanes", "oldest request");
	for (size_t i = 0; i < s->member_count; i++) {
		add_member(s, &s->members[i], b);
		if (full)
			add_threads(s, &s->members[i], b);
	}
	strbuf_add_char(b, '\n');
}

/* Those that were asked for in the window. */
static void
add_endpoints(const struct snapshot *s, struct strbuf *b)
{
	if (s->endpoint_count == 0 || s->endpoints[0].requests == 0)
		return;
	strbuf_addf(b, "%-32s %10s %10s %10s %8s %8s\n", "endpoint", "requests/s", "p50", "p99",
	    "cached", "errors");
	for (size_t i = 0; i < s->endpoint_count && s->endpoints[i].requests > 0; i++) {
		const struct snapshot_endpoint *e = &s->endpoints[i];
		char cached[AMOUNT_BYTES] = "-";

		if (e->reads > 0)
			(void)snprintf(cached, sizeof cached, "%.1f %%",
			    100 * (double)e->from_cache / (double)e->reads);
		strbuf_addf(b, "%-32s %10.1f %7.2f ms %7.2f ms %8s %8" PRIu64 "\n", e->name,
		    (double)e->requests * 1000 / (double)e->ms, (double)e->p50_us / 1000,
		    (double)e->p99_us / 1000, cached, e->errors);
	}
	strbuf_add_char(b, '\n');
}

static void
add_settings(const struct config *c, struct strbuf *b)
{
	struct arena a;

	arena_init(&a, SETTINGS_BYTES);
	strbuf_add_char(b, '\n');
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const char *shown = config_shown(&config_infos[i], c->texts[i].value, &a);

		strbuf_addf(b, "%s = %s  (%s)\n", config_infos[i].name,
		    *shown == '\0' ? "(not set)" : shown, c->texts[i].origin);
	}
	b->failed = b->failed || a.overflowed;
	arena_free(&a);
}

void
snapshot_text(const struct snapshot *s, bool full, struct strbuf *b)
{
	add_head(s, b);
	add_rates(s, b);
	add_sheds(s, b);
	add_limits(s, b);
	add_hands(s, b);
	add_cache(s, b);
	add_tickets("reads", &s->reads, b);
	add_tickets("writes", &s->writes, b);
	add_calls(s, b);
	add_spool(s, b);
	add_forwarder(s, b);
	add_consumer(s, b);
	add_endpoints(s, b);
	add_members(s, full, b);
	if (s->breaker_count > 0) {
		breakers_text(s->breakers, s->breaker_count, s->now_ms, b);
		strbuf_add_char(b, '\n');
	}
	if (!full)
		return;
	for (size_t i = 0; i < METRIC__COUNT; i++) {
		if (metric_infos[i].labels == NULL)
			continue;
		metric_name((enum metric)i, b);
		strbuf_addf(b, " %" PRIu64 "\n", s->totals[i]);
	}
	add_settings(s->config, b);
}
