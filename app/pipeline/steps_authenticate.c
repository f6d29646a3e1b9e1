/*
 * Who calls: the address, and the tenant, from an API key or from the front server.
 *
 * What the host remembers of a key is answered on the reactor, and asked about again behind the reply.  Anything
 * else asks the database first, on a lane: there the step runs again.  A key that was sent must be good, also where nobody needs one: who sends it wants to be told.
 */
#include "base/clock.h"
#include "http/address.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/tenant.h"
#include "telemetry/scoreboard.h"

enum { TENANT_MAX_BYTES = 255 };

static void
count(const struct exchange *x, enum metric m)
{
	scoreboard_count(x->env->scoreboard, x->env->member, m, 1);
}

/* RFC 6750 section 3: a request without a key is told no error, for it has made none. */
static enum step_result
unauthorized(struct exchange *x, const char *detail, struct slice challenge)
{
	(void)answer_error(x, 401, detail);
	response_header(&x->response, &x->arena, "WWW-Authenticate", challenge);
	return STEP_ANSWERED;
}

static enum step_result
refused(struct exchange *x)
{
	count(x, METRIC_KEYS_REFUSED);
	return unauthorized(
	    x, x->check->why, SLICE("Bearer realm=\"weir\", error=\"invalid_token\""));
}

static enum step_result
shut_out(struct exchange *x)
{
	struct problem p =
	    PROBLEM(429, "too many API keys that are not good came from this address");

	count(x, METRIC_KEYS_REFUSED);
	count(x, METRIC_LIMITED);
	p.retry_after_s = x->check->retry_after_s;
	return answer_problem(x, &p);
}

/* ${own}: the key's tenant, empty without one. */
static enum step_result
settle(struct exchange *x, struct slice own)
{
	const struct slice front = x->request.tenant;

	if (own.len > 0 && front.len > 0 && !slice_eq(own, front))
		return answer_error(x, 403,
		    "the API key belongs to another tenant than the one that the front server "
		    "names");
	x->tenant = front.len > 0 ? front : own;
	if (x->endpoint->auth != AUTH_REQUIRED || x->tenant.len > 0)
		return STEP_NEXT;
	return unauthorized(
	    x, "this endpoint needs an authenticated tenant", SLICE("Bearer realm=\"weir\""));
}

static enum step_result
judge(struct exchange *x, enum tenant_verdict verdict)
{
	switch (verdict) {
	case TENANT_NO_KEY:
		return settle(x, SLICE(""));
	case TENANT_KNOWN:
		x->ask_again = x->check->again;
		return settle(x, x->check->tenant);
	case TENANT_ASK:
		return STEP_BLOCKS;
	case TENANT_REFUSED:
		return refused(x);
	case TENANT_LIMITED:
		return shut_out(x);
	case TENANT_UNASKED:
		break;
	}
	return answer_problem(x, &(struct problem){ .status = 503,
				     .detail = "API keys cannot be looked up at the moment",
				     .retry_after_s = 1 });
}

static enum step_result
ask(struct exchange *x)
{
	const enum tenant_verdict verdict =
	    tenant_ask(x->env->tenants, clock_mono_ns(), x->deadline_ms, x->check);

	if (x->check->looked_up)
		count(x, METRIC_KEY_LOOKUPS);
	return x->transport == NULL ? STEP_ANSWERED : judge(x, verdict);
}

static enum step_result
look(struct exchange *x)
{
	const struct request *r = &x->request;

	if (r->authorization.ptr == NULL && r->api_key.ptr == NULL)
		return judge(x, TENANT_NO_KEY);
	x->check = arena_alloc(&x->arena, sizeof *x->check);
	if (x->check == NULL)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	return judge(x, tenant_look(x->env->tenants, r->authorization, r->api_key, x->ip,
			    clock_mono_ns(), x->check)); /* a body may have taken long */
}

enum step_result
step_authenticate(struct exchange *x)
{
	const struct request *r = &x->request;

	if (x->asks_lane)
		return ask(x);
	x->ip = address_client(
	    r->remote_addr, r->forwarded_for, x->env->trusted, x->env->trusted_count, &x->arena);
	x->tenant = SLICE("");
	/* It comes from the front server, so a bad one is a configuration to mend, not a client's fault. */
	if (r->tenant.len > TENANT_MAX_BYTES || !utf8_valid(r->tenant, NULL))
		return answer_error(x, 500, "the front server sent a TENANT_ID that is not usable");
	return look(x);
}

bool
pipeline_ask_again(const struct exchange *from, struct exchange *x)
{
	x->check = arena_alloc(&x->arena, sizeof *x->check);
	if (x->check == NULL)
		return false;
	*x->check = *from->check;
	x->check->id = arena_slice(&x->arena, from->check->id);
	x->deadline_ms = INT64_MAX; /* tenant_ask() has a shorter one */
	x->step = pipeline_step(step_authenticate);
	x->asks_lane = true;
	return !x->arena.overflowed;
}
