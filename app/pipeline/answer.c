/*
 * From what a step found to the response: problems, copies, and the headers that every answer has.
 *
 * This runs for every request, so headers are put together by hand, without printf().
 */
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"
#include "http/problem.h"
#include "pipeline/pipeline.h"
#include "pipeline/step.h"

enum step_result
answer_problem(struct exchange *x, const struct problem *p)
{
	const bool head_only = x->response.head_only;

	x->response = (struct response){ .head_only = head_only };
	problem_respond(p, x->request.path, x->request.request_id, &x->arena, &x->response);
	x->source = SOURCE_NONE;
	return STEP_ANSWERED;
}

enum step_result
answer_shed(struct exchange *x, enum shed_reason why)
{
	struct problem p = PROBLEM(503, shed_reason_detail(why));

	x->shed = why;
	p.retry_after_s = admission_retry_after_s(rand_u64());
	return answer_problem(x, &p);
}

enum step_result
answer_error(struct exchange *x, int status, const char *detail)
{
	const struct problem p = PROBLEM(status, detail);

	return answer_problem(x, &p);
}

/* A small text under construction in the arena. */
struct text {
	char bytes[192];
	size_t len;
};

static void
text_add(struct text *t, const char *s)
{
	const size_t n = strlen(s);

	if (t->len + n <= sizeof t->bytes) {
		memcpy(t->bytes + t->len, s, n);
		t->len += n;
	}
}

static void
text_number(struct text *t, int64_t n)
{
	if (t->len + I64_BYTES <= sizeof t->bytes)
		t->len += i64_write(n, t->bytes + t->len);
}

/* Milliseconds with two decimals. */
static void
text_ms(struct text *t, int64_t ns)
{
	const int64_t hundredths = ns / 10000;

	text_number(t, hundredths / 100);
	text_add(t, hundredths % 100 < 10 ? ".0" : ".");
	text_number(t, hundredths % 100);
}

static void
text_header(const struct text *t, struct exchange *x, const char *name)
{
	const struct slice value = arena_slice(&x->arena, (struct slice){ t->bytes, t->len });

	if (value.ptr != NULL)
		response_header(&x->response, &x->arena, name, value);
}

static int64_t
seconds(int64_t ms)
{
	return ms / 1000;
}

static void
header_cache_control(struct exchange *x)
{
	const struct cache_rule *c = &x->endpoint->cache;
	struct text t = { .len = 0 };

	text_add(&t, x->endpoint->uses_tenant ? "private, " : "public, ");
	if (consistency_is_pending(x)) {
		t.len = 0;
		text_add(&t, "no-store"); /* who reads it next may be owed more */
	} else if (!c->on) {
		text_add(&t, "no-cache");
	} else {
		text_add(&t, "max-age=");
		text_number(&t, seconds(c->fresh_ms));
		if (c->stale_ms > 0) {
			text_add(&t, ", stale-while-revalidate=");
			text_number(&t, seconds(c->stale_ms));
		}
		if (c->if_error_ms > 0) {
			text_add(&t, ", stale-if-error=");
			text_number(&t, seconds(c->if_error_ms));
		}
	}
	text_header(&t, x, "Cache-Control");
}

/* RFC 9211.  ${ttl} of what came from the cache; what was fetched says whether it was kept. */
static void
header_cache_status(struct exchange *x)
{
	struct text t = { .len = 0 };

	text_add(&t, "weir; ");
	switch (x->source) {
	case SOURCE_FRESH:
	case SOURCE_L2:
	case SOURCE_STALE:
	case SOURCE_IF_ERROR:
		text_add(&t, "hit; ttl=");
		text_number(&t, seconds(x->endpoint->cache.fresh_ms - x->age_ms));
		text_add(&t, "; detail=");
		text_add(&t, x->source == SOURCE_FRESH ? "l1"
			     : x->source == SOURCE_L2  ? "l2"
						       : "stale");
		break;
	case SOURCE_COLLAPSED:
		text_add(&t, "fwd=uri-miss; collapsed; detail=collapsed");
		break;
	case SOURCE_DATABASE:
	case SOURCE_NONE:
		text_add(&t, x->endpoint->cache.on ? "fwd=uri-miss" : "fwd=bypass");
		text_add(&t, x->stored ? "; stored" : "");
		break;
	}
	text_header(&t, x, "Cache-Status");
}

static bool
from_cache(enum exchange_source s)
{
	return s == SOURCE_FRESH || s == SOURCE_L2 || s == SOURCE_STALE || s == SOURCE_IF_ERROR ||
	       s == SOURCE_COLLAPSED;
}

static void
header_vary(struct exchange *x)
{
	const struct endpoint *e = x->endpoint;
	struct strbuf b = STRBUF_INIT(1024);

	if (e->uses_tenant)
		strbuf_add_cstr(&b, "Authorization, X-API-Key");
	for (size_t i = 0; i < e->vary_count; i++) {
		if (b.len > 0)
			strbuf_add_cstr(&b, ", ");
		strbuf_add_slice(&b, e->vary[i].name);
	}
	if (cors_varies(e))
		strbuf_add_cstr(&b, b.len > 0 ? ", Origin" : "Origin");
	response_header(&x->response, &x->arena, "Vary", arena_slice(&x->arena, strbuf_slice(&b)));
	strbuf_free(&b);
}

static void
headers_of_copy(struct exchange *x, struct slice etag)
{
	struct response *r = &x->response;
	struct text t = { .len = 0 };

	response_header(r, &x->arena, "ETag", etag);
	header_cache_control(x);
	if (consistency_is_pending(x))
		response_header(r, &x->arena, "X-Weir-Pending", SLICE("true"));
	if (x->endpoint->vary_count > 0 || cors_varies(x->endpoint))
		header_vary(x);
	else if (x->endpoint->uses_tenant)
		response_header(r, &x->arena, "Vary", SLICE("Authorization, X-API-Key"));
	if (from_cache(x->source)) {
		text_number(&t, seconds(x->age_ms));
		text_header(&t, x, "Age");
	}
	header_cache_status(x);
}

static enum step_result
unknown_field(struct exchange *x, struct slice bad, struct slice names)
{
	struct problem p = PROBLEM(400, NULL);

	p.detail = arena_printf(&x->arena,
	    "fields: \"%.*s\", expected columns of this answer, each once, separated by commas",
	    (int)bad.len, bad.len > 0 ? bad.ptr : "");
	p.param = "fields";
	p.list = names;
	p.list_name = "fields";
	return answer_problem(x, &p);
}

enum step_result
answer_block(struct exchange *x)
{
	struct response *r = &x->response;
	struct slice body, names = { 0 }, bad = { 0 }, etag;
	struct copy copy;
	enum err rc;

	if (copy_open(x->block, &copy) != ERR_OK)
		return answer_error(x, 500, NULL);
	body = copy.json;
	if (x->fields.ptr != NULL) {
		rc = copy_project(&copy, x->fields, &x->arena, &body, &names, &bad);
		if (rc == ERR_INVALID)
			return unknown_field(x, bad, names);
		if (rc != ERR_OK)
			return answer_problem(
			    x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	}
	etag = copy.etag;
	if (request_etag_matches(x->request.if_none_match, etag)) {
		r->status = 304;
	} else {
		r->status = 200;
		r->body = body;
		response_header(r, &x->arena, "Content-Type", SLICE("application/json"));
	}
	headers_of_copy(x, etag);
	return STEP_ANSWERED;
}

static void
header_server_timing(struct exchange *x)
{
	struct text t = { .len = 0 };

	if (x->handle_ns > 0 && x->lane_wait_ns > 0) {
		text_add(&t, "lane;dur=");
		text_ms(&t, x->lane_wait_ns);
		text_add(&t, ", db;dur=");
		text_ms(&t, x->handle_ns);
		text_add(&t, ", ");
	}
	text_add(&t, "total;dur=");
	x->answered_ns = clock_mono_ns();
	text_ms(&t, x->answered_ns - x->start_ns);
	text_header(&t, x, "Server-Timing");
}

void
answer_complete(struct exchange *x)
{
	struct response *r = &x->response;

	if (x->transport == NULL)
		return;
	if (x->quota_known && x->endpoint != NULL)
		quota_headers(&x->quota, x->endpoint, &x->arena, r);
	if (x->endpoint != NULL)
		cors_complete(x);
	if (x->request.request_id.len > 0)
		response_header(r, &x->arena, "X-Request-Id", x->request.request_id);
	header_server_timing(x);
}

const char *
answer_source_name(enum exchange_source s)
{
	static const char *const names[] = {
		[SOURCE_NONE] = "none",
		[SOURCE_DATABASE] = "database",
		[SOURCE_FRESH] = "l1",
		[SOURCE_L2] = "l2",
		[SOURCE_STALE] = "stale",
		[SOURCE_COLLAPSED] = "collapsed",
		[SOURCE_IF_ERROR] = "if-error",
	};

	return names[s];
}
