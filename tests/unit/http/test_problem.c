/* Goal: every failure becomes a status and a body that says the same, and nothing of the inside. */
#include "http/problem.h"

#include <string.h>

#include "base/json.h"
#include "http/response.h"
#include "tests/unit/http/check.h"

static struct arena arena;

static struct response
respond(const struct problem *p, struct slice path)
{
	struct response r = { .status = 0 };

	arena_free(&arena);
	arena_init(&arena, 65536);
	problem_respond(p, path, SLICE("r-1"), &arena, &r);
	return r;
}

static void
test_the_body_tells_the_problem(void)
{
	static const struct {
		struct problem p;
		const char *body;
	} rows[] = {
		{ { .status = 404, .detail = "There is no country \"XX\"." },
		    "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
		    "\"detail\":\"There is no country \\\"XX\\\".\",\"instance\":\"/api/v1/x\","
		    "\"requestId\":\"r-1\"}" },
		{ { .status = 405, .allow = "GET, HEAD, OPTIONS" },
		    "{\"type\":\"about:blank\",\"title\":\"Method Not Allowed\",\"status\":405,"
		    "\"detail\":\"this path has other methods: see "
		    "Allow\",\"instance\":\"/api/v1/x\",\"requestId\":\"r-1\"}" },
		{ { .status = 400,
		      .detail = "unknown field",
		      .param = "fields",
		      .list_name = "fields",
		      .list = { "[\"code\",\"name\"]", 15 } },
		    "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
		    "\"detail\":\"unknown field\",\"instance\":\"/api/v1/x\",\"requestId\":\"r-1\","
		    "\"param\":\"fields\",\"fields\":[\"code\",\"name\"]}" },
		{ { .status = 429, .retry_after_s = 3 },
		    "{\"error\":\"Rate limit exceeded\",\"retryAfter\":3,"
		    "\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
		    "\"title\":\"Request cannot be satisfied as assigned quota has been exceeded\","
		    "\"status\":429,\"detail\":\"the quota is used up for now: see Retry-After\","
		    "\"instance\":\"/api/v1/x\",\"requestId\":\"r-1\"}" },
		{ { .status = 503 },
		    "{\"type\":\"https://iana.org/assignments/"
		    "http-problem-types#temporary-reduced-capacity\","
		    "\"title\":\"Request cannot be satisfied due to temporary server capacity "
		    "constraints\","
		    "\"status\":503,\"instance\":\"/api/v1/x\",\"requestId\":\"r-1\"}" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct response r = respond(&rows[i].p, SLICE("/api/v1/x"));

		CHECK_ROW(rows[i].body, r.status == rows[i].p.status);
		CHECK_TEXT(rows[i].body, r.body, rows[i].body);
		CHECK_TEXT(
		    rows[i].body, response_find(&r, "Content-Type"), "application/problem+json");
		CHECK_TEXT(rows[i].body, response_find(&r, "Cache-Control"), "no-store");
	}
}

static void
test_the_headers_go_with_the_status(void)
{
	static const struct {
		struct problem p;
		const char *name, *want;
	} rows[] = {
		{ { .status = 405, .allow = "GET, HEAD, OPTIONS" }, "Allow", "GET, HEAD, OPTIONS" },
		{ { .status = 415, .accept = "application/json" }, "Accept", "application/json" },
		{ { .status = 429, .retry_after_s = 7 }, "Retry-After", "7" },
		{ { .status = 429 }, "Retry-After", "1" },
		{ { .status = 503 }, "Retry-After", "1" },
		{ { .status = 504 }, "Retry-After", "1" },
		{ { .status = 409, .retry_after_s = 1 }, "Retry-After", "1" },
		{ { .status = 409 }, "Retry-After", NULL },
		{ { .status = 500 }, "Retry-After", NULL },
		{ { .status = 404 }, "Allow", NULL },
		{ { .status = 404 }, "Accept", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct response r = respond(&rows[i].p, SLICE("/"));

		CHECK_TEXT(rows[i].name, response_find(&r, rows[i].name), rows[i].want);
	}
}

static void
test_headers_that_are_there_already_stay(void)
{
	const struct problem p = PROBLEM(429, NULL);
	struct response r = { .status = 0 };

	arena_free(&arena);
	arena_init(&arena, 65536);
	response_header(&r, &arena, "RateLimit", SLICE("\"default\";r=0;t=1"));
	problem_respond(&p, SLICE("/"), SLICE("r-1"), &arena, &r);
	CHECK_TEXT("RateLimit", response_find(&r, "RateLimit"), "\"default\";r=0;t=1");
}

static void
test_any_path_becomes_a_uri_reference_and_good_json(void)
{
	static const struct {
		struct slice path;
		const char *instance;
	} rows[] = {
		{ { "/a%20b", 6 }, "\"instance\":\"/a%20b\"" },
		{ { "/\"\\\n\xff", 5 }, "\"instance\":\"/%22%5C%0A%FF\"" },
		{ { "/%zz", 4 }, "\"instance\":\"/%25zz\"" },
		{ { "/<script>", 9 }, "\"instance\":\"/%3Cscript%3E\"" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct problem p = PROBLEM(400, "no");
		const struct response r = respond(&p, rows[i].path);
		struct json_fault fault;
		enum json_type type;

		CHECK_ROW(
		    rows[i].instance, json_scan_value(r.body, &arena, &type, &fault) == ERR_OK);
		CHECK_ROW(rows[i].instance, memmem(r.body.ptr, r.body.len, rows[i].instance,
						strlen(rows[i].instance)) != NULL);
	}
}

static void
test_a_very_long_path_is_cut(void)
{
	const struct problem p = PROBLEM(404, "no");
	static char path[60000];
	struct response r;

	memset(path, '%', sizeof path);
	r = respond(&p, (struct slice){ path, sizeof path });
	CU_ASSERT_EQUAL(r.status, 404);
	CU_ASSERT_TRUE(r.body.len > 3072 && r.body.len < 4096);
}

static void
test_every_failure_has_its_status(void)
{
	static const int want[ERR__COUNT] = {
		[ERR_OK] = 500,
		[ERR_NOMEM] = 500,
		[ERR_INVALID] = 400,
		[ERR_NOT_FOUND] = 404,
		[ERR_CONFLICT] = 409,
		[ERR_MISMATCH] = 422,
		[ERR_LIMITED] = 429,
		[ERR_OVERLOADED] = 503,
		[ERR_TIMEOUT] = 504,
		[ERR_UNAVAILABLE] = 503,
		[ERR_FULL] = 503,
		[ERR_TOO_LARGE] = 413,
		[ERR_DENIED] = 403,
		[ERR_IO] = 500,
	};

	for (enum err e = ERR_OK; e < ERR__COUNT; e++) {
		CHECK_ROW(err_name(e), problem_of(e).status == want[e]);
		CHECK_ROW(err_name(e), problem_of(e).detail != NULL);
		CHECK_ROW(
		    err_name(e), strcmp(http_status_phrase(problem_of(e).status), "Unknown") != 0);
	}
}

static void
test_without_memory_there_is_still_an_answer(void)
{
	const struct problem p = PROBLEM(429, "no");
	struct response r = { .status = 0 };

	arena_free(&arena);
	arena_init(&arena, 0);
	problem_respond(&p, SLICE("/"), SLICE("r-1"), &arena, &r);
	CU_ASSERT_EQUAL(r.status, 429);
	CHECK_TEXT("body", r.body, "{}");
	CHECK_TEXT("type", response_find(&r, "Content-Type"), "application/problem+json");
	arena_free(&arena);
}

UNIT_SUITE(problem, TEST(test_the_body_tells_the_problem),
    TEST(test_the_headers_go_with_the_status), TEST(test_headers_that_are_there_already_stay),
    TEST(test_any_path_becomes_a_uri_reference_and_good_json), TEST(test_a_very_long_path_is_cut),
    TEST(test_every_failure_has_its_status), TEST(test_without_memory_there_is_still_an_answer));
