/* Goal: what the front server sent is read in one pass, whatever else it sent, in any order. */
#include "http/request.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/http/check.h"

static struct arena arena;
static struct problem problem;

static void
setup(void)
{
	arena_free(&arena);
	arena_init(&arena, 1 << 20);
	problem = (struct problem){ 0 };
}

/* The parameters nginx sends with a plain GET, and then ${more} (at most four, NULL ends them). */
static enum err
read_with(struct request *r, const char *const more[4])
{
	const char *envp[32] = { "QUERY_STRING=q=1", "REQUEST_METHOD=GET",
		"CONTENT_TYPE=", "CONTENT_LENGTH=", "SCRIPT_NAME=/api/v1/x",
		"REQUEST_URI=/api/v1/x?q=1", "DOCUMENT_URI=/api/v1/x", "DOCUMENT_ROOT=/srv",
		"SERVER_PROTOCOL=HTTP/1.1", "REQUEST_SCHEME=http", "GATEWAY_INTERFACE=CGI/1.1",
		"SERVER_SOFTWARE=nginx/1.22.1", "REMOTE_ADDR=192.0.2.1", "REMOTE_PORT=4711",
		"SERVER_ADDR=192.0.2.2", "SERVER_PORT=80", "SERVER_NAME=example",
		"REDIRECT_STATUS=200", "HTTP_HOST=example", "HTTP_USER_AGENT=wrk",
		"HTTP_ACCEPT=*/*" };
	size_t n = 21;

	for (size_t i = 0; i < 4 && more[i] != NULL; i++)
		envp[n++] = more[i];
	setup();
	return request_read(r, envp, &arena, &problem);
}

#define WITH(...)                                                                                  \
	(const char *const[4])                                                                     \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static void
test_a_plain_request_is_read(void)
{
	struct request r;

	CU_ASSERT_EQUAL(read_with(&r, WITH(NULL)), ERR_OK);
	CU_ASSERT_TRUE(r.method_known);
	CU_ASSERT_EQUAL(r.method, HTTP_GET);
	CHECK_TEXT("method", r.method_text, "GET");
	CHECK_TEXT("path", r.path, "/api/v1/x");
	CHECK_TEXT("query", r.query, "q=1");
	CHECK_TEXT("remote", r.remote_addr, "192.0.2.1");
	CHECK_TEXT("script", r.script_name, "/api/v1/x");
	CHECK_TEXT("empty type", r.content_type, NULL);
	CU_ASSERT_FALSE(r.has_length);
	CHECK_TEXT("body", r.body, NULL);
	CU_ASSERT_EQUAL(r.start_us, 0);
	CU_ASSERT_EQUAL(r.traceparent_lines, 0);
}

static void
test_each_parameter_reaches_its_field(void)
{
	static const struct {
		const char *pair;
		size_t field;
		const char *want;
	} rows[] = {
		{ "CONTENT_TYPE=application/json", offsetof(struct request, content_type),
		    "application/json" },
		{ "REMOTE_ADDR=unix:", offsetof(struct request, remote_addr), "unix:" },
		{ "HTTP_X_FORWARDED_FOR=a, b", offsetof(struct request, forwarded_for), "a, b" },
		{ "TENANT_ID=acme", offsetof(struct request, tenant), "acme" },
		{ "TENANT_ID=", offsetof(struct request, tenant), NULL },
		{ "HTTP_TENANT_ID=acme", offsetof(struct request, tenant), NULL },
		{ "HTTP_AUTHORIZATION=Bearer x", offsetof(struct request, authorization),
		    "Bearer x" },
		{ "REDIRECT_HTTP_AUTHORIZATION=Bearer y", offsetof(struct request, authorization),
		    "Bearer y" },
		{ "HTTP_AUTHORIZATION=", offsetof(struct request, authorization), NULL },
		{ "HTTP_X_API_KEY=k", offsetof(struct request, api_key), "k" },
		{ "REQUEST_ID=0a-F_.9", offsetof(struct request, request_id), "0a-F_.9" },
		{ "HTTP_IF_NONE_MATCH=\"a=b\"", offsetof(struct request, if_none_match),
		    "\"a=b\"" },
		{ "HTTP_IDEMPOTENCY_KEY=k1", offsetof(struct request, idempotency_key), "k1" },
		{ "HTTP_TRACEPARENT=00-x", offsetof(struct request, traceparent), "00-x" },
		{ "HTTP_TRACE_PARENT=00-x", offsetof(struct request, traceparent), NULL },
		{ "HTTP_TRACESTATE=a=1", offsetof(struct request, tracestate), "a=1" },
		{ "SCRIPT_NAME=", offsetof(struct request, script_name), NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;
		struct slice got;

		CHECK_ROW(rows[i].pair, read_with(&r, WITH(rows[i].pair)) == ERR_OK);
		memcpy(&got, (const char *)&r + rows[i].field, sizeof got);
		CHECK_TEXT(rows[i].pair, got, rows[i].want);
	}
}

static void
test_the_target_is_split_at_the_first_question_mark(void)
{
	static const struct {
		const char *uri, *path, *query;
	} rows[] = {
		{ "REQUEST_URI=/a", "/a", NULL },
		{ "REQUEST_URI=/a?", "/a", "" },
		{ "REQUEST_URI=/a?b?c=d", "/a", "b?c=d" },
		{ "REQUEST_URI=/a%3Fb?c", "/a%3Fb", "c" },
		{ "REQUEST_URI=//a/../b", "//a/../b", NULL },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;

		CHECK_ROW(rows[i].uri, read_with(&r, WITH(rows[i].uri)) == ERR_OK);
		CHECK_TEXT(rows[i].uri, r.path, rows[i].path);
		CHECK_TEXT(rows[i].uri, r.query, rows[i].query);
	}
}

static void
test_repeated_headers_are_joined_in_order(void)
{
	struct request r;

	CU_ASSERT_EQUAL(read_with(&r, WITH("HTTP_TRACESTATE=a=1", "HTTP_TRACESTATE=",
					  "HTTP_TRACEPARENT=x", "HTTP_TRACESTATE=b=2")),
	    ERR_OK);
	CHECK_TEXT("joined", r.tracestate, "a=1, b=2");
	CU_ASSERT_EQUAL(r.traceparent_lines, 1);
	CU_ASSERT_EQUAL(
	    read_with(&r, WITH("HTTP_IDEMPOTENCY_KEY=k1", "HTTP_IDEMPOTENCY_KEY=k1")), ERR_OK);
	CHECK_TEXT("twice", r.idempotency_key, "k1, k1");
	CU_ASSERT_EQUAL(r.idempotency_key_lines, 2);
	CU_ASSERT_EQUAL(read_with(&r, WITH("HTTP_X_API_KEY=a", "HTTP_X_API_KEY=b")), ERR_OK);
	CHECK_TEXT("two keys are no key", r.api_key, "a, b");
}

static void
test_a_header_beats_what_a_rewrite_left(void)
{
	struct request r;

	CU_ASSERT_EQUAL(
	    read_with(&r, WITH("REDIRECT_HTTP_AUTHORIZATION=old", "HTTP_AUTHORIZATION=new")),
	    ERR_OK);
	CHECK_TEXT("header", r.authorization, "new");
}

static void
test_of_what_only_the_front_says_the_last_counts(void)
{
	struct request r;

	CU_ASSERT_EQUAL(read_with(&r, WITH("TENANT_ID=acme", "TENANT_ID=")), ERR_OK);
	CHECK_TEXT("taken back", r.tenant, NULL);
	CU_ASSERT_EQUAL(read_with(&r, WITH("TENANT_ID=acme", "TENANT_ID=umbrella")), ERR_OK);
	CHECK_TEXT("last", r.tenant, "umbrella");
}

static void
test_ten_thousand_repeated_lines_cost_no_more_than_their_bytes(void)
{
	enum { LINES = 10000 };
	const char **envp = calloc(LINES + 3, sizeof *envp);
	struct request r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(envp);
	envp[0] = "REQUEST_METHOD=GET";
	envp[1] = "REQUEST_URI=/";
	for (size_t i = 0; i < LINES; i++)
		envp[2 + i] = "HTTP_X_FORWARDED_FOR=::1";
	setup();
	CU_ASSERT_EQUAL(request_read(&r, envp, &arena, &problem), ERR_OK);
	CU_ASSERT_EQUAL(r.forwarded_for.len, LINES * 5 - 2);
	CU_ASSERT_TRUE(arena.used_bytes < LINES * 5 + 256);
	free(envp);
}

static void
test_an_unknown_method_is_not_a_known_one(void)
{
	struct request r;

	CU_ASSERT_EQUAL(read_with(&r, WITH("REQUEST_METHOD=BREW")), ERR_OK);
	CU_ASSERT_FALSE(r.method_known);
	CU_ASSERT_EQUAL(r.method, HTTP_METHOD__COUNT);
	CHECK_TEXT("text", r.method_text, "BREW");
}

static void
test_the_content_length_is_a_number_of_bytes(void)
{
	static const struct {
		const char *pair;
		enum err rc;
		bool has;
		uint64_t length;
	} rows[] = {
		{ "CONTENT_LENGTH=0", ERR_OK, true, 0 },
		{ "CONTENT_LENGTH=42", ERR_OK, true, 42 },
		{ "CONTENT_LENGTH=9223372036854775807", ERR_OK, true, INT64_MAX },
		{ "CONTENT_LENGTH=", ERR_OK, false, 0 },
		{ "CONTENT_LENGTH=-1", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=-0", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=+1", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=1 ", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=42, 42", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=0x10", ERR_INVALID, false, 0 },
		{ "CONTENT_LENGTH=18446744073709551616", ERR_INVALID, false, 0 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;

		CHECK_ROW(rows[i].pair, read_with(&r, WITH(rows[i].pair)) == rows[i].rc);
		CHECK_ROW(rows[i].pair, r.has_length == rows[i].has);
		CHECK_ROW(rows[i].pair, r.content_length == rows[i].length);
		CHECK_ROW(rows[i].pair, problem.status == (rows[i].rc == ERR_OK ? 0 : 400));
	}
}

static void
test_without_method_or_path_there_is_no_request(void)
{
	static const struct {
		const char *envp[4];
		const char *detail;
	} rows[] = {
		{ { NULL }, "the front server sent no REQUEST_METHOD" },
		{ { "REQUEST_METHOD", "REQUEST_URI=/" },
		    "the front server sent no REQUEST_METHOD" },
		{ { "REQUEST_METHOD=", "REQUEST_URI=/" },
		    "the front server sent no REQUEST_METHOD" },
		{ { "REQUEST_METHOD=GET" }, "the front server sent no path in REQUEST_URI" },
		{ { "REQUEST_METHOD=GET", "REQUEST_URI=" },
		    "the front server sent no path in REQUEST_URI" },
		{ { "REQUEST_METHOD=GET", "REQUEST_URI=?a" },
		    "the front server sent no path in REQUEST_URI" },
		{ { "=GET", "=", "" }, "the front server sent no REQUEST_METHOD" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;

		setup();
		CHECK_ROW(rows[i].detail,
		    request_read(&r, rows[i].envp, &arena, &problem) == ERR_INVALID);
		CHECK_TEXT(rows[i].detail, slice_of(problem.detail), rows[i].detail);
		CHECK_ROW(rows[i].detail,
		    r.request_id.len == 32); /* the log line needs one all the same */
	}
}

static void
test_a_request_id_is_made_where_the_front_gives_no_good_one(void)
{
	char long_id[sizeof "REQUEST_ID=" + 129] = "REQUEST_ID=";
	const char *const rows[] = { "REQUEST_ID=", "REQUEST_ID=a b", "REQUEST_ID=\xc3\xa4",
		"REQUEST_ID=a\r\nb", "REQUEST_ID=\"", long_id };
	struct slice last = { NULL, 0 };
	char kept[33] = "";

	memset(long_id + strlen(long_id), 'a', 129);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;

		CHECK_ROW(rows[i], read_with(&r, WITH(rows[i])) == ERR_OK);
		CHECK_ROW(rows[i], !r.request_id_from_front && r.request_id.len == 32);
		CHECK_ROW(rows[i], !slice_eq(r.request_id, last));
		memcpy(kept, r.request_id.ptr, 32);
		last = (struct slice){ kept, 32 };
	}
	long_id[sizeof "REQUEST_ID=" - 1 + 128] = '\0';
	{
		struct request r;

		CHECK_ROW(
		    "128 bytes", read_with(&r, WITH(long_id)) == ERR_OK && r.request_id_from_front);
	}
}

static void
test_the_start_is_read_in_microseconds(void)
{
	static const struct {
		const char *pair;
		int64_t want;
	} rows[] = {
		{ "REQUEST_START=1764000000.123", 1764000000123000 },
		{ "REQUEST_START=1764000000.000001", 1764000000000001 },
		{ "REQUEST_START=1764000000", 1764000000000000 },
		{ "REQUEST_START=", 0 },
		{ "REQUEST_START=-1.5", 0 },
		{ "REQUEST_START=t=1764000000.5", 1764000000500000 },
		{ "REQUEST_START=t=1764000000123456", 1764000000123456 },
		{ "REQUEST_START=1764000000123456", 1764000000123456 },
		{ "REQUEST_START=1764000000123", 1764000000123000 },
		{ "REQUEST_START=t=1764000000123456.7", 0 },
		{ "REQUEST_START=t=", 0 },
		{ "REQUEST_START=17640000001", 0 },
		{ "REQUEST_START=1764000000.1234567", 0 },
		{ "REQUEST_START=1764000000.12x", 0 },
		{ "REQUEST_START=99999999999999", 0 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct request r;

		CHECK_ROW(rows[i].pair, read_with(&r, WITH(rows[i].pair)) == ERR_OK);
		CHECK_ROW(rows[i].pair, r.start_us == rows[i].want);
	}
}

static void
test_a_full_arena_is_said(void)
{
	const char *const envp[] = { "REQUEST_METHOD=GET", "REQUEST_URI=/", "HTTP_TRACESTATE=a=1",
		"HTTP_TRACESTATE=b=2", NULL };
	struct request r;

	for (size_t bytes = 0; bytes < 64; bytes += 16) {
		arena_free(&arena);
		arena_init(&arena, bytes);
		CU_ASSERT_EQUAL(request_read(&r, envp, &arena, &problem), ERR_NOMEM);
		CU_ASSERT_EQUAL(problem.status, 500);
	}
}

static void
test_entity_tags_are_compared_weakly(void)
{
	static const struct {
		const char *sent, *own;
		bool same;
	} rows[] = {
		{ "\"abc\"", "\"abc\"", true },
		{ "W/\"abc\"", "\"abc\"", true },
		{ "\"abc\"", "W/\"abc\"", true },
		{ "*", "\"abc\"", true },
		{ " * ", "\"abc\"", true },
		{ "\"x\", \"abc\"", "\"abc\"", true },
		{ "\"x\",W/\"y\" ,\t\"abc\"", "\"abc\"", true },
		{ ", ,\"abc\"", "\"abc\"", true }, /* empty elements do not count */
		{ "\"a,b\", \"abc\"", "\"abc\"", true },
		{ "\"abc-gzip\"", "\"abc\"", true },
		{ "W/\"abc-br\"", "\"abc\"", true },
		{ "\"abc-gzip-gzip\"", "\"abc\"", false },
		{ "\"abc-zip\"", "\"abc\"", false },
		{ "\"ab\"", "\"abc\"", false },
		{ "\"abcd\"", "\"abc\"", false },
		{ "\"ABC\"", "\"abc\"", false },
		{ "abc", "\"abc\"", false },
		{ "w/\"abc\"", "\"abc\"", false },
		{ "\"abc", "\"abc\"", false },
		{ "\"", "\"\"", false },
		{ "\"\"", "\"\"", true },
		{ "", "\"abc\"", false },
		{ "W/", "\"abc\"", false },
		{ "*, \"x\"", "\"abc\"", false },
		{ "x\"abc\"", "\"abc\"", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		CHECK_ROW(rows[i].sent, request_etag_matches(slice_of(rows[i].sent),
					    slice_of(rows[i].own)) == rows[i].same);
	CU_ASSERT_FALSE(request_etag_matches((struct slice){ NULL, 0 }, SLICE("\"abc\"")));
	arena_free(&arena);
}

static void
test_any_header_can_be_asked_for_by_its_parameter(void)
{
	const char *const envp[] = { "HTTP_A=1", "HTTP_AB=2", "HTTP_A=", "HTTP_A= 3 ", NULL };
	struct slice value;

	setup();
	CU_ASSERT_EQUAL(request_header(envp, SLICE("HTTP_A"), 4, &arena, &value), ERR_OK);
	CHECK_TEXT("joined", value, "1, 3");
	CU_ASSERT_EQUAL(request_header(envp, SLICE("HTTP_A"), 3, &arena, &value), ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(request_header(envp, SLICE("HTTP_"), 3, &arena, &value), ERR_OK);
	CHECK_TEXT("absent", value, NULL);
}

UNIT_SUITE(request, TEST(test_any_header_can_be_asked_for_by_its_parameter),
    TEST(test_a_plain_request_is_read), TEST(test_each_parameter_reaches_its_field),
    TEST(test_the_target_is_split_at_the_first_question_mark),
    TEST(test_repeated_headers_are_joined_in_order), TEST(test_a_header_beats_what_a_rewrite_left),
    TEST(test_of_what_only_the_front_says_the_last_counts),
    TEST(test_ten_thousand_repeated_lines_cost_no_more_than_their_bytes),
    TEST(test_an_unknown_method_is_not_a_known_one),
    TEST(test_the_content_length_is_a_number_of_bytes),
    TEST(test_without_method_or_path_there_is_no_request),
    TEST(test_a_request_id_is_made_where_the_front_gives_no_good_one),
    TEST(test_the_start_is_read_in_microseconds), TEST(test_a_full_arena_is_said),
    TEST(test_entity_tags_are_compared_weakly));
