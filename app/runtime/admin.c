/*
 * What the supervisor says about itself.
 *
 * /live is 200 while this process turns; /ready gathers every reason why traffic should go elsewhere.
 * Everything is answered at once on the supervisor's own thread, from facts that it keeps anyway.
 */
#include "runtime/admin.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/fcgi.h"
#include "client/gzip.h"
#include "client/shm.h"
#include "http/negotiate.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"
#include "pipeline/exchange.h"
#include "runtime/config.h"
#include "runtime/exposition.h"
#include "runtime/reactor.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/snapshot.h"
#include "runtime/status.h"
#include "service/ingest.h"
#include "service/queue.h"

enum {
	WAITING_TOO_LONG_S = 60,
	ARRIVE_MS = 5000,
	ARENA_BYTES = 4 << 20, /* /status?json&full; grows only when it is asked for */
	BODY_BYTES_MAX = 4096,
	HEADER_BYTES_MAX = 1024,
};

static void
add_reason(struct strbuf *b, const char *text)
{
	strbuf_add_cstr(b, b->len == 0 ? "{\"status\":\"not ready\",\"reasons\":[" : ",");
	strbuf_add_json(b, slice_of(text));
}

static void
add_reasons(const struct admin_facts *f, struct arena *a, struct strbuf *b)
{
	if (f->stopping)
		add_reason(b, "stopping");
	if (f->workers_up == 0)
		add_reason(b, "no worker is up");
	if (f->segment_gone)
		add_reason(b, "the shared segment is gone");
	if (f->consumer_stopped)
		add_reason(b, arena_printf(a, "the consumer has stopped: %s", f->consumer_reason));
	if (f->spool_unknown)
		add_reason(b, "the spool cannot be read");
	if (f->oldest_waiting_s > WAITING_TOO_LONG_S)
		add_reason(
		    b, arena_printf(a, "the oldest event has waited %" PRId64 " s to be applied",
			   f->oldest_waiting_s));
}

static enum err
respond(struct response *r, int status, struct slice body, struct arena *a)
{
	r->status = status;
	r->body = arena_slice(a, body);
	response_header(r, a, "Content-Type", SLICE("application/json"));
	response_header(r, a, "Cache-Control", SLICE("no-store"));
	return r->body.ptr == NULL || a->overflowed ? ERR_NOMEM : ERR_OK;
}

static enum err
answer_ready(const struct admin_facts *f, struct arena *a, struct response *out)
{
	struct strbuf b = STRBUF_INIT(BODY_BYTES_MAX);
	enum err rc;

	add_reasons(f, a, &b);
	if (b.len == 0)
		return respond(out, 200, SLICE("{\"status\":\"ready\"}"), a);
	strbuf_add_cstr(&b, "]}");
	rc = b.failed ? ERR_NOMEM : respond(out, 503, strbuf_slice(&b), a);
	strbuf_free(&b);
	return rc;
}

enum err
admin_answer(const struct admin_facts *f, struct slice path, struct arena *a, struct response *out)
{
	if (slice_eq_cstr(path, "/live"))
		return respond(out, 200, SLICE("{\"status\":\"live\"}"), a);
	if (slice_eq_cstr(path, "/ready"))
		return answer_ready(f, a, out);
	problem_respond(
	    &PROBLEM(404, "the admin socket has only /live, /ready, /status and /metrics"), path,
	    (struct slice){ 0 }, a, out);
	return ERR_NOT_FOUND;
}

static void
look_at_consumer(const struct ingest_shared *ingest, struct admin_facts *f)
{
	f->consumer_stopped = atomic_load(&ingest->state) == INGEST_STOPPED;
	memcpy(f->consumer_reason, ingest->reason, sizeof f->consumer_reason);
	f->consumer_reason[sizeof f->consumer_reason - 1] = '\0';
	if (!utf8_valid(slice_of(f->consumer_reason), NULL)) /* torn by its writer */
		f->consumer_reason[0] = '\0';
}

static void
look_at_spool(struct queue *q, struct admin_facts *f)
{
	struct queue_status st;
	int64_t age_us;

	f->oldest_waiting_s = 0;
	f->spool_unknown = queue_status_read(q, &st) != ERR_OK;
	if (f->spool_unknown || st.oldest_accepted_us == 0)
		return;
	age_us = clock_wall_us() - st.oldest_accepted_us;
	f->oldest_waiting_s = age_us > 0 ? age_us / 1000000 : 0;
}

void
admin_look(const struct runtime *rt, struct admin_facts *f)
{
	f->segment_gone = !shm_check(rt->regions->shm);
	look_at_consumer(rt->ingest, f);
	look_at_spool(rt->queue, f);
	if (rt->config->kafka_brokers != NULL)
		f->oldest_waiting_s =
		    0; /* for Kafka, which may be away: writes are taken all the same */
}

/*
 * Over FastCGI.
 */
/* Never seen by the pipeline, so it needs only what a reply needs. */
static struct exchange *
take(void *ctx)
{
	struct exchange *x = calloc(1, sizeof *x);

	(void)ctx;
	if (x != NULL)
		arena_init(&x->arena, ARENA_BYTES);
	return x;
}

static void
give(void *ctx, struct exchange *x)
{
	(void)ctx;
	arena_free(&x->arena);
	free(x);
}

static void
gone(void *ctx, struct exchange *x)
{
	(void)ctx; /* replies are written at once: there is nothing to stop */
	(void)x;
}

static enum err
answer_status(struct admin *admin, struct exchange *x)
{
	bool full;
	const enum status_form form = status_form_of(x->request.query, x->request.accept, &full);

	if (form != STATUS_PAGE)
		snapshot_gather(admin->rt, admin->snapshot);
	return status_answer(admin->snapshot, form, full, &x->arena, &x->response);
}

static bool
takes_gzip(struct exchange *x)
{
	struct slice header;

	return request_header(x->envp, SLICE("HTTP_ACCEPT_ENCODING"), HEADER_BYTES_MAX, &x->arena,
		   &header) == ERR_OK &&
	       negotiate_gzip(header);
}

/* It varies by what the scraper can take, also where it is packed. */
static enum err
answer_metrics(struct admin *admin, struct exchange *x)
{
	const enum prometheus_form form =
	    negotiate_openmetrics(x->request.accept) ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT;
	const bool packs = takes_gzip(x);
	struct response *r = &x->response;
	struct strbuf b = STRBUF_INIT(EXPOSITION_BYTES_MAX),
		      packed = STRBUF_INIT(EXPOSITION_BYTES_MAX);

	snapshot_gather(admin->rt, admin->snapshot);
	exposition_write(admin->rt, admin->snapshot, form, &b);
	if (packs && gzip_pack(strbuf_slice(&b), &packed) == ERR_OK) {
		r->body = arena_slice(&x->arena, strbuf_slice(&packed));
		response_header(r, &x->arena, "Content-Encoding", SLICE("gzip"));
	} else {
		r->body = arena_slice(&x->arena, strbuf_slice(&b));
	}
	r->status = 200;
	response_header(r, &x->arena, "Content-Type", slice_of(prometheus_content_type(form)));
	response_header(r, &x->arena, "Cache-Control", SLICE("no-store"));
	response_header(r, &x->arena, "Vary", SLICE("Accept, Accept-Encoding"));
	if (b.failed)
		r->body.ptr = NULL;
	strbuf_free(&b);
	strbuf_free(&packed);
	return r->body.ptr == NULL || x->arena.overflowed ? ERR_NOMEM : ERR_OK;
}

static enum err
answer(struct admin *admin, struct exchange *x)
{
	const struct slice path = x->request.path;

	if (slice_eq_cstr(path, "/status"))
		return answer_status(admin, x);
	if (slice_eq_cstr(path, "/metrics"))
		return answer_metrics(admin, x);
	return admin_answer(admin->facts, path, &x->arena, &x->response);
}

static const char allowed[] = "GET, HEAD, OPTIONS";

static enum err
answer_options(struct exchange *x)
{
	x->response.status = 204;
	response_header(&x->response, &x->arena, "Allow", slice_of(allowed));
	response_header(&x->response, &x->arena, "Cache-Control", SLICE("no-store"));
	return ERR_OK;
}

static enum err
answer_by_method(struct admin *admin, struct exchange *x, struct problem *p)
{
	const struct request *r = &x->request;

	if (r->method_known && (r->method == HTTP_GET || r->method == HTTP_HEAD))
		return answer(admin, x);
	if (r->method_known && r->method == HTTP_OPTIONS)
		return answer_options(x);
	*p = PROBLEM(405, "the admin socket can only be read");
	p->allow = allowed;
	return ERR_INVALID;
}

static void
request(void *ctx, struct exchange *x)
{
	struct admin *admin = ctx;
	struct request *r = &x->request;
	struct problem problem = { .status = 0 };
	enum err rc = request_read(r, x->envp, &x->arena, &problem);

	if (rc == ERR_OK)
		rc = answer_by_method(admin, x, &problem);
	if (problem.status != 0)
		problem_respond(&problem, r->path, r->request_id, &x->arena, &x->response);
	if (rc == ERR_NOMEM) /* the arena is full: the bare status still fits */
		x->response = (struct response){ .status = 500 };
	x->response.head_only = r->method == HTTP_HEAD;
	reactor_reply(admin->reactor, x);
}

enum err
admin_open(const struct admin_facts *facts, const struct runtime *rt, struct admin *out)
{
	static const struct reactor_ops ops = {
		.take = take, .request = request, .gone = gone, .give = give
	};
	const struct reactor_options o = { .ops = &ops, .ctx = out, .arrive_ms = ARRIVE_MS };

	fcgi_init();
	out->facts = facts;
	out->rt = rt;
	out->reactor = NULL;
	out->snapshot = snapshot_new();
	if (out->snapshot == NULL)
		return ERR_NOMEM;
	return reactor_open(&o, &out->reactor);
}

void
admin_close(struct admin *a)
{
	if (a->reactor != NULL)
		reactor_close(&a->reactor);
	snapshot_free(&a->snapshot);
}
