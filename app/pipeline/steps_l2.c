/*
 * The reads' way through Redis: only for who leads the host's flight, so of all requests of the host that miss a key
 * one asks.
 *
 * Another host's query is not waited for with a thread: the exchange goes back to the reactor, and from there to a lane
 * again when its time has come.
 */
#include "base/clock.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/cache_l2.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"

enum {
	L1_LOCK_WAIT_MS = 50,
	LOCK_SPARE_MS = 250, /* of a lock, beyond the statement's timeout */
	TURN_MIN_MS = 3,
	TURN_MAX_MS = 30,
	NEWER_MS = 200, /* more than two clocks and their rounding make of one time */
};

static void
count(const struct exchange *x, enum metric m)
{
	scoreboard_count(x->env->scoreboard, x->env->member, m, 1);
}

static int64_t
lock_ms(const struct exchange *x)
{
	return x->endpoint->timeout_ms + LOCK_SPARE_MS;
}

/* Into L1 with it, where those of this host wait; then it is the answer. */
static enum step_result
take(struct exchange *x, const struct l2_hit *hit, bool stale, int64_t now_ms)
{
	uint32_t evicted;

	count(x, METRIC_L2_HITS);
	if (cache_copy_land(x->env->cache, &x->fill, &hit->times, hit->block, L1_LOCK_WAIT_MS,
		&evicted) == ERR_OK)
		count(x, METRIC_CACHE_FILLS);
	scoreboard_count(x->env->scoreboard, x->env->member, METRIC_CACHE_EVICTIONS, evicted);
	if (x->transport == NULL)
		return STEP_ANSWERED;
	x->block = hit->block;
	x->age_ms = now_ms > hit->times.stored ? now_ms - hit->times.stored : 0;
	x->source = stale ? SOURCE_STALE : SOURCE_L2;
	x->refresh = stale;
	return answer_block(x);
}

static enum step_result
lead(struct exchange *x, const struct l2_hit *hit, int64_t now_ms)
{
	count(x, METRIC_L2_MISSES);
	if (x->l2->position > x->fill.position)
		x->fill.position = x->l2->position;
	if (hit->block.len > 0 && x->spare_block.len == 0) {
		x->spare_block = hit->block;
		x->spare_age_ms = now_ms - hit->times.stored;
	}
	return STEP_NEXT;
}

/* Longer each time, for who waits long waits for a slow query.  Longer than a query may take: it is ours now. */
static enum step_result
wait_a_turn(struct exchange *x, int64_t now_ms)
{
	const int64_t waited_ms = now_ms - x->l2_began_ms;
	int64_t turn_ms = TURN_MIN_MS + waited_ms / 8;

	if (waited_ms >= lock_ms(x)) {
		count(x, METRIC_L2_MISSES);
		return STEP_NEXT;
	}
	if (waited_ms == 0)
		count(x, METRIC_L2_WAITS);
	if (turn_ms > TURN_MAX_MS)
		turn_ms = TURN_MAX_MS;
	x->wake_ms = now_ms + turn_ms;
	x->wait = EXCHANGE_WAITS_TURN;
	return STEP_PARKED;
}

/* False: such a copy cannot be kept in Redis. */
static bool
begin(struct exchange *x, int64_t now_ms)
{
	if (x->l2_began_ms == 0) {
		x->l2_began_ms = now_ms;
		x->l2 = arena_alloc(&x->arena, sizeof *x->l2);
		return x->l2 != NULL && l2_begin(x->env->l2, x->endpoint, x->values, x->key,
					    x->tenant, &x->arena, x->l2) == ERR_OK;
	}
	x->wait = EXCHANGE_RUNS;
	cache_note_tags(x->env->cache, &x->fill, x->endpoint, x->values, &x->arena);
	return true;
}

/* A refresh was begun because what there is is stale, or soon will be: then only what somebody else has made since will
 * do, which has its whole time before it. */
static int64_t
least_ms(const struct exchange *x)
{
	if (x->transport != NULL)
		return L2_STALE_DOES;
	return x->fill.replaced_left_ms > 0 ? x->fill.replaced_left_ms + NEWER_MS : 0;
}

static enum l2_answer
look(struct exchange *x, int64_t now_ms, struct l2_hit *hit)
{
	static const char *const words[] = {
		[L2_OFF] = "off",
		[L2_FRESH] = "fresh",
		[L2_STALE] = "stale",
		[L2_LEAD] = "miss",
		[L2_WAIT] = "wait",
	};
	const enum l2_answer found =
	    l2_get(x->env->l2, x->l2, least_ms(x), lock_ms(x), now_ms, &x->arena, hit);

	span_str(span_here(), SPAN_KEY_WEIR_CACHE_LEVEL, SLICE("l2"));
	span_str(span_here(), SPAN_KEY_WEIR_CACHE_RESULT, slice_of(words[found]));
	return found;
}

enum step_result
step_fetch(struct exchange *x)
{
	struct l2_hit hit;
	int64_t now_ms;

	if (x->env->l2 == NULL || x->key.len == 0 || x->must_show != NULL)
		return STEP_NEXT;
	now_ms = clock_mono_ms();
	if (!begin(x, now_ms))
		return STEP_NEXT;
	switch (look(x, now_ms, &hit)) {
	case L2_OFF:
		count(x, METRIC_L2_FAILURES);
		return STEP_NEXT;
	case L2_FRESH:
		return take(x, &hit, false, now_ms);
	case L2_STALE:
		return take(x, &hit, true, now_ms);
	case L2_LEAD:
		return lead(x, &hit, now_ms);
	case L2_WAIT:
		break;
	}
	return wait_a_turn(x, now_ms);
}

void
l2_keep(struct exchange *x)
{
	enum err rc;

	if (x->l2 == NULL || !x->l2->leading)
		return;
	x->l2->cost_us = x->fill.cost_us;
	rc = l2_put(x->env->l2, x->l2, &x->endpoint->cache, x->block, clock_mono_ms());
	if (rc == ERR_OK)
		count(x, METRIC_L2_FILLS);
	else if (rc != ERR_CONFLICT && rc != ERR_TOO_LARGE)
		count(x, METRIC_L2_FAILURES);
}

void
l2_give_up(struct exchange *x)
{
	if (x->l2 != NULL && x->l2->leading)
		l2_release(x->env->l2, x->l2, clock_mono_ms());
}
