/* Goal: good requests become typed values, bad ones a 400 that says which parameter and what was expected. */
#include "http/request.h"

#include <string.h>

#include "tests/unit/http/check.h"

/* One endpoint with a parameter of every place: POST /things/:id */
static struct slice colours[] = { { "red", 3 }, { "blue", 4 } };

enum { ID, LIMIT, COLOUR, SINCE, NAME, PAYLOAD, COUNT, PARAMS };

static struct param params[PARAMS] = {
	[ID] = { .name = { "id", 2 }, .type = VALUE_INTEGER, .place = PARAM_PATH },
	[LIMIT] = { .name = { "limit", 5 },
	    .type = VALUE_INTEGER,
	    .place = PARAM_QUERY,
	    .has_min = true,
	    .min_int = 1,
	    .has_default = true,
	    .fallback = { .type = VALUE_INTEGER, .text = { "20", 2 }, .integer = 20 } },
	[COLOUR] = { .name = { "colour", 6 },
	    .type = VALUE_TEXT,
	    .place = PARAM_QUERY,
	    .optional = true,
	    .choices = colours,
	    .choice_count = 2 },
	[SINCE] = { .name = { "since", 5 },
	    .type = VALUE_TIMESTAMP,
	    .place = PARAM_QUERY,
	    .optional = true },
	[NAME] = { .name = { "name", 4 },
	    .type = VALUE_TEXT,
	    .place = PARAM_BODY,
	    .has_max = true,
	    .max = 8 },
	[PAYLOAD] = { .name = { "payload", 7 },
	    .type = VALUE_OBJECT,
	    .place = PARAM_BODY,
	    .optional = true },
	[COUNT] = { .name = { "count", 5 },
	    .type = VALUE_INTEGER,
	    .place = PARAM_BODY,
	    .has_default = true,
	    .fallback = { .type = VALUE_INTEGER, .text = { "1", 1 }, .integer = 1 } },
};

static struct route_segment segments[] = { { .literal = { "things", 6 }, .param = -1 },
	{ .param = ID } };

static const struct endpoint writes = { .method = HTTP_POST,
	.segments = segments,
	.segment_count = 2,
	.params = params,
	.param_count = PARAMS };
/* The same without its body members: GET /things/:id */
static const struct endpoint reads = { .method = HTTP_GET,
	.segments = segments,
	.segment_count = 2,
	.params = params,
	.param_count = NAME };

static struct arena arena;
static struct problem problem;
static struct value values[PARAMS];

/* What a test says about a request; what it does not say is good. */
struct given {
	const char *id, *query, *body, *type;
};

static enum err
bind(const struct endpoint *e, const struct given *g)
{
	const struct slice decoded[] = { SLICE("things"), slice_of(g->id == NULL ? "7" : g->id) };
	const struct request r = { .query = slice_of(g->query),
		.body = slice_of(g->body),
		.content_type = slice_of(g->type == NULL ? "application/json" : g->type) };

	problem = (struct problem){ 0 };
	memset(values, 0xff, sizeof values);
	return request_bind(&r, e, decoded, &arena, values, &problem);
}

static enum err
bind_in_a_new_arena(const struct endpoint *e, const struct given *g, size_t bytes)
{
	arena_free(&arena);
	arena_init(&arena, bytes);
	return bind(e, g);
}

static enum err
try_bind(const struct endpoint *e, const struct given *g)
{
	return bind_in_a_new_arena(e, g, 1 << 20);
}

static void
test_each_place_gives_its_values(void)
{
	const struct given g = { .id = "42",
		.query = "colour=blue&x=1&since=2026-11-24T04:09:44%2B01:00&limit=5",
		.body = "{\"name\":\"a\\u00e9\",\"payload\":{\"k\":[1]},\"count\":3}" };

	CU_ASSERT_EQUAL(try_bind(&writes, &g), ERR_OK);
	CU_ASSERT_EQUAL(values[ID].integer, 42);
	CU_ASSERT_EQUAL(values[LIMIT].integer, 5);
	CHECK_TEXT("colour", values[COLOUR].text, "blue");
	CHECK_TEXT("since", values[SINCE].text, "2026-11-24T03:09:44Z");
	CHECK_TEXT("name", values[NAME].text, "a\xc3\xa9");
	CHECK_TEXT("payload", values[PAYLOAD].text, "{\"k\":[1]}");
	CU_ASSERT_EQUAL(values[COUNT].integer, 3);
}

static void
test_absent_ones_are_defaults_or_null(void)
{
	const struct given g = { .body = "{\"name\":\"x\"}" };

	CU_ASSERT_EQUAL(try_bind(&writes, &g), ERR_OK);
	CHECK_TEXT("limit", values[LIMIT].text, "20");
	CU_ASSERT_EQUAL(values[LIMIT].integer, 20);
	CU_ASSERT_FALSE(values[LIMIT].null);
	CU_ASSERT_TRUE(values[COLOUR].null);
	CHECK_TEXT("colour", values[COLOUR].text, NULL);
	CU_ASSERT_EQUAL(values[COLOUR].type, VALUE_TEXT);
	CU_ASSERT_TRUE(values[PAYLOAD].null);
	CU_ASSERT_EQUAL(values[COUNT].integer, 1);
}

static void
test_a_query_is_decoded_as_forms_write_it(void)
{
	static struct param q = { .name = { "q", 1 }, .type = VALUE_TEXT, .place = PARAM_QUERY };
	static const struct endpoint e = { .params = &q, .param_count = 1 };
	static const struct {
		const char *query, *want;
	} rows[] = {
		{ "q=a+b%20c%2Bd", "a b c+d" },
		{ "%71=x", "x" },
		{ "q=", "" },
		{ "q", "" },
		{ "q=a=b", "a=b" },
		{ "q=%2541", "%41" },
		{ "&&a=1&q=x&", "x" },
		{ "Q=1&q=x", "x" },
		{ "q=\xc3\xa4", "\xc3\xa4" },
		{ "q=a;b=c", "a;b=c" },
		/* nobody asked for these, so their faults are nobody's */
		{ "a=%zz&%zz=1&q=x&a=2&b=%ff&c=%00", "x" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CHECK_ROW(rows[i].query,
		    try_bind(&e, &(struct given){ .query = rows[i].query }) == ERR_OK);
		CHECK_TEXT(rows[i].query, values[0].text, rows[i].want);
	}
}

/* ${e} refuses ${g}: status, the words and the name in them. */
static void
check_refused(const struct endpoint *e, const struct given *g, int status, const char *param,
    const char *detail)
{
	CHECK_ROW(detail, try_bind(e, g) == ERR_INVALID);
	CHECK_ROW(detail, problem.status == status);
	CHECK_TEXT(detail, slice_of(problem.detail), detail);
	CHECK_TEXT(detail, slice_of(problem.param), param);
}

static void
test_a_refused_parameter_is_named_with_what_was_expected(void)
{
	static const struct {
		struct given given;
		const char *param, *detail;
	} rows[] = {
		{ { .id = "abc" }, "id", "parameter \"id\": expected an integer, got \"abc\"" },
		{ { .query = "limit=abc" }, "limit",
		    "parameter \"limit\": expected an integer of at least 1, got \"abc\"" },
		{ { .query = "limit=" }, "limit",
		    "parameter \"limit\": expected an integer of at least 1, got \"\"" },
		{ { .query = "limit" }, "limit",
		    "parameter \"limit\": expected an integer of at least 1, got \"\"" },
		{ { .query = "limit=0" }, "limit",
		    "parameter \"limit\": expected an integer of at least 1, got \"0\"" },
		{ { .query = "limit=92233720368547758080" }, "limit",
		    "parameter \"limit\": expected an integer of at least 1 within 64 bits, got "
		    "\"92233720368547758080\"" },
		{ { .query = "colour=Red" }, "colour",
		    "parameter \"colour\": expected one of red, blue, got \"Red\"" },
		{ { .query = "since=2026-11-24T04:09:44+01:00" }, "since",
		    "parameter \"since\": expected a timestamp such as 2026-11-24T04:09:44Z (in a "
		    "query, + "
		    "is written %2B), got \"2026-11-24T04:09:44 01:00\"" },
		{ { .query = "limit=1&limit=1" }, "limit",
		    "parameter \"limit\" is given more than once" },
		{ { .query = "limit=1&%6cimit=2" }, "limit",
		    "parameter \"limit\" is given more than once" },
		{ { .query = "limit=%" }, "limit", "parameter \"limit\" has a bad percent escape" },
		{ { .query = "limit=%4x" }, "limit",
		    "parameter \"limit\" has a bad percent escape" },
		{ { .query = "colour=%00" }, "colour", "parameter \"colour\" has a NUL byte" },
		{ { .query = "colour=%c3" }, "colour",
		    "parameter \"colour\" has bytes that are not UTF-8" },
		{ { .query = "colour=\xff" }, "colour",
		    "parameter \"colour\" has bytes that are not UTF-8" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_refused(&reads, &rows[i].given, 400, rows[i].param, rows[i].detail);
}

static void
test_a_refused_body_says_where_and_why(void)
{
	static const struct {
		struct given given;
		const char *param, *detail;
	} rows[] = {
		{ { .body = "{\"name\":5}" }, "name",
		    "body member \"name\": expected text of at most 8 characters (a JSON string), "
		    "got 5" },
		{ { .body = "{\"name\":\"123456789\"}" }, "name",
		    "body member \"name\": expected text of at most 8 characters, got "
		    "\"123456789\"" },
		{ { .body = "{\"name\":null}" }, "name",
		    "body member \"name\": expected text of at most 8 characters (a JSON string), "
		    "got null" },
		{ { .body = "{\"name\":\"x\",\"count\":\"3\"}" }, "count",
		    "body member \"count\": expected an integer (a JSON number), got \"3\"" },
		{ { .body = "{\"name\":\"x\",\"count\":null}" }, "count",
		    "body member \"count\": expected an integer (a JSON number), got null" },
		{ { .body = "{\"name\":\"x\",\"payload\":[1]}" }, "payload",
		    "body member \"payload\": expected a JSON object, got [1]" },
		{ { .body = "{\"name\":\"x\",\"colour\":\"red\"}" }, "colour",
		    "body member \"colour\" is not declared, expected only name, payload, count" },
		{ { .body = "{}" }, "name",
		    "body member \"name\" is missing: expected text of at most 8 characters" },
		{ { .body = NULL }, "name",
		    "body member \"name\" is missing: expected text of at most 8 characters" },
		{ { .body = "{\"name\":\"x\",\"n\\u0061me\":\"y\"}" }, NULL,
		    "body, byte 12: duplicate member, near \"n\\u0061me\"" },
		{ { .body = "{\"name\":\"x\",\"payload\":{\"a\":1,\"a\":2}}" }, NULL,
		    "body, byte 29: duplicate member, near \"a\"" },
		{ { .body = "{\"name\":\"x\",\"count\":9223372036854775808}" }, NULL,
		    "body, byte 20: integer beyond 64 bits, near 9223372036854775808}" },
		{ { .body = "{\"name\":\"\\ud800\"}" }, NULL,
		    "body, byte 9: lone surrogate, near \\ud800\"}" },
		{ { .body = "{\"name\":\"\\u0000\"}" }, NULL,
		    "body, byte 9: NUL character, near \\u0000\"}" },
		{ { .body = "{\"name\":\"\xff\"}" }, NULL,
		    "body, byte 9: invalid UTF-8, near \\xff\"}" },
		{ { .body = "{\"payload\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1" }, NULL,
		    "body, byte 42: more than 32 levels, near [1" },
		{ { .body = "{\"name\":\"x\"" }, NULL, "body, at its end: expected ',' or '}'" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_refused(&writes, &rows[i].given, 400, rows[i].param, rows[i].detail);
	CU_ASSERT_EQUAL(try_bind(&writes, &(struct given){ .body = "[]" }), ERR_INVALID);
	CU_ASSERT_EQUAL(try_bind(&writes, &(struct given){ .body = "{'name':'x'}" }), ERR_INVALID);
}

static void
test_an_endpoint_without_body_takes_nothing_or_an_empty_object(void)
{
	static const char *const good[] = { NULL, "", "{}", " { } " };

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		CHECK_ROW(good[i] == NULL ? "absent" : good[i],
		    try_bind(&reads, &(struct given){ .body = good[i] }) == ERR_OK);
	check_refused(&reads, &(struct given){ .body = "{\"a\":1}" }, 400, "a",
	    "body member \"a\" is not declared: this endpoint takes no body");
}

static void
test_only_json_in_utf_8_is_a_body(void)
{
	static const struct {
		const char *type;
		bool good;
	} rows[] = {
		{ "application/json", true },
		{ "Application/JSON", true },
		{ "application/json; charset=utf-8", true },
		{ "application/json;charset=UTF-8", true },
		{ "application/json ; Charset=\"utf-8\" ", true },
		{ "application/json; profile=x", true },
		{ "application/json;", true },
		{ "application/json; charset=iso-8859-1", false },
		{ "application/json; charset=", false },
		{ "application/vnd.api+json", false },
		{ "application/json-patch+json", false },
		{ "application/jsonx", false },
		{ "text/json", false },
		{ "text/plain", false },
		{ "application/x-www-form-urlencoded", false },
		{ "application", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct given g = { .body = "{\"name\":\"x\"}", .type = rows[i].type };

		CHECK_ROW(
		    rows[i].type, try_bind(&writes, &g) == (rows[i].good ? ERR_OK : ERR_INVALID));
		CHECK_ROW(rows[i].type, problem.status == (rows[i].good ? 0 : 415));
		CHECK_TEXT(rows[i].type, slice_of(problem.accept),
		    rows[i].good ? NULL : "application/json");
	}
	check_refused(&writes, &(struct given){ .body = "{}", .type = "text/plain" }, 415, NULL,
	    "Content-Type: expected application/json, got \"text/plain\"");
}

static void
test_a_body_without_a_type_is_refused(void)
{
	const struct request r = { .body = SLICE("{}") };
	const struct endpoint e = { .params = NULL };

	arena_free(&arena);
	arena_init(&arena, 4096);
	CU_ASSERT_EQUAL(request_bind(&r, &e, NULL, &arena, values, &problem), ERR_INVALID);
	CU_ASSERT_EQUAL(problem.status, 415);
	CHECK_TEXT(
	    "none", slice_of(problem.detail), "Content-Type: expected application/json, got none");
}

static void
test_shown_values_are_short_and_harmless(void)
{
	static const struct {
		const char *query, *got;
	} rows[] = {
		{ "limit=%0d%0aX-Evil:%201", "\\u000d\\u000aX-Evil: 1" },
		{ "limit=%7f%c2%85%c2%a0", "\\u007f\\u0085\xc2\xa0" },
		{ "limit=%e2%82%ac%f0%9f%98%80", "\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "limit=1234567890123456789012345678901234567890123456789012345678901234x",
		    "1234567890123456789012345678901234567890123456789012345678901234..." },
		{ "limit=x234567890123456789012345678901234567890123456789012345678901234",
		    "x234567890123456789012345678901234567890123456789012345678901234" },
		{ "limit=" /* 65 euros */
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%"
		  "ac%e2%82%ac"
		  "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac",
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2"
		    "\x82\xac\xe2\x82\xac"
		    "..." },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char want[512];

		(void)snprintf(want, sizeof want,
		    "parameter \"limit\": expected an integer of at least 1, got \"%s\"",
		    rows[i].got);
		check_refused(
		    &reads, &(struct given){ .query = rows[i].query }, 400, "limit", want);
	}
}

static void
test_a_missing_parameter_is_named(void)
{
	static struct param q = { .name = { "q", 1 },
		.type = VALUE_TEXT,
		.place = PARAM_QUERY,
		.has_min = true,
		.min = 2 };
	static const struct endpoint e = { .params = &q, .param_count = 1 };

	check_refused(&e, &(struct given){ .query = "p=1" }, 400, "q",
	    "parameter \"q\" is missing: expected text of at least 2 characters");
}

static void
test_all_64_parameters_are_kept_apart(void)
{
	static struct param many[ENDPOINT_MAX_PARAMS];
	static const struct endpoint e = { .params = many, .param_count = ENDPOINT_MAX_PARAMS };
	struct value all[ENDPOINT_MAX_PARAMS];
	char names[ENDPOINT_MAX_PARAMS][8], query[1024];
	struct request r = { .query = { query, 0 } };

	for (size_t i = 0; i < ENDPOINT_MAX_PARAMS; i++) {
		const int n = snprintf(names[i], sizeof names[i], "p%zu", i);

		many[i] = (struct param){
			.name = { names[i], (size_t)n }, .type = VALUE_INTEGER, .place = PARAM_QUERY
		};
		r.query.len += (size_t)snprintf(
		    query + r.query.len, sizeof query - r.query.len, "&%s=%zu", names[i], i);
	}
	arena_free(&arena);
	arena_init(&arena, 1 << 20);
	CU_ASSERT_EQUAL(request_bind(&r, &e, NULL, &arena, all, &problem), ERR_OK);
	for (size_t i = 0; i < ENDPOINT_MAX_PARAMS; i++)
		CHECK_ROW(names[i], all[i].integer == (int64_t)i);
	r.query.len = (size_t)snprintf(query, sizeof query, "p63=1&p63=2");
	CU_ASSERT_EQUAL(request_bind(&r, &e, NULL, &arena, all, &problem), ERR_INVALID);
	CHECK_TEXT("p63", slice_of(problem.detail), "parameter \"p63\" is given more than once");
}

static void
test_undeclared_parameters_cost_no_memory(void)
{
	static const struct endpoint e = { .params = params, .param_count = 0 };

	CU_ASSERT_EQUAL(
	    try_bind(&e, &(struct given){ .query = "a=%41&b=%zz&%61%62=1&c=+" }), ERR_OK);
	CU_ASSERT_EQUAL(arena.used_bytes, 0);
}

static void
test_a_full_arena_is_said_wherever_it_fills(void)
{
	static const struct given rows[] = {
		{ .query = "colour=%62lue&since=2026-11-24T04:09:44%2B01:00",
		    .body = "{\"name\":\"\\u0061\",\"count\":-0}" },
		{ .query = "limit=abc" },
		{ .query = "limit=%zz" },
		{ .query = "limit=1&limit=1" },
		{ .body = "{\"name\":1}" },
		{ .body = "{\"other\":1}" },
		{ .body = "{\"name\"" },
		{ .body = "{}", .type = "text/plain" },
		{ .body = NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const enum err final = try_bind(&writes, &rows[i]);
		enum err rc = ERR_NOMEM;

		for (size_t bytes = 0; rc == ERR_NOMEM && bytes < 65536; bytes += 16) {
			rc = bind_in_a_new_arena(&writes, &rows[i], bytes);
			CU_ASSERT_EQUAL(problem.status == 500, rc == ERR_NOMEM);
		}
		CU_ASSERT_EQUAL(rc, final);
		CU_ASSERT_NOT_EQUAL(final, ERR_NOMEM);
	}
}

static void
test_fields_is_read_apart(void)
{
	static const struct {
		const char *query;
		enum err rc;
		const char *want; /* the value, or the detail */
	} rows[] = {
		{ NULL, ERR_OK, NULL },
		{ "", ERR_OK, NULL },
		{ "field=a", ERR_OK, NULL },
		{ "fields=id,name", ERR_OK, "id,name" },
		{ "x=1&f%69elds=id%2Cname", ERR_OK, "id,name" },
		{ "fields=", ERR_OK, "" },
		{ "fields", ERR_OK, "" },
		{ "fields=a&fields=a", ERR_INVALID,
		    "parameter \"fields\" is given more than once" },
		{ "fields&fields", ERR_INVALID, "parameter \"fields\" is given more than once" },
		{ "fields=%", ERR_INVALID, "parameter \"fields\" has a bad percent escape" },
		{ "fields=%ff", ERR_INVALID, "parameter \"fields\" has bytes that are not UTF-8" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct request r = { .query = slice_of(rows[i].query) };
		const char *row = rows[i].query == NULL ? "none" : rows[i].query;
		struct slice got;

		arena_free(&arena);
		arena_init(&arena, 4096);
		CHECK_ROW(row, request_fields(&r, &arena, &got, &problem) == rows[i].rc);
		CHECK_TEXT(
		    row, rows[i].rc == ERR_OK ? got : slice_of(problem.detail), rows[i].want);
	}
	arena_free(&arena);
}

UNIT_SUITE(request_bind, TEST(test_each_place_gives_its_values),
    TEST(test_absent_ones_are_defaults_or_null), TEST(test_a_query_is_decoded_as_forms_write_it),
    TEST(test_a_refused_parameter_is_named_with_what_was_expected),
    TEST(test_a_refused_body_says_where_and_why),
    TEST(test_an_endpoint_without_body_takes_nothing_or_an_empty_object),
    TEST(test_only_json_in_utf_8_is_a_body), TEST(test_a_body_without_a_type_is_refused),
    TEST(test_shown_values_are_short_and_harmless), TEST(test_a_missing_parameter_is_named),
    TEST(test_all_64_parameters_are_kept_apart), TEST(test_undeclared_parameters_cost_no_memory),
    TEST(test_a_full_arena_is_said_wherever_it_fills), TEST(test_fields_is_read_apart));
