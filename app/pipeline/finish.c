/*
 * After the reply: counters, and the request's one line in the log.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/scoreboard.h"

enum {
	LOGGED_PATH_BYTES = 256,
	CLIENT_CLOSED_REQUEST = 499, /* as nginx logs it: nobody was left to answer */
};

static const enum metric shed_metrics[SHED__COUNT] = {
	[SHED_IN_HAND] = METRIC_SHED_IN_HAND,
	[SHED_QUEUE_FULL] = METRIC_SHED_QUEUE_FULL,
	[SHED_QUEUE_WAIT] = METRIC_SHED_QUEUE_WAIT,
	[SHED_CONCURRENCY] = METRIC_SHED_CONCURRENCY,
	[SHED_TENANT_SHARE] = METRIC_SHED_TENANT_SHARE,
	[SHED_PRIORITY] = METRIC_SHED_PRIORITY,
	[SHED_DEADLINE] = METRIC_SHED_DEADLINE,
	[SHED_ABANDONED] = METRIC_SHED_ABANDONED,
};

static void
count(const struct exchange *x)
{
	struct scoreboard *s = x->env->scoreboard;
	const unsigned m = x->env->member;

	scoreboard_count(s, m, METRIC_REQUESTS, 1);
	if (x->response.status >= 500)
		scoreboard_count(s, m, METRIC_RESPONSES_5XX, 1);
	if (x->shed != SHED_NONE) {
		scoreboard_count(s, m, METRIC_SHED, 1);
		scoreboard_count(s, m, shed_metrics[x->shed], 1);
	}
	if (atomic_load_explicit(&x->gone, memory_order_relaxed))
		scoreboard_count(s, m, METRIC_ABANDONED, 1);
}

static enum served_from
served_from(enum exchange_source s)
{
	switch (s) {
	case SOURCE_DATABASE:
		return SERVED_DATABASE;
	case SOURCE_FRESH:
		return SERVED_L1;
	case SOURCE_L2:
		return SERVED_L2;
	case SOURCE_STALE:
		return SERVED_STALE;
	case SOURCE_COLLAPSED:
		return SERVED_COLLAPSED;
	case SOURCE_IF_ERROR:
		return SERVED_IF_ERROR;
	case SOURCE_NONE:
		break;
	}
	return SERVED_NOT_READ;
}

int
pipeline_class(const struct endpoint *e)
{
	if (e->never_shed || e->priority == PRIORITY_CRITICAL)
		return ENDPOINT_CRITICAL;
	return e->priority == PRIORITY_BULK ? ENDPOINT_BULK : ENDPOINT_NORMAL;
}

/* The time is that until the answer stood ready, which Server-Timing has looked at the clock for. */
static void
count_endpoint(const struct exchange *x)
{
	const struct endpoint *e = x->endpoint;
	const int64_t end_ns = x->answered_ns != 0 ? x->answered_ns : clock_mono_ns();
	const struct endpoint_sample sample = {
		.key = e == NULL ? 0 : e->name_hash,
		.name = e == NULL ? SLICE("") : e->name,
		.class = e != NULL ? (enum endpoint_class)pipeline_class(e) : ENDPOINT_NORMAL,
		.status = x->response.status,
		.served = served_from(x->source),
		.took_ns = end_ns - x->start_ns,
		.trace_id = x->trace.sampled ? x->trace.trace_id : NULL,
		.wall_us = x->start_us,
	};

	endpoint_stats_record(x->env->endpoints, x->env->member, &sample);
	if (x->request.start_us > 0)
		endpoint_stats_waited(
		    x->env->endpoints, x->env->member, ENDPOINT_QUEUE_LISTEN, x->lost_us * 1000);
	if (x->lane_wait_ns > 0)
		endpoint_stats_waited(
		    x->env->endpoints, x->env->member, ENDPOINT_QUEUE_LANE, x->lane_wait_ns);
}

static void
log_request(const struct exchange *x, int64_t end_ns)
{
	const struct request *r = &x->request;
	const int status = x->response.status != 0 ? x->response.status : CLIENT_CLOSED_REQUEST;
	struct slice path = r->path;
	char trace[2 * TRACE_ID_BYTES + 1];

	if (path.len > LOGGED_PATH_BYTES)
		path.len = LOGGED_PATH_BYTES;
	hex_encode(x->trace.trace_id, TRACE_ID_BYTES, trace);
	log_info("request", LOG_SLICE("request_id", r->request_id), LOG_STR("trace_id", trace),
	    LOG_SLICE("method", r->method_text), LOG_SLICE("path", path),
	    LOG_SLICE("endpoint", x->endpoint != NULL ? x->endpoint->name : SLICE("")),
	    LOG_INT("status", status), LOG_INT("us", (end_ns - x->start_ns) / 1000),
	    LOG_STR("source", answer_source_name(x->source)),
	    LOG_STR("shed", x->shed == SHED_NONE ? "" : shed_reason_name(x->shed)),
	    LOG_INT("bytes", x->response.body.len), LOG_SLICE("client", x->ip),
	    LOG_SLICE("tenant", x->tenant));
}

void
pipeline_finish(struct exchange *x)
{
	const bool maybe_slow = slow_may_be(x);
	int64_t end_ns;

	if (x->transport == NULL)
		return;
	count(x);
	count_endpoint(x);
	if (x->env->exporter == NULL && !maybe_slow && !log_enabled(LOG_LEVEL_INFO))
		return;
	end_ns = clock_mono_ns();
	if (maybe_slow)
		slow_finish(x, end_ns);
	if (x->env->exporter != NULL)
		tell(x, end_ns);
	if (log_enabled(LOG_LEVEL_INFO))
		log_request(x, end_ns);
}
