/*
 * The desk: where an exchange is, and what moves it on.
 *
 * Each exchange is embedded in a struct held, which adds what is needed to keep track of it.
 */
#include "runtime/desk.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/container.h"
#include "policy/refresh.h"
#include "runtime/doorbell.h"
#include "runtime/lane.h"
#include "service/exporter.h"
#include "service/store.h"
#include "telemetry/activity.h"
#include "telemetry/scoreboard.h"

enum {
	ARRIVE_MS = 30000, /* a request must have come whole, a reply gone */
	QUEUE_PER_THREAD = 64,
	SWEEP_MS = 3,
	NS_PER_MS = 1000000,
	POOL_MAX = 256,	   /* idle exchanges that are kept */
	WOKEN_A_TURN = 256 /* of those that wait for a flight; the others get their turn */
};

struct held {
	struct exchange x;
	struct desk *desk;
	struct timer timer;
	enum place { PLACE_RUNS, PLACE_LANE, PLACE_QUEUE, PLACE_FLIGHT, PLACE_TURN } place;
	struct held *older, *newer; /* in hand */
	enum pipeline_result lane_result;
	bool put_out; /* by the lane, in place of a result */
	bool replied,
	    item_pending; /* an orphan is let go when it is replied and its item is done */
	bool refreshes;	  /* or explains: counts in desk.refreshing */
};

static void run(struct held *h);

static struct held *
held_of(struct exchange *x)
{
	return CONTAINER_OF(x, struct held, x);
}

/*
 * Exchanges: made, kept for the next request, freed.
 */
static enum err
transport_body(struct exchange *x, char *out, size_t cap, size_t *total_out)
{
	return reactor_body(x, out, cap, total_out);
}

static const struct transport transport = { .body = transport_body };

static void timer_fired(struct timer *t);

static struct held *
held_new(struct desk *d)
{
	struct held *h = calloc(1, sizeof *h);

	if (h == NULL)
		return NULL;
	h->desk = d;
	h->timer.fire = timer_fired;
	exchange_init(&h->x, d->env);
	return h;
}

static struct held *
held_take(struct desk *d)
{
	struct held *h;

	if (d->pool != NULL) {
		h = held_of(d->pool);
		d->pool = d->pool->next;
		d->pool_count--;
		h->x.next = NULL;
	} else {
		h = held_new(d);
	}
	d->out_count += h != NULL;
	return h;
}

static void
held_release(struct held *h)
{
	struct desk *d = h->desk;

	d->out_count--;
	d->refreshing -= h->refreshes;
	reactor_timer_stop(d->reactor, &h->timer);
	if (d->pool_count >= POOL_MAX) {
		exchange_clear(&h->x);
		free(h);
		return;
	}
	exchange_reset(&h->x);
	h->replied = h->item_pending = h->refreshes = false;
	h->place = PLACE_RUNS;
	h->x.next = d->pool;
	d->pool = &h->x;
	d->pool_count++;
}

bool
desk_is_empty(const struct desk *d)
{
	return d->out_count == 0;
}

static void
in_hand_add(struct desk *d, int n)
{
	(void)atomic_fetch_add_explicit(&d->in_hand, (uint32_t)n, memory_order_relaxed);
}

uint32_t
desk_in_hand(const struct desk *d)
{
	return atomic_load_explicit(&d->in_hand, memory_order_relaxed);
}

/*
 * In hand: from a request's arrival until its reply has gone.
 */
static void
came(struct held *h)
{
	struct desk *d = h->desk;

	h->older = d->newest;
	h->newer = NULL;
	*(d->newest == NULL ? &d->oldest : &d->newest->newer) = h;
	d->newest = h;
	in_hand_add(d, 1);
}

static void
went(struct held *h)
{
	struct desk *d = h->desk;

	*(h->older == NULL ? &d->oldest : &h->older->newer) = h->newer;
	*(h->newer == NULL ? &d->newest : &h->newer->older) = h->older;
	in_hand_add(d, -1);
}

static enum activity_place
place_shown(const struct held *h)
{
	switch (h->place) {
	case PLACE_RUNS:
		return ACTIVITY_RUNS;
	case PLACE_LANE:
		return ACTIVITY_LANE;
	case PLACE_QUEUE:
		return ACTIVITY_QUEUE;
	case PLACE_FLIGHT:
		return ACTIVITY_FLIGHT;
	case PLACE_TURN:
		return ACTIVITY_TURN;
	}
	return ACTIVITY_NOWHERE;
}

/* Of an exchange on a lane only what was written before it went there is looked at. */
static struct slice
endpoint_name(const struct exchange *x)
{
	return x->endpoint == NULL ? (struct slice){ NULL, 0 } : x->endpoint->name;
}

void
desk_publish(const struct desk *d)
{
	const struct held *first = d->oldest;
	struct activity_counts c = { .connections = (uint32_t)reactor_connections(d->reactor) };
	struct lane_state lane;

	lane_look(d->lane, &lane);
	c.threads = (uint32_t)lane.threads;
	c.threads_max = (uint32_t)lane.threads_max;
	c.busy = (uint32_t)lane.busy;
	c.waiting = (uint32_t)lane.waiting;
	c.waiting_max = (uint32_t)lane.waiting_max;
	c.bodies = (uint32_t)lane.bodies;
	c.bodies_max = (uint32_t)lane.bodies_max;
	c.refreshes = (uint32_t)d->refreshing;
	c.refreshes_max = (uint32_t)refresh_limit(d->threads);
	c.spans = exporter_waiting(d->env->exporter, &c.spans_max);
	for (const struct held *h = first; h != NULL; h = h->newer)
		c.at[place_shown(h)]++;
	activity_publish(d->activity, &c, first == NULL ? ACTIVITY_NOWHERE : place_shown(first),
	    first == NULL ? 0 : first->x.start_ns / NS_PER_MS,
	    first == NULL ? (struct slice){ NULL, 0 } : endpoint_name(&first->x));
}

/*
 * Parking and waking.
 */
static void
flight_list(struct held *h)
{
	struct desk *d = h->desk;
	struct exchange *x = &h->x;

	x->next = d->flights;
	x->prev = &d->flights;
	if (x->next != NULL)
		x->next->prev = &x->next;
	d->flights = x;
}

static void
flight_unlist(struct held *h)
{
	struct exchange *x = &h->x;

	if (h->desk->look_at == x)
		h->desk->look_at = x->next;
	*x->prev = x->next;
	if (x->next != NULL)
		x->next->prev = x->prev;
	x->next = NULL;
	x->prev = NULL;
}

static void
unpark(struct held *h)
{
	reactor_timer_stop(h->desk->reactor, &h->timer);
	if (h->place == PLACE_FLIGHT)
		flight_unlist(h);
	h->place = PLACE_RUNS;
}

/*
 * Runs those that have news, some at a time: ten thousand that wait for one flight must not keep everybody else
 * waiting.  Those that park again go to the front of the list, behind this walk.
 */
static void
look_at_flights(struct timer *t)
{
	struct desk *d = CONTAINER_OF(t, struct desk, look);
	const int64_t now_ms = reactor_now_ms(d->reactor);
	struct exchange *x;
	int woken = 0;

	while (woken < WOKEN_A_TURN && (x = d->look_at) != NULL) {
		d->look_at = x->next;
		if (!pipeline_has_news(x, now_ms))
			continue;
		unpark(held_of(x));
		run(held_of(x));
		woken++;
	}
	if (d->look_at == NULL && d->look_again) {
		d->look_again = false;
		d->look_at = d->flights;
	}
	if (d->look_at != NULL)
		(void)reactor_timer(d->reactor, &d->look, now_ms + 1);
}

/* Something has happened to flights: looks at all, after the look that is going on. */
static void
something_happened(struct desk *d)
{
	if (d->look_at != NULL) {
		d->look_again = true;
		return;
	}
	d->look_at = d->flights;
	look_at_flights(&d->look);
}

/* From struct leaders: a member that leads flights is dead. */
static void
leader_died(void *ctx, unsigned member)
{
	struct desk *d = ctx;

	for (struct exchange *x = d->flights; x != NULL; x = x->next)
		if (x->fill.ticket.leader == member)
			pipeline_leader_died(x);
	something_happened(d);
}

static void
park(struct held *h)
{
	struct desk *d = h->desk;
	struct exchange *x = &h->x;
	int64_t until_ms = x->deadline_ms;

	if (x->wait == EXCHANGE_WAITS_QUEUE || x->wait == EXCHANGE_WAITS_CLAIM) {
		h->place = PLACE_QUEUE;
		h->item_pending = true;
		if (x->wait == EXCHANGE_WAITS_CLAIM)
			return; /* its answer comes by itself, and soon */
	} else if (x->wait == EXCHANGE_WAITS_TURN) {
		h->place = PLACE_TURN;
		until_ms = x->wake_ms;
	} else {
		h->place = PLACE_FLIGHT;
		flight_list(h);
		if (x->fill.ticket.deadline_ms < until_ms)
			until_ms = x->fill.ticket.deadline_ms;
		if (!leaders_watch(&d->leaders, x->fill.ticket.leader)) {
			pipeline_leader_died(x);
			until_ms = 0;
		}
	}
	(void)reactor_timer(d->reactor, &h->timer, until_ms);
}

static void
reply(struct held *h)
{
	if (h->x.owner == NULL)
		held_release(h); /* a refresh */
	else if (atomic_load_explicit(&h->x.gone, memory_order_relaxed))
		reactor_detach(h->desk->reactor, &h->x);
	else
		reactor_reply(h->desk->reactor, &h->x);
}

/* Linked by next, with their reasons; they are on no lane (any more). */
static void
shed(struct waiter *list)
{
	struct waiter *next;

	for (struct waiter *w = list; w != NULL; w = next) {
		struct held *h = held_of(CONTAINER_OF(w, struct exchange, waiter));

		next = w->next;
		w->next = NULL;
		reactor_timer_stop(h->desk->reactor, &h->timer);
		h->place = PLACE_RUNS;
		pipeline_shed(&h->x, w->shed);
		reply(h);
	}
}

/* Who waits in vain is told so in time, also when nobody comes and no call ends. */
static void
sweep(struct timer *t)
{
	struct desk *d = CONTAINER_OF(t, struct desk, sweep);
	size_t waiting;
	struct waiter *out = lane_sweep(d->lane, &waiting);

	if (waiting > 0)
		(void)reactor_timer(d->reactor, &d->sweep, reactor_now_ms(d->reactor) + SWEEP_MS);
	d->sweeps = waiting > 0;
	shed(out);
}

static void
to_lane(struct held *h, bool body)
{
	struct desk *d = h->desk;
	struct waiter *out;
	size_t waiting;

	h->place = PLACE_LANE;
	h->put_out = false;
	if (body)
		(void)reactor_timer(d->reactor, &h->timer, reactor_now_ms(d->reactor) + ARRIVE_MS);
	out = lane_submit(d->lane, &h->x,
	    body	 ? LANE_BODY
	    : h->x.calls ? LANE_CALL
			 : LANE_OTHER,
	    &waiting);
	if (waiting > 0 && !d->sweeps) {
		d->sweeps = true;
		(void)reactor_timer(d->reactor, &d->sweep, reactor_now_ms(d->reactor) + SWEEP_MS);
	}
	shed(out);
}

static void
after(struct held *h, enum pipeline_result r)
{
	switch (r) {
	case PIPELINE_DONE:
		reply(h);
		break;
	case PIPELINE_BLOCKING:
	case PIPELINE_BODY:
		to_lane(h, r == PIPELINE_BODY);
		break;
	case PIPELINE_PARKED:
		park(h);
		break;
	case PIPELINE_INLINE:
		run(h);
		break;
	}
}

static void
run(struct held *h)
{
	after(h, pipeline_run(&h->x, PIPELINE_ON_REACTOR));
}

/* On a lane's thread, as the next three. */
static int64_t
lane_run(void *ctx, struct exchange *x, size_t thread, bool body)
{
	struct desk *d = ctx;
	int64_t call_ns;

	activity_begin(d->activity, thread, body ? ACTIVITY_BODY : ACTIVITY_STEPS, endpoint_name(x),
	    clock_mono_ms());
	held_of(x)->lane_result = pipeline_run(x, PIPELINE_ON_LANE);
	activity_end(d->activity, thread);
	call_ns = x->calls && x->source == SOURCE_DATABASE ? x->handle_ns : 0;
	mailbox_post(&d->mailbox, x);
	return call_ns;
}

static size_t
lane_room(void *ctx)
{
	const struct desk *d = ctx;

	return store_room(d->env->store);
}

static void
lane_put_out(void *ctx, struct waiter *list)
{
	struct desk *d = ctx;
	struct waiter *next;

	for (struct waiter *w = list; w != NULL; w = next) {
		struct exchange *x = CONTAINER_OF(w, struct exchange, waiter);

		next = w->next;
		held_of(x)->put_out = true;
		mailbox_post(&d->mailbox, x);
	}
}

/* On the committer's thread. */
void
desk_resume(struct exchange *x)
{
	mailbox_post(&held_of(x)->desk->mailbox, x);
}

static void
timer_fired(struct timer *t)
{
	struct held *h = CONTAINER_OF(t, struct held, timer);
	struct exchange *x = &h->x;

	if (h->place == PLACE_LANE) {
		reactor_stop_body(h->desk->reactor, x);
		return;
	}
	if (h->place == PLACE_TURN) {
		unpark(h);
		run(h);
		return;
	}
	if (h->place == PLACE_FLIGHT && reactor_now_ms(h->desk->reactor) < x->deadline_ms) {
		unpark(h); /* the lease is over */
		run(h);
		return;
	}
	unpark(h);
	if (pipeline_expire(x))
		h->item_pending = false;
	reply(h);
}

static void
mail_came(struct source *s, uint32_t events)
{
	struct desk *d = CONTAINER_OF(s, struct desk, mail);
	struct exchange *x = mailbox_take(&d->mailbox), *next;

	(void)events;
	for (; x != NULL; x = next) {
		struct held *h = held_of(x);

		next = x->mail_next;
		reactor_timer_stop(d->reactor, &h->timer);
		if (h->place == PLACE_LANE && h->put_out) {
			x->waiter.next = NULL;
			shed(&x->waiter);
			continue;
		}
		if (h->place == PLACE_LANE) {
			h->place = PLACE_RUNS;
			after(h, h->lane_result);
			continue;
		}
		h->item_pending = false;
		if (!x->orphan) {
			unpark(h);
			run(h);
		} else if (h->replied) {
			held_release(h);
		}
	}
}

static void
bell_rang(struct source *s, uint32_t events)
{
	struct desk *d = CONTAINER_OF(s, struct desk, bell);

	(void)events;
	doorbell_drain(d->doorbell);
	something_happened(d);
}

/*
 * What the reactor asks of us.
 */
static struct exchange *
on_take(void *ctx)
{
	struct desk *d = ctx;
	struct held *h = held_take(d);

	if (h == NULL)
		return NULL;
	h->x.transport = &transport;
	came(h);
	return &h->x;
}

static void
on_request(void *ctx, struct exchange *x)
{
	(void)ctx;
	run(held_of(x));
}

static void
on_gone(void *ctx, struct exchange *x)
{
	struct desk *d = ctx;
	struct held *h = held_of(x);

	atomic_store_explicit(&x->gone, true, memory_order_relaxed);
	if (h->place != PLACE_FLIGHT)
		return;
	unpark(h);
	reactor_detach(d->reactor, x); /* on_give() follows */
}

/* Work that a request leaves behind its reply. */
static bool
leave(struct desk *d, const struct exchange *x,
    bool (*make)(const struct exchange *x, struct exchange *into))
{
	struct held *h = held_take(d);

	if (h == NULL)
		return false;
	if (!make(x, &h->x)) {
		held_release(h);
		return false;
	}
	h->refreshes = make != pipeline_ask_again;
	d->refreshing += h->refreshes;
	run(h);
	return true;
}

/* What nobody waits for is begun only where it takes nothing from those who do. */
static bool
has_room(struct desk *d)
{
	struct lane_state lane;

	lane_look(d->lane, &lane);
	return refresh_has_room(d->refreshing, d->threads, lane.waiting);
}

static void
refresh(struct desk *d, const struct exchange *x)
{
	if (has_room(d))
		(void)leave(d, x, pipeline_refresh);
	else
		scoreboard_count(
		    d->env->scoreboard, d->env->member, METRIC_CACHE_REFRESHES_HELD, 1);
}

static void
on_give(void *ctx, struct exchange *x)
{
	struct desk *d = ctx;
	struct held *h = held_of(x);

	pipeline_finish(x);
	went(h);
	if (x->refresh)
		refresh(d, x);
	if (x->ask_again)
		(void)leave(d, x, pipeline_ask_again);
	if (x->explain && (!has_room(d) || !leave(d, x, pipeline_explain)))
		pipeline_slow(x);
	h->replied = true;
	if (!h->item_pending)
		held_release(h);
}

static void
on_refused(void *ctx)
{
	struct desk *d = ctx;

	scoreboard_count(d->env->scoreboard, d->env->member, METRIC_CONNECTIONS_REFUSED, 1);
}

static const struct reactor_ops ops = {
	.take = on_take,
	.request = on_request,
	.gone = on_gone,
	.refused = on_refused,
	.give = on_give,
};

static enum err
watch(struct desk *d, struct source *s, int fd, void (*ready)(struct source *, uint32_t))
{
	*s = (struct source){ .ready = ready, .fd = fd };
	return reactor_watch(d->reactor, s);
}

enum err
desk_open(const struct desk_options *o, struct desk *d)
{
	const struct lane_options lane = { .threads = o->threads,
		.queue = o->threads * QUEUE_PER_THREAD,
		.run = lane_run,
		.room = lane_room,
		.put_out = lane_put_out,
		.ctx = d };
	const struct reactor_options reactor = {
		.ops = &ops, .ctx = d, .arrive_ms = ARRIVE_MS, .activity = o->activity
	};
	enum err rc;

	d->env = o->env;
	d->threads = o->threads;
	d->doorbell = o->doorbell;
	d->activity = o->activity;
	d->look.fire = look_at_flights;
	d->sweep.fire = sweep;
	rc = reactor_open(&reactor, &d->reactor);
	if (rc == ERR_OK)
		rc = mailbox_open(&d->mailbox);
	if (rc == ERR_OK)
		rc = watch(d, &d->mail, d->mailbox.fd, mail_came);
	if (rc == ERR_OK)
		rc = watch(d, &d->bell, doorbell_fd(o->doorbell), bell_rang);
	if (rc == ERR_OK)
		rc = lane_open(&lane, &d->lane);
	d->leaders = (struct leaders){ .reactor = d->reactor,
		.scoreboard = o->scoreboard,
		.self = o->member,
		.died = leader_died,
		.ctx = d };
	return rc;
}

static void
free_pool(struct desk *d)
{
	while (d->pool != NULL) {
		struct held *h = held_of(d->pool);

		d->pool = h->x.next;
		exchange_clear(&h->x);
		free(h);
	}
}

void
desk_close(struct desk *d)
{
	lane_close(&d->lane);
	if (d->reactor != NULL)
		leaders_close(&d->leaders);
	reactor_close(&d->reactor);
	free_pool(d);
	mailbox_close(&d->mailbox);
}
