/*
 * What a trace says of an exchange that is over: the server span of a request, or the span of a refresh behind one.
 *
 * Only for those that are exported, sampled or kept, so nothing here lies on the way of the others.
 */
#include <stdio.h>

#include "base/clock.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/exporter.h"
#include "telemetry/otlp.h"
#include "telemetry/span.h"

enum { HEADER_BYTES_MAX = 512, STATUS_TEXT = 12 };

/* Parameters of the front server that become attributes as they are. */
static const struct {
	struct slice param;
	enum span_key key;
} headers[] = {
	{ { "REQUEST_SCHEME", 14 }, SPAN_KEY_URL_SCHEME },
	{ { "SERVER_NAME", 11 }, SPAN_KEY_SERVER_ADDRESS },
	{ { "HTTP_USER_AGENT", 15 }, SPAN_KEY_USER_AGENT_ORIGINAL },
};

static void
say_headers(struct span *s, struct exchange *x)
{
	struct slice value;
	int64_t port;

	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		if (request_header(
			x->envp, headers[i].param, HEADER_BYTES_MAX, &x->arena, &value) == ERR_OK)
			span_str(s, headers[i].key, value);
	if (request_header(x->envp, SLICE("SERVER_PORT"), HEADER_BYTES_MAX, &x->arena, &value) ==
		ERR_OK &&
	    slice_to_i64(value, &port) == ERR_OK)
		span_int(s, SPAN_KEY_SERVER_PORT, port);
	if (request_header(
		x->envp, SLICE("SERVER_PROTOCOL"), HEADER_BYTES_MAX, &x->arena, &value) == ERR_OK &&
	    slice_starts(value, "HTTP/")) {
		(void)slice_cut(&value, '/');
		span_str(s, SPAN_KEY_NETWORK_PROTOCOL_VERSION,
		    slice_eq_cstr(value, "2.0") ? SLICE("2") : value);
	}
}

/* Never the raw path: a name stands for many requests. */
static struct slice
name_of(struct exchange *x)
{
	const struct slice method =
	    x->request.method_known ? x->request.method_text : SLICE("HTTP");
	const struct slice route = x->endpoint == NULL ? SLICE("") : x->endpoint->route;
	const char *name = arena_printf(&x->arena, "%.*s%s%.*s", (int)method.len, method.ptr,
	    route.len > 0 ? " " : "", (int)route.len, route.ptr);

	return name == NULL ? method : slice_of(name);
}

static void
say_request(struct span *s, struct exchange *x)
{
	const struct request *r = &x->request;

	s->name = name_of(x);
	span_str(
	    s, SPAN_KEY_HTTP_REQUEST_METHOD, r->method_known ? r->method_text : SLICE("_OTHER"));
	if (!r->method_known)
		span_str(s, SPAN_KEY_HTTP_REQUEST_METHOD_ORIGINAL, r->method_text);
	span_str(s, SPAN_KEY_URL_PATH, r->path);
	span_str(s, SPAN_KEY_URL_QUERY, r->query);
	say_headers(s, x);
	span_str(s, SPAN_KEY_CLIENT_ADDRESS, x->ip);
	span_str(s, SPAN_KEY_NETWORK_PEER_ADDRESS, r->remote_addr);
	span_str(s, SPAN_KEY_WEIR_REQUEST_ID, r->request_id);
	span_str(s, SPAN_KEY_WEIR_TENANT, x->tenant);
	if (x->endpoint != NULL) {
		span_str(s, SPAN_KEY_HTTP_ROUTE, x->endpoint->route);
		span_str(s, SPAN_KEY_WEIR_ENDPOINT, x->endpoint->name);
	}
}

/* 4xx are the client's, so no failure of ours. */
static void
say_answer(struct span *s, const struct exchange *x)
{
	const int status = x->response.status;
	char text[STATUS_TEXT];

	if (x->shed != SHED_NONE) /* also where an old copy stood in */
		span_str(s, SPAN_KEY_WEIR_SHED_REASON, slice_of(shed_reason_name(x->shed)));
	if (x->source != SOURCE_NONE)
		span_str(s, SPAN_KEY_WEIR_SOURCE, slice_of(answer_source_name(x->source)));
	if (status == 0) /* nobody was left to answer */
		return;
	span_int(s, SPAN_KEY_HTTP_RESPONSE_STATUS_CODE, status);
	if (status < 500)
		return;
	(void)snprintf(text, sizeof text, "%d", status);
	span_str(s, SPAN_KEY_ERROR_TYPE, slice_of(text));
	s->result = ERR_UNAVAILABLE;
}

/* Why an exchange that was not sampled is worth keeping, or NULL. */
static const char *
worth_of(const struct exchange *x, int64_t end_ns)
{
	if (x->shed != SHED_NONE)
		return x->transport == NULL ? NULL : "shed"; /* a refresh: nobody was refused */
	if (x->response.status >= 500)
		return "failed";
	return end_ns - x->start_ns >= x->env->slow_ns ? "slow" : NULL;
}

void
tell(struct exchange *x, int64_t end_ns)
{
	struct exporter *e = x->env->exporter;
	const char *kept = NULL;
	struct span root = { .kind = SPAN_SERVER,
		.begin_ns = x->start_ns,
		.end_ns = end_ns,
		.recorder = &x->spans };
	const struct otlp_work work = { .trace = &x->trace,
		.root = &root,
		.inside = &x->spans,
		.wall_minus_mono_ns = x->start_us * 1000 - x->start_ns };

	if (!x->trace.sampled) {
		kept = worth_of(x, end_ns);
		if (kept == NULL || !exporter_may_keep(e, end_ns))
			return;
	}
	if (x->transport == NULL) {
		root.kind = SPAN_INTERNAL;
		root.name = SLICE("refresh");
		span_str(&root, SPAN_KEY_WEIR_ENDPOINT, x->endpoint->name);
	} else {
		say_request(&root, x);
		say_answer(&root, x);
	}
	span_str(&root, SPAN_KEY_WEIR_KEPT, slice_of(kept));
	exporter_offer(e, &work);
}
