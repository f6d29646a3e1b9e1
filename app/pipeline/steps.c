/*
 * The steps that every request goes through, from its parameters to its limits; who calls is next door.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "http/accept.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/catalog.h"
#include "service/exporter.h"
#include "service/web_root.h"
#include "telemetry/limit_stats.h"
#include "telemetry/scoreboard.h"

enum { FRONT_VALUE_BYTES_MAX = 4096 };

enum step_result
step_read(struct exchange *x)
{
	struct problem p = { 0 };

	x->start_ns = clock_mono_ns();
	x->start_us = clock_wall_us();
	if (request_read(&x->request, x->envp, &x->arena, &p) != ERR_OK)
		return answer_problem(x, &p);
	if (x->env->fronts != NULL)
		x->lost_us = front_clocks_lost_us(x->env->fronts, x->front, x->request.start_us,
		    x->start_us, x->start_ns / 1000000);
	x->response.head_only = x->request.method == HTTP_HEAD;
	trace_begin(&x->trace, x->request.traceparent,
	    x->env->ignores_traces ? 0 : x->request.traceparent_lines, x->request.tracestate);
	if (x->request.request_id_from_front)
		trace_take_id(&x->trace, x->request.request_id);
	exporter_sample(x->env->exporter, &x->trace);
	return STEP_NEXT;
}

/* A parameter that only the front server sets. */
static struct slice
front_says(struct exchange *x, struct slice name)
{
	struct slice value;

	if (request_header(x->envp, name, FRONT_VALUE_BYTES_MAX, &x->arena, &value) != ERR_OK)
		return (struct slice){ 0 };
	return value;
}

enum step_result
step_web_root(struct exchange *x)
{
	const char *fault;

	if (x->env->web_root == NULL)
		return STEP_NEXT;
	fault = web_root_fault(x->env->web_root, front_says(x, SLICE("DOCUMENT_ROOT")),
	    front_says(x, SLICE("SERVER_SOFTWARE")), x->start_ns / 1000000);
	if (fault == NULL)
		return STEP_NEXT;
	return answer_problem(
	    x, &(struct problem){ .status = 503, .detail = fault, .retry_after_s = 1 });
}

/* The path without ${base}: "/app/x" without "/app" is "/x". */
static bool
strip_base(struct slice path, struct slice base, struct slice *out)
{
	if (path.len <= base.len || memcmp(path.ptr, base.ptr, base.len) != 0 ||
	    path.ptr[base.len] != '/')
		return false;
	*out = (struct slice){ path.ptr + base.len, path.len - base.len };
	return true;
}

/* The folder in which the front server found weir: "/app" of "/app/weir.fcgi". */
static struct slice
front_folder(struct slice script_name)
{
	while (script_name.len > 0 && script_name.ptr[script_name.len - 1] != '/')
		script_name.len--;
	if (script_name.len > 0)
		script_name.len--;
	return script_name;
}

/* The request's path, for one method. */
struct search {
	enum http_method method;
	struct route_match *out;
};

static enum err
match(struct exchange *x, const struct search *s, struct slice path)
{
	return router_match(x->catalog->router, s->method, path, &x->arena, s->out);
}

/* Behind ${base}, when the path begins so. */
static enum err
match_behind(struct exchange *x, const struct search *s, struct slice base)
{
	struct slice path;

	if (base.len == 0 || !strip_base(x->request.path, base, &path))
		return ERR_NOT_FOUND;
	x->base_path = base;
	return match(x, s, path);
}

/*
 * Under a configured base path, only there.  Else the whole path; then behind the program's own place ("/weir.fcgi/api/...", where
 * no rewriting is to be had, or the prefix that a front server gave to weir); then without the front's folder.
 */
enum err
route_match(struct exchange *x, enum http_method m, struct route_match *out)
{
	const struct search s = { m, out };
	const struct slice script_name = x->request.script_name;
	enum err rc;

	if (x->env->base_path.len > 0)
		return match_behind(x, &s, x->env->base_path);
	rc = match(x, &s, x->request.path);
	if (rc == ERR_NOT_FOUND)
		rc = match_behind(x, &s, script_name);
	if (rc == ERR_NOT_FOUND)
		rc = match_behind(x, &s, front_folder(script_name));
	if (rc == ERR_NOT_FOUND)
		x->base_path = (struct slice){ 0 };
	return rc;
}

static enum step_result
answer_options(struct exchange *x)
{
	const char *allow = router_allow(x->route->allow, &x->arena);

	x->response.status = 204;
	response_header(&x->response, &x->arena, "Allow", slice_of(allow));
	response_header(&x->response, &x->arena, "Cache-Control", SLICE("no-store"));
	cors_preflight(x);
	return STEP_ANSWERED;
}

static enum step_result
not_allowed(struct exchange *x)
{
	struct problem p = PROBLEM(405, NULL);

	p.allow = router_allow(x->route->allow, &x->arena);
	return answer_problem(x, &p);
}

enum step_result
step_route(struct exchange *x)
{
	enum err rc;

	x->catalog = catalog_hold(x->env->catalog);
	x->route = arena_alloc(&x->arena, sizeof *x->route);
	if (x->route == NULL)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	rc = route_match(x, x->request.method, x->route);
	if (rc == ERR_INVALID)
		return answer_error(x, 400, arena_printf(&x->arena, "path: %s", x->route->why));
	if (rc == ERR_NOT_FOUND)
		return answer_error(x, 404, "there is no such path");
	if (rc == ERR_DENIED)
		return not_allowed(x);
	if (rc != ERR_OK)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	if (x->request.method == HTTP_OPTIONS)
		return answer_options(x);
	x->endpoint = x->route->endpoint;
	if (!accept_allows_json(x->request.accept))
		return answer_error(x, 406, "Accept: the answer is application/json");
	/* One timeout for the statement, and once more for all that comes before and after it. */
	x->deadline_ms = x->start_ns / 1000000 - x->lost_us / 1000 + 2 * x->endpoint->timeout_ms;
	return STEP_NEXT;
}

/* A read is not refused yet for the time that it lost: a copy in L1 costs no wait.  A write is, before anything of it is
 * durable. */
enum step_result
step_admit(struct exchange *x)
{
	const uint32_t in_hand = atomic_load_explicit(x->env->in_hand, memory_order_relaxed);

	if (x->endpoint->never_shed)
		return STEP_NEXT;
	if (in_hand > x->env->max_in_hand)
		return answer_shed(x, SHED_IN_HAND);
	if (http_method_writes(x->endpoint->method) && x->start_ns / 1000000 >= x->deadline_ms)
		return answer_shed(x, SHED_DEADLINE);
	return STEP_NEXT;
}

static enum step_result
too_large(struct exchange *x)
{
	return answer_error(x, 413,
	    arena_printf(&x->arena, "the body may have at most %lld bytes",
		(long long)x->endpoint->max_body_bytes));
}

/*
 * Reads the body to its end, also one that is going to be refused: a front server that is cut off while
 * it sends takes that for a failure and tries again.
 */
enum step_result
step_body(struct exchange *x)
{
	struct request *r = &x->request;
	const size_t max = http_method_writes(r->method) ? (size_t)x->endpoint->max_body_bytes : 0;
	const size_t promised =
	    r->has_length && r->content_length < max ? (size_t)r->content_length : max;
	const bool refused = r->has_length && r->content_length > max && max > 0;
	const size_t keep = refused ? 0 : promised;
	char *bytes = keep > 0 ? arena_alloc(&x->arena, keep + 1) : NULL;
	size_t total = 0;
	enum err rc;

	rc = x->transport->body(x, bytes, bytes == NULL ? 0 : keep, &total);
	x->body_taken = true;
	if (rc == ERR_TOO_LARGE || (rc == ERR_OK && (refused || (max > 0 && total > max))))
		return too_large(x);
	if (rc != ERR_OK)
		return answer_error(x, 408, "the body did not arrive whole and in time");
	if (keep > 0 && bytes == NULL)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	if (r->has_length && r->content_length != total)
		return answer_error(x, 400, "the body is not as long as Content-Length says");
	r->body = (struct slice){ bytes, total < keep ? total : keep };
	return STEP_NEXT;
}

enum step_result
step_bind(struct exchange *x)
{
	const struct endpoint *e = x->endpoint;
	struct problem p = { 0 };

	x->values = arena_alloc(&x->arena, (e->param_count + 1) * sizeof *x->values);
	if (x->values == NULL)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	if (request_bind(&x->request, e, x->route->decoded, &x->arena, x->values, &p) != ERR_OK)
		return answer_problem(x, &p);
	if (e->method == HTTP_GET &&
	    request_fields(&x->request, &x->arena, &x->fields, &p) != ERR_OK)
		return answer_problem(x, &p);
	return STEP_NEXT;
}

static void
count_limits(const struct exchange *x)
{
	const struct quota_verdict *v = &x->quota;

	for (size_t i = 0; i < x->endpoint->limit_count; i++) {
		const struct limit_rule *rule = &x->endpoint->limits[i];

		if (v->refused >= 0 && v->refused != (int)i)
			continue; /* nothing was taken from it */
		limit_stats_count(x->env->limits, x->env->member, rule->name,
		    v->refused == (int)i		? LIMIT_REFUSED
		    : (v->observed_rules >> i & 1) != 0 ? LIMIT_OBSERVED
							: LIMIT_ALLOWED);
	}
	if (v->overflow)
		scoreboard_count(x->env->scoreboard, x->env->member, METRIC_LIMIT_OVERFLOW, 1);
}

static enum step_result
limited(struct exchange *x)
{
	struct problem p = PROBLEM(429, NULL);

	scoreboard_count(x->env->scoreboard, x->env->member, METRIC_LIMITED, 1);
	p.retry_after_s = x->quota.retry_after_s;
	return answer_problem(x, &p);
}

/* First on the reactor; once more on a lane when Redis must be asked. */
enum step_result
step_limit(struct exchange *x)
{
	const struct quota_caller who = { .client = x->tenant.len > 0 ? x->tenant : x->ip,
		.tenant = x->tenant.len > 0 ? x->tenant : (struct slice){ 0 },
		.ip = x->ip };
	enum err rc;

	if (x->asks_lane)
		rc = quota_ask(x->env->quota, x->endpoint, &who, clock_mono_ns(), &x->quota);
	else
		rc = quota_take(x->env->quota, x->endpoint, &who, x->start_ns, &x->quota);
	if (rc == ERR_CONFLICT)
		return STEP_BLOCKS;
	x->quota_known = x->endpoint->limit_count > 0;
	if (rc == ERR_OK || rc == ERR_LIMITED)
		count_limits(x);
	if (rc == ERR_OK)
		return STEP_NEXT;
	if (rc == ERR_LIMITED)
		return limited(x);
	return answer_problem(
	    x, &(struct problem){
		   .status = 503, .detail = "limits cannot be told", .retry_after_s = 1 });
}
