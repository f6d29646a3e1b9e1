/*
 * A roll: what to start and whom to let go next.
 */
#include "runtime/roll.h"

#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "telemetry/scoreboard.h"

enum {
	UP_WITHIN_MS = 20000, /* a worker that reads many files, on a slow machine */
	WATCH_MS = 3000,
	WATCH_MOST_MS = 10000, /* when it has answered little, and the others much */
	REQUESTS_ENOUGH = 20,
	STEP_EVERY_MS = 300,
	REQUESTS_JUDGED = 10,
	TOLERATED_PCT = 5,
};

bool
roll_errs_more(const struct roll_counts *canary, const struct roll_counts *others)
{
	/* canary.failed / canary.requests > tolerated + 2 * others.failed / others.requests */
	const uint64_t all = others->requests > 0 ? others->requests : 1;

	return canary->requests >= REQUESTS_JUDGED &&
	       canary->failed * 100 * all >
		   TOLERATED_PCT * canary->requests * all + 200 * others->failed * canary->requests;
}

/* What that worker has answered since it joined. */
static struct roll_counts
counts_of(const struct child *c, const struct pool_board *b)
{
	if (!c->up)
		return (struct roll_counts){ 0 };
	return (struct roll_counts){
		.requests = scoreboard_of(b->scoreboard, c->member, METRIC_REQUESTS),
		.failed = scoreboard_of(b->scoreboard, c->member, METRIC_RESPONSES_5XX),
	};
}

static struct roll_counts
minus(struct roll_counts a, struct roll_counts b)
{
	return (struct roll_counts){ a.requests - b.requests, a.failed - b.failed };
}

/* Of all the others of the host, ever. */
static struct roll_counts
counts_but(const struct child *c, const struct pool_board *b)
{
	const struct roll_counts all = {
		.requests = scoreboard_total(b->scoreboard, METRIC_REQUESTS),
		.failed = scoreboard_total(b->scoreboard, METRIC_RESPONSES_5XX),
	};

	return minus(all, counts_of(c, b));
}

static void
enter(struct roll *r, enum roll_state state, int64_t now_ms)
{
	r->state = state;
	r->since_ms = now_ms;
}

void
roll_begin(struct roll *r, struct pool *p, const struct generation *from,
    const struct generation *to, size_t to_workers, int64_t now_ms)
{
	size_t up;

	*r = (struct roll){ .from = from,
		.to = to,
		.from_workers = pool_places(p, MEMBER_WORKER, from, &up),
		.to_workers = to_workers,
		.consumer = pool_any(p, MEMBER_CONSUMER, from) != NULL,
		.canary = pool_add(p, MEMBER_WORKER, to) };
	enter(r, ROLL_STARTING, now_ms);
}

static enum roll_result
back(struct roll *r, struct pool *p, const char *why)
{
	struct child *c;
	size_t up;

	(void)snprintf(r->why, sizeof r->why, "%s", why);
	while ((c = pool_any(p, MEMBER_WORKER, r->to)) != NULL)
		pool_leave(c, SIGQUIT);
	for (size_t n = pool_places(p, MEMBER_WORKER, r->from, &up); n < r->from_workers; n++)
		(void)pool_add(p, MEMBER_WORKER, r->from);
	r->state = ROLL_IDLE;
	return ROLL_BACK;
}

/* It stops accepting; the kept connections that it closes come back to the others. */
static void
let_one_go(struct roll *r, struct pool *p)
{
	struct child *c = pool_any(p, MEMBER_WORKER, r->from);

	if (c != NULL)
		pool_leave(c, SIGQUIT);
}

/* The front stays with the workers that it knows, and the kernel asks the oldest first.  Not all the time, for should the
 * canary hang, nobody would accept. */
static void
make_room(struct roll *r, const struct pool *p, int64_t now_ms)
{
	if (now_ms - r->stepped_ms < STEP_EVERY_MS)
		return;
	r->stepped_ms = now_ms;
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (p->children[i].kind == MEMBER_WORKER && p->children[i].generation == r->from &&
		    p->children[i].up)
			(void)kill(p->children[i].pid, SIGHUP);
}

static enum roll_result
look_at_start(struct roll *r, struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	if (r->canary == NULL)
		return back(r, p, "there is no place for one more worker");
	if (r->canary->deaths > 0)
		return back(r, p, "the first new worker ended at its start");
	if (r->canary->up) {
		r->before = counts_but(r->canary, b);
		enter(r, ROLL_WATCHED, now_ms);
	} else if (now_ms - r->since_ms > UP_WITHIN_MS) {
		return back(r, p, "the first new worker did not come up in time");
	}
	return ROLL_GOES_ON;
}

static bool
is_watched_enough(const struct roll *r, const struct roll_counts *canary,
    const struct roll_counts *others, int64_t now_ms)
{
	const int64_t watched_ms = now_ms - r->since_ms;

	if (watched_ms >= WATCH_MOST_MS)
		return true;
	return watched_ms >= WATCH_MS &&
	       (canary->requests >= REQUESTS_ENOUGH || others->requests < REQUESTS_ENOUGH);
}

static enum roll_result
watch(struct roll *r, struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	const struct roll_counts canary = counts_of(r->canary, b);
	const struct roll_counts others = minus(counts_but(r->canary, b), r->before);

	if (r->canary->deaths > 0)
		return back(r, p, "the first new worker ended");
	if (roll_errs_more(&canary, &others)) {
		log_warn("canary_fails", LOG_INT("requests", canary.requests),
		    LOG_INT("failed", canary.failed), LOG_INT("others_requests", others.requests),
		    LOG_INT("others_failed", others.failed));
		return back(r, p, "the first new worker fails more often than the others");
	}
	if (canary.requests < REQUESTS_ENOUGH)
		make_room(r, p, now_ms);
	if (is_watched_enough(r, &canary, &others, now_ms))
		enter(r, ROLL_REPLACING, now_ms);
	return ROLL_GOES_ON;
}

/* It applies nothing twice: the new one waits for the old one's lock. */
static enum roll_result
replace_consumer(struct roll *r, struct pool *p)
{
	struct child *old = pool_any(p, MEMBER_CONSUMER, r->from);

	if (r->consumer)
		(void)pool_add(p, MEMBER_CONSUMER, r->to);
	if (old != NULL)
		pool_leave(old, SIGTERM);
	r->state = ROLL_IDLE;
	return ROLL_DONE;
}

static bool
one_fails(const struct pool *p, const struct generation *g)
{
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (p->children[i].generation == g && p->children[i].failures > 1)
			return true;
	return false;
}

/* One for one, and each old one only when its successor is up. */
static enum roll_result
replace(struct roll *r, struct pool *p, int64_t now_ms)
{
	size_t new_up, old_up;
	const size_t new = pool_places(p, MEMBER_WORKER, r->to, &new_up);
	const size_t old = pool_places(p, MEMBER_WORKER, r->from, &old_up);

	if (one_fails(p, r->to) || (new_up < new &&now_ms - r->since_ms > UP_WITHIN_MS))
		return back(r, p, "a new worker does not come up");
	if (new_up < new)
		return ROLL_GOES_ON;
	r->since_ms = now_ms; /* each has its own time */
	if (old > 0 && old + new > r->to_workers)
		let_one_go(r, p);
	else if (new < r->to_workers && pool_add(p, MEMBER_WORKER, r->to) == NULL)
		return back(r, p, "there is no place for one more worker");
	else if (new == r->to_workers && old == 0)
		return replace_consumer(r, p);
	return ROLL_GOES_ON;
}

enum roll_result
roll_step(struct roll *r, struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	switch (r->state) {
	case ROLL_IDLE:
		break;
	case ROLL_STARTING:
		return look_at_start(r, p, b, now_ms);
	case ROLL_WATCHED:
		return watch(r, p, b, now_ms);
	case ROLL_REPLACING:
		return replace(r, p, now_ms);
	}
	return ROLL_GOES_ON;
}
