/*
 * Metrics of the servers that weir calls, and of the way of a write: spool, forwarder, consumer.
 */
#include "policy/retry_budget.h"
#include "runtime/exposition_room.h"
#include "runtime/scaling.h"
#include "service/retries.h"
#include "telemetry/call_stats.h"
#include "telemetry/endpoint_stats.h"

static const double ms_per_s = 1000;

/*
 * Other servers.
 */
static void
tickets_of(struct exposition *e, const char *pool, const struct snapshot_tickets *t, size_t value)
{
	if (t->limit == 0)
		return;
	label(e, "pool", pool);
	count(e, value);
}

void
expose_tickets(struct exposition *e)
{
	tickets_of(e, "read", &e->s->reads, e->s->reads.held);
	tickets_of(e, "write", &e->s->writes, e->s->writes.held);
}

void
expose_tickets_max(struct exposition *e)
{
	tickets_of(e, "read", &e->s->reads, e->s->reads.limit);
	tickets_of(e, "write", &e->s->writes, e->s->writes.limit);
}

static void
results_of(struct exposition *e, const char *kind, const struct call_view *c)
{
	for (size_t i = 0; i < CALL_RESULT__COUNT; i++) {
		label(e, kind, c->name);
		label(e, "result", call_result_names[i]);
		count(e, c->results[i]);
	}
}

static void
took(struct exposition *e, const char *kind, const struct call_view *c)
{
	if (c->took.count == 0)
		return;
	label(e, kind, c->name);
	prometheus_histogram(&e->p, &c->took, endpoint_edge_us, ENDPOINT_EDGES, NULL, NULL);
}

void
expose_calls(struct exposition *e)
{
	struct call_view c;

	for (size_t row = 0; row < GUARDS_MAX; row++)
		if (guards_calls(e->rt->guards, row, &c))
			results_of(e, "target", &c);
}

void
expose_call_seconds(struct exposition *e)
{
	struct call_view c;

	for (size_t row = 0; row < GUARDS_MAX; row++)
		if (guards_calls(e->rt->guards, row, &c))
			took(e, "target", &c);
}

void
expose_redis_calls(struct exposition *e)
{
	struct call_view c;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		if (call_table_view(e->rt->regions->redis_calls, row, &c))
			results_of(e, "operation", &c);
}

void
expose_redis_seconds(struct exposition *e)
{
	struct call_view c;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		if (call_table_view(e->rt->regions->redis_calls, row, &c))
			took(e, "operation", &c);
}

static void
each_concurrency(struct exposition *e, uint32_t (*value)(const struct concurrency_view *v))
{
	for (size_t i = 0; i < e->s->call_count; i++) {
		label(e, "target", e->s->calls[i].name);
		count(e, value(&e->s->calls[i]));
	}
}

static uint32_t
running_of(const struct concurrency_view *v)
{
	return v->running;
}

static uint32_t
limit_of(const struct concurrency_view *v)
{
	return v->limit;
}

static uint32_t
most_of(const struct concurrency_view *v)
{
	return v->most;
}

void
expose_calls_running(struct exposition *e)
{
	each_concurrency(e, running_of);
}

void
expose_calls_limit(struct exposition *e)
{
	each_concurrency(e, limit_of);
}

void
expose_calls_most(struct exposition *e)
{
	each_concurrency(e, most_of);
}

void
expose_breaker(struct exposition *e)
{
	static const char *const words[] = { "closed", "open", "half-open", "suspended",
		"forced-open", "forced-closed" };

	for (size_t i = 0; i < e->s->breaker_count; i++) {
		const struct guard_view *g = &e->s->breakers[i];
		const struct slice word =
		    slice_of(breaker_word(g->breaker.state, g->breaker.force));

		for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
			label(e, "target", g->name);
			label(e, "state", words[w]);
			count(e, slice_eq_cstr(word, words[w]));
		}
	}
}

void
expose_breaker_opened(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++) {
		label(e, "target", e->s->breakers[i].name);
		count(e, e->s->breakers[i].breaker.opened);
	}
}

void
expose_breaker_changes(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++)
		for (size_t to = 0; to < BREAKER__COUNT; to++) {
			label(e, "target", e->s->breakers[i].name);
			label(e, "to", breaker_word((enum breaker_state)to, BREAKER_AUTO));
			count(e, e->s->breakers[i].breaker.entered[to]);
		}
}

void
expose_breaker_admitted(struct exposition *e)
{
	for (size_t i = 0; i < e->s->breaker_count; i++) {
		label(e, "target", e->s->breakers[i].name);
		number(e, (double)e->s->breakers[i].breaker.admitted_pct / 100);
	}
}

static void
each_budget(struct exposition *e, bool limit)
{
	struct retry_view v;

	for (int kind = 0; kind < RETRY__COUNT; kind++) {
		const uint64_t most =
		    retries_look(e->rt->regions->retries, (enum retry_kind)kind, e->s->now_ms, &v);

		label(e, "target", retry_kind_names[kind]);
		count(e, limit ? most : v.retries);
	}
}

void
expose_retry_budget(struct exposition *e)
{
	each_budget(e, false);
}

void
expose_retry_budget_max(struct exposition *e)
{
	each_budget(e, true);
}

/*
 * Writes.
 */
static void
of_spool(struct exposition *e, double value)
{
	if (e->s->spool_known)
		number(e, value);
}

void
expose_spool_events(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.waiting);
}

void
expose_spool_oldest(struct exposition *e)
{
	of_spool(e, (double)e->s->spool_oldest_ms / ms_per_s);
}

void
expose_spool_keys(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.keys);
}

void
expose_spool_bytes(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.bytes);
}

void
expose_spool_bytes_max(struct exposition *e)
{
	of_spool(e, (double)e->s->spool.max_bytes);
}

void
expose_consumer(struct exposition *e)
{
	for (int state = INGEST_IDLE; state <= INGEST_STOPPED; state++) {
		label(e, "state", snapshot_consumer_name((enum ingest_state)state));
		count(e, e->s->consumer.state == (enum ingest_state)state);
	}
}

/* Without Kafka the spool is all that may lie before the consumer. */
void
expose_consumer_lag(struct exposition *e)
{
	if (e->s->forwarder.state == FORWARD_NONE)
		expose_spool_events(e);
	for (size_t i = 0; i < e->s->forwarder.lag_count; i++) {
		const struct snapshot_lag *lag = &e->s->forwarder.lags[i];

		label(e, "topic", lag->topic);
		label_number(e, "partition", lag->partition);
		number(e, (double)lag->behind);
	}
}

void
expose_consumer_lag_seconds(struct exposition *e)
{
	const int64_t lag_ms = scaling_lag_ms(e->s);

	if (lag_ms >= 0)
		number(e, (double)lag_ms / ms_per_s);
}

static void
of_forwarder(struct exposition *e, uint64_t value)
{
	if (e->s->forwarder.state != FORWARD_NONE)
		count(e, value);
}

void
expose_forwarded(struct exposition *e)
{
	of_forwarder(e, e->s->forwarder.delivered);
}

void
expose_forwarder_out(struct exposition *e)
{
	of_forwarder(e, e->s->forwarder.out);
}

void
expose_forwarder_out_max(struct exposition *e)
{
	of_forwarder(e, FORWARD_OUT_MAX);
}

void
expose_forwarder_bytes(struct exposition *e)
{
	of_forwarder(e, e->s->forwarder.out_bytes);
}

void
expose_forwarder_bytes_max(struct exposition *e)
{
	of_forwarder(e, FORWARD_OUT_BYTES_MAX);
}

void
expose_forwarder_restarts(struct exposition *e)
{
	of_forwarder(e, e->s->forwarder.restarts);
}
