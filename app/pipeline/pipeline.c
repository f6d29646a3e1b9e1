/*
 * The whole request path, top to bottom.  To add a policy, add a row.
 */
#include "pipeline/pipeline.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rand.h"
#include "http/problem.h"
#include "pipeline/step.h"
#include "policy/fair_share.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"

enum lane {
	LANE_INLINE,  /* never blocks */
	LANE_BODY,    /* blocks when the body is large: then on a lane */
	LANE_ASKED,   /* never blocks, until it asks for a lane itself (STEP_BLOCKS) */
	LANE_HANDLER, /* where the endpoint's handler belongs */
};

struct step {
	const char *name; /* also the span's */
	enum lane lane;
	enum step_result (*run)(struct exchange *x);
};

static const struct step steps[] = {
	{ "read", LANE_INLINE, step_read },	    /* 400 */
	{ "web root", LANE_INLINE, step_web_root }, /* 503 while our files lie open to everybody */
	{ "route", LANE_INLINE, step_route },	    /* 400 404 405 406, OPTIONS */
	{ "admit", LANE_INLINE, step_admit },	    /* 503 before any work */
	{ "body", LANE_BODY, step_body },	    /* 408 413 */
	{ "bind", LANE_INLINE, step_bind },	    /* 400 415 */
	{ "authenticate", LANE_ASKED,
	    step_authenticate },	     /* 401 403 429; a lane for what is not remembered */
	{ "limit", LANE_ASKED, step_limit }, /* 429 503; a lane when Redis must be asked */
	{ "consistency", LANE_INLINE, step_consistency }, /* reads: 400 */
	{ "replay", LANE_INLINE, step_replay }, /* writes: 400; the claim is the committer's */
	{ "claim", LANE_INLINE, step_claim },	/* writes: has another host its key? 202 409 422 */
	{ "lookup", LANE_INLINE, step_lookup }, /* reads: fresh, stale, lead or wait */
	{ "recheck", LANE_HANDLER, step_recheck }, /* leaders: has another flight just landed? */
	{ "fetch", LANE_HANDLER, step_fetch }, /* leaders: has another host a copy, or makes one? */
	{ "handle", LANE_HANDLER, step_handle }, /* the handler: 200 202 4xx 5xx */
	{ "keep", LANE_HANDLER, step_keep },	 /* fill the cache, wake the waiters */
	/* No request comes here: what a slow one has left behind begins with it. */
	{ "explain", LANE_HANDLER, step_explain },
};

enum { STEP_COUNT = sizeof steps / sizeof *steps };
enum { WORTH_NS = 20000 }; /* of a step on a lane that did nothing worth a span */

size_t pipeline_step(enum step_result (*run)(struct exchange *x))
{
	size_t i = 0;

	while (steps[i].run != run)
		i++;
	return i;
}

static bool
body_is_coming(const struct exchange *x)
{
	return x->body_is_large && !x->body_taken;
}

static bool
needs_lane(const struct exchange *x, enum lane lane)
{
	switch (lane) {
	case LANE_INLINE:
		return false;
	case LANE_BODY:
		return body_is_coming(x);
	case LANE_ASKED:
		return x->asks_lane;
	case LANE_HANDLER:
		return x->endpoint->handler->lane == HANDLER_BLOCKING;
	}
	return false;
}

/* Nobody wants it any more; but a front server that is cut off while it sends takes that for a failure. */
static void
drop_body(struct exchange *x)
{
	size_t ignored;

	(void)x->transport->body(x, NULL, 0, &ignored);
	x->body_taken = true;
}

static void
complete(struct exchange *x)
{
	cache_give_up(x->env->cache, &x->fill); /* nobody waits for what will not come */
	x->step = STEP_COUNT;
	x->wait = EXCHANGE_RUNS;
	answer_complete(x);
	slow_end(x);
	if (x->transport == NULL && x->env->exporter != NULL && x->key.len > 0)
		tell(x, clock_mono_ns());
}

static enum admission_class
class_of(const struct exchange *x)
{
	if (x->transport == NULL)
		return ADMISSION_BULK; /* a refresh: what is stale is served meanwhile */
	switch (x->endpoint->priority) {
	case PRIORITY_CRITICAL:
		return ADMISSION_CRITICAL;
	case PRIORITY_BULK:
		return ADMISSION_BULK;
	case PRIORITY_NORMAL:
		break;
	}
	return ADMISSION_NORMAL;
}

/* Charged once, also when it comes back to a lane. */
static void
charge_client(struct exchange *x)
{
	const struct slice who = x->tenant.len > 0 ? x->tenant : x->ip;

	if (x->asked || x->env->fair_share == NULL)
		return;
	x->client = hash64(x->env->client_seed, who.ptr, who.len);
	x->waiter.heavy = fair_share_ask(
	    x->env->fair_share, x->client, x->handed_ns / 1000000, rand_u64(), &x->asked_us);
	x->asked = true;
}

/* What the queue before the lane needs to know. */
static enum pipeline_result
hand_over(struct exchange *x, enum lane lane)
{
	x->handed_ns = clock_mono_ns();
	x->calls = lane == LANE_HANDLER && x->endpoint->sql.ptr != NULL;
	x->waiter.since_ns = x->handed_ns - x->lost_us * 1000;
	x->waiter.until_ns =
	    x->deadline_ms < INT64_MAX / 1000000 ? x->deadline_ms * 1000000 : INT64_MAX;
	if (x->calls) {
		x->waiter.class = class_of(x);
		charge_client(x);
	}
	return lane == LANE_BODY ? PIPELINE_BODY : PIPELINE_BLOCKING;
}

/* Answered, perhaps before the body was read: then that is the last thing to do. */
static enum pipeline_result
done(struct exchange *x, enum pipeline_where where)
{
	x->step = STEP_COUNT;
	if (body_is_coming(x)) {
		if (where == PIPELINE_ON_REACTOR)
			return hand_over(x, LANE_BODY);
		drop_body(x);
	}
	complete(x);
	return PIPELINE_DONE;
}

/* Steps on a lane take their time; those on the reactor must not, and pay for no span. */
static enum step_result
run_in_span(struct exchange *x, const struct step *s)
{
	struct span *span = span_begin(SPAN_INTERNAL, s->name);
	const enum step_result r = s->run(x);

	span_end_worth(span, ERR_OK, WORTH_NS);
	return r;
}

/* A wish for a lane is for one run. */
static enum step_result
run_step(struct exchange *x, const struct step *s, enum pipeline_where where)
{
	const enum step_result r = where == PIPELINE_ON_LANE ? run_in_span(x, s) : s->run(x);

	x->asks_lane = r == STEP_BLOCKS;
	return r;
}

/* Brown-out: an old copy is better than no answer, where the endpoint says so. */
static void
answer_spare(struct exchange *x)
{
	x->block = x->spare_block;
	x->age_ms = x->spare_age_ms;
	x->source = SOURCE_IF_ERROR;
	scoreboard_count(x->env->scoreboard, x->env->member, METRIC_BROWNED_OUT, 1);
	(void)answer_block(x);
}

/* Those who wait for what it leads are as many too many; but when only its client asks too much, another may lead. */
static void
fail_flight(struct exchange *x, enum shed_reason why)
{
	if (x->fill.leading && (why == SHED_CONCURRENCY || why == SHED_QUEUE_FULL))
		cache_fail_land(x->env->cache, &x->fill, ERR_OVERLOADED);
}

void
pipeline_shed(struct exchange *x, enum shed_reason why)
{
	if (why == SHED_ABANDONED) {
		x->shed = why; /* there is nobody to answer */
	} else if (x->step <
		   STEP_COUNT) { /* else it was answered, and only its body was to be read */
		fail_flight(x, why);
		if (x->spare_block.len > 0 && x->transport != NULL)
			answer_spare(x);
		else
			(void)answer_shed(x, why);
	}
	complete(x);
}

/* On its way to a lane it may have lost whoever asked, or the time to answer: then no work is begun. */
static enum shed_reason
is_pointless(const struct exchange *x)
{
	if (!x->calls && !x->asks_lane)
		return SHED_NONE; /* a body: whoever sends it finds out by itself */
	if (atomic_load_explicit(&x->gone, memory_order_relaxed) && !x->fill.leading)
		return SHED_ABANDONED; /* what it leads, others wait for */
	return clock_mono_ms() >= x->deadline_ms ? SHED_DEADLINE : SHED_NONE;
}

/* How long it has waited until now, as a span. */
static void
tell_wait(const char *name, int64_t since_ns)
{
	span_end(span_begin_at(SPAN_INTERNAL, name, since_ns), ERR_OK);
}

static void
tell_parked(struct exchange *x)
{
	static const char *const names[] = {
		[EXCHANGE_RUNS] = "wait",
		[EXCHANGE_WAITS_CLAIM] = "wait.claim",
		[EXCHANGE_WAITS_QUEUE] = "wait.queue",
		[EXCHANGE_WAITS_FLIGHT] = "wait.flight",
		[EXCHANGE_WAITS_TURN] = "wait.turn",
	};

	tell_wait(names[x->wait], x->parked_ns);
	x->parked_ns = 0;
}

static enum pipeline_result
run_steps(struct exchange *x, enum pipeline_where where)
{
	for (; x->step < STEP_COUNT; x->step++) {
		const struct step *s = &steps[x->step];
		const bool lane = needs_lane(x, s->lane);

		if (lane && where == PIPELINE_ON_REACTOR)
			return hand_over(x, s->lane);
		if (!lane && where == PIPELINE_ON_LANE)
			return PIPELINE_INLINE;
		switch (run_step(x, s, where)) {
		case STEP_NEXT:
			break;
		case STEP_BLOCKS:
			return hand_over(x, s->lane);
		case STEP_ANSWERED:
			return done(x, where);
		case STEP_PARKED:
			x->parked_ns = clock_mono_ns();
			return PIPELINE_PARKED;
		}
	}
	return done(x, where);
}

/* Whatever runs below records its spans with this exchange, for as long as this thread owns it. */
enum pipeline_result
pipeline_run(struct exchange *x, enum pipeline_where where)
{
	enum shed_reason why = SHED_NONE;
	enum pipeline_result r;

	(void)span_record(&x->spans);
	if (x->parked_ns != 0)
		tell_parked(x);
	if (where == PIPELINE_ON_LANE) {
		x->lane_wait_ns += clock_mono_ns() - x->handed_ns;
		tell_wait("lane.wait", x->handed_ns);
		why = is_pointless(x);
	}
	if (why == SHED_NONE) {
		r = run_steps(x, where);
	} else {
		pipeline_shed(x, why);
		r = PIPELINE_DONE;
	}
	(void)span_record(NULL);
	return r;
}

/*
 * A write that nobody has picked up yet is taken back; one that the committer holds may become durable, so
 * its outcome is unknown, and it stays until the committer lets go of it.
 */
static bool
expire_write(struct exchange *x)
{
	struct problem p = problem_of(ERR_UNAVAILABLE);

	p.retry_after_s = 1;
	if (queue_withdraw(x->env->queue, &x->item)) {
		write_give_up(x);
		p.detail = x->item.seq == 0
			       ? "the queue did not take this in time; nothing was accepted"
			       : "stored here, but not yet acknowledged by Kafka: send the same "
				 "Idempotency-Key again to learn when it is";
		(void)answer_problem(x, &p);
		return true;
	}
	p.detail = "outcome unknown: send the same Idempotency-Key again to learn it";
	(void)answer_problem(x, &p);
	x->orphan = true;
	return false;
}

bool
pipeline_expire(struct exchange *x)
{
	bool free_to_go = true;

	if (x->wait == EXCHANGE_WAITS_QUEUE)
		free_to_go = expire_write(x);
	else
		(void)answer_problem(x, &(struct problem){ .status = 504, .retry_after_s = 1 });
	complete(x);
	return free_to_go;
}
