/*
 * Requests that took longer than WEIR_SLOW, and what is said of them.
 *
 * The line of one whose statement was run waits for the plan of that statement, which is asked for behind the reply, on a
 * lane, by an exchange of its own; wherever that one ends, its line is written.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/catalog.h"
#include "service/slow_log.h"
#include "service/store.h"
#include "telemetry/span.h"

enum {
	EXPLAIN_MS = 1000, /* planning, and waiting for a connection */
	TEXT_BYTES_MAX = 2048,
	CLIENT_CLOSED_REQUEST = 499,
	TENTH_OF_MS_NS = 100000,
};

/* Whatever was answered from memory has recorded nothing, and was not slow: the clock is not read for it. */
bool
slow_may_be(const struct exchange *x)
{
	return x->env->slow_log != NULL && x->spans.count > 0;
}

/* code:text(2) page:integer q:null */
static void
add_params(const struct exchange *x, struct strbuf *b)
{
	const struct endpoint *e = x->endpoint;

	for (size_t i = 0; x->values != NULL && i < e->param_count; i++) {
		const struct value *v = &x->values[i];

		if (i > 0)
			strbuf_add_char(b, ' ');
		strbuf_add_slice(b, e->params[i].name);
		strbuf_addf(b, ":%s", v->null ? "null" : value_type_name(v->type));
		if (!v->null && v->text.len > 0)
			strbuf_addf(b, "(%zu)", v->text.len);
	}
}

/* handle 1203.1ms, > SELECT countries 1203.0ms */
static void
add_spans(const struct exchange *x, struct strbuf *b)
{
	for (const struct span *s = x->spans.first; s != NULL; s = s->next) {
		const int64_t tenths = (s->end_ns - s->begin_ns) / TENTH_OF_MS_NS;

		if (s->end_ns == 0)
			continue; /* it was left open */
		strbuf_add_cstr(b, b->len > 0 ? ", " : "");
		for (const struct span *p = s->parent; p != NULL; p = p->parent)
			strbuf_add_cstr(b, "> ");
		strbuf_add_slice(b, s->name);
		strbuf_addf(b, " %lld.%lldms", (long long)tenths / 10, (long long)tenths % 10);
	}
}

static struct slice
made_by(void (*add)(const struct exchange *, struct strbuf *), const struct exchange *x,
    struct arena *a)
{
	struct strbuf b = STRBUF_INIT(TEXT_BYTES_MAX);
	struct slice text;

	if (x->endpoint != NULL || add == add_spans)
		add(x, &b);
	text = arena_slice(a, strbuf_slice(&b)); /* as far as it fits */
	strbuf_free(&b);
	return text;
}

static struct slice
trace_of(const struct exchange *x, struct arena *a)
{
	char hex[2 * TRACE_ID_BYTES + 1];

	hex_encode(x->trace.trace_id, TRACE_ID_BYTES, hex);
	return arena_slice(a, slice_of(hex));
}

/* Lives as long as ${a}, and ${x}'s catalog. */
static struct slow_line
line_of(const struct exchange *x, struct arena *a)
{
	const struct request *r = &x->request;

	return (struct slow_line){ .request_id = arena_slice(a, r->request_id),
		.trace_id = trace_of(x, a),
		.method = r->method_known ? arena_slice(a, r->method_text) : SLICE("_OTHER"),
		.route = x->endpoint != NULL ? x->endpoint->route : SLICE(""),
		.endpoint = x->endpoint != NULL ? x->endpoint->name : SLICE(""),
		.status = x->response.status != 0 ? x->response.status : CLIENT_CLOSED_REQUEST,
		.took_us = x->slow_us,
		.source = answer_source_name(x->source),
		.params = made_by(add_params, x, a),
		.spans = made_by(add_spans, x, a) };
}

/* There is a statement, it was run for this request, and it changes nothing. */
static bool
has_plan(const struct exchange *x)
{
	return x->endpoint != NULL && x->endpoint->sql.ptr != NULL &&
	       !http_method_writes(x->endpoint->method) && x->handle_ns > 0;
}

void
slow_finish(struct exchange *x, int64_t end_ns)
{
	if (end_ns - x->start_ns < x->env->slow_ns)
		return;
	x->slow_us = (end_ns - x->start_ns) / 1000;
	x->explain = has_plan(x);
	if (!x->explain)
		pipeline_slow(x);
}

void
pipeline_slow(struct exchange *x)
{
	const struct slow_line line = line_of(x, &x->arena);

	slow_log_write(x->env->slow_log, &line);
}

bool
pipeline_explain(const struct exchange *from, struct exchange *x)
{
	const int64_t now_ms = clock_mono_ms();

	x->slow = arena_alloc(&x->arena, sizeof *x->slow);
	x->endpoint = from->endpoint;
	if (x->slow == NULL || !exchange_copy_values(x, from) ||
	    !slow_log_may_explain(from->env->slow_log, from->endpoint->name_hash, now_ms)) {
		x->slow = NULL;
		return false;
	}
	*x->slow = line_of(from, &x->arena);
	x->catalog = catalog_hold(from->catalog);
	x->start_ns = clock_mono_ns();
	x->start_us = from->start_us;
	x->deadline_ms = now_ms + EXPLAIN_MS;
	x->step = pipeline_step(step_explain);
	return true;
}

enum step_result
step_explain(struct exchange *x)
{
	const struct store_ambient ambient = { .tenant = x->tenant, .now_us = x->start_us };

	if (store_explain(x->env->store, x->endpoint, x->values, &ambient, x->deadline_ms,
		&x->call.block) == ERR_OK)
		x->slow->plan = strbuf_slice(&x->call.block);
	return STEP_ANSWERED;
}

void
slow_end(struct exchange *x)
{
	if (x->slow != NULL)
		slow_log_write(x->env->slow_log, x->slow);
	x->slow = NULL;
}
