/* Goal: the key table lets each event in once, and every failure means what the table of SQLSTATE classes says. */
#include "service/writer.h"

#include "tests/unit/service/write_house.h"

static const int64_t now_us = 1000000000000000; /* 2001-09-09T01:46:40Z */
static const int64_t ttl_us = 1000000;

static struct write_house h;
static struct writer *w;
static struct writer_failure why;

static void
open_fresh(void)
{
	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
}

static void
close_all(void)
{
	writer_close(&w);
	write_house_free(&h);
}

static const struct endpoint *
endpoint(const char *name)
{
	const struct endpoint *e = catalog_find(h.catalog, slice_of(name));

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	return e;
}

/* Claims one event in a transaction of its own. */
static enum writer_claim
claim(const struct event *ev, int64_t at_us)
{
	enum writer_claim c = WRITER_CLASH;

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, at_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	return c;
}

static enum writer_claim
claim_key(
    const char *tenant, const char *key, const char *payload, int64_t accepted_us, int64_t at_us)
{
	struct spool_write sw;
	const enum writer_claim c =
	    claim(house_event(&sw, tenant, key, payload, accepted_us), at_us);

	arena_free(&sw.arena);
	return c;
}

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
	if (rc != ERR_OK)
		writer_rollback(w);
	else
		CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	arena_free(&sw.arena);
	return rc;
}

static void
sqlstates_mean_what_the_table_says(void)
{
	static const struct {
		const char *state;
		enum writer_verdict verdict;
	} cases[] = {
		{ "21000", WRITER_BAD_EVENT },
		{ "22000", WRITER_BAD_EVENT },
		{ "23000", WRITER_BAD_EVENT },
		{ "23505", WRITER_BAD_EVENT },
		{ "P0001", WRITER_BAD_EVENT },
		{ "54000", WRITER_BAD_EVENT },
		{ "08006", WRITER_BAD_MOMENT },
		{ "40P01", WRITER_BAD_MOMENT },
		{ "53100", WRITER_BAD_MOMENT },
		{ "57P01", WRITER_BAD_MOMENT },
		{ "58030", WRITER_BAD_MOMENT },
		{ "25006", WRITER_BAD_MOMENT },
		{ "57014", WRITER_UNCLEAR },
		{ "25001", WRITER_UNCLEAR },
		{ "XX000", WRITER_UNCLEAR },
		{ "0A000", WRITER_BAD_DEPLOYMENT },
		{ "42P01", WRITER_BAD_DEPLOYMENT },
		{ "42501", WRITER_BAD_DEPLOYMENT },
		{ "3F000", WRITER_BAD_DEPLOYMENT },
		{ "", WRITER_UNCLEAR },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		CU_ASSERT_EQUAL(writer_verdict_of(cases[i].state), cases[i].verdict);
}

static void
tables_are_made_once_and_kept(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 1);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 0);
	close_all();
}

static void
a_key_lets_one_event_in(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_APPLIED);
	CU_ASSERT_EQUAL(claim_key("acme", "k", "other", now_us, now_us), WRITER_CLASH);
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_APPLIED);
	CU_ASSERT_EQUAL(claim_key("beta", "k", "other", now_us, now_us), WRITER_NEW);
	CU_ASSERT_TRUE(house_says(
	    &h, "SELECT at FROM weir_keys WHERE tenant = 'acme'", "2001-09-09T01:46:40.000000Z"));
	close_all();
}

static void
twins_in_one_batch_are_told_apart(void)
{
	struct spool_write sw[3];
	struct event events[3];
	enum writer_claim c[3];

	open_fresh();
	events[0] = *house_event(&sw[0], "acme", "k", "p", now_us);
	events[1] = *house_event(&sw[1], "acme", "k", "p", now_us);
	events[2] = *house_event(&sw[2], "acme", "k", "other", now_us);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, events, 3, now_us, ttl_us, c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	CU_ASSERT_EQUAL(c[0], WRITER_NEW);
	CU_ASSERT_EQUAL(c[1], WRITER_APPLIED);
	CU_ASSERT_EQUAL(c[2], WRITER_CLASH);
	for (int i = 0; i < 3; i++)
		arena_free(&sw[i].arena);
	close_all();
}

static void
what_is_rolled_back_was_never_claimed(void)
{
	struct spool_write sw;
	struct event *ev;
	enum writer_claim c;

	open_fresh();
	ev = house_event(&sw, "acme", "k", "p", now_us);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	writer_rollback(w);
	writer_rollback(w); /* without a transaction: nothing */
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	arena_free(&sw.arena);
	close_all();
}

/* The spool forgets a key by its time too, and must not find its next use dropped here as a duplicate. */
static void
an_expired_key_lets_the_next_event_in_though_it_still_stands_there(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(claim_key("acme", "other", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "new", now_us + ttl_us, now_us + 2 * ttl_us), WRITER_CLASH);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "new", now_us + ttl_us + 1, now_us + 2 * ttl_us), WRITER_NEW);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "p", now_us + ttl_us + 2, now_us + 2 * ttl_us), WRITER_CLASH);
	/* In the order of time, or expiry from the head would stop at it. */
	CU_ASSERT_TRUE(house_says(&h, "SELECT key FROM weir_keys ORDER BY id DESC LIMIT 1", "k"));
	close_all();
}

static void
old_keys_go_from_the_head_and_a_few_at_a_time(void)
{
	char key[20];

	open_fresh();
	for (int i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof key, "k%d", i);
		CU_ASSERT_EQUAL(claim_key("acme", key, "p", now_us + i, now_us + i), WRITER_NEW);
	}
	CU_ASSERT_EQUAL(writer_expire_keys(w, now_us + 10, 4, &why), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 16);
	CU_ASSERT_EQUAL(writer_expire_keys(w, now_us + 10, 100, &why), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 10);
	CU_ASSERT_TRUE(house_says(&h, "SELECT key FROM weir_keys ORDER BY id LIMIT 1", "k10"));
	close_all();
}

static void
statements_get_their_values_by_name(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(
	    house_ask(&h,
		"SELECT count(*) FROM things WHERE tenant = 'acme' AND id = 'k' AND payload = "
		"'hello'"
		" AND note IS NULL AND now = '2001-09-09T01:46:40.000000Z'"
		" AND accepted_at = '2001-09-09T01:46:39.999995Z' AND length(event_id) = 36"),
	    1);
	close_all();
}

static void
a_key_says_how_many_rows_its_event_touched(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "hello", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT rows FROM weir_keys"), 1);
	CU_ASSERT_EQUAL(apply("create", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(apply("clear", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT rows FROM weir_keys"), 2);
	CU_ASSERT_EQUAL(apply("clear", "hello"), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT rows FROM weir_keys"), 0);
	close_all();
}

static void
failures_are_told_with_their_verdict(void)
{
	open_fresh();
	CU_ASSERT_NOT_EQUAL(apply("create", "bad"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_EVENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "23000");
	CU_ASSERT_NOT_EQUAL(apply("later", "p"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(why.message, "later"));
	CU_ASSERT_NOT_EQUAL(apply("slow", "p"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_UNCLEAR);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "57014");
	close_all();
}

static void
an_event_that_lacks_what_its_file_now_demands_is_a_bad_deployment(void)
{
	open_fresh();
	house_file(&h, "create.sql",
	    "-- POST /t/create\n-- body payload: text\n-- body size: integer\n"
	    "INSERT INTO things (payload, note) VALUES (:payload, :size)\n");
	house_load(&h);
	CU_ASSERT_NOT_EQUAL(apply("create", "p"), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_STRING_EQUAL(why.sqlstate, "42000");
	close_all();
}

/* No file may say this; the catalog refuses it.  But the batch hangs on it. */
static void
a_statement_must_not_end_the_transaction(void)
{
	struct spool_write sw;
	struct writer_job job;
	struct endpoint e;
	size_t done;

	open_fresh();
	e = *endpoint("create");
	e.sql = SLICE("COMMIT");
	e.bind_count = 0;
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	job = (struct writer_job){ &e, house_event(&sw, "acme", "k", "p", now_us) };
	CU_ASSERT_NOT_EQUAL(writer_apply(w, &job, 1, now_us, INT64_MAX, &done, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	writer_rollback(w);
	arena_free(&sw.arena);
	close_all();
}

/* The whole batch goes in one call; who stops it, and where, must be known. */
static void
a_batch_stops_at_the_event_that_fails_and_says_how_many_went_well(void)
{
	struct spool_write sw[4];
	struct writer_job jobs[4];
	size_t done = 99;

	open_fresh();
	for (int i = 0; i < 4; i++)
		jobs[i] = (struct writer_job){ endpoint("create"),
			house_event(&sw[i], "acme", "k", i == 2 ? "bad" : "p", now_us) };
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_NOT_EQUAL(writer_apply(w, jobs, 4, now_us, INT64_MAX, &done, &why), ERR_OK);
	CU_ASSERT_EQUAL(done, 2);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_EVENT);
	writer_rollback(w);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM things"), 0);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_apply(w, NULL, 0, now_us, INT64_MAX, &done, &why), ERR_OK);
	CU_ASSERT_EQUAL(done, 0);
	CU_ASSERT_EQUAL(writer_apply(w, jobs, 2, now_us, INT64_MAX, &done, &why), ERR_OK);
	CU_ASSERT_EQUAL(done, 2);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM things"), 2);
	for (int i = 0; i < 4; i++)
		arena_free(&sw[i].arena);
	close_all();
}

static void
a_batch_past_its_time_begins_no_more_statements_but_always_the_first(void)
{
	struct spool_write sw[3];
	struct writer_job jobs[3];
	size_t done = 99;

	open_fresh();
	for (int i = 0; i < 3; i++)
		jobs[i] = (struct writer_job){ endpoint("create"),
			house_event(&sw[i], "acme", "k", "p", now_us) };
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_apply(w, jobs, 3, now_us, 0, &done, &why), ERR_TIMEOUT);
	CU_ASSERT_EQUAL(done, 1);
	CU_ASSERT_EQUAL(why.verdict, WRITER_TOO_MUCH);
	writer_rollback(w);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_apply(w, jobs, 1, now_us, 0, &done, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	for (int i = 0; i < 3; i++)
		arena_free(&sw[i].arena);
	close_all();
}

static void
a_dead_letter_keeps_the_event_and_fails_its_key(void)
{
	struct writer_failure reason;
	struct spool_write sw;
	struct event *ev;

	open_fresh();
	writer_failure_set(&reason, WRITER_BAD_EVENT, "23000", "CHECK constraint failed");
	ev = house_event(&sw, "acme", "k", "p", now_us - 7);
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(writer_bury(w, ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(
	    house_ask(&h,
		"SELECT count(*) FROM weir_dead_letters WHERE tenant = 'acme' AND endpoint = "
		"'create'"
		" AND key = 'k' AND sqlstate = '23000' AND message = 'CHECK constraint failed'"
		" AND accepted_at = '2001-09-09T01:46:39.999993Z' AND at = "
		"'2001-09-09T01:46:40.000000Z'"),
	    1);
	CU_ASSERT_EQUAL(
	    house_ask(&h, "SELECT length(record) FROM weir_dead_letters"), (int64_t)ev->record.len);
	CU_ASSERT_EQUAL(
	    house_ask(&h, "SELECT count(*) FROM weir_keys WHERE state = 'failed' AND rows = 0"
			  " AND reason = 'CHECK constraint failed'"),
	    1);
	/* It has been dealt with: the same event again is known. */
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_APPLIED);
	arena_free(&sw.arena);
	close_all();
}

static void
the_dead_letter_of_a_clash_leaves_the_key_of_the_first_alone(void)
{
	struct writer_failure reason;
	struct spool_write sw;

	open_fresh();
	writer_failure_set(&reason, WRITER_BAD_EVENT, "23505", "clash");
	CU_ASSERT_EQUAL(claim_key("acme", "k", "first", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(
	    writer_bury(w, house_event(&sw, "acme", "k", "second", now_us), &reason, now_us, &why),
	    ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 1);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys WHERE state = 'applied'"), 1);
	arena_free(&sw.arena);
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
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 1);
	CU_ASSERT_EQUAL(writer_bury(w, &sw[1].ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 2);
	arena_free(&sw[0].arena);
	arena_free(&sw[1].arena);
	close_all();
}

static enum err
open_url(const char *url, struct writer **out)
{
	const struct writer_options o = { .url = url };

	return writer_open(&o, out, &why);
}

static void
what_cannot_be_opened_is_told(void)
{
	struct writer *none;

	write_house_make(&h);
	CU_ASSERT_EQUAL(open_url("mysql://x", &none), ERR_INVALID);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_NOT_EQUAL(open_url("sqlite:/nowhere/at/all.db", &none), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	house_file(&h, "junk.db",
	    "this is no database, and is longer than a header of one, which has "
	    "a hundred bytes in all, so this goes on a little");
	(void)snprintf(h.url, sizeof h.url, "sqlite:%s/junk.db", h.s.dir);
	CU_ASSERT_NOT_EQUAL(open_url(h.url, &none), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_DEPLOYMENT);
	CU_ASSERT_PTR_NULL(none);
	write_house_free(&h);
}

UNIT_SUITE(writer, TEST(sqlstates_mean_what_the_table_says), TEST(tables_are_made_once_and_kept),
    TEST(a_key_lets_one_event_in), TEST(twins_in_one_batch_are_told_apart),
    TEST(what_is_rolled_back_was_never_claimed),
    TEST(an_expired_key_lets_the_next_event_in_though_it_still_stands_there),
    TEST(old_keys_go_from_the_head_and_a_few_at_a_time), TEST(statements_get_their_values_by_name),
    TEST(a_key_says_how_many_rows_its_event_touched), TEST(failures_are_told_with_their_verdict),
    TEST(an_event_that_lacks_what_its_file_now_demands_is_a_bad_deployment),
    TEST(a_statement_must_not_end_the_transaction),
    TEST(a_batch_stops_at_the_event_that_fails_and_says_how_many_went_well),
    TEST(a_batch_past_its_time_begins_no_more_statements_but_always_the_first),
    TEST(a_dead_letter_keeps_the_event_and_fails_its_key),
    TEST(the_dead_letter_of_a_clash_leaves_the_key_of_the_first_alone),
    TEST(an_event_that_is_buried_again_has_one_letter), TEST(what_cannot_be_opened_is_told));
