/*
 * After the reply: counters, and the request's one line in the log.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "telemetry/scoreboard.h"

enum {
	LOGGED_PATH_BYTES = 256,
	CLIENT_CLOSED_REQUEST = 499, /* as nginx logs it: nobody was left to answer */
};

static enum metric
status_class(int status)
{
	if (status == 304)
		return METRIC_RESPONSES_304;
	if (status < 400)
		return METRIC_RESPONSES_2XX;
	return status < 500 ? METRIC_RESPONSES_4XX : METRIC_RESPONSES_5XX;
}

static void
count(const struct exchange *x)
{
	struct scoreboard *s = x->env->scoreboard;
	const unsigned m = x->env->member;

	scoreboard_count(s, m, METRIC_REQUESTS, 1);
	if (x->response.status != 0)
		scoreboard_count(s, m, status_class(x->response.status), 1);
	if (x->shed)
		scoreboard_count(s, m, METRIC_SHED, 1);
	if (atomic_load_explicit(&x->gone, memory_order_relaxed))
		scoreboard_count(s, m, METRIC_ABANDONED, 1);
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
