/*
 * One look at everything that is shared.
 *
 * Texts that a process may be writing at this moment are taken only when they are whole UTF-8.
 */
#include "runtime/snapshot.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/shm.h"
#include "policy/tickets.h"
#include "runtime/config.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/scaling.h"
#include "service/fleet.h"

enum {
	STATUS_LIMITED = 429,
	HISTORY_FRESH_MS = 5000, /* older: nobody writes it any more */
};

struct snapshot *
snapshot_new(void)
{
	return calloc(1, sizeof(struct snapshot));
}

void
snapshot_free(struct snapshot **sp)
{
	free(*sp);
	*sp = NULL;
}

static void
copy_text(char *out, const char *shared, size_t bytes)
{
	memcpy(out, shared, bytes);
	out[bytes - 1] = '\0';
	if (!utf8_valid(slice_of(out), NULL)) /* torn by its writer */
		out[0] = '\0';
}

/*
 * Looking.
 */
/* As one reads them: the supervisor, the workers, the consumer; the eldest first. */
static int
by_rank(const void *a, const void *b)
{
	const struct member_view *x = &((const struct snapshot_member *)a)->view;
	const struct member_view *y = &((const struct snapshot_member *)b)->view;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->joined_ms > y->joined_ms) - (x->joined_ms < y->joined_ms);
}

static void
look_at_members(const struct runtime *rt, struct snapshot *s)
{
	s->member_count = 0;
	s->supervised = false;
	s->since_ms = s->now_ms;
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++) {
		struct snapshot_member *m = &s->members[s->member_count];

		scoreboard_view(rt->scoreboard, i, &m->view);
		if (m->view.kind == MEMBER_NONE || !m->view.alive)
			continue;
		m->requests = scoreboard_of(rt->scoreboard, i, METRIC_REQUESTS);
		activity_view(rt->regions->activity, i, &m->activity);
		s->supervised = s->supervised || m->view.kind == MEMBER_SUPERVISOR;
		if (m->view.joined_ms < s->since_ms)
			s->since_ms = m->view.joined_ms;
		s->member_count++;
	}
	qsort(s->members, s->member_count, sizeof *s->members, by_rank);
	for (size_t i = 0; i < METRIC__COUNT; i++)
		s->totals[i] = scoreboard_total(rt->scoreboard, (enum metric)i);
}

static void
look_at_consumer(const struct ingest_shared *shared, struct snapshot *s)
{
	const uint32_t state = atomic_load(&shared->state);

	s->consumer.state = state <= INGEST_STOPPED ? (enum ingest_state)state : INGEST_IDLE;
	s->consumer.pid = atomic_load(&shared->pid);
	s->consumer.reason[0] = '\0';
	if (s->consumer.state == INGEST_WAITING || s->consumer.state == INGEST_STOPPED)
		copy_text(s->consumer.reason, shared->reason, sizeof s->consumer.reason);
}

static void
look_at_lag(const struct forward_lag *from, struct snapshot_lag *out)
{
	copy_text(out->topic, from->topic, sizeof out->topic);
	out->partition = atomic_load(&from->partition);
	out->high = atomic_load(&from->high);
	out->committed = atomic_load(&from->committed);
	out->behind = out->high - (out->committed < 0 ? 0 : out->committed);
}

static void
look_at_forwarder(const struct forward_shared *shared, struct snapshot *s)
{
	const uint32_t state = atomic_load(&shared->state), lags = atomic_load(&shared->lag_count);

	s->forwarder.state = state <= FORWARD_STOPPED ? (enum forward_state)state : FORWARD_NONE;
	s->forwarder.delivered = atomic_load(&shared->delivered);
	s->forwarder.restarts = atomic_load(&shared->restarts);
	s->forwarder.out = atomic_load(&shared->out);
	s->forwarder.out_bytes = atomic_load(&shared->out_bytes);
	s->forwarder.confirmed_us = atomic_load(&shared->confirmed_us);
	s->forwarder.lag_count = lags < FORWARD_LAGS ? lags : FORWARD_LAGS;
	for (size_t i = 0; i < s->forwarder.lag_count; i++)
		look_at_lag(&shared->lags[i], &s->forwarder.lags[i]);
}

static void
look_at_spool(struct queue *q, struct snapshot *s)
{
	int64_t at_us;

	s->spool_known = queue_status_read(q, &s->spool) == ERR_OK;
	at_us = s->spool_known ? s->spool.oldest_accepted_us : 0;
	s->spool_oldest_ms = at_us == 0 || at_us > s->now_us ? 0 : (s->now_us - at_us) / 1000;
}

/* Without PostgreSQL nobody takes tickets. */
static void
look_at_tickets(const struct runtime *rt, struct snapshot *s)
{
	const struct config *c = rt->config;

	s->reads = s->writes = (struct snapshot_tickets){ 0, 0 };
	if (!config_on_postgresql(c))
		return;
	s->reads.limit = (size_t)c->db_read_pool_max;
	s->reads.held = tickets_held(rt->regions->read_tickets, s->reads.limit, 0);
	s->writes.limit = (size_t)c->db_write_pool_max;
	s->writes.held = tickets_held(rt->regions->write_tickets, s->writes.limit, 0);
}

static int64_t
quantile_us(const struct histogram_view *took, double q)
{
	return took->count == 0 ? HISTORY_UNKNOWN : histogram_quantile_ns(took, q) / 1000;
}

static uint64_t
limited_of(const struct endpoint_view *v)
{
	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		if (endpoint_codes[i] == STATUS_LIMITED)
			return v->codes[i];
	return 0;
}

static void
look_at_endpoint(const struct endpoint_view *v, int64_t ms, struct snapshot_endpoint *out)
{
	memcpy(out->name, v->name, sizeof out->name);
	out->class = v->class;
	out->ms = ms;
	out->requests = v->requests;
	out->errors = endpoint_view_class(v, 5);
	out->limited = limited_of(v);
	out->from_cache = out->reads = 0;
	for (size_t i = SERVED_NOT_READ + 1; i < SERVED__COUNT; i++) {
		out->reads += v->served[i];
		out->from_cache += i == SERVED_DATABASE ? 0 : v->served[i];
	}
	out->p50_us = quantile_us(&v->took, 0.5);
	out->p99_us = quantile_us(&v->took, 0.99);
}

static int
by_traffic(const void *a, const void *b)
{
	const struct snapshot_endpoint *x = a, *y = b;

	if (x->requests != y->requests)
		return x->requests > y->requests ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void
look_at_endpoints(const struct endpoint_stats *stats, struct snapshot *s)
{
	struct endpoint_view sum = { .requests = 0 }, v;
	int64_t ms;

	s->endpoint_count = 0;
	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if (!endpoint_stats_recent(stats, row, s->now_ms, SNAPSHOT_WINDOW_S, &v, &ms) ||
		    ms <= 0)
			continue;
		endpoint_view_add(&sum, &v);
		look_at_endpoint(&v, ms, &s->endpoints[s->endpoint_count++]);
	}
	qsort(s->endpoints, s->endpoint_count, sizeof *s->endpoints, by_traffic);
	s->p50_us = quantile_us(&sum.took, 0.5);
	s->p99_us = quantile_us(&sum.took, 0.99);
}

static void
look_at_limits(const struct limit_stats *stats, struct snapshot *s)
{
	s->limit_count = 0;
	for (uint32_t row = 0; row < LIMIT_ROWS; row++) {
		struct snapshot_limit *l = &s->limits[s->limit_count];
		uint64_t decided = 0;

		if (!limit_stats_view(stats, row, l->policy, l->counts))
			continue;
		for (size_t i = 0; i < LIMIT_RESULT__COUNT; i++)
			decided += l->counts[i];
		s->limit_count += decided > 0;
	}
}

/*
 * Reckoning.
 */
struct snapshot_sums
snapshot_sum(const struct snapshot *s)
{
	struct snapshot_sums sum = { 0 };

	for (size_t i = 0; i < s->member_count; i++) {
		const struct snapshot_member *m = &s->members[i];
		const struct activity_counts *c = &m->activity.counts;

		sum.activity.spans += c->spans;
		sum.activity.spans_max += c->spans_max;
		if (m->view.kind != MEMBER_WORKER)
			continue;
		sum.workers++;
		sum.in_hand += m->view.in_hand;
		sum.activity.connections += c->connections;
		for (size_t p = 0; p < ACTIVITY_PLACE__COUNT; p++)
			sum.activity.at[p] += c->at[p];
		sum.activity.threads += c->threads;
		sum.activity.threads_max += c->threads_max;
		sum.activity.busy += c->busy;
		sum.activity.waiting += c->waiting;
		sum.activity.waiting_max += c->waiting_max;
		sum.activity.bodies += c->bodies;
		sum.activity.bodies_max += c->bodies_max;
		sum.activity.refreshes += c->refreshes;
		sum.activity.refreshes_max += c->refreshes_max;
	}
	return sum;
}

static int64_t
lag_of(const struct snapshot *s)
{
	int64_t sum = 0;

	if (s->forwarder.state == FORWARD_NONE)
		return HISTORY_UNKNOWN;
	for (size_t i = 0; i < s->forwarder.lag_count; i++)
		sum += s->forwarder.lags[i].behind;
	return sum;
}

static void
fill_row(struct snapshot *s)
{
	const struct snapshot_sums sum = snapshot_sum(s);
	int64_t *v = s->row.values;

	s->row.at_ms = s->now_ms;
	v[HISTORY_REQUESTS] = (int64_t)s->totals[METRIC_REQUESTS];
	v[HISTORY_ERRORS] = (int64_t)s->totals[METRIC_RESPONSES_5XX];
	v[HISTORY_LIMITED] = (int64_t)s->totals[METRIC_LIMITED];
	v[HISTORY_SHED] = (int64_t)s->totals[METRIC_SHED];
	v[HISTORY_L1_HITS] =
	    (int64_t)(s->totals[METRIC_CACHE_HITS] + s->totals[METRIC_CACHE_STALE]);
	v[HISTORY_L1_MISSES] = (int64_t)s->totals[METRIC_CACHE_MISSES];
	v[HISTORY_L2_HITS] = (int64_t)s->totals[METRIC_L2_HITS];
	v[HISTORY_L2_MISSES] = (int64_t)s->totals[METRIC_L2_MISSES];
	v[HISTORY_QUERIES] = (int64_t)s->totals[METRIC_QUERIES];
	v[HISTORY_WRITES] = (int64_t)s->totals[METRIC_WRITES_ACCEPTED];
	v[HISTORY_APPLIED] = (int64_t)s->totals[METRIC_EVENTS_APPLIED];
	v[HISTORY_IN_HAND] = sum.in_hand;
	v[HISTORY_LANES_BUSY] = sum.activity.busy;
	v[HISTORY_LANES_WAITING] = sum.activity.waiting;
	v[HISTORY_SPOOL] = s->spool_known ? (int64_t)s->spool.waiting : HISTORY_UNKNOWN;
	v[HISTORY_SPOOL_OLDEST_MS] = s->spool_known ? s->spool_oldest_ms : HISTORY_UNKNOWN;
	v[HISTORY_LAG] = lag_of(s);
	v[HISTORY_P50_US] = s->p50_us;
	v[HISTORY_P99_US] = s->p99_us;
	v[HISTORY_WORKERS] = sum.workers;
}

struct snapshot_window
snapshot_between(const struct history_row *from, const struct history_row *to)
{
	struct snapshot_window w = { .ms = to->at_ms - from->at_ms };

	for (size_t i = 0; i < HISTORY__COUNT; i++)
		if (history_infos[i].kind == HISTORY_COUNTER)
			w.counted[i] = to->values[i] - from->values[i];
	return w;
}

/* From the oldest row that is inside of the window, to now. */
static void
look_back(struct snapshot *s)
{
	const int64_t from_ms = s->now_ms - (SNAPSHOT_WINDOW_S + 1) * 1000;
	const struct history_row *rows = s->history;
	size_t i = s->history_count;

	s->window = (struct snapshot_window){ .ms = 0 };
	if (i == 0 || s->now_ms - rows[i - 1].at_ms > HISTORY_FRESH_MS)
		return;
	while (i > 0 && rows[i - 1].at_ms > from_ms)
		i--;
	if (i < s->history_count && rows[i].at_ms < s->now_ms)
		s->window = snapshot_between(&rows[i], &s->row);
}

/* What is older than ten minutes is of another life of the pool. */
static void
drop_old_rows(struct snapshot *s)
{
	const int64_t from_ms = s->now_ms - (int64_t)HISTORY_ROWS * HISTORY_STEP_MS;
	size_t old = 0;

	while (old < s->history_count && s->history[old].at_ms < from_ms)
		old++;
	s->history_count -= old;
	memmove(s->history, s->history + old, s->history_count * sizeof *s->history);
}

void
snapshot_gather(const struct runtime *rt, struct snapshot *s)
{
	s->config = rt->config;
	s->segment = shm_path(rt->regions->shm);
	s->now_ms = clock_mono_ms();
	s->now_us = clock_wall_us();
	look_at_members(rt, s);
	look_at_consumer(rt->ingest, s);
	look_at_forwarder(rt->forward, s);
	look_at_spool(rt->queue, s);
	look_at_tickets(rt, s);
	s->call_count = concurrencies_look(rt->regions->concurrencies, s->calls);
	l1_stats_read(rt->regions->l1, &s->cache);
	s->breaker_count = guards_look(rt->guards, s->now_ms, s->breakers);
	s->hosts = rt->config->redis_url == NULL ? 0 : fleet_hosts(rt->regions->fleet);
	look_at_endpoints(rt->regions->endpoints, s);
	look_at_limits(rt->regions->limits, s);
	fill_row(s);
	s->history_count = history_read(rt->regions->history, s->history, HISTORY_ROWS);
	drop_old_rows(s);
	look_back(s);
	scaling_reckon(s);
}

double
snapshot_rate(const struct snapshot_window *w, enum history_column c)
{
	return w->ms <= 0 ? -1 : (double)w->counted[c] * 1000 / (double)w->ms;
}

double
snapshot_ratio(
    const struct snapshot_window *w, enum history_column hits, enum history_column misses)
{
	const int64_t all = w->counted[hits] + w->counted[misses];

	return w->ms <= 0 || all <= 0 ? -1 : (double)w->counted[hits] / (double)all;
}
