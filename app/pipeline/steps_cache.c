/*
 * The reads' way through the cache: fresh or stale from L1, or one query for all who miss.
 *
 * Of all requests of the host that miss a key, one leads and goes on to its handler; the others park here
 * until it lands, fails, dies, or overstays its lease.
 */
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"
#include "http/problem.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "policy/refresh.h"
#include "service/catalog.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"

enum {
	VARY_BYTES_MAX = 256, /* of one header's value */
	LOCK_WAIT_MS = 50,    /* on a lane; the reactor only tries */
	LEASE_SPARE_MS = 250, /* of a flight, beyond the statement's timeout */
	JOIN_TRIES = 4, /* a key that is purged as fast as it is filled is queried by everybody */
};

static void
count(const struct exchange *x, enum metric m)
{
	scoreboard_count(x->env->scoreboard, x->env->member, m, 1);
}

static bool
is_cached_read(const struct exchange *x)
{
	return x->endpoint->method == HTTP_GET && x->endpoint->cache.on;
}

/* With Redis another host may be waited for as long as a query takes, and then we query ourselves. */
int64_t
cache_lease_ms(const struct exchange *x)
{
	return (x->env->l2 == NULL ? 1 : 2) * x->endpoint->timeout_ms + LEASE_SPARE_MS;
}

/* Answers what L1 found, if it may be answered. */
static enum step_result
take_hit(
    struct exchange *x, enum l1_answer found, const struct cache_hit *hit, enum exchange_source as)
{
	switch (found) {
	case L1_STALE:
		x->refresh = true;
		as = as == SOURCE_FRESH ? SOURCE_STALE : as;
		break;
	case L1_FRESH:
		break;
	case L1_ERROR_ONLY:
		x->spare_block = hit->block;
		x->spare_age_ms = hit->age_ms;
		return STEP_NEXT;
	case L1_MISS:
	case L1_BUSY:
		return STEP_NEXT;
	}
	x->block = hit->block;
	x->age_ms = hit->age_ms;
	x->source = as;
	return answer_block(x);
}

static enum step_result
look_up(struct exchange *x, int64_t now_ms, enum exchange_source as)
{
	struct cache_hit hit = { .block = { 0 } };
	const enum l1_answer found =
	    cache_lookup(x->env->cache, x->key, now_ms, 0, &x->arena, &hit);

	if (found == L1_FRESH && refresh_is_near(hit.fresh_ms, hit.cost_us) &&
	    refresh_is_due(hit.fresh_ms, hit.cost_us, (uint32_t)rand_u64())) {
		x->refresh = true;
		x->replaces_ms = hit.stored_ms;
	}
	return take_hit(x, found, &hit, as);
}

/* The leader's query failed: so has ours, unless an old copy may stand in. */
static enum step_result
share_failure(struct exchange *x, enum err reason)
{
	struct problem p = problem_of(reason);

	if (reason != ERR_NOT_FOUND && x->spare_block.len > 0) {
		x->block = x->spare_block;
		x->age_ms = x->spare_age_ms;
		x->source = SOURCE_IF_ERROR;
		return answer_block(x);
	}
	if (reason == ERR_OVERLOADED) /* as many too many as the one that was to query for them */
		return answer_shed(x, SHED_CONCURRENCY);
	if (p.status >= 500)
		p.retry_after_s = 1;
	return answer_problem(x, &p);
}

static enum step_result
park(struct exchange *x)
{
	x->wait = EXCHANGE_WAITS_FLIGHT;
	return STEP_PARKED;
}

/* The look has refreshed the ticket: another may lead by now than the one that was told to be dead. */
static bool
leader_is_lost(const struct exchange *x, int64_t now_ms)
{
	return now_ms >= x->fill.ticket.deadline_ms ||
	       x->dead_leader == (int64_t)x->fill.ticket.leader;
}

static bool
take_over(struct exchange *x, int64_t now_ms)
{
	uint8_t ignored;

	x->dead_leader = -1;
	if (cache_take_over(x->env->cache, &x->fill, now_ms, cache_lease_ms(x)))
		return true;
	(void)cache_look(
	    x->env->cache, &x->fill, &ignored); /* another was faster: whom do we wait for now? */
	return false;
}

/* One look at the flight that we wait for.  STEP_NEXT with x->fill untouched: join again. */
static enum step_result
look_at_flight(struct exchange *x, int64_t now_ms, bool *join_out)
{
	uint8_t reason = 0;

	*join_out = false;
	switch (cache_look(x->env->cache, &x->fill, &reason)) {
	case FLIGHT_FLYING:
		return leader_is_lost(x, now_ms) && take_over(x, now_ms) ? STEP_NEXT : park(x);
	case FLIGHT_NOT_STORED:
		return STEP_NEXT;
	case FLIGHT_FAILED:
		return share_failure(x, (enum err)reason);
	case FLIGHT_STORED:
	case FLIGHT_GONE:
		break;
	}
	*join_out = true;
	return look_up(x, now_ms, SOURCE_COLLAPSED);
}

static enum step_result
join(struct exchange *x, int64_t now_ms)
{
	enum step_result r;
	bool again;

	for (int i = 0; i < JOIN_TRIES; i++) {
		if (cache_join(x->env->cache, x->key, now_ms, cache_lease_ms(x), &x->fill) !=
		    FLIGHT_WAIT)
			return STEP_NEXT;
		count(x, METRIC_CACHE_COLLAPSED);
		r = look_at_flight(x, now_ms, &again);
		if (r != STEP_NEXT || !again)
			return r;
	}
	return STEP_NEXT;
}

/* Rung, or the leader died, or its lease is over. */
static enum step_result
resume(struct exchange *x, int64_t now_ms)
{
	bool again;
	const enum step_result r = look_at_flight(x, now_ms, &again);

	if (r == STEP_PARKED)
		return r;
	x->wait = EXCHANGE_RUNS;
	return r == STEP_NEXT && again ? join(x, now_ms) : r;
}

/* False: not to be kept, for a header is too long or the key too large; step_recheck() sees no key. */
static bool
make_key(struct exchange *x)
{
	const struct endpoint *e = x->endpoint;
	struct slice vary[ENDPOINT_MAX_VARY];

	for (size_t i = 0; i < e->vary_count; i++)
		if (request_header(
			x->envp, e->vary[i].param, VARY_BYTES_MAX, &x->arena, &vary[i]) != ERR_OK)
			return false;
	return cache_key(e, x->values, vary, x->tenant, &x->arena, &x->key) == ERR_OK;
}

enum step_result
step_lookup(struct exchange *x)
{
	const int64_t now_ms = clock_mono_ms();
	enum step_result r;

	if (!is_cached_read(x))
		return STEP_NEXT;
	if (x->wait == EXCHANGE_WAITS_FLIGHT)
		return resume(x, now_ms);
	if (!make_key(x))
		return STEP_NEXT;
	x->dead_leader = -1;
	if (x->must_show != NULL) { /* a lane must ask first whether any copy is new enough */
		x->fill.key = x->key;
		return STEP_NEXT;
	}
	r = look_up(x, now_ms, SOURCE_FRESH);
	if (r != STEP_NEXT) {
		count(x, x->source == SOURCE_STALE ? METRIC_CACHE_STALE : METRIC_CACHE_HITS);
		return r;
	}
	count(x, METRIC_CACHE_MISSES);
	return join(x, now_ms);
}

static void
say_found(enum l1_answer found)
{
	static const char *const words[] = {
		[L1_MISS] = "miss",
		[L1_FRESH] = "fresh",
		[L1_STALE] = "stale",
		[L1_ERROR_ONLY] = "if-error",
		[L1_BUSY] = "busy",
	};

	span_str(span_here(), SPAN_KEY_WEIR_CACHE_LEVEL, SLICE("l1"));
	span_str(span_here(), SPAN_KEY_WEIR_CACHE_RESULT, slice_of(words[found]));
}

enum step_result
step_recheck(struct exchange *x)
{
	struct cache_hit hit = { .block = { 0 } };
	enum l1_answer found;

	if (!is_cached_read(x) || x->key.len == 0)
		return STEP_NEXT;
	found = cache_begin(x->env->cache, &x->fill, x->endpoint, x->values, clock_mono_ms(),
	    LOCK_WAIT_MS, &x->arena, &hit);
	say_found(found);
	if (x->must_show != NULL) {
		if (found != L1_FRESH || !consistency_allows(x, hit.age_ms))
			return STEP_NEXT;
		return take_hit(x, found, &hit, SOURCE_FRESH);
	}
	if (found == L1_FRESH)
		return take_hit(x, found, &hit, SOURCE_COLLAPSED);
	if (found == L1_STALE || found == L1_ERROR_ONLY) {
		x->spare_block = hit.block;
		x->spare_age_ms = hit.age_ms;
	}
	return STEP_NEXT;
}

enum step_result
step_keep(struct exchange *x)
{
	const int64_t cost_us = x->handle_ns / 1000;
	uint32_t evicted = 0;
	enum err rc;

	x->fill.cost_us = cost_us < UINT32_MAX ? (uint32_t)cost_us : UINT32_MAX;
	if (is_cached_read(x) && x->key.len > 0 && !consistency_is_pending(x)) {
		rc = cache_fill_land(x->env->cache, &x->fill, &x->endpoint->cache, x->block,
		    x->call.seen, clock_mono_ms(), LOCK_WAIT_MS, &evicted);
		x->stored = rc == ERR_OK;
		if (x->stored)
			count(x, METRIC_CACHE_FILLS);
		if (rc == ERR_CONFLICT)
			l2_give_up(x); /* purged, and perhaps Redis could not be told */
		else
			l2_keep(x);
		scoreboard_count(
		    x->env->scoreboard, x->env->member, METRIC_CACHE_EVICTIONS, evicted);
	}
	return x->transport == NULL ? STEP_ANSWERED : answer_block(x);
}

void
pipeline_leader_died(struct exchange *x)
{
	x->dead_leader = x->fill.ticket.leader;
}

bool
pipeline_has_news(struct exchange *x, int64_t now_ms)
{
	const struct flight_ticket was = x->fill.ticket;
	const struct flight_ticket *is = &x->fill.ticket;
	uint8_t ignored;

	return cache_look(x->env->cache, &x->fill, &ignored) != FLIGHT_FLYING ||
	       is->leader != was.leader || is->deadline_ms != was.deadline_ms ||
	       leader_is_lost(x, now_ms);
}

bool
pipeline_refresh(const struct exchange *from, struct exchange *x)
{
	const int64_t now_ms = clock_mono_ms();

	if (!cache_lead(from->env->cache, from->key, now_ms, cache_lease_ms(from), &x->fill))
		return false;
	x->endpoint = from->endpoint;
	x->key = arena_slice(&x->arena, from->key);
	if (!exchange_copy_values(x, from)) {
		cache_give_up(from->env->cache, &x->fill);
		return false;
	}
	x->fill.key = x->key;
	x->fill.replaces_ms = from->replaces_ms;
	count(from, METRIC_CACHE_REFRESHES);
	if (from->replaces_ms > 0)
		count(from, METRIC_CACHE_REFRESHES_EARLY);
	x->catalog = catalog_hold(from->catalog);
	x->start_ns = clock_mono_ns();
	x->start_us = clock_wall_us();
	x->deadline_ms = now_ms + x->endpoint->timeout_ms;
	x->trace = from->trace;
	x->trace.tracestate = (struct slice){ 0 };
	trace_child(&x->trace);
	x->step = pipeline_step(step_recheck);
	return true;
}
