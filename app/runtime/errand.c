/*
 * An errand: one exchange from its first step to its last, in one thread.
 *
 * What the desk does with timers, doorbell and mailbox for thousands is done here by waiting for the one thing that this exchange
 * waits for.
 */
#include "runtime/errand.h"

#include <poll.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/container.h"
#include "client/cgi.h"
#include "client/fcgi.h"
#include "http/problem.h"
#include "pipeline/pipeline.h"
#include "runtime/closed.h"
#include "runtime/config.h"
#include "runtime/doorbell.h"
#include "runtime/mailbox.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"
#include "service/idempotency.h"
#include "service/purges.h"
#include "service/queue.h"
#include "telemetry/scoreboard.h"

enum {
	TRANSFER_MS = 30000, /* the body must have come, the reply gone */
	FLIGHT_TICK_MS =
	    100, /* how often is looked whether a leader lives: here no pidfd watches it */
	RETRY_AFTER_S = 5,
	APOLOGY_BYTES = 64 * 1024,
};

struct errand {
	const struct errand_options *o;
	struct runtime rt;
	struct pipeline_env env;
	struct mailbox mailbox; /* of the committer */
	_Atomic uint32_t in_hand;
};

/* One exchange of it: the request, or what it leaves behind. */
struct going {
	struct exchange x; /* first */
	struct errand *errand;
	bool item_pending; /* the committer has it */
};

static struct going *
going_of(struct exchange *x)
{
	return CONTAINER_OF(x, struct going, x);
}

static enum err
transport_body(struct exchange *x, char *out, size_t cap, size_t *total_out)
{
	struct cgi *cgi = going_of(x)->errand->o->cgi;

	return cgi_body(cgi, out, cap, clock_mono_ms() + TRANSFER_MS, total_out);
}

/* On the committer's thread. */
static void
resume(struct exchange *x)
{
	mailbox_post(&going_of(x)->errand->mailbox, x);
}

/*
 * Waiting.
 */
/* Until ${fd} is readable, or ${until_ms}; true: it is. */
static bool
wait_readable(int fd, int64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	const int64_t left = until_ms - clock_mono_ms();

	return poll(&p, 1, left <= 0 ? 0 : (int)left) == 1;
}

/* False: its time is over, and it was answered so. */
static bool
wait_committer(struct going *g, int64_t until_ms)
{
	struct errand *e = g->errand;

	g->item_pending = true;
	if (wait_readable(e->mailbox.fd, until_ms)) {
		(void)mailbox_take(&e->mailbox);
		g->item_pending = false;
		return true;
	}
	if (pipeline_expire(&g->x))
		g->item_pending = false;
	return false;
}

static bool
wait_flight(struct going *g)
{
	struct errand *e = g->errand;
	struct exchange *x = &g->x;
	struct member_view leader;

	for (;;) {
		const int64_t now_ms = clock_mono_ms();

		if (now_ms >= x->deadline_ms) {
			(void)pipeline_expire(x);
			return false;
		}
		scoreboard_view(e->rt.scoreboard, x->fill.ticket.leader, &leader);
		if (!leader.alive)
			pipeline_leader_died(x);
		if (pipeline_has_news(x, now_ms))
			return true;
		if (wait_readable(doorbell_fd(e->rt.doorbell), now_ms + FLIGHT_TICK_MS))
			doorbell_drain(e->rt.doorbell);
	}
}

static void
wait_turn(const struct exchange *x)
{
	const int64_t left = x->wake_ms - clock_mono_ms();

	(void)poll(NULL, 0, left <= 0 ? 0 : (int)left);
}

static bool
wait_parked(struct going *g)
{
	struct exchange *x = &g->x;

	switch (x->wait) {
	case EXCHANGE_WAITS_QUEUE:
		return wait_committer(g, x->deadline_ms);
	case EXCHANGE_WAITS_CLAIM:
		return wait_committer(g, clock_mono_ms() + TRANSFER_MS);
	case EXCHANGE_WAITS_FLIGHT:
		return wait_flight(g);
	case EXCHANGE_WAITS_TURN:
		wait_turn(x);
		return true;
	case EXCHANGE_RUNS:
		break;
	}
	return true;
}

static void
go(struct going *g)
{
	enum pipeline_where where = PIPELINE_ON_REACTOR;
	bool on = true;

	while (on) {
		switch (pipeline_run(&g->x, where)) {
		case PIPELINE_DONE:
			on = false;
			break;
		case PIPELINE_BLOCKING:
		case PIPELINE_BODY:
			where = PIPELINE_ON_LANE;
			break;
		case PIPELINE_INLINE:
			where = PIPELINE_ON_REACTOR;
			break;
		case PIPELINE_PARKED:
			where = PIPELINE_ON_REACTOR;
			on = wait_parked(g);
			break;
		}
	}
}

/*
 * Answering.
 */
static void
start(struct going *g, struct errand *e)
{
	g->errand = e;
	g->item_pending = false;
	exchange_init(&g->x, &e->env);
}

/* What an expired write left with the committer must come back before its memory goes. */
static void
end(struct going *g)
{
	if (g->item_pending && wait_readable(g->errand->mailbox.fd, clock_mono_ms() + TRANSFER_MS))
		g->item_pending = false;
	if (!g->item_pending)
		exchange_clear(&g->x);
}

static void
reply(const struct errand *e, struct exchange *x)
{
	const struct slice head = response_head(&x->response, &x->arena);
	const struct slice body = x->response.head_only ? (struct slice){ 0 } : x->response.body;

	if (head.ptr == NULL ||
	    cgi_reply(e->o->cgi, head, body, clock_mono_ms() + TRANSFER_MS) != ERR_OK)
		atomic_store_explicit(&x->gone, true, memory_order_relaxed);
}

static void
leave(struct errand *e, const struct exchange *x,
    bool (*make)(const struct exchange *x, struct exchange *into))
{
	static struct going g;

	start(&g, e);
	if (make(x, &g.x))
		go(&g);
	end(&g);
}

static void
answer(struct errand *e)
{
	static const struct transport transport = { .body = transport_body };
	static struct going g; /* static: the committer may still hold it when we end */

	start(&g, e);
	g.x.transport = &transport;
	g.x.owner = e;
	g.x.envp = e->o->environment;
	g.x.body_is_large = true; /* read when a step wants it */
	atomic_store(&e->in_hand, 1);
	go(&g);
	reply(e, &g.x);
	pipeline_finish(&g.x);
	cgi_let_go(e->o->cgi);
	if (g.x.refresh)
		leave(e, &g.x, pipeline_refresh);
	if (g.x.ask_again)
		leave(e, &g.x, pipeline_ask_again);
	end(&g);
}

/*
 * Putting it together.
 */
static enum err
open_parts(struct errand *e)
{
	enum err rc = mailbox_open(&e->mailbox);

	worker_pipeline(e->o->config, &e->rt, &e->env);
	e->env.web_root = e->o->web_root;
	e->env.in_hand = &e->in_hand;
	e->env.resume = resume;
	if (rc == ERR_OK)
		rc = queue_start(e->rt.queue);
	if (rc == ERR_OK && e->rt.purges != NULL)
		rc = purges_listen(e->rt.purges);
	if (rc == ERR_OK && e->rt.idempotency != NULL)
		rc = idempotency_start(e->rt.idempotency);
	return rc;
}

enum err
errand_run(const struct errand_options *o, bool *waiting_out)
{
	const unsigned needs = RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_CATALOG | RUNTIME_STORE |
			       RUNTIME_DATABASE | RUNTIME_KEYS | RUNTIME_QUEUE | RUNTIME_REDIS |
			       RUNTIME_KEEP;
	struct errand e = { .o = o, .mailbox.fd = -1 };
	struct queue_status st;
	enum err rc;

	*waiting_out = false;
	rc = runtime_open(o->config, o->handlers, needs, MEMBER_WORKER, o->faults, &e.rt);
	if (rc != ERR_OK)
		return rc;
	rc = open_parts(&e);
	if (rc == ERR_OK) {
		answer(&e);
		*waiting_out = o->config->kafka_brokers != NULL ||
			       (queue_status_read(e.rt.queue, &st) == ERR_OK && st.waiting > 0);
	}
	runtime_close(&e.rt);
	mailbox_close(&e.mailbox);
	return rc;
}

void
errand_apologise(struct cgi *cgi, const char *const *environment)
{
	const int64_t until_ms = clock_mono_ms() + TRANSFER_MS;
	struct problem ignored, p = PROBLEM(503, CLOSED_WORDS);
	struct response response = { .status = 0 };
	struct request r;
	struct arena a;
	size_t total;

	arena_init(&a, APOLOGY_BYTES);
	(void)request_read(&r, environment, &a, &ignored);
	p.retry_after_s = RETRY_AFTER_S;
	problem_respond(&p, r.path, r.request_id, &a, &response);
	(void)cgi_body(cgi, NULL, 0, until_ms, &total);
	(void)cgi_reply(cgi, response_head(&response, &a),
	    r.method == HTTP_HEAD ? (struct slice){ 0 } : response.body, until_ms);
	cgi_let_go(cgi);
	arena_free(&a);
}
