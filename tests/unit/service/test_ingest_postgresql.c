/* Goal: into PostgreSQL too every event is applied exactly once, whatever fails, dies, or works beside us. */
#include <signal.h>
#include <sys/wait.h>

#include "base/rand.h"
#include "service/ingest.h"
#include "service/source.h"
#include "tests/unit/service/pg_house.h"

enum { STEPS_MAX = 2000 };

static struct pg_house p;
static struct ingest *g;

static void
open_fresh(void)
{
	pg_house_make(&p, false, 3000);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&p.h.s), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(source_spool_open(p.h.s.q, &p.h.o.source), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ingest_open(&p.h.o, &g), ERR_OK);
}

static void
close_all(void)
{
	ingest_close(&g);
	source_close(&p.h.o.source);
	pg_house_free(&p);
}

static bool
says(const char *sql, const char *want)
{
	return pg_house_says(&p, sql, want);
}

/* ${n} in one commit, with keys "${prefix}0" and so on; number ${bad} is a bad one. */
static void
accept_many(struct spool_house *s, const char *prefix, int n, int bad)
{
	struct spool_write *w = calloc((size_t)n, sizeof *w);
	char key[40];

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%s%d", prefix, i);
		spool_write_make(&w[i], "create", "acme", key, i == bad ? SLICE("bad") : SLICE("p"),
		    clock_wall_us());
		if (i > 0)
			w[i - 1].item.next = &w[i].item;
	}
	spool_claim(s, &w[0].item);
	for (int i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(w[i].item.outcome, QUEUE_ACCEPTED);
		arena_free(&w[i].arena);
	}
	free(w);
}

/* Steps until there is nothing to do, or ${patience} waits were due. */
static enum err
drain(int patience)
{
	int64_t wait_ms;
	enum err rc = ERR_OK;

	for (int i = 0; i < STEPS_MAX && rc != ERR_NOT_FOUND && patience > 0; i++) {
		rc = ingest_step(g, &wait_ms);
		patience -= rc == ERR_UNAVAILABLE;
	}
	return rc;
}

static enum ingest_state
state(void)
{
	return (enum ingest_state)atomic_load(&p.h.shared->state);
}

static bool
each_once(const char *count)
{
	return says("SELECT count(*) FROM things", count) &&
	       says("SELECT count(DISTINCT (tenant, id)) FROM things", count);
}

static void
a_bad_event_among_500_stops_none_of_the_others(void)
{
	static const int places[] = { 0, 250, 499 };

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		open_fresh();
		accept_many(&p.h.s, "k", 500, places[i]);
		CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
		CU_ASSERT_TRUE(each_once("499"));
		CU_ASSERT_TRUE(says("SELECT sqlstate FROM weir_dead_letters", "23514"));
		CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
		CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys WHERE state = 'failed'", "1"));
		CU_ASSERT_EQUAL(spool_status(&p.h.s).waiting, 0);
		CU_ASSERT_EQUAL(p.h.shared->dead, 1);
		CU_ASSERT_EQUAL(p.h.shared->events, 499);
		close_all();
	}
}

static void
a_late_migration_stops_before_its_event_and_nothing_is_lost(void)
{
	open_fresh();
	accept_many(&p.h.s, "before", 10, -1);
	CU_ASSERT_EQUAL(spool_put(&p.h.s, "later", "acme", "k", SLICE("p"), clock_wall_us(), NULL),
	    QUEUE_ACCEPTED);
	accept_many(&p.h.s, "behind", 5, -1);
	CU_ASSERT_EQUAL(drain(5), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_STOPPED);
	CU_ASSERT_PTR_NOT_NULL(strstr(p.h.shared->reason, "later: 42P01"));
	CU_ASSERT_TRUE(each_once("10"));
	CU_ASSERT_EQUAL(spool_status(&p.h.s).waiting, 6);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	CU_ASSERT_TRUE(says("CREATE TABLE later (payload text)", ""));
	CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(each_once("15"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM later", "1"));
	close_all();
}

/* Weir's own tables go while it is at work: it makes them again, and says what it misses meanwhile. */
static void
a_key_table_that_vanishes_is_made_again(void)
{
	open_fresh();
	accept_many(&p.h.s, "a", 5, -1);
	CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(says("DROP TABLE weir_keys", ""));
	accept_many(&p.h.s, "b", 5, -1);
	CU_ASSERT_EQUAL(drain(2), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(each_once("10"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	close_all();
}

static void
a_database_that_is_read_only_is_waited_for(void)
{
	open_fresh();
	accept_many(&p.h.s, "a", 5, -1);
	CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
	ingest_close(&g);
	CU_ASSERT_TRUE(says("ALTER ROLE weir SET default_transaction_read_only = on", ""));
	CU_ASSERT_EQUAL_FATAL(ingest_open(&p.h.o, &g), ERR_OK);
	accept_many(&p.h.s, "b", 5, -1);
	CU_ASSERT_EQUAL(drain(3), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_WAITING);
	CU_ASSERT_PTR_NOT_NULL(strstr(p.h.shared->reason, "25006"));
	CU_ASSERT_TRUE(says("SET default_transaction_read_only = off", ""));
	CU_ASSERT_TRUE(says("ALTER ROLE weir RESET default_transaction_read_only", ""));
	CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(each_once("10"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	close_all();
}

/* A deadlock or a serialization failure of the endpoints' own statements. */
static void
what_postgresql_asks_to_be_tried_again_is(void)
{
	static const char *const codes[] = { "40001", "40P01" };
	char sql[300];

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		open_fresh();
		CU_ASSERT_TRUE(says("DROP SEQUENCE IF EXISTS tries", ""));
		CU_ASSERT_TRUE(says("CREATE SEQUENCE tries", ""));
		(void)snprintf(sql, sizeof sql,
		    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
		    " BEGIN IF NEW.id = 'k3' AND nextval('tries') < 4 THEN RAISE EXCEPTION 'again'"
		    " USING ERRCODE = '%s'; END IF; RETURN NEW; END $$",
		    codes[i]);
		CU_ASSERT_TRUE(says(sql, ""));
		CU_ASSERT_TRUE(says("CREATE TRIGGER refuse BEFORE INSERT ON things FOR EACH ROW"
				    " EXECUTE FUNCTION refuse()",
		    ""));
		accept_many(&p.h.s, "k", 10, -1);
		CU_ASSERT_EQUAL(drain(5), ERR_NOT_FOUND);
		CU_ASSERT_TRUE(says("SELECT last_value FROM tries", "4"));
		CU_ASSERT_TRUE(each_once("10"));
		CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
		close_all();
	}
}

/*
 * Lost connections and deaths.
 */
static enum ingest_arrow fatal_arrow;
static int strikes;

/* The server ends all connections but ours; once. */
static void
cut_at(void *ctx, enum ingest_arrow arrow)
{
	(void)ctx;
	if (arrow == fatal_arrow && strikes-- > 0)
		(void)pg_house_text(&p,
		    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
		    " WHERE application_name = 'weir' AND pid <> pg_backend_pid()");
}

static void
a_connection_lost_between_any_two_steps_costs_nothing(void)
{
	for (fatal_arrow = INGEST_READ; fatal_arrow < INGEST_ARROW__COUNT; fatal_arrow++) {
		open_fresh();
		accept_many(&p.h.s, "k", 40, -1);
		ingest_close(&g);
		p.h.o.batch_max = 15;
		p.h.o.passed = cut_at;
		strikes = 2;
		CU_ASSERT_EQUAL_FATAL(ingest_open(&p.h.o, &g), ERR_OK);
		CU_ASSERT_EQUAL(drain(5), ERR_NOT_FOUND);
		CU_ASSERT_TRUE(each_once("40"));
		CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
		CU_ASSERT_EQUAL(spool_status(&p.h.s).waiting, 0);
		close_all();
	}
}

static void
die_at(void *ctx, enum ingest_arrow arrow)
{
	(void)ctx;
	if (arrow == fatal_arrow)
		(void)kill(getpid(), SIGKILL);
}

/* Nobody has the spool open while a child is made: no environment of LMDB may cross a fork. */
static void
leave(void)
{
	ingest_close(&g);
	source_close(&p.h.o.source);
	queue_close(&p.h.s.q);
}

/* A consumer of its own process, that drains the spool. */
static void
consume(void)
{
	enum err rc;

	if (spool_house_open(&p.h.s) != ERR_OK)
		_exit(1);
	if (source_spool_open(p.h.s.q, &p.h.o.source) != ERR_OK ||
	    ingest_open(&p.h.o, &g) != ERR_OK)
		_exit(1);
	rc = drain(200);
	leave();
	_exit(rc == ERR_NOT_FOUND ? 0 : 2);
}

static int
consume_in_child(void)
{
	const pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		consume();
	(void)waitpid(pid, &status, 0);
	return status;
}

static void
killed_between_any_two_steps_each_event_is_applied_once(void)
{
	for (fatal_arrow = INGEST_READ; fatal_arrow < INGEST_ARROW__COUNT; fatal_arrow++) {
		open_fresh();
		accept_many(&p.h.s, "k", 40, -1);
		leave();
		p.h.o.batch_max = 15;
		p.h.o.passed = die_at;
		CU_ASSERT_TRUE(WIFSIGNALED(consume_in_child()));
		p.h.o.passed = NULL;
		CU_ASSERT_EQUAL(consume_in_child(), 0);
		CU_ASSERT_TRUE(each_once("40"));
		CU_ASSERT_EQUAL_FATAL(spool_house_open(&p.h.s), ERR_OK);
		CU_ASSERT_EQUAL(spool_status(&p.h.s).waiting, 0);
		close_all();
	}
}

/* Both were given the same bad event; the other is quicker between our failure and our dead letter. */
static struct ingest *other;

static void
let_the_other_work(void *ctx, enum ingest_arrow arrow)
{
	int64_t wait_ms;

	(void)ctx;
	while (arrow == INGEST_RAN && ingest_step(other, &wait_ms) == ERR_OK)
		;
}

static void
an_event_that_another_consumer_buried_meanwhile_has_one_letter(void)
{
	struct spool_house second;
	struct ingest_options o;

	open_fresh();
	ingest_close(&g);
	spool_house_make(&second, 64 << 20);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&second), ERR_OK);
	accept_many(&p.h.s, "k", 1, 0);
	accept_many(&second, "k", 1, 0);
	o = p.h.o;
	CU_ASSERT_EQUAL_FATAL(source_spool_open(second.q, &o.source), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ingest_open(&o, &other), ERR_OK);
	p.h.o.passed = let_the_other_work;
	CU_ASSERT_EQUAL_FATAL(ingest_open(&p.h.o, &g), ERR_OK);
	CU_ASSERT_EQUAL(drain(1), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
	CU_ASSERT_TRUE(says("SELECT state FROM weir_keys", "failed"));
	CU_ASSERT_EQUAL(p.h.shared->dead, 1);
	CU_ASSERT_EQUAL(p.h.shared->duplicates, 1);
	CU_ASSERT_EQUAL(spool_status(&p.h.s).waiting, 0);
	ingest_close(&other);
	source_close(&o.source);
	spool_house_free(&second);
	close_all();
}

/* Two hosts were given the same events, and both die often. */
enum { STORM_EVENTS = 600, STORM_KILLS = 30, HOSTS = 2 };

static void
two_consumers_under_a_storm_of_kills_apply_everything_once(void)
{
	struct spool_house second, first;
	pid_t pids[HOSTS];
	int status = -1;

	open_fresh();
	accept_many(&p.h.s, "k", STORM_EVENTS, 123);
	leave();
	spool_house_make(&second, 64 << 20);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&second), ERR_OK);
	accept_many(&second, "k", STORM_EVENTS, 123);
	queue_close(&second.q);
	p.h.o.batch_max = 37;
	first = p.h.s;
	for (int i = 0; i < STORM_KILLS + 1; i++) {
		for (int host = 0; host < HOSTS; host++) {
			p.h.s = host == 0 ? first : second;
			pids[host] = fork();
			if (pids[host] == 0)
				consume();
		}
		for (volatile uint64_t spin = rand_u64() % 20000000; spin > 0; spin--)
			;
		for (int host = 0; host < HOSTS; host++) {
			if (i < STORM_KILLS)
				(void)kill(pids[host], SIGKILL);
			(void)waitpid(pids[host], &status, 0);
		}
	}
	CU_ASSERT_EQUAL(status, 0);
	p.h.s = first;
	CU_ASSERT_TRUE(each_once("599"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "600"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
	spool_house_free(&second);
	close_all();
}

UNIT_SUITE(ingest_postgresql, TEST(a_bad_event_among_500_stops_none_of_the_others),
    TEST(a_late_migration_stops_before_its_event_and_nothing_is_lost),
    TEST(a_key_table_that_vanishes_is_made_again), TEST(a_database_that_is_read_only_is_waited_for),
    TEST(what_postgresql_asks_to_be_tried_again_is),
    TEST(a_connection_lost_between_any_two_steps_costs_nothing),
    TEST(killed_between_any_two_steps_each_event_is_applied_once),
    TEST(an_event_that_another_consumer_buried_meanwhile_has_one_letter),
    TEST(two_consumers_under_a_storm_of_kills_apply_everything_once));
