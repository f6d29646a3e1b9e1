/* Goal: every path has one meaning; what could have two is refused. */
#include "http/router.h"

#include <string.h>

#include "tests/unit/http/check.h"
#include "tests/unit/http/routes.h"

enum { ROUTES_MAX = 64 };

/* A router over the routes of one test. */
struct house {
	struct test_endpoint rows[ROUTES_MAX];
	const struct endpoint *endpoints[ROUTES_MAX];
	struct router *router;
	const struct endpoint *first, *second;
	struct arena arena;
};

static enum err
house_build(struct house *h, const char *const *lines, size_t count)
{
	*h = (struct house){ .router = NULL };
	arena_init(&h->arena, 65536);
	for (size_t i = 0; i < count; i++) {
		route_parse(lines[i], &h->rows[i]);
		h->endpoints[i] = &h->rows[i].endpoint;
	}
	return router_build(h->endpoints, count, &h->router, &h->first, &h->second);
}

static void
house_free(struct house *h)
{
	router_free(&h->router);
	arena_free(&h->arena);
}

static const char *const routes[] = {
	"GET /api/v1/countries",
	"GET /api/v1/countries/:code",
	"GET /api/v1/countries/:code/subdivisions",
	"GET /api/v1/countries/all",
	"POST /api/v1/events",
	"GET /api/v1/events/:id",
	"DELETE /api/v1/events/:id",
	"GET /a/b/c",
	"GET /a/:x/d",
	"GET /a/:x/:y",
	"POST /m/b",
	"GET /m/:x",
	"GET /",
	"PUT /caf\xc3\xa9",
	"GET /:top/deep/:down/end",
};

static void
test_a_path_finds_its_route(void)
{
	static const struct {
		enum http_method method;
		const char *path, *route;
	} rows[] = {
		{ HTTP_GET, "/api/v1/countries", "/api/v1/countries" },
		{ HTTP_GET, "/api/v1/countries/DE", "/api/v1/countries/:code" },
		{ HTTP_HEAD, "/api/v1/countries/DE", "/api/v1/countries/:code" },
		{ HTTP_GET, "/api/v1/countries/DE/subdivisions",
		    "/api/v1/countries/:code/subdivisions" },
		{ HTTP_GET, "/api/v1/countries/all", "/api/v1/countries/all" },
		{ HTTP_GET, "/api/v1/countries/all/subdivisions",
		    "/api/v1/countries/:code/subdivisions" },
		{ HTTP_GET, "/api/v1/countries/%61ll", "/api/v1/countries/all" },
		{ HTTP_POST, "/api/v1/events", "/api/v1/events" },
		{ HTTP_DELETE, "/api/v1/events/7", "/api/v1/events/:id" },
		/* a literal beats a parameter, and the walk comes back from where it does not go on */
		{ HTTP_GET, "/a/b/c", "/a/b/c" },
		{ HTTP_GET, "/a/b/d", "/a/:x/d" },
		{ HTTP_GET, "/a/b/e", "/a/:x/:y" },
		{ HTTP_GET, "/a/z/d", "/a/:x/d" },
		{ HTTP_GET, "/api/deep/x/end", "/:top/deep/:down/end" },
		/* also from where the method does not fit */
		{ HTTP_GET, "/m/b", "/m/:x" },
		{ HTTP_POST, "/m/b", "/m/b" },
		{ HTTP_GET, "/", "/" },
		{ HTTP_PUT, "/caf%C3%A9", "/caf\xc3\xa9" },
		{ HTTP_PUT, "/caf\xc3\xa9", "/caf\xc3\xa9" },
	};
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct route_match m;

		CHECK_ROW(rows[i].path, router_match(h.router, rows[i].method,
					    slice_of(rows[i].path), &h.arena, &m) == ERR_OK);
		CHECK_TEXT(rows[i].path, m.endpoint == NULL ? SLICE("none") : m.endpoint->route,
		    rows[i].route);
	}
	house_free(&h);
}

static void
test_other_paths_are_not_found(void)
{
	static const char *const rows[] = { "/api", "/api/v1", "/api/v1/countries/DE/x",
		"/api/v1/Countries", "/api/v1/countries2", "/a/b/c/d", "/a+b", "/:top" };
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct route_match m;

		CHECK_ROW(rows[i], router_match(h.router, HTTP_GET, slice_of(rows[i]), &h.arena,
				       &m) == ERR_NOT_FOUND);
	}
	house_free(&h);
}

static void
test_what_could_mean_two_paths_is_refused(void)
{
	static const struct {
		struct slice path;
		const char *why;
	} rows[] = {
		{ { "", 0 }, "no leading slash" },
		{ { "*", 1 }, "no leading slash" },
		{ { "api/v1", 6 }, "no leading slash" },
		{ { "//", 2 }, "an empty segment" },
		{ { "/api/", 5 }, "an empty segment" },
		{ { "/api//v1", 8 }, "an empty segment" },
		{ { "/api/./v1", 9 }, "a \".\" or \"..\" segment" },
		{ { "/api/../v1", 10 }, "a \".\" or \"..\" segment" },
		{ { "/api/%2e%2E/v1", 14 }, "a \".\" or \"..\" segment" },
		{ { "/.", 2 }, "a \".\" or \"..\" segment" },
		{ { "/a%2Fb", 6 }, "an encoded slash" },
		{ { "/a%2fb", 6 }, "an encoded slash" },
		{ { "/a%5Cb", 6 }, "a backslash" },
		{ { "/a\\b", 4 }, "a backslash" },
		{ { "/a%00b", 6 }, "a NUL byte" },
		{ { "/a%0", 4 }, "a bad percent escape" },
		{ { "/a%zz", 5 }, "a bad percent escape" },
		{ { "/%ff", 4 }, "bytes that are not UTF-8" },
		{ { "/%C0%AF", 7 }, "bytes that are not UTF-8" },
		/* also past the last segment that a route can have */
		{ { "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/..", 69 },
		    "a \".\" or \"..\" segment" },
	};
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct route_match m;

		CHECK_ROW(rows[i].path.ptr,
		    router_match(h.router, HTTP_GET, rows[i].path, &h.arena, &m) == ERR_INVALID);
		CHECK_TEXT(rows[i].path.ptr, slice_of(m.why), rows[i].why);
	}
	house_free(&h);
}

static void
test_dots_that_are_names_are_names(void)
{
	static const char *const lines[] = { "GET /:x" };
	static const char *const rows[] = { "/...", "/.well-known", "/a..b", "/..a", "/%20",
		"/%252e" };
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, lines, 1), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct route_match m;

		CHECK_ROW(rows[i],
		    router_match(h.router, HTTP_GET, slice_of(rows[i]), &h.arena, &m) == ERR_OK);
	}
	house_free(&h);
}

static void
test_segments_are_decoded_once(void)
{
	struct route_match m;
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	CU_ASSERT_EQUAL(
	    router_match(h.router, HTTP_GET, SLICE("/a/x%2541+/%e2%82%ac"), &h.arena, &m), ERR_OK);
	CU_ASSERT_EQUAL(m.segment_count, 3);
	CHECK_TEXT("literal", m.decoded[0], "a");
	CHECK_TEXT("once", m.decoded[1], "x%41+");
	CHECK_TEXT("euro", m.decoded[2], "\xe2\x82\xac");
	house_free(&h);
}

static void
test_a_wrong_method_learns_the_right_ones(void)
{
	static const struct {
		enum http_method method;
		const char *path;
		enum err rc;
		const char *allow;
	} rows[] = {
		{ HTTP_POST, "/api/v1/countries", ERR_DENIED, "GET, HEAD, OPTIONS" },
		{ HTTP_GET, "/api/v1/events", ERR_DENIED, "OPTIONS, POST" },
		{ HTTP_HEAD, "/api/v1/events", ERR_DENIED, "OPTIONS, POST" },
		{ HTTP_PUT, "/api/v1/events/7", ERR_DENIED, "GET, HEAD, OPTIONS, DELETE" },
		{ HTTP_METHOD__COUNT, "/api/v1/events", ERR_DENIED, "OPTIONS, POST" },
		{ HTTP_METHOD__COUNT, "/nowhere", ERR_NOT_FOUND, "" },
		{ HTTP_OPTIONS, "/api/v1/events", ERR_OK, "OPTIONS, POST" },
		{ HTTP_OPTIONS, "/m/b", ERR_OK, "GET, HEAD, OPTIONS, POST" },
		{ HTTP_GET, "/m/b", ERR_OK, "GET, HEAD, OPTIONS, POST" },
		{ HTTP_OPTIONS, "/nowhere", ERR_NOT_FOUND, "" },
	};
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct route_match m;

		CHECK_ROW(rows[i].path, router_match(h.router, rows[i].method,
					    slice_of(rows[i].path), &h.arena, &m) == rows[i].rc);
		CHECK_TEXT(rows[i].path, slice_of(router_allow(m.allow, &h.arena)), rows[i].allow);
		CHECK_ROW(rows[i].path, (m.endpoint != NULL) == (rows[i].rc == ERR_OK));
	}
	house_free(&h);
}

static void
test_allow_lists_every_method(void)
{
	struct arena a;

	arena_init(&a, 4096);
	CHECK_TEXT("all", slice_of(router_allow((1u << HTTP_METHOD__COUNT) - 1, &a)),
	    "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
	arena_free(&a);
}

static void
test_routes_that_collide_are_both_named(void)
{
	static const struct {
		const char *lines[3];
		size_t count, first, second;
	} rows[] = {
		{ { "GET /a/b", "GET /a/:x", "GET /a/b" }, 3, 0, 2 },
		{ { "GET /a/:x", "POST /a/:x", "GET /a/:y" }, 3, 0, 2 },
		{ { "GET /a/:x/b/:y", "GET /a/:y/b/:x" }, 2, 0, 1 },
		{ { "GET /", "POST /", "POST /" }, 3, 1, 2 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct house h;

		CHECK_ROW(rows[i].lines[0],
		    house_build(&h, rows[i].lines, rows[i].count) == ERR_CONFLICT);
		CHECK_ROW(rows[i].lines[0], h.first == h.endpoints[rows[i].first]);
		CHECK_ROW(rows[i].lines[0], h.second == h.endpoints[rows[i].second]);
		CHECK_ROW(rows[i].lines[0], h.router == NULL);
		house_free(&h);
	}
}

static void
test_routes_that_differ_somewhere_live_together(void)
{
	static const char *const lines[] = { "GET /a/:x", "GET /a/b", "POST /a/:x", "GET /a/:x/:y",
		"GET /:x/b", "GET /:x", "GET /a" };
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, lines, sizeof lines / sizeof *lines), ERR_OK);
	house_free(&h);
}

static void
test_a_path_longer_than_any_route_is_not_found(void)
{
	static const char *const lines[] = {
		"GET /1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1"
	};
	char path[2 * 33 + 1];
	struct route_match m;
	struct house h;

	for (size_t i = 0; i < sizeof path - 1; i += 2)
		memcpy(path + i, "/1", 3);
	CU_ASSERT_EQUAL(house_build(&h, lines, 1), ERR_OK);
	CU_ASSERT_EQUAL(
	    router_match(h.router, HTTP_GET, (struct slice){ path, 64 }, &h.arena, &m), ERR_OK);
	CU_ASSERT_EQUAL(router_match(h.router, HTTP_GET, (struct slice){ path, 66 }, &h.arena, &m),
	    ERR_NOT_FOUND);
	house_free(&h);
}

static void
test_without_routes_nothing_is_found(void)
{
	struct route_match m;
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, NULL, 0), ERR_OK);
	CU_ASSERT_EQUAL(router_match(h.router, HTTP_GET, SLICE("/a"), &h.arena, &m), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(router_match(h.router, HTTP_GET, SLICE("/"), &h.arena, &m), ERR_NOT_FOUND);
	house_free(&h);
}

static void
test_a_full_arena_is_said(void)
{
	struct route_match m;
	struct house h;

	CU_ASSERT_EQUAL(house_build(&h, routes, sizeof routes / sizeof *routes), ERR_OK);
	arena_init(&h.arena, 0);
	CU_ASSERT_EQUAL(router_match(h.router, HTTP_GET, SLICE("/%41"), &h.arena, &m), ERR_NOMEM);
	CU_ASSERT_PTR_NULL(router_allow(1u << HTTP_GET, &h.arena));
	house_free(&h);
}

UNIT_SUITE(router, TEST(test_a_path_finds_its_route), TEST(test_other_paths_are_not_found),
    TEST(test_what_could_mean_two_paths_is_refused), TEST(test_dots_that_are_names_are_names),
    TEST(test_segments_are_decoded_once), TEST(test_a_wrong_method_learns_the_right_ones),
    TEST(test_allow_lists_every_method), TEST(test_routes_that_collide_are_both_named),
    TEST(test_routes_that_differ_somewhere_live_together),
    TEST(test_a_path_longer_than_any_route_is_not_found),
    TEST(test_without_routes_nothing_is_found), TEST(test_a_full_arena_is_said));
