/*
 * Goal: browsers are told which origins may read an answer, and no copy carries one origin's permission to
 * another.
 */
#include <string.h>

#include "http/response.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"

static const char *const files[] = {
	"-- GET /closed\n-- cache: 1h\nSELECT 1 AS v;\n",
	"-- GET /open\n-- cache: 1h\n-- cors: *\nSELECT 1 AS v;\n",
	("-- GET /named\n-- cache: 1h\n-- auth: optional\n"
	 "-- cors: https://a.example, https://b.example, credentials, headers X-Mine, max-age 1h\n"
	 "SELECT 1 AS v;\n"),
	"-- POST /named\n-- cors: https://b.example\nDELETE FROM t WHERE id = :idempotency_key;\n",
	"-- DELETE /named\nDELETE FROM t WHERE id = :idempotency_key;\n",
	"-- GET /tight\n-- limit: 1/h\n-- cors: https://a.example\nSELECT 1 AS v;\n",
};

static struct house h;
static struct visit v;

static void
ask(const char *method, const char *uri, const char *origin)
{
	visit_begin(&v, &h, method, uri);
	if (origin != NULL)
		visit_param(&v, "HTTP_ORIGIN", origin);
	visit_run(&v);
}

static void
preflight(const char *uri, const char *origin, const char *method)
{
	visit_begin(&v, &h, "OPTIONS", uri);
	visit_param(&v, "HTTP_ORIGIN", origin);
	visit_param(&v, "HTTP_ACCESS_CONTROL_REQUEST_METHOD", method);
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 204);
}

static void
says(const char *header, const char *value)
{
	CU_ASSERT_STRING_EQUAL(visit_header(&v, header), value);
}

static void
open_house(void)
{
	house_open(&h, files, sizeof files / sizeof *files);
}

static void
test_without_a_line_nothing_is_said(void)
{
	open_house();
	ask("GET", "/closed", "https://a.example");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	says("Access-Control-Allow-Origin", "");
	says("Vary", "");
	visit_end(&v);
	preflight("/closed", "https://a.example", "GET");
	says("Access-Control-Allow-Origin", "");
	says("Allow", "GET, HEAD, OPTIONS");
	says("Vary", "");
	visit_end(&v);
	house_close(&h);
}

static void
test_a_star_is_the_same_for_all_and_needs_no_vary(void)
{
	open_house();
	ask("GET", "/open", "https://anybody.example");
	says("Access-Control-Allow-Origin", "*");
	says("Access-Control-Allow-Credentials", "");
	says("Vary", "");
	visit_end(&v);
	ask("GET", "/open", NULL); /* a shared cache may hand this to a page */
	says("Access-Control-Allow-Origin", "*");
	visit_end(&v);
	house_close(&h);
}

static void
test_a_copy_carries_nobodys_permission(void)
{
	open_house();
	ask("GET", "/named", "https://a.example");
	says("Access-Control-Allow-Origin", "https://a.example");
	says("Access-Control-Allow-Credentials", "true");
	says("Vary", "Authorization, X-API-Key, Origin");
	visit_end(&v);
	ask("GET", "/named", "https://b.example"); /* the same copy */
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	says("Access-Control-Allow-Origin", "https://b.example");
	visit_end(&v);
	ask("GET", "/named", "https://evil.example");
	CU_ASSERT_EQUAL(v.x.response.status, 200);
	says("Access-Control-Allow-Origin", "");
	says("Access-Control-Allow-Credentials", "");
	says("Access-Control-Expose-Headers", "");
	says("Vary", "Authorization, X-API-Key, Origin");
	visit_end(&v);
	ask("GET", "/named", NULL);
	CU_ASSERT_EQUAL(fake_read.queries, 1);
	says("Access-Control-Allow-Origin", "");
	says("Vary", "Authorization, X-API-Key, Origin");
	visit_end(&v);
	house_close(&h);
}

static void
test_two_origin_lines_are_nobodys_origin(void)
{
	open_house();
	visit_begin(&v, &h, "GET", "/named");
	visit_param(&v, "HTTP_ORIGIN", "https://a.example");
	visit_param(&v, "HTTP_ORIGIN", "https://b.example");
	visit_run(&v);
	says("Access-Control-Allow-Origin", "");
	visit_end(&v);
	ask("GET", "/named", "null");
	says("Access-Control-Allow-Origin", "");
	visit_end(&v);
	house_close(&h);
}

static void
test_a_refusal_can_be_read_by_the_page_too(void)
{
	open_house();
	ask("GET", "/tight", "https://a.example");
	visit_end(&v);
	ask("GET", "/tight", "https://a.example");
	CU_ASSERT_EQUAL(v.x.response.status, 429);
	says("Access-Control-Allow-Origin", "https://a.example");
	says("Vary", "Origin");
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(visit_header(&v, "Access-Control-Expose-Headers"), "Retry-After"));
	visit_end(&v);
	visit_begin(&v, &h, "GET", "/tight");
	visit_param(&v, "HTTP_ORIGIN", "https://a.example");
	visit_param(&v, "HTTP_ACCEPT", "text/html");
	visit_run(&v);
	CU_ASSERT_EQUAL(v.x.response.status, 406);
	says("Access-Control-Allow-Origin", "https://a.example");
	visit_end(&v);
	house_close(&h);
}

static void
test_a_preflight_is_told_what_the_files_of_the_path_allow(void)
{
	open_house();
	preflight("/named", "https://b.example", "POST");
	says("Access-Control-Allow-Origin", "https://b.example");
	says("Access-Control-Allow-Credentials", ""); /* that is the file of GET */
	says("Access-Control-Allow-Methods", "GET, HEAD, POST");
	says("Access-Control-Max-Age", "600");
	says("Vary", "Origin, Access-Control-Request-Method");
	says("Allow", "GET, HEAD, OPTIONS, POST, DELETE");
	visit_end(&v);
	preflight("/named", "https://a.example", "HEAD"); /* as GET */
	says("Access-Control-Allow-Origin", "https://a.example");
	says("Access-Control-Allow-Methods", "GET, HEAD");
	says("Access-Control-Allow-Credentials", "true");
	says("Access-Control-Max-Age", "3600");
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(visit_header(&v, "Access-Control-Allow-Headers"), ", X-Mine"));
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(visit_header(&v, "Access-Control-Allow-Headers"), "Authorization"));
	visit_end(&v);
	house_close(&h);
}

static void
test_a_preflight_of_others_is_told_nothing(void)
{
	static const char *const asked[][2] = { { "https://a.example", "POST" },
		{ "https://b.example", "DELETE" }, { "https://evil.example", "GET" },
		{ "https://a.example", "PATCH" }, { "https://a.example", "OPTIONS" },
		{ "https://a.example", "BREW" } };

	open_house();
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		preflight("/named", asked[i][0], asked[i][1]);
		says("Access-Control-Allow-Origin", "");
		says("Access-Control-Allow-Methods", "");
		visit_end(&v);
	}
	house_close(&h);
}

UNIT_SUITE(cors, TEST(test_without_a_line_nothing_is_said),
    TEST(test_a_star_is_the_same_for_all_and_needs_no_vary),
    TEST(test_a_copy_carries_nobodys_permission), TEST(test_two_origin_lines_are_nobodys_origin),
    TEST(test_a_refusal_can_be_read_by_the_page_too),
    TEST(test_a_preflight_is_told_what_the_files_of_the_path_allow),
    TEST(test_a_preflight_of_others_is_told_nothing));
