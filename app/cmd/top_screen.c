/*
 * The lines of `weir top`.
 */
#include "cmd/top_screen.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "runtime/config.h"
#include "runtime/snapshot.h"

enum { CELL_BYTES = 32, CURVE_COLUMNS = 32, BAR_COLUMNS = 10, LINE_BYTES = 512, LEVELS = 8 };

/*
 * Lines.
 */
void
top_screen_say(struct top_screen *out, enum top_style style, const char *text)
{
	struct top_line *l = &out->lines[out->count];

	if (out->count == TOP_LINES_MAX)
		return;
	*l = (struct top_line){ .style = style, .at = out->text.len };
	for (; *text != '\0'; text++) /* names come from files: none may move the cursor */
		strbuf_add_char(&out->text, (unsigned char)*text < ' ' ? ' ' : *text);
	l->len = out->text.len - l->at;
	out->count += !out->text.failed;
}

static void __attribute__((format(printf, 3, 4)))
say(struct top_screen *out, enum top_style style, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	top_screen_say(out, style, text);
}

void
top_screen_clear(struct top_screen *out)
{
	out->text.len = 0;
	out->text.failed = false;
	out->count = 0;
}

void
top_screen_free(struct top_screen *out)
{
	strbuf_free(&out->text);
	out->count = 0;
}

struct slice
top_screen_line(const struct top_screen *s, size_t i, size_t columns)
{
	const struct top_line *l = &s->lines[i];
	struct slice rest = { s->text.ptr + l->at, l->len };
	size_t bytes = 0;

	for (size_t n = 0; n < columns && rest.len > 0; n++) {
		const size_t one = utf8_first(rest) > 0 ? utf8_first(rest) : 1;

		bytes += one;
		rest.ptr += one;
		rest.len -= one;
	}
	return (struct slice){ s->text.ptr + l->at, bytes };
}

/*
 * Cells.
 */
static const char *
span_cell(int64_t ms, char out[CELL_BYTES])
{
	const int64_t s = ms / 1000;

	if (ms < 1000)
		(void)snprintf(out, CELL_BYTES, "%" PRId64 "ms", ms);
	else if (s < 600)
		(void)snprintf(out, CELL_BYTES, "%" PRId64 "s", s);
	else if (s < 36000)
		(void)snprintf(out, CELL_BYTES, "%" PRId64 "min", s / 60);
	else if (s < 172800)
		(void)snprintf(out, CELL_BYTES, "%" PRId64 "h", s / 3600);
	else
		(void)snprintf(out, CELL_BYTES, "%" PRId64 "d", s / 86400);
	return out;
}

static const char *
us_cell(int64_t us, char out[CELL_BYTES])
{
	if (us == HISTORY_UNKNOWN)
		(void)snprintf(out, CELL_BYTES, "-");
	else if (us < 10000)
		(void)snprintf(out, CELL_BYTES, "%.2fms", (double)us / 1000);
	else
		(void)snprintf(out, CELL_BYTES, "%.0fms", (double)us / 1000);
	return out;
}

/* Negative: not known. */
static const char *
rate_cell(double n, char out[CELL_BYTES])
{
	if (n < 0)
		(void)snprintf(out, CELL_BYTES, "-");
	else
		(void)snprintf(out, CELL_BYTES, n < 100 ? "%.1f" : "%.0f", n);
	return out;
}

static const char *
percent_cell(double ratio, char out[CELL_BYTES])
{
	if (ratio < 0)
		(void)snprintf(out, CELL_BYTES, "-");
	else
		(void)snprintf(out, CELL_BYTES, "%.1f%%", ratio * 100);
	return out;
}

static const char *
bar_cell(uint32_t used, uint32_t limit, char out[CELL_BYTES])
{
	const uint32_t full =
	    limit == 0 ? 0 : (used * BAR_COLUMNS + limit - 1) / (limit == 0 ? 1 : limit);

	for (uint32_t i = 0; i < BAR_COLUMNS; i++)
		out[i] = i < full ? '#' : '.';
	out[BAR_COLUMNS] = '\0';
	return out;
}

/* Requests in the second that ends with row ${i}; 0 when that is not known. */
static double
rate_before(const struct snapshot *s, size_t i)
{
	const struct snapshot_window w = snapshot_between(&s->history[i - 1], &s->history[i]);
	const double rate = snapshot_rate(&w, HISTORY_REQUESTS);

	return rate > 0 ? rate : 0;
}

/* Requests a second of the last half minute, the highest of them the full height. */
static void
add_curve(const struct top_screen *screen, const struct snapshot *s, struct strbuf *b)
{
	static const char *const blocks[LEVELS] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const letters[LEVELS] = { "_", ".", "-", ":", "=", "+", "*", "#" };
	const size_t n = s->history_count;
	const size_t first = n > CURVE_COLUMNS ? n - CURVE_COLUMNS : 1;
	double most = 1;

	for (size_t i = first; i < n; i++)
		if (rate_before(s, i) > most)
			most = rate_before(s, i);
	for (size_t i = first; i < n; i++) {
		const size_t level = (size_t)(rate_before(s, i) / most * (LEVELS - 1));

		strbuf_add_cstr(b, (screen->blocks ? blocks : letters)[level]);
	}
	strbuf_add_char(b, '\0');
}

/*
 * Parts, the most urgent first.
 */
static void
head(const struct snapshot *s, struct top_screen *out)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];
	const size_t n = snapshot_alarms(s, alarms);
	char up[CELL_BYTES], hosts[CELL_BYTES] = "";

	if (s->hosts > 0)
		(void)snprintf(hosts, sizeof hosts, "  %" PRIu64 " hosts", s->hosts);
	say(out, TOP_TITLE, "weir " WEIR_VERSION "  up %s%s%s  %s",
	    span_cell(s->now_ms - s->since_ms, up), s->supervised ? "" : "  no supervisor", hosts,
	    s->config->state_dir);
	for (size_t i = 0; i < n; i++)
		say(out, alarms[i].grave ? TOP_BAD : TOP_WARN, "%s %s",
		    alarms[i].grave ? "!!" : " !", alarms[i].text);
	say(out, TOP_PLAIN, " ");
}

static void
traffic(const struct snapshot *s, struct top_screen *out)
{
	const struct snapshot_window *w = &s->window;
	char rate[CELL_BYTES], p50[CELL_BYTES], p99[CELL_BYTES], limited[CELL_BYTES],
	    shed[CELL_BYTES], errors[CELL_BYTES];
	struct strbuf curve = STRBUF_INIT(LINE_BYTES);

	add_curve(out, s, &curve);
	say(out, TOP_PLAIN, "requests  %8s/s  p50 %-8s p99 %-8s %s",
	    rate_cell(snapshot_rate(w, HISTORY_REQUESTS), rate), us_cell(s->p50_us, p50),
	    us_cell(s->p99_us, p99), curve.failed ? "" : curve.ptr);
	strbuf_free(&curve);
	say(out, w->counted[HISTORY_ERRORS] > 0 ? TOP_BAD : TOP_PLAIN,
	    "refused   %8s limited/s, %s shed/s, %s errors/s",
	    rate_cell(snapshot_rate(w, HISTORY_LIMITED), limited),
	    rate_cell(snapshot_rate(w, HISTORY_SHED), shed),
	    rate_cell(snapshot_rate(w, HISTORY_ERRORS), errors));
}

static void
cache(const struct snapshot *s, struct top_screen *out)
{
	char l1[CELL_BYTES], l2[CELL_BYTES], queries[CELL_BYTES];

	say(out, TOP_PLAIN,
	    "cache     %8s hits in L1, %s in L2, %" PRIu64 " copies, %" PRIu64 "%% full, "
	    "%s statements/s",
	    percent_cell(snapshot_ratio(&s->window, HISTORY_L1_HITS, HISTORY_L1_MISSES), l1),
	    percent_cell(snapshot_ratio(&s->window, HISTORY_L2_HITS, HISTORY_L2_MISSES), l2),
	    s->cache.entries,
	    s->cache.bytes_total == 0 ? 0 : s->cache.bytes_used * 100 / s->cache.bytes_total,
	    rate_cell(snapshot_rate(&s->window, HISTORY_QUERIES), queries));
}

static void
hands(const struct snapshot *s, struct top_screen *out)
{
	const struct snapshot_sums sum = snapshot_sum(s);
	const struct activity_counts *c = &sum.activity;
	const bool full = c->threads_max > 0 && c->busy >= c->threads_max;
	char bar[CELL_BYTES];

	say(out, full ? TOP_WARN : TOP_PLAIN,
	    "lanes   %s %" PRIu32 " of %" PRIu32 " busy, %" PRIu32 " wait; %" PRIu32
	    " in hand, %" PRIu32 " parked, %" PRIu32 " connections",
	    bar_cell(c->busy, c->threads_max, bar), c->busy, c->threads_max, c->waiting,
	    sum.in_hand, c->at[ACTIVITY_QUEUE] + c->at[ACTIVITY_FLIGHT] + c->at[ACTIVITY_TURN],
	    c->connections);
}

/* What each database is given at once, in one line. */
static void
calls(const struct snapshot *s, struct top_screen *out)
{
	char text[LINE_BYTES - CELL_BYTES] = "";
	size_t used = 0;

	for (size_t i = 0; i < s->call_count && used < sizeof text; i++) {
		const struct concurrency_view *v = &s->calls[i];

		used += (size_t)snprintf(text + used, sizeof text - used,
		    "%s%s %" PRIu32 " of %" PRIu32, i == 0 ? "" : ", ", v->name, v->running,
		    v->limit);
	}
	if (s->call_count > 0)
		say(out, TOP_PLAIN, "at once %s reads", text);
}

static void
writes(const struct snapshot *s, struct top_screen *out)
{
	char in[CELL_BYTES], applied[CELL_BYTES], oldest[CELL_BYTES], lag[CELL_BYTES * 2] = "";

	if (s->row.values[HISTORY_LAG] != HISTORY_UNKNOWN)
		(void)snprintf(lag, sizeof lag, ", Kafka %s, lag %" PRId64,
		    snapshot_forwarder_name(s->forwarder.state), s->row.values[HISTORY_LAG]);
	say(out, s->consumer.state == INGEST_STOPPED ? TOP_BAD : TOP_PLAIN,
	    "writes    %8s/s in, %s/s applied, %" PRIu64 " wait (%s), consumer %s%s",
	    rate_cell(snapshot_rate(&s->window, HISTORY_WRITES), in),
	    rate_cell(snapshot_rate(&s->window, HISTORY_APPLIED), applied),
	    s->spool_known ? s->spool.waiting : 0, span_cell(s->spool_oldest_ms, oldest),
	    snapshot_consumer_name(s->consumer.state), lag);
	say(out, TOP_PLAIN, " ");
}

static void
breakers(const struct snapshot *s, struct top_screen *out)
{
	for (size_t i = 0; i < s->breaker_count; i++) {
		const struct breaker_view *v = &s->breakers[i].breaker;
		const bool closed = v->state == BREAKER_CLOSED && v->force != BREAKER_FORCED_OPEN;
		char since[CELL_BYTES] = "ever";

		if (i == 0)
			say(out, TOP_HEAD, "%-24s %-13s %8s %6s %9s %8s %6s", "BREAKER", "STATE",
			    "FOR", "ADMITS", "CALLS/10s", "FAILURES", "OPENED");
		if (v->since_ms != 0)
			(void)span_cell(s->now_ms - v->since_ms, since);
		say(out, closed ? TOP_PLAIN : TOP_BAD,
		    "%-24s %-13s %8s %5u%% %9" PRIu64 " %8" PRIu64 " %6" PRIu64,
		    s->breakers[i].name, breaker_word(v->state, v->force), since, v->admitted_pct,
		    v->calls, v->failures, v->opened);
	}
	if (s->breaker_count > 0)
		say(out, TOP_PLAIN, " ");
}

static void
members(const struct snapshot *s, struct top_screen *out)
{
	say(out, TOP_HEAD, "%-10s %8s %-8s %6s %10s %5s %-10s %s", "PROCESS", "PID", "STATE", "UP",
	    "REQUESTS", "HAND", "LANES", "OLDEST");
	for (size_t i = 0; i < s->member_count; i++) {
		const struct snapshot_member *m = &s->members[i];
		const struct activity_counts *c = &m->activity.counts;
		const struct activity_oldest *o = &m->activity.oldest;
		const char *word = snapshot_member_word(s, m);
		const bool worker = m->view.kind == MEMBER_WORKER;
		char up[CELL_BYTES], age[CELL_BYTES], bar[CELL_BYTES], oldest[LINE_BYTES] = "";

		if (worker && o->place != ACTIVITY_NOWHERE)
			(void)snprintf(oldest, sizeof oldest, "%s %s", o->endpoint,
			    span_cell(s->now_ms - o->since_ms, age));
		say(out,
		    strcmp(word, "silent") == 0 || strcmp(word, "stopped") == 0 ? TOP_BAD
										: TOP_PLAIN,
		    "%-10s %8d %-8s %6s %10" PRIu64 " %5" PRIu32 " %-10s %s",
		    snapshot_member_name(m->view.kind), (int)m->view.pid, word,
		    span_cell(s->now_ms - m->view.joined_ms, up), m->requests, m->view.in_hand,
		    worker ? bar_cell(c->busy, c->threads_max, bar) : "", oldest);
	}
	say(out, TOP_PLAIN, " ");
}

static void
endpoints(const struct snapshot *s, struct top_screen *out)
{
	say(out, TOP_HEAD, "%-28s %9s %9s %9s %9s %8s", "ENDPOINT", "REQ/S", "P50", "P99", "CACHED",
	    "ERR/S");
	for (size_t i = 0; i < s->endpoint_count && s->endpoints[i].requests > 0; i++) {
		const struct snapshot_endpoint *e = &s->endpoints[i];
		const double seconds = (double)e->ms / 1000;
		char rate[CELL_BYTES], p50[CELL_BYTES], p99[CELL_BYTES], cached[CELL_BYTES],
		    errors[CELL_BYTES];

		say(out, e->errors > 0 ? TOP_BAD : TOP_PLAIN, "%-28.28s %9s %9s %9s %9s %8s",
		    e->name, rate_cell((double)e->requests / seconds, rate),
		    us_cell(e->p50_us, p50), us_cell(e->p99_us, p99),
		    percent_cell(
			e->reads == 0 ? -1 : (double)e->from_cache / (double)e->reads, cached),
		    rate_cell((double)e->errors / seconds, errors));
	}
}

void
top_screen_fill(const struct snapshot *s, struct top_screen *out)
{
	top_screen_clear(out);
	head(s, out);
	traffic(s, out);
	hands(s, out);
	calls(s, out);
	cache(s, out);
	writes(s, out);
	breakers(s, out);
	members(s, out);
	endpoints(s, out);
}
