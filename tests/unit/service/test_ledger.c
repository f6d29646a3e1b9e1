/* Goal: who only looks is told exactly what became of an event, and a database that cannot be asked never looks like
 * one that knows nothing. */
#include "service/ledger.h"

#include <pthread.h>

#include "service/writer.h"
#include "tests/unit/service/write_house.h"

static const int64_t now_us = 1000000000123456; /* 2001-09-09T01:46:40.123456Z */
static const int64_t ttl_us = 1000000;

static struct write_house h;
static struct ledger *ledger;
static struct writer *w;
static struct writer_failure why;
static struct arena a;

static void
open_fresh(void)
{
	write_house_make(&h);
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 2, &ledger), ERR_OK);
}

static void
close_all(void)
{
	ledger_close(&ledger);
	writer_close(&w);
	arena_free(&a);
	write_house_free(&h);
}

static void
claim(const char *key, const char *failure)
{
	struct writer_failure reason;
	enum writer_claim claim;
	struct spool_write sw;
	struct event *ev = house_event(&sw, "acme", key, "p", now_us);

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, now_us, ttl_us, &claim, &why), ERR_OK);
	if (failure != NULL) {
		writer_failure_set(&reason, WRITER_BAD_EVENT, "23000", failure);
		CU_ASSERT_EQUAL(writer_bury(w, ev, &reason, now_us, &why), ERR_OK);
	}
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	arena_free(&sw.arena);
}

static enum err
find(const char *tenant, const char *key, struct operation *op)
{
	uint8_t id[EVENT_ID_BYTES];

	event_id_make(slice_of(tenant), SLICE("create"), slice_of(key), id);
	return operation_find(ledger, id, clock_mono_ms() + 10000, &a, op);
}

static enum err
letter(int64_t after, struct letter *out)
{
	return ledger_letter(ledger, after, (struct slice){ 0 }, clock_mono_ms() + 10000, &a, out);
}

static void
an_operation_is_told_by_its_key(void)
{
	struct operation op;

	open_fresh();
	claim("k1", NULL);
	claim("k2", "broken \xff message");
	CU_ASSERT_EQUAL_FATAL(find("acme", "k1", &op), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(op.tenant, "acme"));
	CU_ASSERT_TRUE(slice_eq_cstr(op.state, "applied"));
	CU_ASSERT_EQUAL(op.reason.len, 0);
	CU_ASSERT_EQUAL(op.rows, 1);
	CU_ASSERT_EQUAL(op.at_us, now_us);
	CU_ASSERT_EQUAL_FATAL(find("acme", "k2", &op), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(op.state, "failed"));
	CU_ASSERT_TRUE(slice_eq_cstr(op.reason, "broken ? message"));
	CU_ASSERT_EQUAL(op.rows, 0);
	CU_ASSERT_EQUAL(find("acme", "k3", &op), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(find("", "k1", &op), ERR_NOT_FOUND);
	close_all();
}

static void
letters_are_told_one_after_the_other(void)
{
	struct letter first, second;

	open_fresh();
	CU_ASSERT_EQUAL(letter(0, &first), ERR_NOT_FOUND);
	claim("k1", "one");
	claim("k2", "two");
	CU_ASSERT_EQUAL_FATAL(letter(0, &first), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(first.key, "k1"));
	CU_ASSERT_EQUAL(first.event_id.len, EVENT_ID_BYTES);
	CU_ASSERT_EQUAL_FATAL(letter(first.id, &second), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(second.message, "two"));
	CU_ASSERT_EQUAL(letter(second.id, &first), ERR_NOT_FOUND);
	close_all();
}

static void
a_database_that_cannot_be_asked_is_not_the_same_as_an_unknown_event(void)
{
	struct operation op;

	write_house_make(&h); /* without weir's tables */
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &ledger), ERR_OK);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(unlink(h.db), 0);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_UNAVAILABLE);
	close_all();
}

/* The first call found no file; a kept connection must not remember that. */
static void
what_failed_once_is_asked_anew(void)
{
	struct operation op;
	char kept[4400];

	open_fresh();
	claim("k", NULL);
	writer_close(&w);
	(void)snprintf(kept, sizeof kept, "%s.kept", h.db);
	CU_ASSERT_EQUAL(rename(h.db, kept), 0);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(rename(kept, h.db), 0);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_OK);
	close_all();
}

static void
connections_are_kept_until_nobody_has_used_them_for_long(void)
{
	struct operation op;
	char kept[4400];

	open_fresh();
	claim("k", NULL);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_OK);
	(void)snprintf(kept, sizeof kept, "%s.kept", h.db);
	CU_ASSERT_EQUAL(rename(h.db, kept), 0); /* who has it open reads on */
	ledger_expire(ledger, clock_mono_ms() - 60000);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_OK);
	ledger_expire(ledger, clock_mono_ms() + 1);
	CU_ASSERT_EQUAL(find("acme", "k", &op), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(rename(kept, h.db), 0);
	close_all();
}

static void *
look_often(void *arg)
{
	uint64_t *found = arg;
	uint8_t id[EVENT_ID_BYTES];
	struct operation op;
	struct arena own;

	arena_init(&own, 1 << 20);
	event_id_make(SLICE("acme"), SLICE("create"), SLICE("k"), id);
	for (int i = 0; i < 200; i++) {
		arena_reset(&own);
		*found += operation_find(ledger, id, clock_mono_ms() + 10000, &own, &op) == ERR_OK;
	}
	arena_free(&own);
	return NULL;
}

/* More threads than connections: they take turns. */
static void
many_threads_share_few_connections(void)
{
	pthread_t threads[8];
	uint64_t found[8] = { 0 };

	open_fresh();
	claim("k", NULL);
	for (int i = 0; i < 8; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, look_often, &found[i]), 0);
	for (int i = 0; i < 8; i++) {
		(void)pthread_join(threads[i], NULL);
		CU_ASSERT_EQUAL(found[i], 200);
	}
	close_all();
}

static void
only_databases_that_weir_knows_are_opened(void)
{
	const struct writer_options o = { .url = "mysql://x" };
	struct ledger *none = NULL;

	CU_ASSERT_EQUAL(ledger_open(&o, 1, &none), ERR_INVALID);
	CU_ASSERT_PTR_NULL(none);
}

UNIT_SUITE(ledger, TEST(an_operation_is_told_by_its_key),
    TEST(letters_are_told_one_after_the_other),
    TEST(a_database_that_cannot_be_asked_is_not_the_same_as_an_unknown_event),
    TEST(what_failed_once_is_asked_anew),
    TEST(connections_are_kept_until_nobody_has_used_them_for_long),
    TEST(many_threads_share_few_connections), TEST(only_databases_that_weir_knows_are_opened));
