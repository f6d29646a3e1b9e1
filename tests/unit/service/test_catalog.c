/* Goal: handler folders become one snapshot, or every fault in and between their files is told. */
#include "service/catalog.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "http/router.h"
#include "service/handler_files.h"
#include "tests/support/unit.h"

static struct route_segment health_route[] = { { .literal = { "health", 6 }, .param = -1 } };
static const struct endpoint health = {
	.name = { "health", 6 },
	.method = HTTP_GET,
	.route = { "/health", 7 },
	.segments = health_route,
	.segment_count = 1,
	.never_shed = true,
	.cors_of_writes = true,
};
static const struct endpoint *const built_in[] = { &health };

/* One load of a fresh folder of files. */
struct bench {
	char folder[4200];
	char handlers[8600]; /* the folder, unless said otherwise */
	bool postgresql;     /* of the databases */
	struct fault_list faults;
	const struct catalog *catalog;
	enum err rc;
};

static void
bench_open(struct bench *b)
{
	static int n;

	*b = (struct bench){ .rc = ERR_IO };
	(void)snprintf(b->folder, sizeof b->folder, "%s/handlers-%d", unit_dir(), n++);
	(void)snprintf(b->handlers, sizeof b->handlers, "%s", b->folder);
	CU_ASSERT_EQUAL_FATAL(mkdir(b->folder, 0700), 0);
	fault_init(&b->faults);
}

static void
add_bytes(const struct bench *b, const char *name, struct slice bytes)
{
	char path[8400];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/%s", b->folder, name);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
	(void)fclose(f);
}

static void
add(const struct bench *b, const char *name, const char *text)
{
	add_bytes(b, name, slice_of(text));
}

static void
load(struct bench *b)
{
	struct handler_files files;
	const struct catalog_options o = {
		.files = &files,
		.postgresql = b->postgresql,
		.timeout_ms = 3000,
		.max_body_bytes = 1 << 20,
		.limit_quota = 100,
		.limit_window_ms = 1000,
		.built_in = built_in,
		.built_in_count = 1,
	};

	b->rc = handler_files_read(b->handlers, &b->faults, &files);
	if (b->rc == ERR_OK)
		b->rc = catalog_load(&o, &b->faults, &b->catalog);
	if (b->rc == ERR_OK && b->faults.errors > 0) {
		catalog_release(&b->catalog);
		b->rc = ERR_INVALID; /* as runtime.c does: a file that could not be read */
	}
	handler_files_free(&files);
}

static void
bench_close(struct bench *b)
{
	catalog_release(&b->catalog);
	CU_ASSERT_PTR_NULL(b->catalog);
	fault_free(&b->faults);
}

/* True when a fault of ${file} (in the folder) at ${line} says exactly ${text}; %s in it is the folder. */
static bool
told(const struct bench *b, const char *file, unsigned line, const char *text)
{
	char path[8400], want[8800];
	const char *at = strstr(text, "%s");

	(void)snprintf(path, sizeof path, "%s%s%s", b->folder, *file == '\0' ? "" : "/", file);
	if (at == NULL)
		(void)snprintf(want, sizeof want, "%s", text);
	else
		(void)snprintf(
		    want, sizeof want, "%.*s%s%s", (int)(at - text), text, b->folder, at + 2);
	for (size_t i = 0; i < b->faults.count; i++)
		if (strcmp(b->faults.items[i].file, path) == 0 && b->faults.items[i].line == line &&
		    strcmp(b->faults.items[i].text, want) == 0)
			return true;
	for (size_t i = 0; i < b->faults.count; i++)
		(void)printf("%s:%u: %s\n", b->faults.items[i].file, b->faults.items[i].line,
		    b->faults.items[i].text);
	return false;
}

/* Loads, and expects that one fault and no other. */
static void
refuses(struct bench *b, const char *file, unsigned line, const char *text)
{
	load(b);
	CU_ASSERT_EQUAL(b->rc, ERR_INVALID);
	CU_ASSERT_EQUAL(b->faults.count, 1);
	CU_ASSERT_TRUE(told(b, file, line, text));
	bench_close(b);
}

static void
a_folder_becomes_endpoints_behind_the_built_in_ones(void)
{
	struct route_match match;
	struct arena a;
	struct bench b;

	bench_open(&b);
	add(&b, "two.sql", "-- GET /t/:id\n-- param id: integer\nSELECT :id AS n");
	add(&b, "one.sql", "-- POST /t\nDELETE FROM t");
	load(&b);
	CU_ASSERT_EQUAL_FATAL(b.rc, ERR_OK);
	CU_ASSERT_EQUAL(b.faults.count, 0);
	CU_ASSERT_EQUAL_FATAL(b.catalog->count, 3);
	CU_ASSERT_TRUE(slice_eq_cstr(b.catalog->endpoints[0]->name, "health"));
	CU_ASSERT_TRUE(slice_eq_cstr(b.catalog->endpoints[1]->name, "one"));
	CU_ASSERT_EQUAL(b.catalog->endpoints[2]->index, 2);
	CU_ASSERT_PTR_EQUAL(catalog_find(b.catalog, SLICE("two")), b.catalog->endpoints[2]);
	CU_ASSERT_PTR_NULL(catalog_find(b.catalog, SLICE("three")));
	arena_init(&a, 4096);
	CU_ASSERT_EQUAL(
	    router_match(b.catalog->router, HTTP_GET, SLICE("/t/5"), &a, &match), ERR_OK);
	CU_ASSERT_PTR_EQUAL(match.endpoint, b.catalog->endpoints[2]);
	CU_ASSERT_EQUAL(
	    router_match(b.catalog->router, HTTP_GET, SLICE("/health"), &a, &match), ERR_OK);
	arena_free(&a);
	bench_close(&b);
}

static const struct cors_rule *
cors_behind(struct bench *b, const char *first, const char *second)
{
	bench_open(b);
	add(b, "read.sql", "-- GET /r\n-- cors: *\nSELECT 1 AS n");
	add(b, "first.sql", first);
	add(b, "second.sql", second);
	load(b);
	CU_ASSERT_EQUAL_FATAL(b->rc, ERR_OK);
	return catalog_find(b->catalog, SLICE("health"))->cors;
}

static void
pages_that_may_write_may_use_a_built_in_endpoint_that_follows_writes(void)
{
	const struct cors_rule *c;
	struct bench b;

	c = cors_behind(&b, "-- POST /a\nDELETE FROM t", "-- POST /b\nDELETE FROM t");
	CU_ASSERT_PTR_NULL(c);
	bench_close(&b);
	c = cors_behind(&b,
	    "-- POST /a\n-- cors: https://a.example, https://b.example, credentials\nDELETE FROM t",
	    "-- PUT /b\n-- cors: https://b.example, https://c.example, headers X-Mine\nDELETE FROM "
	    "t");
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_FALSE(c->any);
	CU_ASSERT_FALSE(c->credentials); /* not of all of them */
	CU_ASSERT_EQUAL_FATAL(c->origin_count, 3);
	CU_ASSERT_TRUE(slice_eq_cstr(c->origins[2], "https://c.example"));
	CU_ASSERT_TRUE(slice_eq_cstr(c->headers,
	    "Authorization, Content-Type, Idempotency-Key, If-None-Match, traceparent, tracestate, "
	    "X-API-Key, X-Weir-Consistency, X-Mine"));
	bench_close(&b);
	c = cors_behind(&b, "-- POST /a\n-- cors: https://a.example, credentials\nDELETE FROM t",
	    "-- POST /b\n-- cors: *\nDELETE FROM t");
	CU_ASSERT_TRUE(c->any && !c->credentials);
	bench_close(&b);
	/* The headers of a file with a fault are not there to be joined. */
	bench_open(&b);
	add(&b, "a.sql", "-- POST /a\n-- cors: https://a.example/\nDELETE FROM t");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	bench_close(&b);
}

static void
a_built_in_endpoint_has_the_defaults_of_the_settings(void)
{
	const struct endpoint *e;
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\nSELECT 1 AS n");
	load(&b);
	e = catalog_find(b.catalog, SLICE("health"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_PTR_NULL(e->file);
	CU_ASSERT_TRUE(e->never_shed);
	CU_ASSERT_EQUAL(e->timeout_ms, 3000);
	CU_ASSERT_EQUAL(e->max_body_bytes, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(e->limit_count, 1);
	CU_ASSERT_EQUAL(e->limits[0].quota, 100);
	CU_ASSERT_NOT_EQUAL(
	    e->limits[0].seed, catalog_find(b.catalog, SLICE("one"))->limits[0].seed);
	bench_close(&b);
}

static void
only_sql_files_of_the_folder_itself_are_endpoints(void)
{
	char path[8400];
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\nSELECT 1 AS n");
	add(&b, "README.md", "words");
	add(&b, "import.py", "print()");
	add(&b, ".one.sql", "an editor's");
	add(&b, ".sql", "no name");
	(void)snprintf(path, sizeof path, "%s/schema", b.folder);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	add(&b, "schema/tables.sql", "CREATE TABLE t (n)");
	load(&b);
	CU_ASSERT_EQUAL_FATAL(b.rc, ERR_OK);
	CU_ASSERT_EQUAL(b.catalog->count, 2);
	bench_close(&b);
}

static void
every_fault_of_every_file_is_told_at_once(void)
{
	struct bench b;

	bench_open(&b);
	add(&b, "a.sql", "-- GET /a\n-- cahce: 5s\nSELECT 1 AS n");
	add(&b, "b.sql", "-- GET /b\nSELECT 1 FORM t AS");
	add(&b, "c.sql", "-- GET /b\nSELECT ''::text");
	add(&b, "d.sql", "");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	CU_ASSERT_PTR_NULL(b.catalog);
	CU_ASSERT_TRUE(told(&b, "a.sql", 2, "unknown directive \"cahce\", expected \"cache\"?"));
	CU_ASSERT_TRUE(told(&b, "b.sql", 2,
	    "near \"t\": syntax error, expected a statement that SQLite can prepare"));
	CU_ASSERT_TRUE(
	    told(&b, "c.sql", 2, "\"::\" does not run on SQLite, expected CAST(:x AS text)"));
	CU_ASSERT_TRUE(
	    told(&b, "c.sql", 1, "route GET /b is that of %s/b.sql:1 too, expected another"));
	CU_ASSERT_TRUE(
	    told(&b, "d.sql", 1, "no route, expected `-- METHOD /path` on the first line"));
	CU_ASSERT_EQUAL(b.faults.count, 6);
	bench_close(&b);
}

static void
all_routes_that_collide_are_named(void)
{
	struct bench b;

	bench_open(&b);
	add(&b, "a.sql", "-- GET /t/:x\n-- param x: text\nSELECT :x AS n");
	add(&b, "b.sql", "-- GET /t/:y\n-- param y: text\nSELECT :y AS n");
	add(&b, "c.sql", "-- GET /t/:z\n-- param z: text\nSELECT :z AS n");
	add(&b, "d.sql", "-- GET /t/fixed\nSELECT 1 AS n");
	add(&b, "e.sql", "-- PUT /t/:x\n-- param x: text\nDELETE FROM t WHERE x = :x");
	add(&b, "f.sql", "-- GET /health\nSELECT 1 AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	CU_ASSERT_TRUE(
	    told(&b, "b.sql", 1, "route GET /t/:y is that of %s/a.sql:1 too, expected another"));
	CU_ASSERT_TRUE(
	    told(&b, "c.sql", 1, "route GET /t/:z is that of %s/a.sql:1 too, expected another"));
	CU_ASSERT_TRUE(told(&b, "f.sql", 1,
	    "route GET /health is that of the built-in endpoint health, expected another"));
	CU_ASSERT_EQUAL(b.faults.count, 3);
	bench_close(&b);
}

static void
a_name_is_unique_over_all_folders(void)
{
	struct bench b, other;

	bench_open(&other);
	add(&other, "one.sql", "-- GET /a\nSELECT 1 AS n");
	bench_open(&b);
	add(&b, "one.sql", "-- GET /b\nSELECT 1 AS n");
	add(&b, "health.sql", "-- GET /c\nSELECT 1 AS n");
	(void)snprintf(b.handlers, sizeof b.handlers, "%s:%s/", other.folder, b.folder);
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	CU_ASSERT_EQUAL_FATAL(b.faults.count, 2);
	CU_ASSERT_TRUE(told(&b, "health.sql", 1,
	    "name \"health\" is that of the built-in endpoint too, expected another file name"));
	CU_ASSERT_PTR_NOT_NULL(strstr(b.faults.items[1].text, other.folder));
	bench_close(&b);
	fault_free(&other.faults);
}

static void
a_folder_that_is_not_there_is_a_fault_and_an_empty_one_a_warning(void)
{
	struct bench b;

	bench_open(&b);
	(void)strcat(b.folder, "/missing");
	(void)strcat(b.handlers, "/missing");
	refuses(&b, "", 0, "No such file or directory, expected a folder of endpoint files");
	bench_open(&b);
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_OK);
	CU_ASSERT_TRUE(told(&b, "", 0, "no endpoint file, expected NAME.sql"));
	CU_ASSERT_EQUAL(b.faults.errors, 0);
	bench_close(&b);
}

static void
what_is_no_file_is_told_and_not_waited_for(void)
{
	char path[8400];
	struct bench b;

	bench_open(&b);
	(void)snprintf(path, sizeof path, "%s/one.sql", b.folder);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	refuses(&b, "one.sql", 0, "a folder, pipe or device, expected a file that can be read");
}

static void
a_large_file_is_refused_by_its_size(void)
{
	static char bytes[300 * 1024];
	struct bench b;

	bench_open(&b);
	memset(bytes, ' ', sizeof bytes);
	add_bytes(&b, "one.sql", (struct slice){ bytes, sizeof bytes });
	refuses(&b, "one.sql", 0, "too large, expected at most 262144 bytes");
}

static void
warnings_alone_do_load(void)
{
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\n-- auth: required\nSELECT 1 AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_OK);
	CU_ASSERT_EQUAL(b.faults.count, 1);
	bench_close(&b);
}

static void
a_file_for_postgresql_stands_beside_its_equal(void)
{
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\n-- param x: text\nSELECT :x AS n");
	add(&b, "one.postgresql.sql", "-- GET /t\n-- param x: text\nSELECT :x::text AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_OK);
	CU_ASSERT_EQUAL_FATAL(b.catalog->count, 2);
	CU_ASSERT_TRUE(slice_eq_cstr(b.catalog->endpoints[1]->sql, "SELECT ?1 AS n"));
	bench_close(&b);
}

static void
where_postgresql_is_in_force_its_file_wins_and_others_may_be_its_own(void)
{
	struct bench b;

	bench_open(&b);
	b.postgresql = true;
	add(&b, "one.sql", "-- GET /t\n-- param x: text\nSELECT :x AS n");
	add(&b, "one.postgresql.sql",
	    "-- GET /t\n-- param x: text\n-- read: primary\nSELECT :x::text AS n");
	add(&b, "two.sql", "-- GET /u\n-- param x: text\nSELECT :x::text ILIKE 'a' AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_OK);
	CU_ASSERT_EQUAL_FATAL(b.catalog->count, 3);
	CU_ASSERT_TRUE(slice_eq_cstr(b.catalog->endpoints[1]->sql, "SELECT $1::text AS n"));
	CU_ASSERT_TRUE(b.catalog->endpoints[1]->read_primary);
	CU_ASSERT_EQUAL(b.catalog->endpoints[1]->index, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b.catalog->endpoints[1]->twin);
	CU_ASSERT_TRUE(slice_eq_cstr(b.catalog->endpoints[1]->twin->sql, "SELECT ?1 AS n"));
	CU_ASSERT_TRUE(
	    slice_eq_cstr(b.catalog->endpoints[2]->sql, "SELECT $1::text ILIKE 'a' AS n"));
	CU_ASSERT_PTR_NULL(b.catalog->endpoints[2]->twin);
	bench_close(&b);
}

static void
beside_a_file_for_postgresql_the_other_is_held_to_sqlite(void)
{
	struct bench b;

	bench_open(&b);
	b.postgresql = true;
	add(&b, "one.sql", "-- GET /t\n-- param x: text\nSELECT :x::text AS n");
	add(&b, "one.postgresql.sql", "-- GET /t\n-- param x: text\nSELECT :x::text AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	CU_ASSERT_TRUE(
	    told(&b, "one.sql", 3, "\"::\" does not run on SQLite, expected CAST(:x AS text)"));
	bench_close(&b);
}

static void
a_file_for_postgresql_that_differs_is_refused(void)
{
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\n-- param x: text\nSELECT :x AS n");
	add(&b, "one.postgresql.sql",
	    "-- GET /u\n-- param x: text, max 5\n-- column n: text\nSELECT :x AS n");
	add(&b, "two.postgresql.sql", "-- GET /v\nSELECT 1 AS n");
	load(&b);
	CU_ASSERT_EQUAL(b.rc, ERR_INVALID);
	CU_ASSERT_TRUE(
	    told(&b, "one.postgresql.sql", 1, "route differs from %s/one.sql, expected the same"));
	CU_ASSERT_TRUE(told(
	    &b, "one.postgresql.sql", 1, "parameters differ from %s/one.sql, expected the same"));
	CU_ASSERT_TRUE(
	    told(&b, "one.postgresql.sql", 1, "columns differ from %s/one.sql, expected the same"));
	CU_ASSERT_TRUE(
	    told(&b, "two.postgresql.sql", 0, "no two.sql, expected it beside this file"));
	CU_ASSERT_EQUAL(b.faults.count, 4);
	bench_close(&b);
}

static void *
hold_and_release(void *arg)
{
	const struct catalog *c = arg;

	for (int i = 0; i < 1000; i++) {
		const struct catalog *mine = catalog_hold(c);

		catalog_release(&mine);
	}
	catalog_release(&c);
	return NULL;
}

static void
the_last_holder_frees_the_snapshot(void)
{
	pthread_t threads[4];
	struct bench b;

	bench_open(&b);
	add(&b, "one.sql", "-- GET /t\nSELECT 1 AS n");
	load(&b);
	CU_ASSERT_EQUAL_FATAL(b.rc, ERR_OK);
	for (int i = 0; i < 4; i++) {
		union {
			const struct catalog *held;
			void *arg;
		} u = { .held = catalog_hold(b.catalog) };

		CU_ASSERT_EQUAL_FATAL(
		    pthread_create(&threads[i], NULL, hold_and_release, u.arg), 0);
	}
	bench_close(&b); /* a sanitizer sees a use after this, or a leak */
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
}

UNIT_SUITE(catalog, TEST(a_folder_becomes_endpoints_behind_the_built_in_ones),
    TEST(pages_that_may_write_may_use_a_built_in_endpoint_that_follows_writes),
    TEST(a_built_in_endpoint_has_the_defaults_of_the_settings),
    TEST(only_sql_files_of_the_folder_itself_are_endpoints),
    TEST(every_fault_of_every_file_is_told_at_once), TEST(all_routes_that_collide_are_named),
    TEST(a_name_is_unique_over_all_folders),
    TEST(a_folder_that_is_not_there_is_a_fault_and_an_empty_one_a_warning),
    TEST(what_is_no_file_is_told_and_not_waited_for), TEST(a_large_file_is_refused_by_its_size),
    TEST(warnings_alone_do_load), TEST(a_file_for_postgresql_stands_beside_its_equal),
    TEST(a_file_for_postgresql_that_differs_is_refused),
    TEST(where_postgresql_is_in_force_its_file_wins_and_others_may_be_its_own),
    TEST(beside_a_file_for_postgresql_the_other_is_held_to_sqlite),
    TEST(the_last_holder_frees_the_snapshot));
