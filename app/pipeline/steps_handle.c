/*
 * The step that calls the endpoint's handler, and turns what it says into an answer.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "policy/fair_share.h"
#include "telemetry/scoreboard.h"

static int64_t
min_i64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void
prepare(struct exchange *x)
{
	x->call = (struct handler_call){
		.endpoint = x->endpoint,
		.values = x->values,
		.tenant = x->tenant,
		.now_us = x->start_us,
		.arena = &x->arena,
		.store = x->env->store,
		.queue = x->env->queue,
		.idempotency = x->env->idempotency,
		.ledger = x->env->ledger,
		.base_path = x->base_path,
		.item = &x->item,
		.response = &x->response,
		.must_show = x->must_show,
		.at_least = x->fill.position,
		.deadline_ms = min_i64(x->deadline_ms, clock_mono_ms() + x->endpoint->timeout_ms),
	};
}

static void
count(const struct exchange *x, enum metric m)
{
	scoreboard_count(x->env->scoreboard, x->env->member, m, 1);
}

static void
count_write(const struct exchange *x)
{
	switch (x->item.outcome) {
	case QUEUE_ACCEPTED:
		count(x, METRIC_WRITES_ACCEPTED);
		break;
	case QUEUE_REPLAYED:
		count(x, METRIC_WRITES_REPLAYED);
		break;
	case QUEUE_FULL:
	case QUEUE_FAILED:
		count(x, METRIC_WRITES_REFUSED);
		break;
	case QUEUE_MISMATCH:
		break;
	}
}

/* Counted from now: the body may have taken its time. */
static enum step_result
park_write(struct exchange *x)
{
	x->wait = EXCHANGE_WAITS_QUEUE;
	x->deadline_ms = clock_mono_ms() + x->endpoint->timeout_ms;
	return STEP_PARKED;
}

/* The front has closed while this waited for a lane, and nobody else waits for the answer. */
static bool
is_wanted_by_nobody(const struct exchange *x)
{
	return x->endpoint->handler->lane == HANDLER_BLOCKING && !x->fill.leading &&
	       atomic_load_explicit(&x->gone, memory_order_relaxed);
}

/* The database has failed: an old copy may still be good enough (`if-error`). */
static enum step_result
failed(struct exchange *x)
{
	const int status = x->call.problem.status;

	l2_give_up(x);
	if (x->fill.leading)
		cache_fail_land(x->env->cache, &x->fill, (uint8_t)x->call.failure);
	if (status < 500 || x->spare_block.len == 0)
		return answer_problem(x, &x->call.problem);
	x->block = x->spare_block;
	x->age_ms = x->spare_age_ms;
	x->source = SOURCE_IF_ERROR;
	return answer_block(x);
}

enum step_result
step_handle(struct exchange *x)
{
	const int64_t began_ns = clock_mono_ns();
	enum handler_result r;

	if (is_wanted_by_nobody(x)) {
		l2_give_up(x);
		return STEP_ANSWERED;
	}
	if (x->wait == EXCHANGE_WAITS_QUEUE) {
		x->wait = EXCHANGE_RUNS;
		x->call.resumed = true;
		count_write(x);
	} else {
		prepare(x);
		x->call.resumed = x->decided;
		if (x->decided)
			count_write(x);
	}
	r = x->endpoint->handler->run(&x->call);
	x->handle_ns += clock_mono_ns() - began_ns;
	if (x->asked)
		fair_share_served(x->env->fair_share, x->client, x->handle_ns / 1000, x->asked_us,
		    (began_ns + x->handle_ns) / 1000000);
	if (x->endpoint->handler->lane == HANDLER_BLOCKING)
		count(x, METRIC_QUERIES);
	if (r == HANDLER_PROBLEM && http_method_writes(x->endpoint->method) && !x->call.resumed)
		write_give_up(x); /* not even submitted */
	if (r == HANDLER_PROBLEM && x->call.problem.status >= 500)
		count(x, METRIC_QUERY_FAILURES);
	switch (r) {
	case HANDLER_BLOCK:
		x->block = strbuf_slice(&x->call.block);
		x->source = SOURCE_DATABASE;
		return STEP_NEXT;
	case HANDLER_RESPONSE:
		return STEP_ANSWERED;
	case HANDLER_PARKED:
		return park_write(x);
	case HANDLER_PROBLEM:
		break;
	}
	return failed(x);
}
