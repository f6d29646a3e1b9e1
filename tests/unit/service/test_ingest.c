/* Goal: every event is applied exactly once, whatever fails, comes twice, or dies between two steps. */
#include "service/ingest.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/rand.h"
#include "policy/positions.h"
#include "service/cache.h"
#include "service/ledger.h"
#include "service/source.h"
#include "tests/unit/service/write_house.h"

enum { L1_BYTES = 1 << 20, FLIGHTS = 64, STEPS_MAX = 2000 };

static struct write_house h;
static struct ingest *g;

static void
take_from_spool(void)
{
	CU_ASSERT_EQUAL_FATAL(source_spool_open(h.s.q, &h.o.source), ERR_OK);
}

static void
open_fresh(void)
{
	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h.s), ERR_OK);
	take_from_spool();
	CU_ASSERT_EQUAL_FATAL(ingest_open(&h.o, &g), ERR_OK);
}

static void
reopen(void)
{
	ingest_close(&g);
	CU_ASSERT_EQUAL_FATAL(ingest_open(&h.o, &g), ERR_OK);
}

static void
close_all(void)
{
	ingest_close(&g);
	source_close(&h.o.source);
	write_house_free(&h);
}

static void
accept(const char *endpoint, const char *tenant, const char *key, const char *payload)
{
	CU_ASSERT_EQUAL(
	    spool_put(&h.s, endpoint, tenant, key, slice_of(payload), clock_wall_us(), NULL),
	    QUEUE_ACCEPTED);
}

/* ${n} in one commit, with keys "${prefix}0" and so on; number ${bad} is a bad one. */
static void
accept_many(const char *prefix, int n, int bad)
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
	spool_claim(&h.s, &w[0].item);
	for (int i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(w[i].item.outcome, QUEUE_ACCEPTED);
		arena_free(&w[i].arena);
	}
	free(w);
}

/* The spool knows no key any more, so that it accepts one again: the key table is the last wall. */
static void
forget_hints(void)
{
	queue_shared_init(h.s.o.shared, h.s.o.max_bytes);
	atomic_store(&h.s.o.shared->hinted_seq, UINT64_MAX / 2);
}

/* Steps until there is nothing to do or waiting is due. */
static enum err
drain(void)
{
	int64_t wait_ms;
	enum err rc = ERR_OK;

	for (int i = 0; i < STEPS_MAX && rc == ERR_OK; i++)
		rc = ingest_step(g, &wait_ms);
	if (rc == ERR_UNAVAILABLE)
		CU_ASSERT_TRUE(wait_ms > 0);
	return rc;
}

static enum ingest_state
state(void)
{
	return (enum ingest_state)atomic_load(&h.shared->state);
}

static int64_t
things(void)
{
	return house_ask(&h, "SELECT count(*) FROM things");
}

static int64_t
doubles(void)
{
	return house_ask(&h,
	    "SELECT count(*) FROM (SELECT 1 FROM things GROUP BY tenant, id HAVING count(*) > 1)");
}

static void
what_was_accepted_is_applied_and_acknowledged(void)
{
	struct ledger *ledger = NULL;
	struct operation op;
	struct arena a;
	uint8_t id[EVENT_ID_BYTES];

	open_fresh();
	accept_many("k", 50, -1);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 50);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	CU_ASSERT_EQUAL(spool_status(&h.s).applied_seq, 50);
	CU_ASSERT_EQUAL(h.shared->events, 50);
	CU_ASSERT_EQUAL(h.shared->batches, 1);
	CU_ASSERT_EQUAL(state(), INGEST_IDLE);
	arena_init(&a, 1 << 20);
	event_id_make(SLICE("acme"), SLICE("create"), SLICE("k7"), id);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &ledger), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(operation_find(ledger, id, clock_mono_ms() + 10000, &a, &op), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(op.state, "applied"));
	CU_ASSERT_TRUE(slice_eq_cstr(op.tenant, "acme"));
	CU_ASSERT_EQUAL(op.rows, 1);
	ledger_close(&ledger);
	arena_free(&a);
	close_all();
}

/* One fsync for many events under load; a lone event after a quiet time is applied at once all the same. */
static void
a_small_batch_asks_to_let_more_gather_and_a_whole_one_does_not(void)
{
	int64_t wait_ms = -1;

	open_fresh();
	accept_many("k", (int)h.o.batch_max + 1, -1);
	CU_ASSERT_EQUAL(ingest_step(g, &wait_ms), ERR_OK);
	CU_ASSERT_EQUAL(wait_ms, 0);
	CU_ASSERT_EQUAL(ingest_step(g, &wait_ms), ERR_OK);
	CU_ASSERT_TRUE(wait_ms > 0 && wait_ms < 1000);
	CU_ASSERT_EQUAL(ingest_step(g, &wait_ms), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(wait_ms, 0);
	close_all();
}

static void
tenants_and_endpoints_with_the_same_key_are_all_applied(void)
{
	open_fresh();
	accept("create", "acme", "k", "one");
	accept("create", "beta", "k", "two");
	accept("create", "", "k", "three");
	accept("clear", "acme", "k", "none such");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 3);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 4);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT rows FROM weir_keys WHERE endpoint = 'clear'"), 0);
	close_all();
}

static void
a_bad_event_among_500_stops_none_of_the_others(void)
{
	static const int places[] = { 0, 1, 249, 250, 333, 499 };
	int64_t wait_ms;
	int steps;

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		open_fresh();
		accept_many("k", 500, places[i]);
		for (steps = 0; steps < 500 && ingest_step(g, &wait_ms) == ERR_OK; steps++)
			;
		CU_ASSERT_TRUE(steps < 50); /* by halves */
		CU_ASSERT_EQUAL(things(), 499);
		CU_ASSERT_EQUAL(doubles(), 0);
		CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 1);
		CU_ASSERT_EQUAL(
		    house_ask(&h, "SELECT count(*) FROM weir_keys WHERE state = 'failed'"), 1);
		CU_ASSERT_TRUE(house_says(&h, "SELECT sqlstate FROM weir_dead_letters", "23000"));
		CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
		CU_ASSERT_EQUAL(h.shared->dead, 1);
		CU_ASSERT_EQUAL(h.shared->events, 499);
		close_all();
	}
}

static void
a_late_migration_stops_before_its_event_and_nothing_is_lost(void)
{
	open_fresh();
	accept_many("before", 10, -1);
	accept("later", "acme", "k", "p");
	accept_many("behind", 5, -1);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(drain(), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_STOPPED);
	CU_ASSERT_PTR_NOT_NULL(strstr(h.shared->reason, "later"));
	CU_ASSERT_EQUAL(things(), 10);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 6);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 0);
	CU_ASSERT_EQUAL(house_run(&h, "CREATE TABLE later (payload TEXT)"), ERR_OK);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(state(), INGEST_IDLE);
	CU_ASSERT_EQUAL(things(), 15);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM later"), 1);
	close_all();
}

static void
an_event_of_an_endpoint_that_is_gone_stops_the_consumer(void)
{
	open_fresh();
	accept("create", "acme", "k1", "p");
	accept("elsewhere", "acme", "k2", "p");
	CU_ASSERT_EQUAL(drain(), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_STOPPED);
	CU_ASSERT_PTR_NOT_NULL(strstr(h.shared->reason, "elsewhere"));
	CU_ASSERT_EQUAL(things(), 1);
	house_file(&h, "elsewhere.sql",
	    "-- POST /t/elsewhere\n-- body payload: text\nINSERT INTO things (id) VALUES "
	    "(:payload)\n");
	house_load(&h);
	reopen();
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 2);
	close_all();
}

static void
an_unknown_record_stops_the_consumer_before_it(void)
{
	struct spool_write w;

	open_fresh();
	accept("create", "acme", "k1", "p");
	spool_write_make(&w, "create", "acme", "newer", SLICE("p"), 1);
	w.item.record = SLICE("\x63 from the future");
	spool_claim(&h.s, &w.item);
	CU_ASSERT_EQUAL(drain(), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_STOPPED);
	CU_ASSERT_EQUAL(things(), 1);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 1);
	arena_free(&w.arena);
	close_all();
}

static void
the_same_key_with_other_parameters_is_a_dead_letter(void)
{
	open_fresh();
	accept("create", "acme", "k", "first");
	forget_hints();
	accept("create", "acme", "k", "second"); /* in the same batch */
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	forget_hints();
	accept("create", "acme", "k", "third"); /* in another */
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 1);
	CU_ASSERT_TRUE(house_says(&h, "SELECT payload FROM things", "first"));
	CU_ASSERT_EQUAL(
	    house_ask(&h, "SELECT count(*) FROM weir_dead_letters WHERE sqlstate = '23505'"), 2);
	CU_ASSERT_TRUE(house_says(&h, "SELECT state FROM weir_keys", "applied"));
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	close_all();
}

/* A spool that tells others of its dead letters, and looks at what the database knows of them by then. */
static const struct source_driver *spool_driver;
static int told, waited, letters_before;

static void
note_told(struct source *s, const struct event *ev, const struct writer_failure *reason)
{
	(void)s;
	CU_ASSERT_TRUE(ev->seq > 0 && reason->sqlstate[0] == '2');
	told++;
	letters_before += (int)house_ask(&h, "SELECT count(*) FROM weir_dead_letters");
}

static void
note_wait(struct source *s)
{
	(void)s;
	waited++;
}

static void
listen_to_the_dead(void)
{
	static struct source_driver telling;

	spool_driver = h.o.source->driver;
	telling = *spool_driver;
	telling.bury = note_told;
	telling.wait_buried = note_wait;
	h.o.source->driver = &telling;
	told = waited = letters_before = 0;
}

static void
others_are_told_of_dead_letters_before_the_database_has_them(void)
{
	open_fresh();
	listen_to_the_dead();
	accept("create", "acme", "k1", "p");
	accept("create", "acme", "k2", "p");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(told + waited, 0);
	forget_hints();
	accept("create", "acme", "k1", "other");
	accept("create", "acme", "k2", "other");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(told, 2);
	CU_ASSERT_EQUAL(waited, 1); /* for all of a batch together */
	CU_ASSERT_EQUAL(letters_before, 0);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 2);
	accept("create", "acme", "k3", "bad");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(told, 3);
	CU_ASSERT_EQUAL(waited, 2);
	CU_ASSERT_EQUAL(letters_before, 2); /* those of before */
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 3);
	h.o.source->driver = spool_driver;
	close_all();
}

static void
the_same_event_twice_in_the_spool_is_applied_once(void)
{
	open_fresh();
	accept("create", "acme", "k", "p");
	forget_hints();
	accept("create", "acme", "k", "p");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	forget_hints();
	accept("create", "acme", "k", "p");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 1);
	CU_ASSERT_EQUAL(h.shared->duplicates, 2);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 0);
	close_all();
}

static void
a_statement_that_never_ends_is_tried_ten_times_and_buried(void)
{
	int waits = 0;

	open_fresh();
	accept("create", "acme", "k1", "p");
	accept("slow", "acme", "k2", "p");
	accept("create", "acme", "k3", "p");
	while (drain() == ERR_UNAVAILABLE && waits < 100)
		waits++;
	CU_ASSERT_EQUAL(waits, 9); /* and the tenth buried it */
	CU_ASSERT_EQUAL(things(), 2);
	CU_ASSERT_TRUE(house_says(&h, "SELECT sqlstate FROM weir_dead_letters", "57014"));
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	close_all();
}

static void
a_full_disk_is_waited_for_with_the_same_batch(void)
{
	struct rlimit before, small;

	open_fresh();
	accept_many("k", 100, -1);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = 64; /* not even the log of SQLite */
	(void)setrlimit(RLIMIT_FSIZE, &small);
	for (int i = 0; i < 15; i++)
		CU_ASSERT_EQUAL(drain(), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_WAITING);
	(void)setrlimit(RLIMIT_FSIZE, &before);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 100);
	CU_ASSERT_EQUAL(h.shared->batches, 1);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 0);
	close_all();
}

static void
a_file_that_is_no_database_stops_the_consumer_until_it_is_one(void)
{
	char kept[4400];

	open_fresh();
	accept("create", "acme", "k", "p");
	(void)snprintf(kept, sizeof kept, "%s.kept", h.db);
	CU_ASSERT_EQUAL(rename(h.db, kept), 0);
	house_file(&h, "weir.db",
	    "this is no database, and is longer than a header of one, which has a hundred bytes in "
	    "all,"
	    " so this goes on for a little while");
	CU_ASSERT_EQUAL(drain(), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(state(), INGEST_STOPPED);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 1);
	CU_ASSERT_EQUAL(rename(kept, h.db), 0);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(things(), 1);
	close_all();
}

static void
keys_expire_with_later_batches_but_not_before_what_waits(void)
{
	const int64_t start_us = 1000000000000000, hour_us = 3600ll * 1000000;

	open_fresh();
	CU_ASSERT_EQUAL(house_run(&h, "CREATE TABLE later (payload TEXT)"), ERR_OK);
	accept_many("k", 20, -1);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 20);
	/* Applied long ago; and one waits that was accepted soon after. */
	CU_ASSERT_EQUAL(
	    house_run(&h, "UPDATE weir_keys SET at = '2001-09-09T01:46:40.000000Z'"), ERR_OK);
	CU_ASSERT_EQUAL(
	    spool_put(&h.s, "create", "acme", "soon", SLICE("p"), start_us + 500000, NULL),
	    QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 21);
	CU_ASSERT_EQUAL(
	    spool_put(&h.s, "create", "acme", "late", SLICE("p"), start_us + hour_us, NULL),
	    QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), 2);
	close_all();
}

/*
 * The purge, and death.
 */
static void *
shared_memory(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	return mem;
}

static struct cache cache;

static void
cache_make(void)
{
	cache = (struct cache){ .l1 = shared_memory(l1_size(L1_BYTES)),
		.positions = shared_memory(positions_size()),
		.flights = shared_memory(flight_size(FLIGHTS)),
		.seed = 7,
		.member = 1 };
	l1_init(cache.l1, L1_BYTES, cache.seed);
	flight_init(cache.flights, FLIGHTS);
	h.o.cache = &cache;
}

static void
cache_unmake(void)
{
	(void)munmap(cache.l1, l1_size(L1_BYTES));
	(void)munmap(cache.flights, flight_size(FLIGHTS));
	(void)munmap(cache.positions, positions_size());
}

/* Is the answer of GET /t/count in the cache?  Puts it there when it is not. */
static bool
count_is_cached(void)
{
	const struct endpoint *e = catalog_find(h.catalog, SLICE("count"));
	struct cache_fill f;
	struct cache_hit hit;
	struct arena a;
	struct slice key;
	uint32_t evicted;
	bool cached;

	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL(cache_key(e, NULL, NULL, SLICE(""), &a, &key), ERR_OK);
	cached = cache_lookup(&cache, key, 1000, 1000, &a, &hit) == L1_FRESH;
	if (!cached) {
		CU_ASSERT_EQUAL(cache_join(&cache, key, 1000, 1000, &f), FLIGHT_LEAD);
		(void)cache_begin(&cache, &f, e, NULL, 1000, 1000, &a, &hit);
		CU_ASSERT_EQUAL(cache_fill_land(&cache, &f, &e->cache, SLICE("[{\"n\":0}]"), 0,
				    1000, 1000, &evicted),
		    ERR_OK);
	}
	arena_free(&a);
	return cached;
}

static void
a_write_purges_the_tags_that_it_invalidates(void)
{
	open_fresh();
	cache_make();
	reopen();
	CU_ASSERT_FALSE(count_is_cached());
	CU_ASSERT_TRUE(count_is_cached());
	accept("clear", "acme", "k", "p"); /* invalidates nothing */
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_TRUE(count_is_cached());
	accept("create", "acme", "k", "p");
	CU_ASSERT_EQUAL(drain(), ERR_NOT_FOUND);
	CU_ASSERT_FALSE(count_is_cached());
	close_all();
	cache_unmake();
}

static void
die_at(void *ctx, enum ingest_arrow arrow)
{
	const enum ingest_arrow *at = ctx;

	if (arrow == *at)
		(void)kill(getpid(), SIGKILL);
}

/* Nobody has the spool open while a child is made: no environment of LMDB may cross a fork. */
static void
leave(void)
{
	ingest_close(&g);
	source_close(&h.o.source);
	queue_close(&h.s.q);
}

/* A consumer of its own process, that drains the spool. */
static void
consume(void)
{
	enum err rc;

	if (spool_house_open(&h.s) != ERR_OK)
		_exit(1);
	take_from_spool();
	if (ingest_open(&h.o, &g) != ERR_OK)
		_exit(1);
	rc = drain();
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
killed_between_any_two_steps_each_event_is_applied_once_and_its_tag_purged(void)
{
	for (enum ingest_arrow at = INGEST_READ; at < INGEST_ARROW__COUNT; at++) {
		open_fresh();
		cache_make();
		accept_many("k", 40, -1);
		(void)count_is_cached();
		leave();
		h.o.batch_max = 15;
		h.o.passed = die_at;
		h.o.ctx = &at;
		CU_ASSERT_TRUE(WIFSIGNALED(consume_in_child()));
		h.o.passed = NULL;
		CU_ASSERT_EQUAL(consume_in_child(), 0);
		CU_ASSERT_EQUAL(things(), 40);
		CU_ASSERT_EQUAL(doubles(), 0);
		CU_ASSERT_FALSE(count_is_cached());
		CU_ASSERT_EQUAL_FATAL(spool_house_open(&h.s), ERR_OK);
		CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
		close_all();
		cache_unmake();
	}
}

/* The copy was stored after the commit of the first life, which died before its purge. */
static void
an_event_that_was_applied_before_is_purged_again(void)
{
	enum ingest_arrow at = INGEST_COMMITTED;

	open_fresh();
	cache_make();
	accept_many("k", 3, -1);
	leave();
	h.o.passed = die_at;
	h.o.ctx = &at;
	CU_ASSERT_TRUE(WIFSIGNALED(consume_in_child()));
	CU_ASSERT_EQUAL(things(), 3);
	(void)count_is_cached();
	CU_ASSERT_TRUE(count_is_cached());
	h.o.passed = NULL;
	CU_ASSERT_EQUAL(consume_in_child(), 0);
	CU_ASSERT_FALSE(count_is_cached());
	CU_ASSERT_EQUAL(h.shared->duplicates, 3);
	CU_ASSERT_EQUAL(h.shared->events, 0); /* the dead one could not count them */
	close_all();
	cache_unmake();
}

enum { STORM_EVENTS = 600, STORM_KILLS = 30 };

static void
a_storm_of_kills_applies_everything_once(void)
{
	int status = -1;
	pid_t pid;

	open_fresh();
	accept_many("k", STORM_EVENTS, 123);
	leave();
	h.o.batch_max = 7;
	for (int i = 0; i < STORM_KILLS; i++) {
		pid = fork();
		if (pid == 0)
			consume();
		for (volatile uint64_t spin = rand_u64() % 4000000; spin > 0; spin--)
			;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	}
	CU_ASSERT_EQUAL(consume_in_child(), 0);
	CU_ASSERT_EQUAL(things(), STORM_EVENTS - 1);
	CU_ASSERT_EQUAL(doubles(), 0);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys"), STORM_EVENTS);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_dead_letters"), 1);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h.s), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	close_all();
}

UNIT_SUITE(ingest, TEST(what_was_accepted_is_applied_and_acknowledged),
    TEST(a_small_batch_asks_to_let_more_gather_and_a_whole_one_does_not),
    TEST(tenants_and_endpoints_with_the_same_key_are_all_applied),
    TEST(a_bad_event_among_500_stops_none_of_the_others),
    TEST(a_late_migration_stops_before_its_event_and_nothing_is_lost),
    TEST(an_event_of_an_endpoint_that_is_gone_stops_the_consumer),
    TEST(an_unknown_record_stops_the_consumer_before_it),
    TEST(the_same_key_with_other_parameters_is_a_dead_letter),
    TEST(others_are_told_of_dead_letters_before_the_database_has_them),
    TEST(the_same_event_twice_in_the_spool_is_applied_once),
    TEST(a_statement_that_never_ends_is_tried_ten_times_and_buried),
    TEST(a_full_disk_is_waited_for_with_the_same_batch),
    TEST(a_file_that_is_no_database_stops_the_consumer_until_it_is_one),
    TEST(keys_expire_with_later_batches_but_not_before_what_waits),
    TEST(a_write_purges_the_tags_that_it_invalidates),
    TEST(killed_between_any_two_steps_each_event_is_applied_once_and_its_tag_purged),
    TEST(an_event_that_was_applied_before_is_purged_again),
    TEST(a_storm_of_kills_applies_everything_once));
