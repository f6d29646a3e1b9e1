/*
 * weir status: what runs on this host, read from the segment and the spool.
 *
 * Everything is read once into a picture, then printed as text or as JSON; neither asks anything of
 * the processes that it tells about.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "client/shm.h"
#include "cmd/begin.h"
#include "cmd/breakers.h"
#include "cmd/command.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "service/forward.h"
#include "service/guard.h"
#include "service/ingest.h"
#include "service/queue.h"
#include "telemetry/scoreboard.h"

enum { OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 1 << 20 };

struct picture {
	const char *state_dir, *segment;
	int64_t now_ms, now_us;
	struct member_view members[SCOREBOARD_MEMBERS]; /* living ones */
	uint64_t requests[SCOREBOARD_MEMBERS];
	size_t member_count;
	uint64_t totals[METRIC__COUNT];
	struct guard_view breakers[GUARDS_MAX];
	size_t breaker_count;
	struct l1_stats cache;
	struct queue_status spool;
	bool spool_known;
	enum ingest_state consumer;
	uint32_t consumer_pid;
	char consumer_reason[sizeof((struct ingest_shared *)0)->reason];
	enum forward_state forwarder;
	uint64_t delivered, restarts;
	struct lag {
		char topic[FORWARD_TOPIC_BYTES];
		int partition;
		int64_t committed, high, behind; /* -1: nothing was ever committed */
	} lags[FORWARD_LAGS];
	size_t lag_count;
};

static const char *const member_names[] = {
	[MEMBER_NONE] = "none",
	[MEMBER_SUPERVISOR] = "supervisor",
	[MEMBER_WORKER] = "worker",
	[MEMBER_CONSUMER] = "consumer",
};

static const char *const consumer_names[] = {
	[INGEST_IDLE] = "idle",
	[INGEST_APPLYING] = "applying",
	[INGEST_WAITING] = "waiting",
	[INGEST_STOPPED] = "stopped",
};

static const char *const forwarder_names[] = {
	[FORWARD_NONE] = "none",
	[FORWARD_GOING] = "going",
	[FORWARD_STALLED] = "stalled",
	[FORWARD_STOPPED] = "stopped",
};

static void
look_at_members(const struct scoreboard *s, struct picture *p)
{
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++) {
		struct member_view *m = &p->members[p->member_count];

		scoreboard_view(s, i, m);
		if (m->kind != MEMBER_NONE && m->alive)
			p->requests[p->member_count++] = scoreboard_of(s, i, METRIC_REQUESTS);
	}
	for (size_t i = 0; i < METRIC__COUNT; i++)
		p->totals[i] = scoreboard_total(s, (enum metric)i);
}

static void
look_at_consumer(const struct ingest_shared *shared, struct picture *p)
{
	const uint32_t state = atomic_load(&shared->state);

	p->consumer = state <= INGEST_STOPPED ? (enum ingest_state)state : INGEST_IDLE;
	p->consumer_pid = atomic_load(&shared->pid);
	if (p->consumer != INGEST_WAITING && p->consumer != INGEST_STOPPED)
		return;
	memcpy(p->consumer_reason, shared->reason, sizeof p->consumer_reason);
	p->consumer_reason[sizeof p->consumer_reason - 1] = '\0';
	if (!utf8_valid(slice_of(p->consumer_reason), NULL)) /* torn by its writer */
		p->consumer_reason[0] = '\0';
}

static void
look_at_lag(const struct forward_lag *from, struct lag *out)
{
	memcpy(out->topic, from->topic, sizeof out->topic);
	out->topic[sizeof out->topic - 1] = '\0';
	if (!utf8_valid(slice_of(out->topic), NULL)) /* torn by its writer */
		out->topic[0] = '\0';
	out->partition = atomic_load(&from->partition);
	out->high = atomic_load(&from->high);
	out->committed = atomic_load(&from->committed);
	out->behind = out->high - (out->committed < 0 ? 0 : out->committed);
}

static void
look_at_forwarder(const struct forward_shared *shared, struct picture *p)
{
	const uint32_t state = atomic_load(&shared->state), lags = atomic_load(&shared->lag_count);

	p->forwarder = state <= FORWARD_STOPPED ? (enum forward_state)state : FORWARD_NONE;
	p->delivered = atomic_load(&shared->delivered);
	p->restarts = atomic_load(&shared->restarts);
	p->lag_count = lags < FORWARD_LAGS ? lags : FORWARD_LAGS;
	for (size_t i = 0; i < p->lag_count; i++)
		look_at_lag(&shared->lags[i], &p->lags[i]);
}

static void
look(const struct runtime *rt, struct picture *p)
{
	memset(p, 0, sizeof *p);
	p->state_dir = rt->config->state_dir;
	p->segment = shm_path(rt->regions->shm);
	p->now_ms = clock_mono_ms();
	p->now_us = clock_wall_us();
	look_at_members(rt->scoreboard, p);
	look_at_consumer(rt->ingest, p);
	look_at_forwarder(rt->forward, p);
	l1_stats_read(rt->regions->l1, &p->cache);
	p->breaker_count = guards_look(rt->guards, p->now_ms, p->breakers);
	p->spool_known = queue_status_read(rt->queue, &p->spool) == ERR_OK;
}

static int64_t
oldest_ms(const struct picture *p)
{
	const int64_t at_us = p->spool.oldest_accepted_us;

	return at_us == 0 || at_us > p->now_us ? 0 : (p->now_us - at_us) / 1000;
}

static uint32_t
in_hand(const struct picture *p)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->member_count; i++)
		n += p->members[i].in_hand;
	return n;
}

/*
 * Text.
 */
static void
text_members(const struct picture *p, struct strbuf *b)
{
	strbuf_addf(b, "%-12s %8s %10s %8s %12s %14s\n", "process", "pid", "up", "in hand",
	    "requests", "heartbeat");
	for (size_t i = 0; i < p->member_count; i++) {
		const struct member_view *m = &p->members[i];

		strbuf_addf(b,
		    "%-12s %8d %8" PRId64 " s %8" PRIu32 " %12" PRIu64 " %8" PRId64 " ms ago\n",
		    member_names[m->kind], (int)m->pid, (p->now_ms - m->joined_ms) / 1000,
		    m->in_hand, p->requests[i], p->now_ms - m->beat_ms);
	}
}

/* Nothing without Kafka. */
static void
text_forwarder(const struct picture *p, struct strbuf *b)
{
	if (p->forwarder == FORWARD_NONE)
		return;
	strbuf_addf(b, "forwarder    %s, %" PRIu64 " delivered, %" PRIu64 " restarts\n",
	    forwarder_names[p->forwarder], p->delivered, p->restarts);
	for (size_t i = 0; i < p->lag_count; i++)
		strbuf_addf(b, "  %s/%d: %" PRId64 " behind\n", p->lags[i].topic,
		    p->lags[i].partition, p->lags[i].behind);
}

static void
text(const struct picture *p, struct strbuf *b)
{
	strbuf_addf(b, "state folder %s\nsegment      %s\n", p->state_dir, p->segment);
	strbuf_addf(b, "in hand      %" PRIu32 "\n", in_hand(p));
	strbuf_addf(b, "cache        %" PRIu64 " copies, %" PRIu64 " of %" PRIu64 " bytes\n",
	    p->cache.entries, p->cache.bytes_used, p->cache.bytes_total);
	if (p->spool_known)
		strbuf_addf(b,
		    "spool        %" PRIu64 " waiting, the oldest for %" PRId64 " ms; %" PRIu64
		    " keys; %" PRId64 " of %" PRId64 " bytes%s\n",
		    p->spool.waiting, oldest_ms(p), p->spool.keys, p->spool.bytes,
		    p->spool.max_bytes, p->spool.full ? ", full" : "");
	else
		strbuf_add_cstr(b, "spool        cannot be read\n");
	text_forwarder(p, b);
	strbuf_addf(b, "consumer     %s%s%s\n\n", consumer_names[p->consumer],
	    *p->consumer_reason == '\0' ? "" : ": ", p->consumer_reason);
	text_members(p, b);
	strbuf_add_char(b, '\n');
	if (p->breaker_count > 0) {
		breakers_text(p->breakers, p->breaker_count, p->now_ms, b);
		strbuf_add_char(b, '\n');
	}
	for (size_t i = 0; i < METRIC__COUNT; i++)
		strbuf_addf(b, "%-40s %" PRIu64 "\n", metric_infos[i].name, p->totals[i]);
}

/*
 * JSON.
 */
static void
json_string(struct strbuf *b, const char *name, const char *value)
{
	strbuf_addf(b, "\"%s\":", name);
	strbuf_add_json(b, slice_of(value));
}

static void
json_members(const struct picture *p, struct strbuf *b)
{
	strbuf_add_cstr(b, "\"members\":[");
	for (size_t i = 0; i < p->member_count; i++) {
		const struct member_view *m = &p->members[i];

		strbuf_addf(b,
		    "%s{\"kind\":\"%s\",\"pid\":%d,\"upMs\":%" PRId64 ",\"inHand\":%" PRIu32
		    ",\"requests\":%" PRIu64 ",\"beatAgeMs\":%" PRId64 "}",
		    i == 0 ? "" : ",", member_names[m->kind], (int)m->pid, p->now_ms - m->joined_ms,
		    m->in_hand, p->requests[i], p->now_ms - m->beat_ms);
	}
	strbuf_add_char(b, ']');
}

static void
json_parts(const struct picture *p, struct strbuf *b)
{
	strbuf_addf(b, "\"consumer\":{\"state\":\"%s\",\"pid\":%" PRIu32 ",",
	    consumer_names[p->consumer], p->consumer_pid);
	json_string(b, "reason", p->consumer_reason);
	strbuf_addf(b,
	    "},\"cache\":{\"entries\":%" PRIu64 ",\"bytesUsed\":%" PRIu64 ",\"bytesTotal\":%" PRIu64
	    ",\"emptied\":%" PRIu64 "},\"spool\":",
	    p->cache.entries, p->cache.bytes_used, p->cache.bytes_total, p->cache.emptied);
	if (p->spool_known)
		strbuf_addf(b,
		    "{\"waiting\":%" PRIu64 ",\"oldestMs\":%" PRId64 ",\"keys\":%" PRIu64
		    ",\"bytes\":%" PRId64 ",\"maxBytes\":%" PRId64 ",\"lastSeq\":%" PRIu64
		    ",\"appliedSeq\":%" PRIu64 ",\"full\":%s}",
		    p->spool.waiting, oldest_ms(p), p->spool.keys, p->spool.bytes,
		    p->spool.max_bytes, p->spool.last_seq, p->spool.applied_seq,
		    p->spool.full ? "true" : "false");
	else
		strbuf_add_cstr(b, "null");
}

static void
json_forwarder(const struct picture *p, struct strbuf *b)
{
	if (p->forwarder == FORWARD_NONE) {
		strbuf_add_cstr(b, ",\"forwarder\":null");
		return;
	}
	strbuf_addf(b,
	    ",\"forwarder\":{\"state\":\"%s\",\"delivered\":%" PRIu64 ",\"restarts\":%" PRIu64
	    ",\"partitions\":[",
	    forwarder_names[p->forwarder], p->delivered, p->restarts);
	for (size_t i = 0; i < p->lag_count; i++) {
		const struct lag *lag = &p->lags[i];

		strbuf_add_cstr(b, i == 0 ? "{" : ",{");
		json_string(b, "topic", lag->topic);
		strbuf_addf(b,
		    ",\"partition\":%d,\"committed\":%" PRId64 ",\"high\":%" PRId64
		    ",\"lag\":%" PRId64 "}",
		    lag->partition, lag->committed, lag->high, lag->behind);
	}
	strbuf_add_cstr(b, "]}");
}

static void
json(const struct picture *p, struct strbuf *b)
{
	strbuf_add_char(b, '{');
	json_string(b, "stateDir", p->state_dir);
	strbuf_add_char(b, ',');
	json_string(b, "segment", p->segment);
	strbuf_addf(b, ",\"inHand\":%" PRIu32 ",", in_hand(p));
	json_members(p, b);
	strbuf_add_char(b, ',');
	json_parts(p, b);
	json_forwarder(p, b);
	strbuf_add_cstr(b, ",\"breakers\":");
	breakers_json(p->breakers, p->breaker_count, p->now_ms, b);
	strbuf_add_cstr(b, ",\"counters\":{");
	for (size_t i = 0; i < METRIC__COUNT; i++)
		strbuf_addf(
		    b, "%s\"%s\":%" PRIu64, i == 0 ? "" : ",", metric_infos[i].name, p->totals[i]);
	strbuf_add_cstr(b, "}}\n");
}

static enum exit_code
print(const struct picture *p, bool as_json)
{
	struct strbuf b = STRBUF_INIT(OUTPUT_BYTES_MAX);
	enum exit_code rc;

	(as_json ? json : text)(p, &b);
	rc = command_print(&b);
	strbuf_free(&b);
	return rc;
}

static enum exit_code
status(const struct command_line *line, const struct config *c)
{
	struct fault_list faults;
	struct picture p = { 0 };
	struct runtime rt;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_open(c, NULL, RUNTIME_SEGMENT | RUNTIME_QUEUE | RUNTIME_JOIN, 0, &faults, &rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	if (rc == ERR_OK)
		look(&rt, &p);
	if (p.member_count == 0)
		code = begin_nothing_runs(c);
	else
		code = print(&p, line->given[OPTION_JSON].count > 0);
	if (rc == ERR_OK)
		runtime_close(&rt);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	if (rc == EXIT_CODE_DONE)
		rc = status(line, c);
	config_free(&c);
	return rc;
}

const struct command command_status = {
	.name = "status",
	.operands = "",
	.summary = "Prints the state of everything that runs on this state folder",
	.help = "",
	.options = { [OPTION_JSON] = { "--json", NULL, "as JSON", false } },
	.run = run,
};
