/*
 * The exporter of traces: the batch processor of OpenTelemetry's specification.
 *
 * The queue is a stack that whoever offers pushes to by one swap of its head; the thread takes all of it by another, and
 * turns it round.  A piece of it is what one request has made, encoded: spans that follow each other, cut apart only
 * where a batch is full.
 */
#include "service/exporter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rand.h"
#include "base/thread.h"
#include "base/wake.h"
#include "service/otel_settings.h"
#include "service/otlp_sender.h"
#include "telemetry/otlp.h"
#include "telemetry/sampler.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"
#include "telemetry/trace.h"

enum {
	PIECE_BYTES_MAX = 1 << 20, /* of one request */
	BATCH_BYTES_MAX = 48 << 20,
	RESOURCE_BYTES_MAX = 64 << 10,
	KEPT_PER_SEC = 100,
	FLUSH_MS = 1000, /* at the end, for all that waits */
	HARD_STOP_MS = 2000,
	HOST_NAME_BYTES = 65,
};

struct piece {
	struct piece *next;
	uint32_t spans;
	struct strbuf bytes;
};

struct exporter {
	struct exporter_options o;
	struct otlp_sender *sender;
	struct strbuf resource, spans, request;
	pthread_t thread;
	bool runs;

	struct piece *_Atomic pushed; /* newest first */
	_Atomic uint32_t waiting;     /* spans, pushed or below */
	_Atomic uint32_t bell;	      /* a batch is full, or it is over */
	_Atomic uint32_t closing, hard_stop;
	_Atomic uint64_t kept; /* second << 32 | how many in it */

	/* The thread's. */
	struct piece *first, *last; /* oldest first */
	struct slice rest;	    /* of the first one */
};

static void
count(const struct exporter *e, enum metric m, uint64_t n)
{
	if (e->o.scoreboard != NULL && n > 0)
		scoreboard_count(e->o.scoreboard, e->o.member, m, n);
}

/*
 * What is asked by who offers.
 */
void
exporter_sample(const struct exporter *e, struct trace_context *t)
{
	if (e != NULL)
		t->sampled = sampler_takes(&e->o.settings->sampler, t);
}

static bool
keeps_nothing(const struct sampler *s)
{
	return s->kind == SAMPLER_ALWAYS_OFF && !s->parent_based;
}

bool
exporter_may_keep(struct exporter *e, int64_t now_ns)
{
	const uint64_t second = (uint64_t)(now_ns / 1000000000) << 32;
	uint64_t seen, next;

	if (e == NULL || keeps_nothing(&e->o.settings->sampler))
		return false;
	seen = atomic_load_explicit(&e->kept, memory_order_relaxed);
	do {
		next = (seen & ~(uint64_t)UINT32_MAX) == second ? seen + 1 : second + 1;
		if ((uint32_t)next > KEPT_PER_SEC) {
			count(e, METRIC_TRACES_NOT_KEPT, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
	    &e->kept, &seen, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

static void
push(struct exporter *e, struct piece *p)
{
	p->next = atomic_load_explicit(&e->pushed, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(
	    &e->pushed, &p->next, p, memory_order_release, memory_order_relaxed))
		continue;
}

static void
piece_free(struct piece *p)
{
	if (p == NULL)
		return;
	strbuf_free(&p->bytes);
	free(p);
}

static void
ring(struct exporter *e)
{
	(void)atomic_fetch_add(&e->bell, 1);
	wake_all(&e->bell);
}

/* False: there is no room for ${spans} more. */
static bool
reserve(struct exporter *e, uint32_t spans, bool *full_batch_out)
{
	const uint32_t batch = e->o.settings->batch_max;
	const uint32_t before = atomic_fetch_add(&e->waiting, spans);

	*full_batch_out = before < batch && before + spans >= batch;
	if (before + spans <= e->o.settings->queue_max)
		return true;
	(void)atomic_fetch_sub(&e->waiting, spans);
	return false;
}

/* Full before anything is encoded: what is dropped should cost nothing. */
static bool
is_full(const struct exporter *e)
{
	return atomic_load_explicit(&e->waiting, memory_order_relaxed) >= e->o.settings->queue_max;
}

uint32_t
exporter_waiting(const struct exporter *e, uint32_t *most_out)
{
	*most_out = e == NULL ? 0 : e->o.settings->queue_max;
	return e == NULL ? 0 : atomic_load_explicit(&e->waiting, memory_order_relaxed);
}

void
exporter_offer(struct exporter *e, const struct otlp_work *w)
{
	const uint32_t spans = 1 + (w->inside == NULL ? 0 : w->inside->count);
	struct piece *p;
	bool full_batch;

	if (e == NULL)
		return;
	p = is_full(e) ? NULL : calloc(1, sizeof *p);
	if (p != NULL) {
		p->bytes = STRBUF_INIT(PIECE_BYTES_MAX);
		p->spans = otlp_add_work(&p->bytes, w, &e->o.settings->limits);
	}
	if (p == NULL || p->bytes.failed || !reserve(e, spans, &full_batch)) {
		count(e, METRIC_SPANS_DROPPED, spans);
		piece_free(p);
		return;
	}
	push(e, p);
	if (full_batch)
		ring(e);
}

/*
 * The thread.
 */
static void
gather(struct exporter *e)
{
	struct piece *p = atomic_exchange_explicit(&e->pushed, NULL, memory_order_acquire);
	struct piece *oldest = NULL, *newest = p, *next;

	for (; p != NULL; p = next) {
		next = p->next;
		p->next = oldest;
		oldest = p;
	}
	if (oldest == NULL)
		return;
	if (e->first == NULL) {
		e->first = oldest;
		e->rest = strbuf_slice(&oldest->bytes);
	} else {
		e->last->next = oldest;
	}
	e->last = newest;
}

/* The oldest span that waits; absent when there is none. */
static struct slice
next_span(struct exporter *e)
{
	while (e->first != NULL) {
		const struct slice span = otlp_cut_span(&e->rest);
		struct piece *done = e->first;

		if (span.ptr != NULL)
			return span;
		e->first = done->next;
		piece_free(done);
		if (e->first != NULL)
			e->rest = strbuf_slice(&e->first->bytes);
	}
	return (struct slice){ 0 };
}

/* Up to a batch into e->spans; returns how many. */
static uint32_t
take_batch(struct exporter *e)
{
	const uint32_t most = e->o.settings->batch_max;
	uint32_t n = 0;
	struct slice span;

	e->spans.len = 0;
	e->spans.failed = false;
	while (
	    n < most && e->spans.len < BATCH_BYTES_MAX / 2 && (span = next_span(e)).ptr != NULL) {
		strbuf_add_slice(&e->spans, span);
		n++;
	}
	return n;
}

static void
send_batch(struct exporter *e, uint32_t spans, int64_t deadline_ms)
{
	const struct otlp_stop stop = { .retries = &e->closing, .all = &e->hard_stop };
	int64_t rejected = 0;
	enum err rc = ERR_NOMEM;

	e->request.len = 0;
	e->request.failed = false;
	otlp_trace_request(&e->request, strbuf_slice(&e->resource), strbuf_slice(&e->spans));
	if (!e->request.failed && !e->spans.failed)
		rc = otlp_sender_send(
		    e->sender, strbuf_slice(&e->request), deadline_ms, &stop, &rejected);
	if (rc != ERR_OK || rejected > spans)
		rejected = spans;
	count(e, METRIC_SPANS_EXPORTED, spans - (uint64_t)rejected);
	count(e, METRIC_SPANS_LOST, (uint64_t)rejected);
	(void)atomic_fetch_sub(&e->waiting, spans);
}

static bool
is_closing(const struct exporter *e)
{
	return atomic_load(&e->closing) != 0;
}

/* All full batches; the rest as well when ${all}. */
static void
send_what_is_due(struct exporter *e, bool all)
{
	const struct otel_settings *s = e->o.settings;

	gather(e);
	while (!is_closing(e) && atomic_load(&e->waiting) >= (all ? 1 : s->batch_max)) {
		const uint32_t spans = take_batch(e);

		if (spans == 0)
			break; /* counted already, and just being pushed */
		send_batch(e, spans, clock_mono_ms() + s->traces.timeout_ms);
		gather(e);
	}
}

static void
send_last(struct exporter *e)
{
	const int64_t deadline_ms = clock_mono_ms() + FLUSH_MS;
	uint32_t spans;

	gather(e);
	while ((spans = take_batch(e)) > 0)
		send_batch(e, spans, deadline_ms);
}

static void *
run(void *arg)
{
	struct exporter *e = arg;
	const int64_t delay_ms = e->o.settings->schedule_delay_ms;
	int64_t now_ms = clock_mono_ms(), due_ms = now_ms + delay_ms;

	(void)prctl(PR_SET_NAME, "weir-traces"); /* for who looks at threads */
	while (!is_closing(e)) {
		const uint32_t seen = atomic_load(&e->bell);

		if (now_ms < due_ms && atomic_load(&e->waiting) < e->o.settings->batch_max &&
		    !is_closing(e))
			wake_wait(&e->bell, seen, due_ms - now_ms);
		now_ms = clock_mono_ms();
		send_what_is_due(e, now_ms >= due_ms);
		if (now_ms >= due_ms)
			due_ms = now_ms + (delay_ms > 0 ? delay_ms : 1);
		now_ms = clock_mono_ms();
	}
	send_last(e);
	return NULL;
}

/*
 * Opening and closing.
 */
void
exporter_resource(const struct otel_settings *s, const char *role, struct strbuf *out)
{
	char host[HOST_NAME_BYTES] = "", instance[2 * 16 + 1];
	uint8_t id[16];

	for (size_t i = 0; i < s->resource_count; i++)
		otlp_add_resource_text(out, s->resource[i].key, s->resource[i].value);
	rand_bytes(id, sizeof id);
	hex_encode(id, sizeof id, instance);
	(void)gethostname(host, sizeof host - 1);
	otlp_add_resource_text(out, SLICE("service.instance.id"), slice_of(instance));
	otlp_add_resource_text(out, SLICE("host.name"), slice_of(host));
	otlp_add_resource_int(out, SLICE("process.pid"), getpid());
	otlp_add_resource_text(out, SLICE("weir.process"), slice_of(role));
	otlp_add_resource_text(out, SLICE("telemetry.sdk.name"), SLICE("weir"));
	otlp_add_resource_text(out, SLICE("telemetry.sdk.language"), SLICE("c"));
}

enum err
exporter_open(const struct exporter_options *o, struct exporter **out)
{
	struct exporter *e;
	enum err rc;

	*out = NULL;
	if (!o->settings->traces.on)
		return ERR_OK;
	e = calloc(1, sizeof *e);
	if (e == NULL)
		return ERR_NOMEM;
	e->o = *o;
	e->resource = STRBUF_INIT(RESOURCE_BYTES_MAX);
	e->spans = STRBUF_INIT(BATCH_BYTES_MAX);
	e->request = STRBUF_INIT(BATCH_BYTES_MAX + RESOURCE_BYTES_MAX);
	exporter_resource(o->settings, o->role, &e->resource);
	rc = otlp_sender_open(&o->settings->traces, "traces", &e->sender);
	if (rc == ERR_OK && !thread_start(0, run, e, &e->thread))
		rc = ERR_NOMEM;
	e->runs = rc == ERR_OK;
	if (rc == ERR_OK)
		*out = e;
	else
		exporter_close(&e);
	return rc;
}

void
exporter_close(struct exporter **ep)
{
	struct exporter *e = *ep;
	uint32_t spans = 0;

	if (e == NULL)
		return;
	*ep = NULL;
	if (e->runs) {
		atomic_store(&e->closing, 1); /* before the bell, which it may sleep on */
		ring(e);
		otlp_stop_thread(e->thread, &e->closing, &e->hard_stop, HARD_STOP_MS);
	}
	gather(e);
	while (next_span(e).ptr != NULL)
		spans++;
	count(e, METRIC_SPANS_LOST, spans);
	otlp_sender_close(&e->sender);
	strbuf_free(&e->resource);
	strbuf_free(&e->spans);
	strbuf_free(&e->request);
	free(e);
}
