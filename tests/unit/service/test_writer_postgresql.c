/* Goal: on PostgreSQL, directly and through PgBouncer, a batch goes in whole or not at all, and a failure says whose it
 * is. */
#include "service/writer.h"

#include <pthread.h>

#include "policy/tickets.h"
#include "service/ledger.h"
#include "tests/unit/service/pg_writer.h"

static enum err
apply(const char *name, const char *payload)
{
	struct spool_write sw;
	const struct writer_job job = { endpoint(name),
		house_event(&sw, "acme", "k", payload, now_us - 5) };
	size_t done = 99;
	enum err rc;

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	rc = writer_apply(w, &job, 1, now_us, INT64_MAX, &done, &why);
	CU_ASSERT_EQUAL(done, rc == ERR_OK ? 1 : 0);
	if (rc == ERR_OK)
		CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	writer_rollback(w);
	arena_free(&sw.arena);
	return rc;
}

static void
tables_are_made_once_and_kept(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "1"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	CU_ASSERT_TRUE(says("DROP INDEX weir_keys_by_time", ""));
	CU_ASSERT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT to_regclass('weir_keys_by_time') IS NOT NULL", "t"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "1"));
	close_all();
}

static void *
migrate_in_thread(void *arg)
{
	struct writer_failure own;
	struct writer *mine = NULL;
	enum err *rc = arg;

	*rc = writer_open(&p.h.o.database, &mine, &own);
	if (*rc == ERR_OK)
		*rc = writer_migrate(mine, &own);
	writer_close(&mine);
	return NULL;
}

static void
several_hosts_may_make_the_tables_at_once(void)
{
	pthread_t threads[6];
	enum err rc[6];

	pg_house_make(&p, false, 3000);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL_FATAL(
		    pthread_create(&threads[i], NULL, migrate_in_thread, &rc[i]), 0);
	for (int i = 0; i < 6; i++) {
		(void)pthread_join(threads[i], NULL);
		CU_ASSERT_EQUAL(rc[i], ERR_OK);
	}
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "0"));
	pg_house_free(&p);
}

/* Since PostgreSQL 15 an ordinary user may make no tables. */
static void
without_the_right_to_make_tables_the_message_says_so_and_those_that_are_there_are_enough(void)
{
	pg_house_make(&p, false, 3000);
	CU_ASSERT_TRUE(says("REVOKE CREATE ON SCHEMA public FROM pg_database_owner", ""));
	w = another_writer();
	CU_ASSERT_NOT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "42501");
	CU_ASSERT_PTR_NOT_NULL(strstr(why.message, "cannot be made: permission denied"));
	CU_ASSERT_TRUE(says("GRANT CREATE ON SCHEMA public TO pg_database_owner", ""));
	CU_ASSERT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_TRUE(says("REVOKE CREATE ON SCHEMA public FROM pg_database_owner", ""));
	CU_ASSERT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_TRUE(says("GRANT CREATE ON SCHEMA public TO pg_database_owner", ""));
	close_all();
}

/*
 * The endpoints' statements.
 */
static void
statements_get_their_values_by_name(void)
{
	for (int bouncer = 0; bouncer < 2; bouncer++) {
		open_fresh_with(bouncer == 1, 3000);
		CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
		CU_ASSERT_TRUE(says(
		    "SELECT count(*) FROM things WHERE tenant = 'acme' AND id = 'k'"
		    " AND payload = 'hello' AND note IS NULL AND now = '2001-09-09T01:46:40Z'"
		    " AND accepted_at = '2001-09-09T01:46:39.999995Z' AND length(event_id) = 36",
		    "1"));
		close_all();
	}
}

static void
a_key_says_how_many_rows_its_event_touched(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "hello", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT rows FROM weir_keys", "1"));
	CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(apply("clear", "hello"), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT rows FROM weir_keys", "2"));
	CU_ASSERT_EQUAL(apply("clear", "hello"), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT rows FROM weir_keys", "0"));
	close_all();
}

static void
failures_are_told_with_their_verdict(void)
{
	open_fresh();
	CU_ASSERT_NOT_EQUAL(apply("create", "bad"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_EVENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "23514");
	CU_ASSERT_NOT_EQUAL(apply("later", "p"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "42P01");
	CU_ASSERT_PTR_NOT_NULL(strstr(why.message, "later"));
	CU_ASSERT_NOT_EQUAL(apply("slow", "p"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_UNCLEAR);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "57014");
	/* The connection has outlived them all. */
	CU_ASSERT_EQUAL(apply("create", "p"), ERR_OK);
	close_all();
}

enum { BATCH = 700 };

struct batch {
	struct spool_write writes[BATCH];
	struct writer_job jobs[BATCH];
};

static void
batch_make(struct batch *b)
{
	char key[20];

	for (int i = 0; i < BATCH; i++) {
		(void)snprintf(key, sizeof key, "k%d", i);
		b->jobs[i] = (struct writer_job){ endpoint(i % 100 == 7 ? "clear" : "create"),
			house_event(&b->writes[i], "acme", key, "p", now_us) };
	}
}

static void
batch_free(struct batch *b)
{
	for (int i = 0; i < BATCH; i++)
		arena_free(&b->writes[i].arena);
	free(b);
}

static enum err
apply_batch(struct batch *b, int64_t until_ms, size_t *done)
{
	enum err rc;

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	rc = writer_apply(w, b->jobs, BATCH, now_us, until_ms, done, &why);
	if (rc == ERR_OK)
		CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	writer_rollback(w);
	return rc;
}

static void
the_order_of_a_batch_is_kept_among_endpoints(void)
{
	struct batch *b = calloc(1, sizeof *b);
	size_t done;

	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	for (int bouncer = 0; bouncer < 2; bouncer++) {
		open_fresh_with(bouncer == 1, 3000);
		batch_make(b);
		CU_ASSERT_EQUAL(apply_batch(b, INT64_MAX, &done), ERR_OK);
		CU_ASSERT_EQUAL(done, BATCH);
		/* What stood before the last `clear`, number 607, is gone. */
		CU_ASSERT_TRUE(says("SELECT count(*) FROM things", "92"));
		CU_ASSERT_TRUE(says("SELECT count(*) FROM things WHERE id = 'k606'", "0"));
		for (int i = 0; i < BATCH; i++)
			arena_free(&b->writes[i].arena);
		close_all();
	}
	free(b);
}

static void
a_batch_stops_at_the_event_that_fails_and_says_how_many_went_well(void)
{
	static const size_t places[] = { 0, 1, 3, 333, BATCH - 1 };
	struct batch *b = calloc(1, sizeof *b);
	size_t done;

	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	open_fresh();
	batch_make(b);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct event_param *param = &b->writes[places[i]].param;

		param->value.text = SLICE("bad");
		CU_ASSERT_NOT_EQUAL(apply_batch(b, INT64_MAX, &done), ERR_OK);
		CU_ASSERT_EQUAL(done, places[i]);
		CU_ASSERT_STRING_EQUAL(why.sqlstate, "23514");
		/* PostgreSQL holds no NUL; it is found before anything is sent. */
		param->value.text = SLICE("nul\0nul");
		CU_ASSERT_NOT_EQUAL(apply_batch(b, INT64_MAX, &done), ERR_OK);
		CU_ASSERT_EQUAL(done, places[i]);
		CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_EVENT);
		CU_ASSERT_STRING_EQUAL(why.sqlstate, "22021");
		b->writes[places[i]].ev.param_count = 0;
		CU_ASSERT_NOT_EQUAL(apply_batch(b, INT64_MAX, &done), ERR_OK);
		CU_ASSERT_EQUAL(done, places[i]);
		CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
		b->writes[places[i]].ev.param_count = 1;
		param->value.text = SLICE("p");
	}
	CU_ASSERT_TRUE(says("SELECT count(*) FROM things", "0"));
	CU_ASSERT_EQUAL(apply_batch(b, INT64_MAX, &done), ERR_OK);
	batch_free(b);
	close_all();
}

static void
a_batch_past_its_time_begins_no_more_statements_but_always_the_first(void)
{
	struct batch *b = calloc(1, sizeof *b);
	size_t done;

	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	open_fresh();
	batch_make(b);
	CU_ASSERT_EQUAL(apply_batch(b, 0, &done), ERR_TIMEOUT);
	CU_ASSERT_EQUAL(why.verdict, WRITER_TOO_MUCH);
	CU_ASSERT_TRUE(done >= 1 && done < BATCH);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM things", "0"));
	batch_free(b);
	close_all();
}

/* Nothing outlives its transaction on a server connection that PgBouncer gives to somebody else. */
static void
settings_end_with_their_transaction(void)
{
	struct pg_statement show = { .name = "test", .sql = "SHOW statement_timeout" };
	struct pg_result *r = NULL;
	struct primary_link link;
	struct pg_fault fault;

	open_fresh_with(true, 3000);
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(writer_expire_keys(w, 1, 1, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(
	    primary_connect(p.primary, PRIMARY_REQUEST, clock_mono_ms() + 10000, &link, &fault),
	    ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_run(link.pg, &show, &r), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(pg_text(r, 0, 0), "0"));
	pg_result_free(&r);
	primary_hang_up(p.primary, &link);
	close_all();
}

static void
a_commit_is_on_disk_whatever_the_server_was_told(void)
{
	open_fresh();
	CU_ASSERT_TRUE(says("ALTER ROLE weir SET synchronous_commit = off", ""));
	writer_close(&w);
	w = another_writer();
	CU_ASSERT_TRUE(says("CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
			    " $$ BEGIN NEW.note := current_setting('synchronous_commit');"
			    " RETURN NEW; END $$",
	    ""));
	CU_ASSERT_TRUE(says("CREATE TRIGGER look BEFORE INSERT ON things FOR EACH ROW"
			    " EXECUTE FUNCTION look()",
	    ""));
	CU_ASSERT_EQUAL(apply("create", "p"), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT note FROM things", "on"));
	CU_ASSERT_TRUE(says("ALTER ROLE weir RESET synchronous_commit", ""));
	close_all();
}

/* A constraint that is checked at the end. */
static void
what_fails_in_commit_is_told_with_its_verdict(void)
{
	struct spool_write sw[2];
	struct writer_job jobs[2];
	size_t done;

	open_fresh();
	CU_ASSERT_TRUE(
	    says("ALTER TABLE things ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED", ""));
	for (int i = 0; i < 2; i++)
		jobs[i] = (struct writer_job){ endpoint("create"),
			house_event(&sw[i], "acme", "k", "p", now_us) };
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_apply(w, jobs, 2, now_us, INT64_MAX, &done, &why), ERR_OK);
	CU_ASSERT_NOT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_EVENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "23505");
	writer_rollback(w);
	CU_ASSERT_EQUAL(apply("create", "p"), ERR_OK);
	arena_free(&sw[0].arena);
	arena_free(&sw[1].arena);
	close_all();
}

/*
 * Dead letters.
 */
static void
bury(const char *key, const char *message)
{
	struct writer_failure reason;
	struct spool_write sw;
	struct event *ev = house_event(&sw, "acme", key, "p", now_us - 7);

	writer_failure_set(&reason, WRITER_BAD_EVENT, "23000", message);
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_bury(w, ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	arena_free(&sw.arena);
}

static void
a_dead_letter_keeps_the_event_and_fails_its_key(void)
{
	struct ledger *ledger = NULL;
	struct spool_write sw;
	struct operation op;
	struct letter l;
	struct event back;
	struct arena a;

	open_fresh();
	arena_init(&a, 1 << 20);
	bury("k", "no \xff good"); /* as a message that is cut within a character */
	CU_ASSERT_EQUAL_FATAL(ledger_open(&p.h.o.database, 1, &ledger), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(
	    ledger_letter(ledger, 0, (struct slice){ 0 }, clock_mono_ms() + 10000, &a, &l), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(l.message, "no ? good"));
	CU_ASSERT_TRUE(slice_eq_cstr(l.accepted_at, "2001-09-09T01:46:39.999993Z"));
	CU_ASSERT_TRUE(slice_eq_cstr(l.at, "2001-09-09T01:46:40.000000Z"));
	CU_ASSERT_TRUE(slice_eq_cstr(l.sqlstate, "23000"));
	CU_ASSERT_EQUAL_FATAL(event_decode(l.record, &a, &back), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(back.params[0].value.text, "p"));
	CU_ASSERT_EQUAL_FATAL(l.event_id.len, EVENT_ID_BYTES);
	(void)house_event(&sw, "acme", "k", "p", 1);
	CU_ASSERT_EQUAL(memcmp(l.event_id.ptr, sw.ev.id, EVENT_ID_BYTES), 0);
	CU_ASSERT_EQUAL(ledger_letter(ledger, l.id, l.event_id, clock_mono_ms() + 10000, &a, &l),
	    ERR_NOT_FOUND);
	CU_ASSERT_EQUAL_FATAL(
	    operation_find(ledger, sw.ev.id, clock_mono_ms() + 10000, &a, &op), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(op.state, "failed"));
	CU_ASSERT_TRUE(slice_eq_cstr(op.reason, "no ? good"));
	CU_ASSERT_TRUE(slice_eq_cstr(op.tenant, "acme"));
	CU_ASSERT_EQUAL(op.at_us, now_us);
	CU_ASSERT_EQUAL(op.rows, 0);
	/* It has been dealt with: the same event again is known. */
	CU_ASSERT_EQUAL(claim(&sw.ev, now_us), WRITER_APPLIED);
	sw.ev.id[0] ^= 1;
	CU_ASSERT_EQUAL(
	    operation_find(ledger, sw.ev.id, clock_mono_ms() + 10000, &a, &op), ERR_NOT_FOUND);
	ledger_close(&ledger);
	arena_free(&sw.arena);
	arena_free(&a);
	close_all();
}

/* A clash is found again when the consumer dies between commit and acknowledgement. */
static void
an_event_that_is_buried_again_has_one_letter(void)
{
	struct writer_failure reason;
	struct spool_write sw[2];

	open_fresh();
	writer_failure_set(&reason, WRITER_BAD_EVENT, "23505", "clash");
	CU_ASSERT_EQUAL(claim_key("acme", "k", "first", now_us, now_us), WRITER_NEW);
	(void)house_event(&sw[0], "acme", "k", "second", now_us);
	(void)house_event(&sw[1], "acme", "k", "third", now_us);
	CU_ASSERT_EQUAL(writer_bury(w, &sw[0].ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_bury(w, &sw[0].ev, &reason, now_us + 1, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
	CU_ASSERT_EQUAL(writer_bury(w, &sw[1].ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "2"));
	CU_ASSERT_TRUE(says("SELECT state FROM weir_keys", "applied"));
	arena_free(&sw[0].arena);
	arena_free(&sw[1].arena);
	close_all();
}

static void
a_letter_lives_again_once(void)
{
	struct spool_write sw;
	uint64_t dropped;

	open_fresh();
	bury("k", "bad");
	(void)house_event(&sw, "acme", "k", "p", now_us);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_revive(w, &sw.ev, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_drop_letter(w, 1, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT state FROM weir_keys WHERE reason IS NULL", "applied"));
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_revive(w, &sw.ev, now_us, &why), ERR_CONFLICT);
	CU_ASSERT_EQUAL(writer_drop_letter(w, 1, &why), ERR_NOT_FOUND);
	writer_rollback(w);
	bury("k2", "bad");
	bury("k3", "bad");
	arena_free(&sw.arena);
	(void)house_event(&sw, "acme", "k2", "p", now_us);
	CU_ASSERT_EQUAL(writer_drop_letters(w, sw.ev.id, &dropped, &why), ERR_OK);
	CU_ASSERT_EQUAL(dropped, 1);
	CU_ASSERT_EQUAL(writer_drop_letters(w, NULL, &dropped, &why), ERR_OK);
	CU_ASSERT_EQUAL(dropped, 1);
	arena_free(&sw.arena);
	close_all();
}

/*
 * Connections.
 */
static void
a_connection_that_is_lost_is_a_bad_moment_and_never_the_events_fault(void)
{
	struct spool_write sw;
	enum writer_claim c;
	struct event *ev;

	open_fresh();
	ev = house_event(&sw, "acme", "k", "p", now_us);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity"
			    " WHERE application_name = 'weir' AND pid <> pg_backend_pid()",
	    "t"));
	CU_ASSERT_NOT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	writer_rollback(w);
	CU_ASSERT_NOT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	writer_close(&w);
	w = another_writer();
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	arena_free(&sw.arena);
	close_all();
}

/* PgBouncer or the server was restarted while nothing was to be done. */
static void
what_was_closed_in_a_quiet_hour_is_opened_anew_and_nobody_notices(void)
{
	struct ledger *ledger = NULL;
	struct spool_write sw;
	struct operation op;
	struct arena a;

	open_fresh();
	arena_init(&a, 1 << 20);
	(void)house_event(&sw, "acme", "k", "p", now_us);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&p.h.o.database, 1, &ledger), ERR_OK);
	CU_ASSERT_EQUAL(
	    operation_find(ledger, sw.ev.id, clock_mono_ms() + 10000, &a, &op), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(says("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
			    " WHERE application_name = 'weir' AND pid <> pg_backend_pid()",
	    "2"));
	CU_ASSERT_EQUAL(claim(&sw.ev, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(operation_find(ledger, sw.ev.id, clock_mono_ms() + 10000, &a, &op), ERR_OK);
	ledger_close(&ledger);
	arena_free(&sw.arena);
	arena_free(&a);
	close_all();
}

static enum err
open_url(const char *url, struct writer **out)
{
	struct primary_options o = { .url = url, .timeout_ms = 3000 };
	struct writer_options database = { .url = url };
	struct primary *primary = NULL;
	enum err rc = primary_open(&o, &primary);

	database.primary = primary;
	if (rc == ERR_OK)
		rc = writer_open(&database, out, &why);
	primary_close(&primary);
	return rc;
}

static void
what_cannot_be_opened_is_told(void)
{
	const struct postgres_ports ports = postgres_servers();
	struct writer *none = NULL;
	char url[200];

	CU_ASSERT_EQUAL(open_url("postgres://weir@127.0.0.1:99999/weir", &none), ERR_INVALID);
	CU_ASSERT_EQUAL(open_url("postgres://weir@127.0.0.1/a,postgres://weir@127.0.0.1/b", &none),
	    ERR_INVALID);
	CU_ASSERT_NOT_EQUAL(open_url("postgres://weir:x@127.0.0.1:1/weir", &none), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	(void)snprintf(url, sizeof url, "postgresql://weir:wrong@127.0.0.1:%u/weir", ports.direct);
	CU_ASSERT_NOT_EQUAL(open_url(url, &none), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "28P01");
	CU_ASSERT_PTR_NULL(strstr(why.message, "wrong"));
	CU_ASSERT_PTR_NULL(none);
}

/* DB_WRITE_POOL_MAX: who only looks never keeps the consumer from its connection. */
static void
connections_are_counted_for_the_host_and_the_last_one_is_the_consumers(void)
{
	struct primary_options o = { .url = p.url, .timeout_ms = 3000, .host_connections = 2 };
	struct primary_link links[2];
	struct writer_options database = { .url = p.url };
	struct pg_fault fault;
	struct primary *primary = NULL;
	struct writer *other = NULL;

	open_fresh();
	writer_close(&w);
	o.tickets = aligned_alloc(64, (tickets_size() + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o.tickets);
	tickets_init(o.tickets);
	CU_ASSERT_EQUAL_FATAL(primary_open(&o, &primary), ERR_OK);
	database.primary = primary;
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(primary_connect(primary, PRIMARY_REQUEST, clock_mono_ms() + 10000,
				    &links[i], &fault),
		    i == 0 ? ERR_OK : ERR_OVERLOADED);
	CU_ASSERT_EQUAL_FATAL(writer_open(&database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_open(&database, &other, &why), ERR_OVERLOADED);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "53300");
	CU_ASSERT_EQUAL(tickets_held(o.tickets, 2, 0), 2);
	primary_hang_up(primary, &links[0]);
	primary_hang_up(primary, &links[1]);
	writer_close(&w);
	CU_ASSERT_EQUAL(tickets_held(o.tickets, 2, 0), 0);
	primary_close(&primary);
	free(o.tickets);
	close_all();
}

/* Three failures of the server, and nobody goes to it before the reset time. */
static void
an_open_breaker_is_a_bad_moment(void)
{
	const struct breaker_rules rules = { .slow_ms = 3000,
		.failure_pct = 50,
		.reset_ms = 60000,
		.volume = 3,
		.probe_lease_ms = 3000 };
	struct primary_options o = {
		.url = "postgres://weir:x@127.0.0.1:1/weir", .timeout_ms = 3000, .rules = &rules
	};
	struct writer_options database = { .url = o.url };
	struct primary *primary = NULL;
	struct writer *none = NULL;

	o.guards = aligned_alloc(64, (guards_size() + 63) / 64 * 64);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o.guards);
	guards_init(o.guards);
	CU_ASSERT_EQUAL_FATAL(primary_open(&o, &primary), ERR_OK);
	database.primary = primary;
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_NOT_EQUAL(writer_open(&database, &none, &why), ERR_OK);
		CU_ASSERT_STRING_EQUAL(why.sqlstate, "08001");
	}
	CU_ASSERT_EQUAL(writer_open(&database, &none, &why), ERR_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "08000");
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	primary_close(&primary);
	free(o.guards);
}

static uint64_t
commit_one(const char *key)
{
	struct spool_write sw;
	struct event *ev = house_event(&sw, "acme", key, "p", now_us);
	enum writer_claim c;
	uint64_t position = 0;

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, &position, &why), ERR_OK);
	arena_free(&sw.arena);
	return position;
}

/* What a replica must have replayed to show it; who looks at the key later is told of no less. */
static void
a_commit_says_how_far_the_database_is(void)
{
	struct operation op;
	struct spool_write sw;
	struct ledger *ledger;
	uint64_t first, second;
	struct arena a;

	open_fresh();
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&p.h.o.database, 1, &ledger), ERR_OK);
	first = commit_one("a");
	second = commit_one("b");
	CU_ASSERT_TRUE(first > 0 && second > first);
	(void)house_event(&sw, "acme", "b", "p", now_us);
	CU_ASSERT_EQUAL_FATAL(
	    operation_find(ledger, sw.ev.id, clock_mono_ms() + 10000, &a, &op), ERR_OK);
	CU_ASSERT_TRUE(op.position >= second);
	ledger_close(&ledger);
	arena_free(&sw.arena);
	arena_free(&a);
	close_all();
}

UNIT_SUITE(writer_postgresql, TEST(a_commit_says_how_far_the_database_is),
    TEST(tables_are_made_once_and_kept), TEST(several_hosts_may_make_the_tables_at_once),
    TEST(without_the_right_to_make_tables_the_message_says_so_and_those_that_are_there_are_enough),
    TEST(statements_get_their_values_by_name), TEST(a_key_says_how_many_rows_its_event_touched),
    TEST(failures_are_told_with_their_verdict), TEST(the_order_of_a_batch_is_kept_among_endpoints),
    TEST(a_batch_stops_at_the_event_that_fails_and_says_how_many_went_well),
    TEST(a_batch_past_its_time_begins_no_more_statements_but_always_the_first),
    TEST(settings_end_with_their_transaction),
    TEST(a_commit_is_on_disk_whatever_the_server_was_told),
    TEST(what_fails_in_commit_is_told_with_its_verdict),
    TEST(a_dead_letter_keeps_the_event_and_fails_its_key),
    TEST(an_event_that_is_buried_again_has_one_letter), TEST(a_letter_lives_again_once),
    TEST(a_connection_that_is_lost_is_a_bad_moment_and_never_the_events_fault),
    TEST(what_was_closed_in_a_quiet_hour_is_opened_anew_and_nobody_notices),
    TEST(what_cannot_be_opened_is_told),
    TEST(connections_are_counted_for_the_host_and_the_last_one_is_the_consumers),
    TEST(an_open_breaker_is_a_bad_moment));
