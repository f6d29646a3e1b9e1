/*
 * The one place where a failure becomes a status and a body (RFC 9457).
 *
 * What a client reads here is either its own request described back to it, or
 * a constant sentence: nothing internal comes in through an error code.
 */
#include "http/problem.h"

#include <stddef.h>

#include "base/json_write.h"
#include "http/percent.h"
#include "http/response.h"

enum { BODY_MAX_BYTES = 64 * 1024, INSTANCE_MAX_BYTES = 1024 };

static const struct phrase {
	int status;
	const char *text;
} phrases[] = {
	{ 200, "OK" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 304, "Not Modified" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 406, "Not Acceptable" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 410, "Gone" },
	{ 411, "Length Required" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 422, "Unprocessable Content" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
};

const char *
http_status_phrase(int status)
{
	for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Unknown";
}

/* Types that the RateLimit draft registers; every other status is what its number says. */
static const struct registered {
	int status;
	const char *type, *title;
} registered[] = {
	{ 429, "https://iana.org/assignments/http-problem-types#quota-exceeded",
	    "Request cannot be satisfied as assigned quota has been exceeded" },
	{ 503, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
	    "Request cannot be satisfied due to temporary server capacity constraints" },
};

static struct registered
type_of(int status)
{
	for (size_t i = 0; i < sizeof registered / sizeof *registered; i++)
		if (registered[i].status == status)
			return registered[i];
	return (struct registered){ status, "about:blank", http_status_phrase(status) };
}

static const char quota_used_up[] = "the quota is used up for now: see Retry-After";

struct problem
problem_of(enum err e)
{
	switch (e) {
	case ERR_INVALID:
		return PROBLEM(400, "the request is malformed");
	case ERR_DENIED:
		return PROBLEM(403, "this is not allowed");
	case ERR_NOT_FOUND:
		return PROBLEM(404, "there is nothing here");
	case ERR_CONFLICT:
		return PROBLEM(409, "another request holds this at the moment");
	case ERR_TOO_LARGE:
		return PROBLEM(413, "the request is larger than allowed here");
	case ERR_MISMATCH:
		return PROBLEM(422, "this key was used with other content");
	case ERR_LIMITED:
		return PROBLEM(429, quota_used_up);
	case ERR_OVERLOADED:
		return PROBLEM(503, "too many requests are in hand");
	case ERR_UNAVAILABLE:
		return PROBLEM(503, "a service behind this one cannot be reached");
	case ERR_FULL:
		return PROBLEM(503, "there is no room to store this at the moment");
	case ERR_TIMEOUT:
		return PROBLEM(504, "the answer took too long");
	case ERR_OK:
	case ERR_NOMEM:
	case ERR_IO:
	case ERR__COUNT:
		break;
	}
	return PROBLEM(500, "something went wrong on this side");
}

/* 429, 503 and 504 always say when to come back: at once would be the wrong answer. */
static int64_t
retry_after_of(const struct problem *p)
{
	if (p->retry_after_s > 0)
		return p->retry_after_s;
	return p->status == 429 || p->status == 503 || p->status == 504 ? 1 : 0;
}

static const char *
detail_of(const struct problem *p)
{
	if (p->detail != NULL)
		return p->detail;
	if (p->status == 405)
		return "this path has other methods: see Allow";
	if (p->status == 429)
		return quota_used_up;
	return NULL;
}

static void
add_known(struct strbuf *b, const char *name, struct slice value)
{
	if (value.ptr != NULL)
		json_write_text(b, name, value);
}

/* The path is a URI reference there, so bytes that no URI holds are escaped. */
static void
add_instance(struct strbuf *b, struct slice path)
{
	if (path.ptr == NULL)
		return;
	if (path.len > INSTANCE_MAX_BYTES)
		path.len = INSTANCE_MAX_BYTES;
	json_write_key(b, "instance");
	strbuf_add_char(b, '"');
	percent_clean(b, path); /* leaves nothing that JSON would escape */
	strbuf_add_char(b, '"');
}

/* No formatting: a flood of 429 must cost less than what it keeps out. */
static void
add_body(struct strbuf *b, const struct problem *p, struct slice path, struct slice request_id)
{
	const struct registered r = type_of(p->status);

	strbuf_add_char(b, '{');
	if (p->status == 429) {
		strbuf_add_cstr(b, "\"error\":\"Rate limit exceeded\",\"retryAfter\":");
		strbuf_add_i64(b, retry_after_of(p));
		strbuf_add_char(b, ',');
	}
	strbuf_add_cstr(b, "\"type\":\"");
	strbuf_add_cstr(b, r.type);
	strbuf_add_cstr(b, "\",\"title\":\"");
	strbuf_add_cstr(b, r.title);
	strbuf_add_cstr(b, "\",\"status\":");
	strbuf_add_i64(b, p->status);
	add_known(b, "detail", slice_of(detail_of(p)));
	add_instance(b, path);
	add_known(b, "requestId", request_id);
	add_known(b, "param", slice_of(p->param));
	if (p->list_name != NULL) {
		json_write_key(b, p->list_name);
		strbuf_add_slice(b, p->list);
	}
	strbuf_add_char(b, '}');
}

static void
add_headers(struct response *r, struct arena *a, const struct problem *p)
{
	const int64_t retry_after_s = retry_after_of(p);
	char digits[I64_BYTES];
	const struct slice number = { digits, i64_write(retry_after_s, digits) };

	response_header(r, a, "Content-Type", SLICE("application/problem+json"));
	response_header(r, a, "Cache-Control", SLICE("no-store"));
	if (retry_after_s > 0)
		response_header(r, a, "Retry-After", arena_slice(a, number));
	response_header(r, a, "Allow", slice_of(p->allow));
	response_header(r, a, "Accept", slice_of(p->accept));
}

void
problem_respond(const struct problem *p, struct slice path, struct slice request_id,
    struct arena *a, struct response *r)
{
	struct strbuf b = STRBUF_INIT(BODY_MAX_BYTES);

	r->status = p->status;
	add_headers(r, a, p);
	add_body(&b, p, path, request_id);
	r->body = b.failed ? (struct slice){ NULL, 0 } : arena_slice(a, strbuf_slice(&b));
	if (r->body.ptr == NULL)
		r->body =
		    SLICE("{}"); /* out of memory: still a problem, all its members are optional */
	strbuf_free(&b);
}
