/* Goal: every operation keeps its deadline, results come in order, and a failure says what the server said. */
#include "client/pg.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/postgres.h"
#include "tests/support/unit.h"

static int64_t
soon(int64_t ms)
{
	return clock_mono_ms() + ms;
}

static struct pg_address
address(uint16_t port)
{
	return (struct pg_address){ .host = "localhost",
		.numeric = "127.0.0.1",
		.port = port,
		.user = "weir",
		.password = "weir-secret",
		.database = "weir" };
}

static struct pg *
connected_to(uint16_t port)
{
	const struct pg_address a = address(port);
	struct pg_fault why = { .message = "" };
	struct pg *p = NULL;

	if (pg_connect(&a, true, soon(20000), &p, &why) != ERR_OK)
		(void)printf("%s %s\n", why.sqlstate, why.message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static struct pg *
connected(void)
{
	return connected_to(postgres_servers().direct);
}

#define SQL(text) (&(struct pg_statement){ .name = "test", .sql = (text) })

/* The first value of what ${sql} answers. */
static const char *
value_of(struct pg *p, const char *sql)
{
	static char text[200];
	struct pg_result *r = NULL;
	struct slice s;

	CU_ASSERT_EQUAL_FATAL(pg_run(p, SQL(sql), &r), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_rows(r), 1);
	s = pg_text(r, 0, 0);
	(void)snprintf(text, sizeof text, "%.*s", (int)s.len, s.ptr);
	pg_result_free(&r);
	return text;
}

static void
fails(struct pg *p, const char *sql, enum err want, const char *sqlstate)
{
	const enum err rc = pg_run(p, SQL(sql), NULL);
	const struct pg_fault *f = pg_last_fault(p);

	if (rc != want || strcmp(f->sqlstate, sqlstate) != 0)
		(void)printf("%s: %s %s\n", sql, f->sqlstate, f->message);
	CU_ASSERT_EQUAL(rc, want);
	CU_ASSERT_STRING_EQUAL(f->sqlstate, sqlstate);
}

static void
values_and_types_come_back_as_the_server_says(void)
{
	static const struct pg_param params[] = {
		{ .value = { "41", 2 }, .oid = PG_INT8 },
		{ .null = true, .oid = PG_TEXT },
		{ .value = { "it's", 4 }, .oid = PG_TEXT },
		{ .value = { "a\0b", 3 }, .oid = PG_BYTEA, .binary = true },
	};
	const struct pg_statement s = { "test",
		"SELECT $1 + 1 AS n, $2 AS nothing, $3 AS t, $4 AS b", params, 4 };
	struct pg *p = connected();
	struct pg_result *r = NULL;

	CU_ASSERT_EQUAL_FATAL(pg_run(p, &s, &r), ERR_OK);
	CU_ASSERT_EQUAL(pg_rows(r), 1);
	CU_ASSERT_EQUAL_FATAL(pg_columns(r), 4);
	CU_ASSERT_STRING_EQUAL(pg_column_name(r, 0), "n");
	CU_ASSERT_EQUAL(pg_column_oid(r, 0), PG_INT8);
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 0), "42"));
	CU_ASSERT_TRUE(pg_is_null(r, 0, 1));
	CU_ASSERT_FALSE(pg_is_null(r, 0, 2));
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 2), "it's"));
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 3), "\\x610062"));
	pg_result_free(&r);
	pg_close(&p);
	CU_ASSERT_PTR_NULL(p);
}

static void
a_pipeline_answers_in_order_and_tells_rows_changed(void)
{
	struct pg *p = connected();
	struct pg_result *r = NULL;

	CU_ASSERT_EQUAL(pg_send(p, SQL("CREATE TEMP TABLE t (a int)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("INSERT INTO t VALUES (1), (2), (3)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT sum(a) FROM t")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	pg_result_free(&r);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	CU_ASSERT_EQUAL(pg_affected(r), 3);
	pg_result_free(&r);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 0), "6"));
	pg_result_free(&r);
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	CU_ASSERT_STRING_EQUAL(value_of(p, "SELECT 'after'"), "after");
	pg_close(&p);
}

static void
an_error_undoes_what_stands_before_the_sync_and_skips_what_stands_behind(void)
{
	struct pg *p = connected();

	CU_ASSERT_EQUAL(pg_run(p, SQL("CREATE TEMP TABLE t (a int UNIQUE)"), NULL), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("INSERT INTO t VALUES (1)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("INSERT INTO t VALUES (1)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("INSERT INTO t VALUES (2)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	for (int i = 0; i < 3; i++) {
		static const enum err wants[] = { ERR_OK, ERR_INVALID, ERR_CONFLICT };
		struct pg_result *r = NULL;

		CU_ASSERT_EQUAL(pg_fetch(p, &r), wants[i]);
		if (i > 0)
			CU_ASSERT_STRING_EQUAL(pg_last_fault(p)->sqlstate, "23505");
		pg_result_free(&r);
	}
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	CU_ASSERT_STRING_EQUAL(value_of(p, "SELECT count(*) FROM t"), "0");
	pg_close(&p);
}

static void
results_that_nobody_fetched_are_dropped_by_finish(void)
{
	struct pg *p = connected();
	struct pg_result *r = NULL;
	bool row = false;

	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT 1")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT generate_series(1, 50000)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT 1/0")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	pg_result_free(&r);
	CU_ASSERT_EQUAL_FATAL(pg_stream(p, &r, &row), ERR_OK);
	CU_ASSERT_TRUE(row);
	pg_result_free(&r);
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	CU_ASSERT_STRING_EQUAL(value_of(p, "SELECT 7"), "7");
	pg_close(&p);
}

static void
a_stream_gives_row_after_row_then_its_columns(void)
{
	struct pg *p = connected();
	struct pg_result *r = NULL;
	bool row = true;
	int rows = 0;

	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT 1")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT generate_series(1, 1000) AS n")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	pg_result_free(&r);
	for (;;) {
		CU_ASSERT_EQUAL_FATAL(pg_stream(p, &r, &row), ERR_OK);
		CU_ASSERT_EQUAL(pg_rows(r), row ? 1 : 0);
		CU_ASSERT_STRING_EQUAL(pg_column_name(r, 0), "n");
		pg_result_free(&r);
		if (!row)
			break;
		rows++;
	}
	CU_ASSERT_EQUAL(rows, 1000);
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	pg_close(&p);
}

static void
an_error_in_the_middle_of_a_stream_is_told(void)
{
	struct pg *p = connected();
	struct pg_result *r = NULL;
	bool row = true;
	enum err rc = ERR_OK;

	CU_ASSERT_EQUAL(pg_send(p, SQL("SELECT 1 / (3 - n) FROM generate_series(1, 9) n")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	for (int i = 0; i < 3 && rc == ERR_OK; i++) {
		rc = pg_stream(p, &r, &row);
		if (rc == ERR_OK)
			pg_result_free(&r);
	}
	CU_ASSERT_EQUAL(rc, ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(pg_last_fault(p)->sqlstate, "22012");
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	CU_ASSERT_FALSE(pg_is_dead(p));
	pg_close(&p);
}

/* Parsed once, run often: through PgBouncer too, for one transaction stays on one server. */
static void
a_statement_is_parsed_once_and_run_with_many_values(void)
{
	struct pg *const both[] = { connected(), connected_to(postgres_servers().bouncer) };

	for (size_t k = 0; k < 2; k++) {
		struct pg *p = both[k];
		struct pg_param value = { .oid = PG_UNKNOWN };
		struct pg_statement s = {
			.name = "test", .sql = "SELECT $1::int * 2", .params = &value, .count = 1
		};
		struct pg_result *r = NULL;
		char text[12];

		pg_deadline(p, soon(20000));
		CU_ASSERT_EQUAL(pg_send(p, SQL("BEGIN")), ERR_OK);
		CU_ASSERT_EQUAL(pg_send_parse(p, &s), ERR_OK);
		for (int i = 0; i < 20; i++) {
			(void)snprintf(text, sizeof text, "%d", i);
			value.value = slice_of(text);
			CU_ASSERT_EQUAL(pg_send_again(p, &s), ERR_OK);
		}
		CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
		for (int i = -2; i < 20; i++) {
			CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
			(void)snprintf(text, sizeof text, "%d", 2 * i);
			if (i >= 0)
				CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 0), text));
			pg_result_free(&r);
		}
		CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
		CU_ASSERT_TRUE(pg_in_transaction(p));
		CU_ASSERT_EQUAL(pg_run(p, SQL("COMMIT"), NULL), ERR_OK);
		CU_ASSERT_FALSE(pg_in_transaction(p));
		pg_close(&p);
	}
}

static void
a_large_pipeline_does_not_block_both_ends(void)
{
	static char big[20000];
	struct pg *p = connected();
	const struct pg_param param = { .value = { big, sizeof big }, .oid = PG_TEXT };

	memset(big, 'x', sizeof big);
	for (int i = 0; i < 500; i++) /* 10 MB each way: more than both sockets hold */
		CU_ASSERT_EQUAL(
		    pg_send(p, &(struct pg_statement){ "echo", "SELECT $1", &param, 1 }), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	for (int i = 0; i < 500; i++) {
		struct pg_result *r = NULL;

		CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
		CU_ASSERT_EQUAL(pg_text(r, 0, 0).len, sizeof big);
		pg_result_free(&r);
	}
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	pg_close(&p);
}

static void
describe_tells_types_and_the_place_of_an_error(void)
{
	struct pg *p = connected();
	struct pg_result *r = NULL;

	CU_ASSERT_EQUAL_FATAL(
	    pg_describe(p, SQL("SELECT now() AS at, $1::int4 AS n, '{}'::jsonb"), &r), ERR_OK);
	CU_ASSERT_EQUAL(pg_columns(r), 3);
	CU_ASSERT_EQUAL(pg_column_oid(r, 0), PG_TIMESTAMPTZ);
	CU_ASSERT_EQUAL(pg_column_oid(r, 2), PG_JSONB);
	CU_ASSERT_EQUAL_FATAL(pg_params(r), 1);
	CU_ASSERT_EQUAL(pg_param_oid(r, 0), PG_INT4);
	pg_result_free(&r);
	CU_ASSERT_EQUAL(pg_describe(p, SQL("SELECT 'ü', nope"), &r), ERR_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(pg_last_fault(p)->sqlstate, "42703");
	CU_ASSERT_EQUAL(pg_last_fault(p)->offset, 13); /* in bytes: ü has two */
	CU_ASSERT_EQUAL(pg_describe(p, SQL("SELECT 1"), &r), ERR_OK);
	pg_result_free(&r);
	pg_close(&p);
}

static void
a_failure_is_sorted_by_its_sqlstate(void)
{
	struct pg *p = connected();

	fails(p, "SELECT 1/0", ERR_INVALID, "22012");
	fails(p, "SELECT * FROM nowhere", ERR_UNAVAILABLE, "42P01");
	fails(p, "SELEC 1", ERR_UNAVAILABLE, "42601");
	fails(p, "SELECT set_config('transaction_read_only', 'on', false); SELECT 1",
	    ERR_UNAVAILABLE, "42601"); /* two statements in one */
	CU_ASSERT_FALSE(pg_is_dead(p));
	CU_ASSERT_EQUAL(pg_run(p, SQL("SET statement_timeout = 20"), NULL), ERR_OK);
	fails(p, "SELECT pg_sleep(20)", ERR_TIMEOUT, "57014");
	CU_ASSERT_FALSE(pg_is_dead(p));
	fails(p, "SELECT pg_terminate_backend(pg_backend_pid())", ERR_UNAVAILABLE, "57P01");
	CU_ASSERT_TRUE(pg_is_dead(p));
	fails(p, "SELECT 1", ERR_UNAVAILABLE, "08006");
	pg_close(&p);
}

static void
a_text_with_a_nul_is_refused_and_harms_nothing(void)
{
	static const struct pg_param nul = { .value = { "a\0b", 3 }, .oid = PG_TEXT };
	struct pg *p = connected();

	CU_ASSERT_EQUAL(
	    pg_run(p, &(struct pg_statement){ "test", "SELECT $1", &nul, 1 }, NULL), ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(pg_last_fault(p)->sqlstate, "22021");
	CU_ASSERT_STRING_EQUAL(value_of(p, "SELECT 1"), "1");
	pg_close(&p);
}

static void
a_connection_that_the_server_ended_while_idle_is_not_fresh(void)
{
	struct pg *p = connected(), *other = connected();
	char sql[80];

	CU_ASSERT_TRUE(pg_is_fresh(p));
	(void)snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%s, 5000)",
	    value_of(p, "SELECT pg_backend_pid()"));
	CU_ASSERT_TRUE(pg_is_fresh(p));
	CU_ASSERT_STRING_EQUAL(value_of(other, sql), "t");
	CU_ASSERT_FALSE(pg_is_fresh(p));
	CU_ASSERT_TRUE(pg_is_fresh(other));
	pg_close(&p);
	pg_close(&other);
}

static void
pgbouncer_in_transaction_mode_serves_the_same(void)
{
	struct pg *p = connected_to(postgres_servers().bouncer);
	struct pg *other = connected_to(postgres_servers().bouncer);
	struct pg_result *r = NULL;

	CU_ASSERT_EQUAL(
	    pg_send(p, SQL("SELECT set_config('statement_timeout', '1234', true)")), ERR_OK);
	CU_ASSERT_EQUAL(pg_send(p, SQL("SHOW statement_timeout")), ERR_OK);
	CU_ASSERT_EQUAL(pg_sync(p), ERR_OK);
	CU_ASSERT_EQUAL(pg_fetch(p, &r), ERR_OK);
	pg_result_free(&r);
	CU_ASSERT_EQUAL_FATAL(pg_fetch(p, &r), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 0), "1234ms"));
	pg_result_free(&r);
	CU_ASSERT_EQUAL(pg_finish(p), ERR_OK);
	CU_ASSERT_STRING_EQUAL(value_of(other, "SHOW statement_timeout"), "0");
	CU_ASSERT_EQUAL(pg_describe(p, SQL("SELECT 1 AS one"), &r), ERR_OK);
	pg_result_free(&r);
	fails(p, "SELECT 1/0", ERR_INVALID, "22012");
	CU_ASSERT_STRING_EQUAL(value_of(p, "SELECT 5"), "5");
	pg_close(&p);
	pg_close(&other);
}

static void
a_refused_connect_says_why_as_far_as_the_server_does(void)
{
	struct pg_address a = address(postgres_servers().direct);
	struct pg_fault why;
	struct pg *p = NULL;

	a.password = "wrong";
	CU_ASSERT_EQUAL(pg_connect(&a, true, soon(20000), &p, &why), ERR_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "28P01");
	CU_ASSERT_PTR_NULL(strstr(why.message, "LOCATION"));
	a = address(postgres_servers().direct);
	a.database = "nowhere";
	CU_ASSERT_EQUAL(pg_connect(&a, true, soon(20000), &p, &why), ERR_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "3D000");
	a = address(1);
	CU_ASSERT_EQUAL(pg_connect(&a, true, soon(20000), &p, &why), ERR_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "08001");
	CU_ASSERT_PTR_NULL(p);
}

/* A server that takes connections and then does as it likes: a stand-in for one that is stopped. */
struct odd_server {
	int listener, relay_to;
	uint16_t port;
	pthread_t thread;
};

static void
odd_listen(struct odd_server *o)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof in;

	o->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(o->listener, (struct sockaddr *)&in, len), 0);
	CU_ASSERT_EQUAL_FATAL(listen(o->listener, 4), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(o->listener, (struct sockaddr *)&in, &len), 0);
	o->port = ntohs(in.sin_port);
}

static void
a_server_that_takes_the_connection_and_says_nothing_is_left_at_the_deadline(void)
{
	struct odd_server o;
	struct pg_fault why;
	struct pg *p = NULL;
	struct pg_address a;

	odd_listen(&o);
	a = address(o.port);
	CU_ASSERT_EQUAL(pg_connect(&a, true, soon(50), &p, &why), ERR_TIMEOUT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "08001");
	CU_ASSERT_PTR_NULL(p);
	(void)close(o.listener);
}

/* Between one client and the real server; towards the client a byte at a time once that has sent its first
 * statement, and never to an end. */
static void *
trickle(void *arg)
{
	struct odd_server *o = arg;
	const int client = accept(o->listener, NULL, NULL);
	struct timeval nap = { .tv_usec = 1000 };
	char buf[8192];
	bool talking = false;
	ssize_t n = 1;

	(void)setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap);
	(void)setsockopt(o->relay_to, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap);
	while (n != 0) {
		n = recv(client, buf, sizeof buf, 0);
		if (n > 0) {
			talking = talking || buf[0] == 'P'; /* Parse */
			(void)send(o->relay_to, buf, (size_t)n, MSG_NOSIGNAL);
		}
		if (n != 0 && (n = recv(o->relay_to, buf, talking ? 1 : sizeof buf, 0)) > 0)
			(void)send(client, buf, (size_t)n, MSG_NOSIGNAL);
	}
	(void)close(client);
	return NULL;
}

static void
a_server_that_trickles_bytes_is_left_at_the_deadline(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(postgres_servers().direct) };
	struct odd_server o;
	struct pg *p;

	odd_listen(&o);
	o.relay_to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(connect(o.relay_to, (struct sockaddr *)&in, sizeof in), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&o.thread, NULL, trickle, &o), 0);
	p = connected_to(o.port);
	pg_deadline(p, soon(60));
	fails(p, "SELECT repeat('x', 100000)", ERR_TIMEOUT, "08006");
	CU_ASSERT_TRUE(pg_is_dead(p));
	fails(p, "SELECT 1", ERR_UNAVAILABLE, "08006");
	pg_close(&p);
	(void)pthread_join(o.thread, NULL);
	(void)close(o.relay_to);
	(void)close(o.listener);
}

static void
a_statement_that_outlives_its_deadline_costs_the_connection(void)
{
	struct pg *p = connected();

	pg_deadline(p, soon(30));
	fails(p, "SELECT pg_sleep(10)", ERR_TIMEOUT, "08006");
	CU_ASSERT_TRUE(pg_is_dead(p));
	pg_close(&p);
}

UNIT_SUITE(pg, TEST(values_and_types_come_back_as_the_server_says),
    TEST(a_pipeline_answers_in_order_and_tells_rows_changed),
    TEST(an_error_undoes_what_stands_before_the_sync_and_skips_what_stands_behind),
    TEST(results_that_nobody_fetched_are_dropped_by_finish),
    TEST(a_stream_gives_row_after_row_then_its_columns),
    TEST(an_error_in_the_middle_of_a_stream_is_told),
    TEST(a_statement_is_parsed_once_and_run_with_many_values),
    TEST(a_large_pipeline_does_not_block_both_ends),
    TEST(describe_tells_types_and_the_place_of_an_error), TEST(a_failure_is_sorted_by_its_sqlstate),
    TEST(a_text_with_a_nul_is_refused_and_harms_nothing),
    TEST(a_connection_that_the_server_ended_while_idle_is_not_fresh),
    TEST(pgbouncer_in_transaction_mode_serves_the_same),
    TEST(a_refused_connect_says_why_as_far_as_the_server_does),
    TEST(a_server_that_takes_the_connection_and_says_nothing_is_left_at_the_deadline),
    TEST(a_server_that_trickles_bytes_is_left_at_the_deadline),
    TEST(a_statement_that_outlives_its_deadline_costs_the_connection));
