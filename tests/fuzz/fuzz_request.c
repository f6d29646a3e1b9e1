/*
 * Goal: no parameters, path, query or body crash the way from bytes to values; what is taken is typed
 * and canonical, and what is refused says so in a well-formed 4xx.
 *
 * Input: NAME=value lines as a front server sends them, an empty line, the body.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "http/request.h"
#include "http/response.h"
#include "http/router.h"
#include "http/structured_field.h"
#include "service/api_key.h"
#include "telemetry/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 1 << 20, LINES_MAX = 64, VALUES_MAX = 16, OUT_BYTES = 1 << 20 };

static void
must(bool ok)
{
	if (!ok)
		abort();
}

#define WORD(literal)                                                                              \
	{                                                                                          \
		.ptr = (literal), .len = sizeof(literal) - 1                                       \
	}

static struct slice colours[] = { WORD("red"), WORD("blue") };

/* GET /r/:i/:t with a query parameter of every type. */
static struct param read_params[] = {
	{ .name = WORD("i"),
	    .type = VALUE_INTEGER,
	    .place = PARAM_PATH,
	    .has_min = true,
	    .min_int = 1 },
	{ .name = WORD("t"), .type = VALUE_TEXT, .place = PARAM_PATH, .has_max = true, .max = 8 },
	{ .name = WORD("n"), .type = VALUE_NUMBER, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("b"), .type = VALUE_BOOLEAN, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("d"), .type = VALUE_DATE, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("s"), .type = VALUE_TIMESTAMP, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("u"), .type = VALUE_UUID, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("j"), .type = VALUE_JSON, .place = PARAM_QUERY, .optional = true },
	{ .name = WORD("c"),
	    .type = VALUE_TEXT,
	    .place = PARAM_QUERY,
	    .optional = true,
	    .choices = colours,
	    .choice_count = 2 },
};

/* POST /w with a body member of every form. */
static struct param write_params[] = {
	{ .name = WORD("q"),
	    .type = VALUE_TEXT,
	    .place = PARAM_QUERY,
	    .optional = true,
	    .has_length = true,
	    .length = 2 },
	{ .name = WORD("t"), .type = VALUE_TEXT, .place = PARAM_BODY },
	{ .name = WORD("i"), .type = VALUE_INTEGER, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("n"), .type = VALUE_NUMBER, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("b"), .type = VALUE_BOOLEAN, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("s"), .type = VALUE_TIMESTAMP, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("o"), .type = VALUE_OBJECT, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("a"), .type = VALUE_ARRAY, .place = PARAM_BODY, .optional = true },
	{ .name = WORD("x"), .type = VALUE_ANY, .place = PARAM_BODY, .optional = true },
};

static struct route_segment read_segments[] = { { .literal = WORD("r"), .param = -1 },
	{ .param = 0 }, { .param = 1 } };
static struct route_segment write_segments[] = { { .literal = WORD("w"), .param = -1 } };

static const struct endpoint endpoints[] = {
	{ .method = HTTP_GET,
	    .segments = read_segments,
	    .segment_count = 3,
	    .params = read_params,
	    .param_count = sizeof read_params / sizeof *read_params },
	{ .method = HTTP_POST,
	    .segments = write_segments,
	    .segment_count = 1,
	    .params = write_params,
	    .param_count = sizeof write_params / sizeof *write_params },
};

/* Cuts ${data} (which is NUL-terminated) into lines, and returns what is after the empty one. */
static struct slice
split(char *data, size_t size, const char *envp[LINES_MAX + 1])
{
	char *at = data, *end = data + size;
	size_t n = 0;

	while (at < end && *at != '\n') {
		char *newline = memchr(at, '\n', (size_t)(end - at));

		if (n < LINES_MAX)
			envp[n++] = at;
		if (newline == NULL)
			return (struct slice){ NULL, 0 };
		*newline = '\0';
		at = newline + 1;
	}
	if (at == end)
		return (struct slice){ NULL, 0 };
	return (struct slice){ at + 1, (size_t)(end - at) - 1 };
}

/* A refusal is a 4xx (or, with a full arena, a 500) that can be sent as it is. */
static void
check_problem(const struct problem *p, struct slice path, struct arena *a)
{
	struct response r = { .status = 0 };
	struct json_fault fault;
	enum json_type type;
	struct slice head;
	enum err rc;

	must(p->status == 400 || p->status == 415 || (p->status == 500 && a->overflowed));
	must(p->detail != NULL && utf8_valid(slice_of(p->detail), NULL));
	must(p->param == NULL || utf8_valid(slice_of(p->param), NULL));
	problem_respond(p, path, SLICE("id"), a, &r);
	rc = json_scan_value(r.body, a, &type, &fault);
	must(rc == ERR_NOMEM || (rc == ERR_OK && type == JSON_OBJECT));
	head = response_head(&r, a);
	must(head.ptr == NULL ||
	     memmem(head.ptr, head.len, "\r\n\r\n", 4) == head.ptr + head.len - 4);
}

static bool
is_text(enum value_type t)
{
	return t < VALUE_JSON;
}

/* What was taken is taken again in its canonical form, and is then the same. */
static void
check_value(const struct param *p, const struct value *v, struct arena *a)
{
	struct strbuf once = STRBUF_INIT(OUT_BYTES), twice = STRBUF_INIT(OUT_BYTES);
	const char *expected;
	struct value again;
	enum err rc;

	must(v->type == p->type && (!v->null || p->optional) && utf8_valid(v->text, NULL));
	must(value_canonical(v, a, &once) == ERR_OK || a->overflowed || once.failed);
	if (!v->null && is_text(v->type)) {
		rc = value_parse(p, v->text, a, &again, &expected);
		must(rc == ERR_OK || rc == ERR_NOMEM);
		if (rc == ERR_OK && value_canonical(&again, a, &twice) == ERR_OK)
			must(slice_eq(strbuf_slice(&once), strbuf_slice(&twice)));
	}
	strbuf_free(&once);
	strbuf_free(&twice);
}

static void
check_bound(const struct request *r, const struct route_match *m, struct arena *a)
{
	struct value values[VALUES_MAX];
	struct problem problem = { 0 };
	struct slice fields;

	if (request_fields(r, a, &fields, &problem) != ERR_OK)
		check_problem(&problem, r->path, a);
	if (request_bind(r, m->endpoint, m->decoded, a, values, &problem) != ERR_OK) {
		check_problem(&problem, r->path, a);
		return;
	}
	for (size_t i = 0; i < m->endpoint->param_count; i++)
		check_value(&m->endpoint->params[i], &values[i], a);
}

/* What is taken for an API key is whole, and its id lies in it. */
static void
check_key(const struct request *r)
{
	struct slice key, id, again;
	const char *why = NULL;
	const enum err rc = api_key_sent(r->authorization, r->api_key, &key, &id, &why);

	must(rc == ERR_OK || rc == ERR_NOT_FOUND || (rc == ERR_INVALID && why != NULL));
	if (rc != ERR_OK)
		return;
	must(key.len == API_KEY_TEXT - 1 && api_key_is_id(id));
	must(id.ptr > key.ptr && id.ptr + id.len < key.ptr + key.len);
	must(api_key_parse(key, &again) == ERR_OK && slice_eq(again, id));
}

static void
check_headers(const struct request *r, struct arena *a)
{
	char text[TRACEPARENT_BYTES];
	struct trace_context trace;
	struct slice key;

	trace_begin(&trace, r->traceparent, r->traceparent_lines, r->tracestate);
	must(strlen(trace_format(&trace, text)) == TRACEPARENT_BYTES - 1);
	if (sf_idempotency_key(r->idempotency_key, a, &key) == ERR_OK)
		must(key.len >= 1 && key.len <= 255);
	(void)request_etag_matches(r->if_none_match, SLICE("\"abc\""));
	check_key(r);
	must(r->request_id.len >= 1 || a->overflowed);
}

static void
check_request(
    const struct router *router, const char *const *envp, struct slice body, struct arena *a)
{
	struct problem problem = { 0 };
	struct route_match m;
	struct request r;
	enum err rc;

	if (request_read(&r, envp, a, &problem) != ERR_OK) {
		check_problem(&problem, r.path, a);
		return;
	}
	r.body = body;
	check_headers(&r, a);
	rc = router_match(router, r.method, r.path, a, &m);
	must((rc == ERR_OK) == (m.endpoint != NULL));
	must(rc != ERR_INVALID || m.why != NULL);
	must(rc != ERR_DENIED || m.allow != 0);
	if (rc == ERR_OK)
		check_bound(&r, &m, a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct endpoint *const rows[] = { &endpoints[0], &endpoints[1] };
	const struct endpoint *first, *second;
	const char *envp[LINES_MAX + 1] = { NULL };
	struct router *router = NULL;
	char *copy = malloc(size + 1);
	struct arena a;

	must(copy != NULL && router_build(rows, 2, &router, &first, &second) == ERR_OK);
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	arena_init(&a, ARENA_BYTES);
	check_request(router, envp, split(copy, size, envp), &a);
	arena_free(&a);
	router_free(&router);
	free(copy);
	return 0;
}
