/*
 * What a write needs before its handler: an idempotency key, and the event that carries it.  Whether the key was seen before
 * is decided by the committer, inside the transaction that makes the event durable.
 */
#include <string.h>

#include "http/structured_field.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/idempotency.h"

enum {
	LEASE_SPARE_MS = 2000, /* of a claim, beyond the time a write has */
	HELD_RETRY_S = 1,
};

void
write_give_up(struct exchange *x)
{
	if (x->env->idempotency != NULL)
		idempotency_settle(x->env->idempotency, &x->event, 0);
}

/* On the committer's thread; also when nobody waits for it any more, for what is durable is accepted. */
static void
write_is_done(struct queue_item *item)
{
	struct exchange *x = item->ctx;

	if (item->outcome != QUEUE_ACCEPTED && item->outcome != QUEUE_REPLAYED)
		write_give_up(x);
	else if (x->env->idempotency != NULL)
		idempotency_settle(x->env->idempotency, &x->event, item->accepted_us);
	x->env->resume(x);
}

static void
claim_is_done(struct idempotency_claim *c)
{
	struct exchange *x = c->ctx;

	x->env->resume(x);
}

/* The client's key; or, where it is optional and none came, the front's own name for the request, so
 * that the front's retries are never doubled. */
static enum step_result
find_key(struct exchange *x, struct slice *key_out)
{
	const struct request *r = &x->request;

	if (r->idempotency_key_lines > 1)
		return answer_error(x, 400, "Idempotency-Key came more than once");
	if (r->idempotency_key_lines == 1) {
		if (sf_idempotency_key(r->idempotency_key, &x->arena, key_out) == ERR_OK)
			return STEP_NEXT;
		return answer_error(x, 400,
		    "Idempotency-Key: expected 1 to 255 printable ASCII characters, bare or "
		    "quoted");
	}
	if (!x->endpoint->key_optional)
		return answer_error(x, 400,
		    "Idempotency-Key is required: send one value for all tries of this request");
	*key_out = r->request_id;
	return STEP_NEXT;
}

static enum err
make_event(struct exchange *x, struct slice key)
{
	const struct endpoint *e = x->endpoint;
	struct event *ev = &x->event;
	char *traceparent = arena_alloc(&x->arena, TRACEPARENT_BYTES);

	ev->params = arena_alloc(&x->arena, (e->param_count + 1) * sizeof *ev->params);
	if (traceparent == NULL || ev->params == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < e->param_count; i++)
		ev->params[i] =
		    (struct event_param){ .name = e->params[i].name, .value = x->values[i] };
	ev->param_count = e->param_count;
	ev->endpoint = e->name;
	/* The event may outlive the connection's parameters: see pipeline_expire(). */
	ev->tenant = arena_slice(&x->arena, x->tenant);
	ev->key = arena_slice(&x->arena, key);
	ev->accepted_us = x->start_us;
	ev->traceparent = slice_of(trace_format(&x->trace, traceparent));
	ev->tracestate = x->trace.tracestate;
	if (x->arena.overflowed)
		return ERR_NOMEM;
	event_id_make(ev->tenant, ev->endpoint, ev->key, ev->id);
	return event_fingerprint(e, x->values, &x->arena, ev->fingerprint);
}

enum step_result
step_replay(struct exchange *x)
{
	struct slice key = { 0 };
	enum step_result r;

	if (!http_method_writes(x->endpoint->method))
		return STEP_NEXT;
	r = find_key(x, &key);
	if (r != STEP_NEXT)
		return r;
	if (make_event(x, key) != ERR_OK ||
	    event_encode(&x->event, &x->arena, &x->item.record) != ERR_OK)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	x->item.event = &x->event;
	x->item.done = write_is_done;
	x->item.ctx = x;
	return STEP_NEXT;
}

static enum step_result
claimed(struct exchange *x)
{
	struct problem p =
	    PROBLEM(409, "a request with this Idempotency-Key is still in hand; try again");

	switch (x->claim->outcome) {
	case IDEMPOTENCY_OURS:
		return STEP_NEXT;
	case IDEMPOTENCY_ACCEPTED:
		x->item.outcome = QUEUE_REPLAYED;
		x->item.accepted_us = x->claim->accepted_us;
		x->decided = true;
		return STEP_NEXT;
	case IDEMPOTENCY_MISMATCH:
		x->item.outcome = QUEUE_MISMATCH;
		x->decided = true;
		return STEP_NEXT;
	case IDEMPOTENCY_HELD:
		break;
	}
	p.retry_after_s = HELD_RETRY_S;
	return answer_problem(x, &p);
}

enum step_result
step_claim(struct exchange *x)
{
	if (x->env->idempotency == NULL || !http_method_writes(x->endpoint->method))
		return STEP_NEXT;
	if (x->wait == EXCHANGE_WAITS_CLAIM) {
		x->wait = EXCHANGE_RUNS;
		return claimed(x);
	}
	x->claim = arena_alloc(&x->arena, sizeof *x->claim);
	if (x->claim == NULL)
		return STEP_NEXT; /* as when Redis cannot be asked */
	*x->claim = (struct idempotency_claim){ .event = &x->event,
		.lease_ms = x->endpoint->timeout_ms + LEASE_SPARE_MS,
		.done = claim_is_done,
		.ctx = x };
	x->wait = EXCHANGE_WAITS_CLAIM; /* before another thread has it */
	if (idempotency_claim(x->env->idempotency, x->claim))
		return STEP_PARKED;
	x->wait = EXCHANGE_RUNS;
	return STEP_NEXT;
}
