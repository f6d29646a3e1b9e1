/* Goal: a read endpoint's statement becomes a copy block or the right failure, and a bad one is found before. */
#include "service/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/catalog.h"
#include "service/copy.h"
#include "service/front_matter.h"
#include "service/store_driver.h"
#include "tests/support/unit.h"

static const int64_t far_ms = INT64_MAX / 2;

static const struct store_ambient ambient = { .tenant = { "acme", 4 }, .now_us = 1795493384123456 };

/* A database, its store, and one endpoint after the other. */
struct bench {
	char path[4200], url[4300];
	struct sqlite *writer;
	struct store *store;
	struct arena arena;
	struct fault_list faults;
	struct endpoint e;
};

static void
bench_open(struct bench *b, size_t max_connections)
{
	static int n;
	const struct sqlite_options w = {
		.path = b->path, .mode = SQLITE_FOR_WRITES, .quiet = true, .deadline_ms = far_ms
	};
	const struct store_options o = { .url = b->url,
		.timeout_ms = 3000,
		.idle_timeout_ms = 30000,
		.max_connections = max_connections,
		.max_response_bytes = 4096 };

	(void)snprintf(b->path, sizeof b->path, "%s/store-%d.db", unit_dir(), n++);
	(void)snprintf(b->url, sizeof b->url, "sqlite:%s", b->path);
	arena_init(&b->arena, 4 << 20);
	fault_init(&b->faults);
	CU_ASSERT_EQUAL_FATAL(sqlite_open(&w, &b->writer, NULL), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(store_open(&o, &b->store), ERR_OK);
}

static void
bench_close(struct bench *b)
{
	store_close(&b->store);
	sqlite_close(&b->writer);
	arena_free(&b->arena);
	fault_free(&b->faults);
}

static void
run_sql(struct bench *b, const char *sql)
{
	CU_ASSERT_EQUAL_FATAL(sqlite_exec(b->writer, sql), ERR_OK);
}

static void
endpoint(struct bench *b, const char *text)
{
	const struct catalog_options settings = { .limit_quota = 1, .limit_window_ms = 1000 };
	const enum err rc = front_matter_parse(
	    slice_of(text), "handlers/thing.sql", &settings, &b->arena, &b->e, &b->faults);

	for (size_t i = 0; rc != ERR_OK && i < b->faults.count; i++)
		(void)printf("%s\n", b->faults.items[i].text);
	CU_ASSERT_EQUAL_FATAL(rc, ERR_OK);
}

static enum err
read_at(struct bench *b, const struct value *values, int64_t deadline_ms, struct strbuf *block)
{
	return store_read(b->store, &b->e, values, &ambient, deadline_ms, block);
}

static void
gives(struct bench *b, const struct value *values, const char *want)
{
	struct strbuf block = { 0 };
	struct copy c;

	CU_ASSERT_EQUAL_FATAL(read_at(b, values, far_ms, &block), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&block), &c), ERR_OK);
	if (!slice_eq_cstr(c.json, want))
		(void)printf("got %.*s\nwant %s\n", (int)c.json.len, c.json.ptr, want);
	CU_ASSERT_TRUE(slice_eq_cstr(c.json, want));
	strbuf_free(&block);
}

static void
fails(struct bench *b, const struct value *values, enum err want)
{
	struct strbuf block = { 0 };

	CU_ASSERT_EQUAL(read_at(b, values, far_ms, &block), want);
	CU_ASSERT_PTR_NULL(block.ptr);
}

static void
rows_become_json_by_their_declared_types(void)
{
	struct bench b = { 0 };

	bench_open(&b, 2);
	run_sql(&b,
	    "CREATE TABLE t (i INTEGER, n NUMERIC, r REAL, b BOOLEAN, j JSON, x BLOB, s TEXT,"
	    " d DATE, at TIMESTAMP WITH TIME ZONE);"
	    "INSERT INTO t VALUES (9223372036854775807, 1.10, 9e999, 1, '{\"a\":[1]}', x'00ff',"
	    " CAST(x'61ff62' AS TEXT), '2026-11-24', '2026-11-24 04:09:44.5'),"
	    " (NULL, 'x', 0.5, 0, 'bad', NULL, 'z', 'soon', NULL)");
	endpoint(&b, "-- GET /t\nSELECT i, n, r, b, j, x, s, d, at, i + 0 AS e FROM t");
	gives(&b, NULL,
	    "[{\"i\":9223372036854775807,\"n\":1.1,\"r\":null,\"b\":true,\"j\":{\"a\":[1]},\"x\":"
	    "\"AP8=\","
	    "\"s\":\"a\xef\xbf\xbd"
	    "b\",\"d\":\"2026-11-24\",\"at\":\"2026-11-24T04:09:44.5Z\","
	    "\"e\":9223372036854775807},"
	    "{\"i\":null,\"n\":\"x\",\"r\":0.5,\"b\":false,\"j\":\"bad\",\"x\":null,\"s\":\"z\","
	    "\"d\":\"soon\",\"at\":null,\"e\":null}]");
	bench_close(&b);
}

static void
a_column_line_wins_over_the_database(void)
{
	struct bench b = { 0 };

	bench_open(&b, 2);
	endpoint(&b,
	    "-- GET /t\n-- column a: boolean\n-- column b: json\n-- column c: text\n"
	    "-- column d: timestamp\nSELECT 1 AS a, '[1]' AS b, 5 AS c, 0 AS d, '[1]' AS e");
	gives(&b, NULL,
	    "[{\"a\":true,\"b\":[1],\"c\":\"5\",\"d\":\"1970-01-01T00:00:00Z\",\"e\":\"[1]\"}]");
	bench_close(&b);
}

static void
parameters_are_bound_with_their_types(void)
{
	const struct value values[] = {
		{ .type = VALUE_TEXT, .text = SLICE("x'; --") },
		{ .type = VALUE_INTEGER,
		    .integer = INT64_MIN,
		    .text = SLICE("-9223372036854775808") },
		{ .type = VALUE_NUMBER, .number = 0.5, .text = SLICE("0.5") },
		{ .type = VALUE_BOOLEAN, .integer = 1, .text = SLICE("true") },
		{ .type = VALUE_TIMESTAMP, .text = SLICE("2026-11-24T04:09:44Z") },
		{ .type = VALUE_TEXT, .null = true },
	};
	struct bench b = { 0 };

	bench_open(&b, 2);
	endpoint(&b, "-- GET /t\n-- param t: text\n-- param i: integer\n-- param n: number\n"
		     "-- param b: boolean\n-- param at: timestamp\n-- param o: text, optional\n"
		     "SELECT :t AS t, :i AS i, typeof(:n) AS n, :b AS b, :at AS at, :o AS o,\n"
		     " :tenant AS tenant, :now AS now, :t AS again");
	gives(&b, values,
	    "[{\"t\":\"x'; --\",\"i\":-9223372036854775808,\"n\":\"real\",\"b\":1,"
	    "\"at\":\"2026-11-24T04:09:44.000000Z\",\"o\":null,\"tenant\":\"acme\","
	    "\"now\":\"2026-11-24T04:09:44.123456Z\",\"again\":\"x'; --\"}]");
	bench_close(&b);
}

static void
one_is_an_object_or_not_found(void)
{
	struct bench b = { 0 };

	bench_open(&b, 2);
	run_sql(&b, "CREATE TABLE t (n)");
	endpoint(&b, "-- GET /t\n-- returns: one\nSELECT n FROM t");
	fails(&b, NULL, ERR_NOT_FOUND);
	run_sql(&b, "INSERT INTO t VALUES (1), (2)");
	gives(&b, NULL, "{\"n\":1}");
	endpoint(&b, "-- GET /t\nSELECT n FROM t WHERE n > 5");
	gives(&b, NULL, "[]");
	bench_close(&b);
}

static void
too_many_rows_or_bytes_are_too_large(void)
{
	struct bench b = { 0 };

	bench_open(&b, 2);
	run_sql(&b, "CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)");
	endpoint(&b, "-- GET /t\n-- max-rows: 2\nSELECT n FROM t");
	gives(&b, NULL, "[{\"n\":1},{\"n\":2}]");
	run_sql(&b, "INSERT INTO t VALUES (3)");
	fails(&b, NULL, ERR_TOO_LARGE);
	endpoint(&b, "-- GET /t\nSELECT length(hex(zeroblob(3000))) AS n");
	gives(&b, NULL, "[{\"n\":6000}]");
	endpoint(&b, "-- GET /t\nSELECT hex(zeroblob(3000)) AS n");
	fails(&b, NULL, ERR_TOO_LARGE);
	bench_close(&b);
}

static void
a_statement_that_runs_too_long_is_ended(void)
{
	struct strbuf block = { 0 };
	struct bench b = { 0 };

	bench_open(&b, 1);
	endpoint(&b, "-- GET /t\n-- timeout: 20ms\n"
		     "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT "
		     "count(*) AS n FROM a");
	fails(&b, NULL, ERR_TIMEOUT);
	/* The connection is as good as before. */
	endpoint(&b, "-- GET /t\nSELECT 1 AS n");
	CU_ASSERT_EQUAL(read_at(&b, NULL, clock_mono_ms() - 1, &block), ERR_TIMEOUT);
	gives(&b, NULL, "[{\"n\":1}]");
	bench_close(&b);
}

static void
values_that_the_statement_refuses_are_invalid(void)
{
	const struct value v = { .type = VALUE_TEXT, .text = SLICE("{") };
	struct bench b = { 0 };

	bench_open(&b, 2);
	endpoint(&b, "-- GET /t\n-- param j: text\nSELECT json_extract(:j, '$.a') AS n");
	fails(&b, &v, ERR_INVALID);
	bench_close(&b);
}

static void
a_late_migration_is_unavailable_until_it_comes(void)
{
	struct bench b = { 0 };

	bench_open(&b, 2);
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	fails(&b, NULL, ERR_UNAVAILABLE);
	run_sql(&b, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)");
	gives(&b, NULL, "[{\"n\":1}]");
	run_sql(&b, "DROP TABLE t; CREATE TABLE t (m, n BOOLEAN); INSERT INTO t VALUES (1, 1)");
	gives(&b, NULL, "[{\"n\":true}]");
	bench_close(&b);
}

static void
a_missing_database_is_unavailable_until_it_comes(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	sqlite_close(&b.writer);
	CU_ASSERT_EQUAL_FATAL(unlink(b.path), 0);
	endpoint(&b, "-- GET /t\nSELECT 1 AS n");
	fails(&b, NULL, ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(store_ping(b.store, far_ms), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL_FATAL(sqlite_open(&(struct sqlite_options){ .path = b.path,
					      .mode = SQLITE_FOR_WRITES,
					      .deadline_ms = far_ms },
				  &b.writer, NULL),
	    ERR_OK);
	gives(&b, NULL, "[{\"n\":1}]");
	CU_ASSERT_EQUAL(store_ping(b.store, far_ms), ERR_OK);
	bench_close(&b);
}

/* The file is removed, so that a connection that is kept still answers, and a new one cannot. */
static void
a_connection_is_closed_when_nobody_has_used_it_for_long(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	run_sql(&b, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)");
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	gives(&b, NULL, "[{\"n\":1}]");
	CU_ASSERT_EQUAL_FATAL(unlink(b.path), 0);
	store_expire(b.store, clock_mono_ms() + 15000);
	gives(&b, NULL, "[{\"n\":1}]");
	store_expire(b.store, clock_mono_ms() + 30000);
	fails(&b, NULL, ERR_UNAVAILABLE);
	bench_close(&b);
}

static void
a_file_that_is_no_database_is_unavailable(void)
{
	struct bench b = { 0 };
	FILE *f;

	bench_open(&b, 1);
	sqlite_close(&b.writer);
	f = fopen(b.path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (int i = 0; i < 500; i++)
		(void)fputs("no database ", f);
	(void)fclose(f);
	CU_ASSERT_EQUAL(store_ping(b.store, far_ms), ERR_UNAVAILABLE);
	bench_close(&b);
}

static void
a_store_never_writes(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	run_sql(&b, "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	b.e.sql = SLICE("DELETE FROM t RETURNING n"); /* past what a file could say */
	fails(&b, NULL, ERR_UNAVAILABLE);
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	gives(&b, NULL, "[{\"n\":1}]");
	bench_close(&b);
}

struct caller {
	struct bench *b;
	unsigned good;
};

static void *
call_often(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < 200; i++) {
		struct strbuf block = { 0 };

		c->good += read_at(c->b, NULL, far_ms, &block) == ERR_OK;
		strbuf_free(&block);
	}
	return NULL;
}

static void
any_thread_may_read_with_fewer_connections_than_threads(void)
{
	struct caller callers[8];
	pthread_t threads[8];
	struct bench b = { 0 };

	bench_open(&b, 2);
	run_sql(&b, "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	for (int i = 0; i < 8; i++) {
		callers[i] = (struct caller){ .b = &b };
		CU_ASSERT_EQUAL_FATAL(
		    pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
		CU_ASSERT_EQUAL(callers[i].good, 200);
	}
	bench_close(&b);
}

static void
an_address_that_no_driver_knows_is_invalid(void)
{
	static const char *const urls[] = { "postgres://x", "sqlite", "sqlite:", "" };
	struct store *s = NULL;

	for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
		CU_ASSERT_EQUAL(
		    store_open(&(struct store_options){ .url = urls[i] }, &s), ERR_INVALID);
	CU_ASSERT_PTR_NULL(s);
}

static int64_t fake_deadline_ms;

static enum err
fake_open(const char *address, const struct store_options *o, void **state_out)
{
	(void)address;
	(void)o;
	*state_out = NULL;
	return ERR_OK;
}

static void
fake_close(void *state)
{
	(void)state;
}

static enum err
fake_read(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *who, int64_t deadline_ms, struct strbuf *block_out)
{
	(void)state;
	(void)e;
	(void)values;
	(void)who;
	(void)block_out;
	fake_deadline_ms = deadline_ms;
	return ERR_OK;
}

static void
the_earlier_of_two_deadlines_holds(void)
{
	static const struct store_driver fake = {
		.schemes = { "fake:" }, .open = fake_open, .close = fake_close, .read = fake_read
	};
	struct endpoint e = { .timeout_ms = 1000 };
	struct strbuf block = { 0 };
	struct store *s = NULL;

	CU_ASSERT_EQUAL_FATAL(store_open_driver(&fake, "", NULL, &s), ERR_OK);
	CU_ASSERT_EQUAL(store_read(s, &e, NULL, &ambient, 5, &block), ERR_OK);
	CU_ASSERT_EQUAL(fake_deadline_ms, 5);
	CU_ASSERT_EQUAL(store_read(s, &e, NULL, &ambient, far_ms, &block), ERR_OK);
	CU_ASSERT_TRUE(fake_deadline_ms <= clock_mono_ms() + 1000);
	store_close(&s);
}

/* What store_check() says of ${text}, with or without the bench's database; "" for nothing. */
static void
check_says(struct bench *b, bool connected, const char *text, const char *want)
{
	const size_t before = b->faults.count;
	char got[512] = "";

	endpoint(b, text);
	store_check(connected ? b->store : NULL, &b->e, &b->faults);
	if (b->faults.count > before)
		(void)snprintf(got, sizeof got, "%s:%u: %s", b->faults.items[before].file,
		    b->faults.items[before].line, b->faults.items[before].text);
	CU_ASSERT_STRING_EQUAL(got, want);
	CU_ASSERT_TRUE(b->faults.count <= before + 1);
}

static void
without_a_database_syntax_is_checked_and_names_are_not(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	check_says(&b, false, "-- GET /t\nSELECT n FROM t WHERE lowr(n) = 1", "");
	check_says(&b, false, "-- GET /t\nSELECT lowr(1) AS n", "");
	check_says(&b, false, "-- POST /t\nINSERT INTO t (n) VALUES (1)", "");
	check_says(&b, false, "-- GET /t\nSELECT n\n  FORM t",
	    "handlers/thing.sql:3: near \"t\": syntax error, expected a statement that SQLite can "
	    "prepare");
	check_says(&b, false, "-- POST /t\nINSERT INTO t VALUES (1",
	    "handlers/thing.sql:2: incomplete input, expected a statement that SQLite can prepare");
	bench_close(&b);
}

static void
with_a_database_names_are_checked_too(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	run_sql(&b, "CREATE TABLE t (n)");
	check_says(&b, true, "-- GET /t\nSELECT n FROM t", "");
	check_says(&b, true, "-- POST /t\nDELETE FROM t", "");
	check_says(&b, true, "-- GET /t\nSELECT n,\n  m FROM t",
	    "handlers/thing.sql:3: no such column: m, expected a statement that SQLite can "
	    "prepare");
	check_says(&b, true, "-- GET /t\nSELECT n FROM u",
	    "handlers/thing.sql:2: no such table: u, expected a statement that SQLite can prepare");
	check_says(&b, true, "-- GET /t\nSELECT \"text\" AS n FROM t",
	    "handlers/thing.sql:2: no such column: text, expected a statement that SQLite can "
	    "prepare");
	sqlite_close(&b.writer);
	CU_ASSERT_EQUAL_FATAL(unlink(b.path), 0);
	check_says(&b, true, "-- GET /t\nSELECT 1 AS n",
	    "handlers/thing.sql:2: unable to open database file, expected a database that can be "
	    "read");
	bench_close(&b);
}

static void
columns_are_checked(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	check_says(&b, false, "-- GET /t\nSELECT 1 AS n, 2 AS n",
	    "handlers/thing.sql:2: two columns are named \"n\", expected AS with another name");
	check_says(&b, false, "-- GET /t\n-- column m: text\nSELECT 1 AS n",
	    "handlers/thing.sql:3: column \"m\" is not in the result, expected one that is");
	bench_close(&b);
}

static void
a_get_that_would_write_is_found_by_the_database_too(void)
{
	struct bench b = { 0 };

	bench_open(&b, 1);
	run_sql(&b, "CREATE TABLE t (n)");
	endpoint(&b, "-- GET /t\nSELECT n FROM t");
	b.e.sql = SLICE("DELETE FROM t RETURNING n");
	store_check(b.store, &b.e, &b.faults);
	CU_ASSERT_EQUAL_FATAL(b.faults.count, 1);
	CU_ASSERT_STRING_EQUAL(b.faults.items[0].text,
	    "GET whose statement writes, expected one that changes nothing");
	bench_close(&b);
}

UNIT_SUITE(store, TEST(rows_become_json_by_their_declared_types),
    TEST(a_column_line_wins_over_the_database), TEST(parameters_are_bound_with_their_types),
    TEST(one_is_an_object_or_not_found), TEST(too_many_rows_or_bytes_are_too_large),
    TEST(a_statement_that_runs_too_long_is_ended),
    TEST(values_that_the_statement_refuses_are_invalid),
    TEST(a_late_migration_is_unavailable_until_it_comes),
    TEST(a_missing_database_is_unavailable_until_it_comes),
    TEST(a_connection_is_closed_when_nobody_has_used_it_for_long),
    TEST(a_file_that_is_no_database_is_unavailable), TEST(a_store_never_writes),
    TEST(any_thread_may_read_with_fewer_connections_than_threads),
    TEST(an_address_that_no_driver_knows_is_invalid), TEST(the_earlier_of_two_deadlines_holds),
    TEST(without_a_database_syntax_is_checked_and_names_are_not),
    TEST(with_a_database_names_are_checked_too), TEST(columns_are_checked),
    TEST(a_get_that_would_write_is_found_by_the_database_too));
