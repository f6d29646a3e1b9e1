/* Goal: reads from real servers: their answers, their failures, and who is asked next. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/pg.h"
#include "policy/tickets.h"
#include "service/copy.h"
#include "service/guard.h"
#include "service/pg_fleet.h"
#include "service/retries.h"
#include "service/store.h"
#include "telemetry/scoreboard.h"
#include "tests/support/postgres.h"
#include "tests/unit/service/parse.h"

enum { URL_BYTES = 400, CONNECTIONS = 3 };

static const struct breaker_rules rules = {
	.slow_ms = 60000, .failure_pct = 50, .reset_ms = 300, .volume = 1000, .probe_lease_ms = 1000
};

/* Everything that a store is given, and the endpoint that is read. */
struct bench {
	char url[URL_BYTES], primary[URL_BYTES];
	void *guards;
	struct tickets *tickets;
	struct store *store;
	struct parsed file;
};

static const char *
url_of(char out[URL_BYTES], uint16_t port)
{
	(void)snprintf(out, URL_BYTES, "postgres://weir:weir-secret@127.0.0.1:%u/weir", port);
	return out;
}

static struct store_options
options_of(struct bench *b)
{
	return (struct store_options){
		.url = b->url,
		.primary_url = *b->primary == '\0' ? NULL : b->primary,
		.timeout_ms = 5000,
		.idle_timeout_ms = 1000,
		.max_connections = 1,
		.max_response_bytes = 65536,
		.max_lag_ms = 1000,
		.tickets = b->tickets,
		.host_connections = CONNECTIONS,
		.guards = b->guards,
		.rules = &rules,
	};
}

/* A store on ${port} alone, or with the real server as its primary. */
static void
bench_open(struct bench *b, uint16_t port, bool primary)
{
	struct store_options o;

	*b = (struct bench){ .guards = aligned_alloc(64, guards_size()),
		.tickets = aligned_alloc(64, (tickets_size() + 63) / 64 * 64) };
	CU_ASSERT_TRUE_FATAL(b->guards != NULL && b->tickets != NULL);
	guards_init(b->guards);
	tickets_init(b->tickets);
	(void)url_of(b->url, port);
	if (primary)
		(void)url_of(b->primary, postgres_servers().direct);
	o = options_of(b);
	CU_ASSERT_EQUAL_FATAL(store_open(&o, &b->store), ERR_OK);
	store_wait(b->store, clock_mono_ms() + 5000);
}

static void
bench_close(struct bench *b)
{
	store_close(&b->store);
	CU_ASSERT_EQUAL(tickets_held(b->tickets, TICKETS_MAX, 0), 0);
	free(b->guards);
	free(b->tickets);
}

static _Thread_local uint64_t at_least, seen; /* of the next read; of the last one */

static enum err
read_by(struct bench *b, const char *text, int64_t deadline_ms, struct strbuf *block)
{
	static const struct value none[1];
	const struct store_ambient ambient = { .tenant = SLICE("acme"), .at_least = at_least };
	struct parsed p = parse_named("dir/thing.postgresql.sql", slice_of(text));
	enum err rc;

	CU_ASSERT_EQUAL_FATAL(p.rc, ERR_OK);
	rc = store_read(b->store, &p.e, none, &ambient, deadline_ms, block, &seen);
	parsed_free(&p);
	return rc;
}

static void
gives(struct bench *b, const char *text, const char *want)
{
	struct strbuf block = { 0 };
	struct copy c;
	const enum err rc = read_by(b, text, clock_mono_ms() + 20000, &block);

	CU_ASSERT_EQUAL(rc, ERR_OK);
	if (rc == ERR_OK && copy_open(strbuf_slice(&block), &c) == ERR_OK) {
		if (!slice_eq_cstr(c.json, want))
			(void)printf("got %.*s\nwant %s\n", (int)c.json.len, c.json.ptr, want);
		CU_ASSERT_TRUE(slice_eq_cstr(c.json, want));
	}
	strbuf_free(&block);
}

static void
fails(struct bench *b, const char *text, enum err want)
{
	struct strbuf block = { 0 };
	const enum err rc = read_by(b, text, clock_mono_ms() + 20000, &block);

	if (rc != want)
		(void)printf("%s: %s\n", text, err_name(rc));
	CU_ASSERT_EQUAL(rc, want);
	CU_ASSERT_PTR_NULL(block.ptr);
}

static void
rows_become_json_by_the_types_that_the_server_names(void)
{
	static const char text[] =
	    "-- GET /t\n-- column flag: boolean\n"
	    "SELECT 9223372036854775807 AS i, 1.10 AS n, 0.1::float8 AS r, true AS b, 1 AS flag,\n"
	    " '{\"a\" : 1}'::json AS j, '\\x00ff10'::bytea AS x, 'é' AS s, NULL AS z,\n"
	    " '2026-11-24'::date AS d, '2026-11-24 05:09:44.5+01'::timestamptz AS at, :tenant AS t";
	static const char want[] =
	    "[{\"i\":9223372036854775807,\"n\":1.10,\"r\":0.1,\"b\":true,\"flag\":true,"
	    "\"j\":{\"a\" : 1},\"x\":\"AP8Q\",\"s\":\"é\",\"z\":null,\"d\":\"2026-11-24\","
	    "\"at\":\"2026-11-24T04:09:44.5Z\",\"t\":\"acme\"}]";
	const uint16_t ports[] = { postgres_servers().direct, postgres_servers().bouncer };

	for (size_t i = 0; i < 2; i++) {
		struct bench b;

		bench_open(&b, ports[i], false);
		gives(&b, text, want);
		CU_ASSERT_EQUAL(seen, STORE_SEES_ALL);
		at_least = UINT64_MAX; /* the primary needs no look */
		gives(&b, text, want);
		at_least = 0;
		CU_ASSERT_EQUAL(tickets_held(b.tickets, CONNECTIONS, 0), 1);
		bench_close(&b);
	}
}

static void
a_replica_says_how_far_it_is_and_is_passed_over_when_that_is_not_enough(void)
{
	static const char text[] = "-- GET /t\nSELECT pg_is_in_recovery() AS replica";
	struct bench b;

	bench_open(&b, postgres_servers().replica, true);
	gives(&b, text, "[{\"replica\":true}]");
	CU_ASSERT_TRUE(seen > 0 && seen < STORE_SEES_ALL);
	at_least = seen;
	gives(&b, text, "[{\"replica\":true}]");
	at_least = seen + (UINT64_C(1) << 40); /* a terabyte ahead */
	gives(&b, text, "[{\"replica\":false}]");
	CU_ASSERT_EQUAL(seen, STORE_SEES_ALL);
	bench_close(&b);
	bench_open(&b, postgres_servers().replica, false); /* when nobody else answers */
	gives(&b, text, "[{\"replica\":true}]");
	CU_ASSERT_TRUE(seen < at_least);
	at_least = 0;
	bench_close(&b);
}

static void
every_failure_leaves_a_connection_that_works(void)
{
	const uint16_t ports[] = { postgres_servers().direct, postgres_servers().bouncer };

	for (size_t i = 0; i < 2; i++) {
		struct bench b;

		bench_open(&b, ports[i], false);
		fails(&b, "-- GET /t\nSELECT 1/0 AS n", ERR_INVALID);
		fails(&b, "-- GET /t\nSELECT n FROM nowhere", ERR_UNAVAILABLE);
		fails(&b, "-- GET /t\n-- returns: one\nSELECT 1 AS n WHERE false", ERR_NOT_FOUND);
		fails(&b, "-- GET /t\n-- max-rows: 3\nSELECT generate_series(1, 4) AS n",
		    ERR_TOO_LARGE);
		fails(&b, "-- GET /t\nSELECT repeat('x', 70000) AS s", ERR_TOO_LARGE);
		fails(&b, "-- GET /t\n-- timeout: 3s\nSELECT pg_sleep(9) AS s", ERR_TIMEOUT);
		fails(&b, "-- GET /t\nSELECT set_config('transaction_read_only', 'off', true) AS s",
		    ERR_UNAVAILABLE);
		fails(&b, "-- GET /t\nSELECT 1 / (3 - n) AS n FROM generate_series(1, 5) n",
		    ERR_INVALID);
		gives(&b, "-- GET /t\n-- returns: one\nSELECT generate_series(1, 900) AS n",
		    "{\"n\":1}");
		gives(&b, "-- GET /t\nSELECT 1 AS n WHERE false", "[]");
		CU_ASSERT_EQUAL(tickets_held(b.tickets, CONNECTIONS, 0), 1);
		bench_close(&b);
	}
}

static void
what_was_kept_and_ended_meanwhile_is_replaced_without_a_word(void)
{
	struct bench b;

	bench_open(&b, postgres_servers().direct, false);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	fails(&b, "-- GET /t\nSELECT pg_terminate_backend(pg_backend_pid()) AS n", ERR_UNAVAILABLE);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	bench_close(&b);
}

static void
an_idle_connection_gives_its_ticket_back(void)
{
	struct bench b;

	bench_open(&b, postgres_servers().direct, false);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	store_expire(b.store, clock_mono_ms());
	CU_ASSERT_EQUAL(tickets_held(b.tickets, CONNECTIONS, 0), 1);
	store_expire(b.store, clock_mono_ms() + 2000);
	CU_ASSERT_EQUAL(tickets_held(b.tickets, CONNECTIONS, 0), 0);
	bench_close(&b);
}

static void
without_a_ticket_a_read_waits_and_then_says_overloaded(void)
{
	struct strbuf block = { 0 };
	struct bench b;
	size_t at;

	bench_open(&b, postgres_servers().direct, false);
	for (int i = 0; i < CONNECTIONS; i++) /* by one that lives, and is not us: init */
		CU_ASSERT_EQUAL(tickets_take(b.tickets, CONNECTIONS,
				    tickets_owner(1, process_start_ticks(1)), NULL, &at),
		    ERR_OK);
	CU_ASSERT_EQUAL(
	    read_by(&b, "-- GET /t\nSELECT 1 AS n", clock_mono_ms() + 30, &block), ERR_OVERLOADED);
	CU_ASSERT_TRUE(tickets_wanted(b.tickets, clock_mono_ms()));
	tickets_give(b.tickets, at);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (i != at)
			tickets_give(b.tickets, i);
	bench_close(&b);
}

static void *
read_often(void *arg)
{
	struct bench *b = arg;
	size_t good = 0;

	for (int i = 0; i < 20; i++) {
		struct strbuf block = { 0 };

		good += read_by(b, "-- GET /t\nSELECT generate_series(1, 50) AS n",
			    clock_mono_ms() + 20000, &block) == ERR_OK;
		strbuf_free(&block);
		if (tickets_held(b->tickets, TICKETS_MAX, 0) > CONNECTIONS)
			good = 0;
	}
	return good == 20 ? b : NULL;
}

static void
a_crowd_shares_few_connections(void)
{
	enum { CROWD = 8 };
	pthread_t threads[CROWD];
	struct bench b;

	bench_open(&b, postgres_servers().direct, false);
	for (size_t i = 0; i < CROWD; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, read_often, &b), 0);
	for (size_t i = 0; i < CROWD; i++) {
		void *well = NULL;

		CU_ASSERT_EQUAL(pthread_join(threads[i], &well), 0);
		CU_ASSERT_PTR_EQUAL(well, &b);
	}
	bench_close(&b);
}

/* Takes connections and never says a word. */
static int
mute_server(uint16_t *port_out)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof in;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&in, len), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 64), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port_out = ntohs(in.sin_port);
	return fd;
}

static void
a_mute_replica_is_left_for_the_primary_and_then_not_waited_for(void)
{
	struct guard_view views[GUARDS_MAX];
	struct bench b;
	uint16_t port;
	const int fd = mute_server(&port);

	bench_open(&b, port, true);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	CU_ASSERT_EQUAL(guards_look(b.guards, clock_mono_ms(), views), 2);
	CU_ASSERT_STRING_EQUAL(views[0].name, "read-1");
	CU_ASSERT_EQUAL(views[0].breaker.state, BREAKER_SUSPENDED);
	CU_ASSERT_EQUAL(views[1].breaker.state, BREAKER_CLOSED);
	gives(&b, "-- GET /t\nSELECT 2 AS n", "[{\"n\":2}]");
	gives(&b, "-- GET /t\n-- read: primary\nSELECT 3 AS n", "[{\"n\":3}]");
	bench_close(&b);
	(void)close(fd);
}

/* Else one endpoint in a hurry could take a busy server from all others. */
static void
who_gives_a_server_only_a_moment_suspends_it_for_nobody(void)
{
	struct guard_view views[GUARDS_MAX];
	struct strbuf block = { 0 };
	struct bench b;
	uint16_t port;
	const int fd = mute_server(&port);

	bench_open(&b, port, true);
	CU_ASSERT_NOT_EQUAL(read_by(&b, "-- GET /t\n-- timeout: 20ms\nSELECT 1 AS n",
				clock_mono_ms() + 20000, &block),
	    ERR_OK);
	CU_ASSERT_EQUAL(guards_look(b.guards, clock_mono_ms(), views), 2);
	CU_ASSERT_EQUAL(views[0].breaker.state, BREAKER_CLOSED);
	CU_ASSERT_EQUAL(views[0].breaker.failures, 1);
	strbuf_free(&block);
	bench_close(&b);
	(void)close(fd);
}

/* The budget of the host is used up by others meanwhile. */
static void
without_a_budget_for_retries_the_first_failure_is_the_answer(void)
{
	void *budgets = aligned_alloc(64, retries_size());
	struct retries retries = { 0 };
	struct store_options o;
	struct bench b;

	CU_ASSERT_PTR_NOT_NULL_FATAL(budgets);
	retries_init(budgets);
	retries.budget = retries_budget(budgets, RETRY_DATABASE);
	bench_open(&b, 1, true); /* nobody listens on port 1 */
	store_close(&b.store);
	o = options_of(&b);
	o.retries = &retries;
	CU_ASSERT_EQUAL_FATAL(store_open(&o, &b.store), ERR_OK);
	store_wait(b.store, clock_mono_ms() + 5000);
	gives(&b, "-- GET /t\nSELECT 1 AS n", "[{\"n\":1}]");
	for (int i = 0; i < RETRIES_FLOOR; i++)
		(void)retries_again(&retries, 1, 0, clock_mono_ms() + 60000);
	fails(&b, "-- GET /t\nSELECT 2 AS n", ERR_UNAVAILABLE);
	gives(&b, "-- GET /t\n-- read: primary\nSELECT 3 AS n", "[{\"n\":3}]");
	bench_close(&b);
	free(budgets);
}

static void
with_nobody_there_it_is_unavailable_at_once(void)
{
	struct bench b;

	bench_open(&b, 1, false);
	fails(&b, "-- GET /t\nSELECT 1 AS n", ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(store_ping(b.store, clock_mono_ms() + 5000), ERR_UNAVAILABLE);
	bench_close(&b);
}

/* Servers that nobody connects to: only who would be asked. */
static struct pg_fleet *
fleet_of(const char *url, const char *primary)
{
	const struct store_options o = {
		.url = url, .primary_url = primary, .max_lag_ms = 1000, .max_connections = 1
	};
	struct pg_fleet *f = NULL;

	CU_ASSERT_EQUAL_FATAL(pg_fleet_open(&o, &f), ERR_OK);
	return f;
}

static void
replicas_that_keep_up_come_first_and_those_that_lag_last(void)
{
	struct pg_fleet *f = fleet_of("postgres://u@127.0.0.1:1/a,postgres://u@127.0.0.1:2/a,"
				      "postgres://u@127.0.0.1:3/a",
	    "postgres://u@127.0.0.1:4/a");
	struct pg_plan plan;
	bool first_seen[3] = { false };

	for (int i = 0; i < 200; i++) {
		pg_fleet_plan(f, false, 5000, &plan);
		CU_ASSERT_EQUAL_FATAL(plan.count, 4);
		CU_ASSERT_EQUAL(plan.order[3], 3);
		first_seen[plan.order[0]] = true;
	}
	CU_ASSERT_TRUE(first_seen[0] && first_seen[1] && first_seen[2]);
	CU_ASSERT_TRUE(pg_fleet_measures(f, 1, 5000));
	CU_ASSERT_FALSE(pg_fleet_measures(f, 1, 5999)); /* once a second */
	CU_ASSERT_TRUE(pg_fleet_lags(f, 1, 1001));
	pg_fleet_plan(f, false, 5999, &plan);
	CU_ASSERT_EQUAL(plan.order[2], 3);
	CU_ASSERT_EQUAL(plan.order[3], 1);
	CU_ASSERT_EQUAL(plan.last_resort, 3);
	pg_fleet_plan(f, false, 6000, &plan); /* somebody shall look again */
	CU_ASSERT_EQUAL(plan.last_resort, 4);
	CU_ASSERT_FALSE(pg_fleet_lags(f, 1, 1000));
	CU_ASSERT_FALSE(pg_fleet_measures(f, 3, 9000)); /* a primary is never behind */
	pg_fleet_plan(f, true, 6000, &plan);
	CU_ASSERT_EQUAL(plan.count, 1);
	CU_ASSERT_EQUAL(plan.order[0], 3);
	pg_fleet_close(&f);
}

static void
a_primary_that_is_listed_among_the_replicas_is_asked_as_the_primary(void)
{
	struct pg_fleet *f = fleet_of(
	    "postgres://u@127.0.0.1:1/a,postgres://u@127.0.0.1:4/a", "postgres://v@127.0.0.1:4/a");
	struct pg_plan plan;

	pg_fleet_plan(f, false, 0, &plan);
	CU_ASSERT_EQUAL(plan.count, 2);
	CU_ASSERT_EQUAL(plan.order[1], 1);
	pg_fleet_close(&f);
	f = fleet_of("postgres://u@127.0.0.1:1/a", NULL);
	pg_fleet_plan(f, true, 0, &plan); /* there is no other */
	CU_ASSERT_EQUAL(plan.count, 1);
	pg_fleet_close(&f);
}

static void
a_statement_is_checked_on_the_server(void)
{
	struct parsed p = parse_named("dir/thing.postgresql.sql",
	    SLICE(
		"-- GET /t\n-- param d: date, optional\n-- column m: text\nSELECT 1 AS n, 2 AS n\n"
		"  WHERE :d IS NULL OR :d = nope"));
	struct bench b;

	bench_open(&b, postgres_servers().direct, false);
	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	store_check(b.store, &p.e, &p.faults);
	CU_ASSERT_STRING_EQUAL(told(&p), "5: column \"nope\" does not exist, expected a statement "
					 "that PostgreSQL can prepare");
	parsed_free(&p);
	p = parse_named("dir/thing.postgresql.sql",
	    SLICE(
		"-- GET /t\n-- param d: date, optional\n-- column m: text\nSELECT 1 AS n, 2 AS n\n"
		"  WHERE :d IS NULL OR :d = current_date"));
	store_check(b.store, &p.e, &p.faults);
	CU_ASSERT_STRING_EQUAL(told(&p),
	    "4: two columns are named \"n\", expected AS with another name\n"
	    "4: column \"m\" is not in the result, expected one that is");
	parsed_free(&p);
	bench_close(&b);
}

UNIT_SUITE(store_postgresql, TEST(rows_become_json_by_the_types_that_the_server_names),
    TEST(a_replica_says_how_far_it_is_and_is_passed_over_when_that_is_not_enough),
    TEST(every_failure_leaves_a_connection_that_works),
    TEST(what_was_kept_and_ended_meanwhile_is_replaced_without_a_word),
    TEST(an_idle_connection_gives_its_ticket_back),
    TEST(without_a_ticket_a_read_waits_and_then_says_overloaded),
    TEST(a_crowd_shares_few_connections),
    TEST(a_mute_replica_is_left_for_the_primary_and_then_not_waited_for),
    TEST(who_gives_a_server_only_a_moment_suspends_it_for_nobody),
    TEST(without_a_budget_for_retries_the_first_failure_is_the_answer),
    TEST(with_nobody_there_it_is_unavailable_at_once),
    TEST(replicas_that_keep_up_come_first_and_those_that_lag_last),
    TEST(a_primary_that_is_listed_among_the_replicas_is_asked_as_the_primary),
    TEST(a_statement_is_checked_on_the_server));
