/* Goal: on PostgreSQL, directly and through PgBouncer, the key table lets each event in once, whoever else is at work. */
#include <pthread.h>
#include <time.h>

#include "tests/unit/service/pg_writer.h"

static void
a_key_lets_one_event_in(void)
{
	for (int bouncer = 0; bouncer < 2; bouncer++) {
		open_fresh_with(bouncer == 1, 3000);
		CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
		CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_APPLIED);
		CU_ASSERT_EQUAL(claim_key("acme", "k", "other", now_us, now_us), WRITER_CLASH);
		CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_APPLIED);
		CU_ASSERT_EQUAL(claim_key("beta", "k", "other", now_us, now_us), WRITER_NEW);
		CU_ASSERT_TRUE(says("SELECT extract(epoch FROM at)::bigint || state || rows"
				    " FROM weir_keys WHERE tenant = 'acme'",
		    "1000000000applied1"));
		close_all();
	}
}

/* Quotes and backslashes are what arrays are written with. */
static void
keys_may_hold_any_text(void)
{
	static const char *const keys[] = { "", "\"", "\\", "{a,b}", "NULL", "\\\"", " x ",
		"\xc3\xa9", "bad \xff byte" };

	open_fresh();
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		CU_ASSERT_EQUAL(claim_key("te\"n\\t", keys[i], "p", now_us, now_us), WRITER_NEW);
		CU_ASSERT_EQUAL(
		    claim_key("te\"n\\t", keys[i], "p", now_us, now_us), WRITER_APPLIED);
	}
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys WHERE tenant = 'te\"n\\t'"
			    " AND key IN ('', '\"', '\\', '{a,b}', 'NULL', '\\\"', ' x ', 'é',"
			    " 'bad ? byte')",
	    "9"));
	close_all();
}

static void
twins_in_one_batch_are_told_apart(void)
{
	static const char *const payloads[] = { "p", "p", "other", "p", "q" };
	static const char *const keys[] = { "k", "k", "k", "k", "l" };
	static const enum writer_claim want[] = { WRITER_NEW, WRITER_APPLIED, WRITER_CLASH,
		WRITER_APPLIED, WRITER_NEW };
	struct spool_write sw[5];
	struct event events[5];
	enum writer_claim c[5];

	open_fresh();
	for (int i = 0; i < 5; i++)
		events[i] = *house_event(&sw[i], "acme", keys[i], payloads[i], now_us);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, events, 5, now_us, ttl_us, c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(c[i], want[i]);
		arena_free(&sw[i].arena);
	}
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "2"));
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
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK); /* nothing was said in between */
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	arena_free(&sw.arena);
	close_all();
}

static void
an_expired_key_lets_the_next_event_in_though_it_still_stands_there(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(claim_key("acme", "k", "p", now_us, now_us), WRITER_NEW);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "new", now_us + ttl_us, now_us + 2 * ttl_us), WRITER_CLASH);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "new", now_us + ttl_us + 1, now_us + 2 * ttl_us), WRITER_NEW);
	CU_ASSERT_EQUAL(
	    claim_key("acme", "k", "p", now_us + ttl_us + 2, now_us + 2 * ttl_us), WRITER_CLASH);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "1"));
	close_all();
}

/* A day later than this consumer needs, for another one may be behind. */
static void
old_keys_go_from_the_head_and_a_few_at_a_time(void)
{
	const int64_t lag_us = 24 * 3600ll * 1000000;
	char key[20];

	open_fresh();
	for (int i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof key, "k%d", i);
		CU_ASSERT_EQUAL(claim_key("acme", key, "p", now_us + i, now_us + i), WRITER_NEW);
	}
	CU_ASSERT_EQUAL(writer_expire_keys(w, now_us + lag_us, 100, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "20"));
	CU_ASSERT_EQUAL(writer_expire_keys(w, now_us + lag_us + 10, 4, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "16"));
	CU_ASSERT_EQUAL(writer_expire_keys(w, now_us + lag_us + 10, 100, &why), ERR_OK);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", "10"));
	CU_ASSERT_TRUE(says("SELECT key FROM weir_keys ORDER BY at LIMIT 1", "k10"));
	close_all();
}

/*
 * Several consumers.
 */
enum { CROWD = 4, CROWD_KEYS = 300, CROWD_BATCH = 37 };

struct member {
	pthread_t thread;
	unsigned seed;
	uint64_t new, waits;
	int failed;
	bool applied[CROWD_KEYS]; /* by this one */
};

static struct spool_write crowd_writes[CROWD_KEYS];

/* One batch of keys at random, many of them twice; committed, given up, or tried again after a deadlock. */
static void
claim_some(struct member *m, struct writer *mine)
{
	struct event events[CROWD_BATCH];
	enum writer_claim claims[CROWD_BATCH];
	struct writer_failure own;
	int keys[CROWD_BATCH];
	enum err rc;

	for (int i = 0; i < CROWD_BATCH; i++) {
		keys[i] = (int)((unsigned)rand_r(&m->seed) % CROWD_KEYS);
		events[i] = crowd_writes[keys[i]].ev;
	}
	rc = writer_begin(mine, &own);
	if (rc == ERR_OK)
		rc = writer_claim_keys(mine, events, CROWD_BATCH, now_us, ttl_us, claims, &own);
	if (rc == ERR_OK && rand_r(&m->seed) % 4 == 0) {
		writer_rollback(mine);
		return;
	}
	if (rc == ERR_OK)
		rc = writer_commit(mine, NULL, &own);
	writer_rollback(mine);
	if (rc != ERR_OK) {
		m->failed += own.verdict != WRITER_BAD_MOMENT;
		m->waits++;
		return;
	}
	for (int i = 0; i < CROWD_BATCH; i++)
		if (claims[i] == WRITER_NEW) {
			m->failed += m->applied[keys[i]];
			m->applied[keys[i]] = true;
			m->new ++;
		}
}

static void *
claim_often(void *arg)
{
	struct member *m = arg;
	struct writer_failure own;
	struct writer *mine = NULL;

	if (writer_open(&p.h.o.database, &mine, &own) != ERR_OK) {
		m->failed = 1000;
		return NULL;
	}
	for (int i = 0; i < 60; i++)
		claim_some(m, mine);
	writer_close(&mine);
	return NULL;
}

static void
consumers_at_once_claim_each_key_once_and_never_lock_each_other_out(void)
{
	static struct member members[CROWD];
	uint64_t total = 0, waits = 0;
	char key[20], want[24];

	for (int bouncer = 0; bouncer < 2; bouncer++) {
		open_fresh_with(bouncer == 1, 3000);
		for (int i = 0; i < CROWD_KEYS; i++) {
			(void)snprintf(key, sizeof key, "k%d", i);
			(void)house_event(&crowd_writes[i], "acme", key, "p", now_us);
		}
		total = waits = 0;
		for (unsigned i = 0; i < CROWD; i++) {
			members[i] = (struct member){ .seed = i + 1 };
			CU_ASSERT_EQUAL_FATAL(
			    pthread_create(&members[i].thread, NULL, claim_often, &members[i]), 0);
		}
		for (int i = 0; i < CROWD; i++) {
			(void)pthread_join(members[i].thread, NULL);
			CU_ASSERT_EQUAL(members[i].failed, 0);
			total += members[i].new;
			waits += members[i].waits;
		}
		(void)snprintf(want, sizeof want, "%llu", (unsigned long long)total);
		CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_keys", want));
		CU_ASSERT_EQUAL(waits, 0); /* sorted: no deadlock */
		for (int i = 0; i < CROWD_KEYS; i++)
			arena_free(&crowd_writes[i].arena);
		close_all();
	}
}

struct late_claim {
	struct writer *writer;
	struct event *event;
	enum writer_claim claim;
	struct writer_failure why;
	enum err rc;
};

static void *
claim_late(void *arg)
{
	struct late_claim *l = arg;

	(void)writer_begin(l->writer, &l->why);
	l->rc = writer_claim_keys(l->writer, l->event, 1, now_us, ttl_us, &l->claim, &l->why);
	if (l->rc == ERR_OK)
		l->rc = writer_commit(l->writer, NULL, &l->why);
	writer_rollback(l->writer);
	return NULL;
}

static void
wait_for_a_waiter(void)
{
	for (int i = 0; i < 2000; i++) {
		const struct timespec nap = { .tv_nsec = 2000000 };

		if (strcmp(pg_house_text(&p, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"),
			"t") == 0)
			return;
		(void)nanosleep(&nap, NULL);
	}
	CU_FAIL("nobody waits");
}

static void
a_key_in_anothers_hand_is_waited_for_and_its_end_decides(void)
{
	struct spool_write sw;
	struct late_claim late;
	enum writer_claim c;
	pthread_t thread;

	for (int committed = 0; committed < 2; committed++) {
		open_fresh();
		late = (struct late_claim){ .writer = another_writer(),
			.event = house_event(&sw, "acme", "k", "p", now_us) };
		CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
		CU_ASSERT_EQUAL(
		    writer_claim_keys(w, late.event, 1, now_us, ttl_us, &c, &why), ERR_OK);
		CU_ASSERT_EQUAL(c, WRITER_NEW);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, claim_late, &late), 0);
		wait_for_a_waiter();
		if (committed == 1)
			CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
		writer_rollback(w);
		(void)pthread_join(thread, NULL);
		CU_ASSERT_EQUAL(late.rc, ERR_OK);
		CU_ASSERT_EQUAL(late.claim, committed == 1 ? WRITER_APPLIED : WRITER_NEW);
		writer_close(&late.writer);
		arena_free(&sw.arena);
		close_all();
	}
}

/* Whoever holds the key for long, it is not the event's fault. */
static void
a_key_in_anothers_hand_for_too_long_is_a_bad_moment(void)
{
	struct spool_write sw;
	struct writer *other;
	struct event *ev;
	enum writer_claim c;

	open_fresh_with(false, 1000);
	other = another_writer();
	ev = house_event(&sw, "acme", "k", "p", now_us);
	CU_ASSERT_EQUAL(writer_begin(other, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(other, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_NOT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(why.verdict, WRITER_BAD_MOMENT);
	writer_rollback(w);
	writer_rollback(other);
	CU_ASSERT_EQUAL(claim(ev, now_us), WRITER_NEW);
	writer_close(&other);
	arena_free(&sw.arena);
	close_all();
}

UNIT_SUITE(writer_postgresql_keys, TEST(a_key_lets_one_event_in), TEST(keys_may_hold_any_text),
    TEST(twins_in_one_batch_are_told_apart), TEST(what_is_rolled_back_was_never_claimed),
    TEST(an_expired_key_lets_the_next_event_in_though_it_still_stands_there),
    TEST(old_keys_go_from_the_head_and_a_few_at_a_time),
    TEST(consumers_at_once_claim_each_key_once_and_never_lock_each_other_out),
    TEST(a_key_in_anothers_hand_is_waited_for_and_its_end_decides),
    TEST(a_key_in_anothers_hand_for_too_long_is_a_bad_moment));
