/*
 * Goal: from the spool through a real Kafka into a real PostgreSQL, forwarder and consumer may die between any two steps, and every
 * event is applied exactly once.
 */
#include <signal.h>
#include <sys/wait.h>

#include "client/kafka.h"
#include "service/forward.h"
#include "service/ingest.h"
#include "service/source.h"
#include "service/topics.h"
#include "tests/support/kafka.h"
#include "tests/unit/service/pg_house.h"

enum { EVENTS = 40, BATCH = 15, CHILD_MS = 60000 };

static const int never = -1;

static struct pg_house p;
static struct topics topics;
static struct kafka_options kafka;
static struct forward_shared *progress;
static char topic[64];
static int fatal_arrow;

static void
open_fresh(void)
{
	static const struct kafka_setting settings[] = { { "session.timeout.ms", "6000" } };
	static int number;

	pg_house_make(&p, false, 3000);
	p.h.o.batch_max = BATCH;
	(void)snprintf(topic, sizeof topic, "steps-%d", ++number);
	CU_ASSERT_EQUAL_FATAL(topics_make(p.h.catalog, topic, &topics), ERR_OK);
	kafka = (struct kafka_options){ .brokers = kafka_brokers(),
		.client_id = "test",
		.settings = settings,
		.setting_count = 1 };
	progress =
	    mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_NOT_EQUAL_FATAL((void *)progress, MAP_FAILED);
	fatal_arrow = never;
}

static void
close_all(void)
{
	(void)munmap(progress, sizeof *progress);
	topics_free(&topics);
	pg_house_free(&p);
}

/* ${n} writes with keys "${prefix}0" and so on; number ${bad} is a bad one. */
static void
accept_many(const char *prefix, int n, int bad)
{
	struct spool_write *w = calloc((size_t)n, sizeof *w);
	char key[40];

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&p.h.s), ERR_OK);
	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%s%d", prefix, i);
		spool_write_make(&w[i], "create", "acme", key, i == bad ? SLICE("bad") : SLICE("p"),
		    clock_wall_us());
		if (i > 0)
			w[i - 1].item.next = &w[i].item;
	}
	spool_claim(&p.h.s, &w[0].item);
	for (int i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(w[i].item.outcome, QUEUE_ACCEPTED);
		arena_free(&w[i].arena);
	}
	queue_close(&p.h.s.q); /* no environment of LMDB may cross a fork */
	free(w);
}

static uint64_t
waiting_in_the_spool(void)
{
	struct queue_status s;

	CU_ASSERT_EQUAL_FATAL(spool_house_open(&p.h.s), ERR_OK);
	s = spool_status(&p.h.s);
	queue_close(&p.h.s.q);
	return s.waiting;
}

/*
 * Processes of their own, for whom librdkafka's threads and the spool are not yet there.
 */
static void
die_at(int arrow)
{
	if (arrow == fatal_arrow)
		(void)kill(getpid(), SIGKILL);
}

static void
forwarder_passed(void *ctx, enum forward_arrow arrow)
{
	(void)ctx;
	die_at((int)arrow);
}

static void
consumer_passed(void *ctx, enum ingest_arrow arrow)
{
	(void)ctx;
	die_at((int)arrow);
}

static enum err
forward_all(void)
{
	const int64_t until_ms = clock_mono_ms() + CHILD_MS;
	const struct forward_options o = { .driver = &forward_driver_kafka,
		.kafka = &kafka,
		.topics = &topics,
		.catalog = p.h.catalog,
		.queue = p.h.s.q,
		.shared = progress,
		.stalled_ms = 3000,
		.passed = forwarder_passed };
	struct forward *f;
	enum err rc = forward_open(&o, &f);

	while (rc == ERR_OK && clock_mono_ms() < until_ms)
		rc = forward_step(f);
	forward_close(&f);
	return rc == ERR_NOT_FOUND ? ERR_OK : ERR_TIMEOUT;
}

static enum err
consume_all(void)
{
	const int64_t until_ms = clock_mono_ms() + CHILD_MS;
	const struct source_kafka_options o = { .kafka = &kafka,
		.topics = &topics,
		.group = topic,
		.instance = "host",
		.progress = progress,
		.key_ttl_ms = 1000,
		.buffer_max = 4000 };
	struct ingest *g = NULL;
	bool drained = false;
	int64_t wait_ms;
	enum err rc = source_kafka_open(&o, &p.h.o.source);

	p.h.o.passed = consumer_passed;
	if (rc == ERR_OK)
		rc = ingest_open(&p.h.o, &g);
	while (rc == ERR_OK && !drained && clock_mono_ms() < until_ms)
		if (ingest_step(g, &wait_ms) == ERR_NOT_FOUND) {
			drained = source_is_drained(p.h.o.source);
			source_wait(p.h.o.source, 20);
		}
	ingest_close(&g);
	source_close(&p.h.o.source);
	return drained ? ERR_OK : ERR_TIMEOUT;
}

/* How it ended; killed at ${arrow}, or by itself when that is never. */
static int
in_child(enum err (*work)(void), int arrow)
{
	const pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		enum err rc = spool_house_open(&p.h.s);

		fatal_arrow = arrow;
		if (rc == ERR_OK)
			rc = work();
		queue_close(&p.h.s.q);
		_exit(rc == ERR_OK ? 0 : 1);
	}
	(void)waitpid(pid, &status, 0);
	return status;
}

static bool
says(const char *sql, const char *want)
{
	return pg_house_says(&p, sql, want);
}

static bool
each_once(const char *count)
{
	return says("SELECT count(*) FROM things", count) &&
	       says("SELECT count(DISTINCT (tenant, id)) FROM things", count) &&
	       says("SELECT count(*) FROM weir_keys WHERE state = 'applied'", count);
}

static bool
none_twice(void)
{
	return says("SELECT count(*) - count(DISTINCT (tenant, id)) FROM things", "0");
}

/* Each one finds what those before it left behind, and more. */
static void
forwarders_killed_between_any_two_steps_lose_nothing(void)
{
	char prefix[] = "a";

	open_fresh();
	for (int at = FORWARD_READ; at < FORWARD_ARROW__COUNT; at++, prefix[0]++) {
		accept_many(prefix, EVENTS, never);
		CU_ASSERT_TRUE(WIFSIGNALED(in_child(forward_all, at)));
	}
	CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
	CU_ASSERT_EQUAL(waiting_in_the_spool(), 0);
	CU_ASSERT_EQUAL(in_child(consume_all, never), 0);
	CU_ASSERT_EQUAL((int)FORWARD_ARROW__COUNT, 5);
	CU_ASSERT_TRUE(each_once("200"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	close_all();
}

static void
consumers_killed_between_any_two_steps_apply_each_event_once(void)
{
	open_fresh();
	accept_many("k", 5 * EVENTS, never);
	CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
	for (int at = INGEST_READ; at < INGEST_ARROW__COUNT; at++) {
		CU_ASSERT_TRUE(WIFSIGNALED(in_child(consume_all, at)));
		CU_ASSERT_TRUE(none_twice());
	}
	CU_ASSERT_EQUAL(in_child(consume_all, never), 0);
	CU_ASSERT_TRUE(each_once("200"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "0"));
	close_all();
}

static void
a_bad_event_among_500_stops_none_of_the_others(void)
{
	open_fresh();
	p.h.o.batch_max = 1000;
	accept_many("k", 500, 250);
	CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
	CU_ASSERT_EQUAL(in_child(consume_all, never), 0);
	CU_ASSERT_TRUE(each_once("499"));
	CU_ASSERT_TRUE(says("SELECT sqlstate FROM weir_dead_letters", "23514"));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
	CU_ASSERT_TRUE(says("SELECT key FROM weir_keys WHERE state = 'failed'", "k250"));
	close_all();
}

/*
 * Dead letters and their copies.
 */
static char dlq[80];
static int *copies; /* of the child that counted them */

static void
nothing_is_delivered(void *ctx, uint64_t ticket, enum err result)
{
	(void)ctx;
	(void)ticket;
	(void)result;
}

/* Waits until the topic is there: a copy is not waited for as long as that may take. */
static enum err
make_dlq(void)
{
	const char *const names[] = { dlq };
	const struct kafka_producer_options o = { .common = kafka,
		.topics = names,
		.topic_count = 1,
		.delivered = nothing_is_delivered };
	const int64_t until_ms = clock_mono_ms() + CHILD_MS;
	struct kafka_producer *producer;
	enum err rc = kafka_producer_open(&o, &producer);

	if (rc == ERR_OK)
		rc = ERR_NOT_FOUND;
	while (rc != ERR_OK && clock_mono_ms() < until_ms)
		rc = kafka_producer_prepare(producer, 1000);
	kafka_producer_close(&producer);
	return rc;
}

static enum err
count_copies(void)
{
	const char *const names[] = { dlq };
	const struct kafka_consumer_options o = {
		.common = kafka, .group = "copies", .topics = names, .topic_count = 1
	};
	const int64_t until_ms = clock_mono_ms() + CHILD_MS;
	struct kafka_consumer *c;
	struct kafka_received *m;
	enum err rc = kafka_consumer_open(&o, &c);

	*copies = 0;
	while (rc == ERR_OK && !kafka_consumer_at_end(c) && clock_mono_ms() < until_ms)
		if (kafka_consumer_poll(c, 100, &m) == ERR_OK) {
			++*copies;
			kafka_received_free(&m);
		}
	if (rc == ERR_OK && !kafka_consumer_at_end(c))
		rc = ERR_TIMEOUT;
	kafka_consumer_close(&c, 1000);
	return rc;
}

static int
copies_there(void)
{
	CU_ASSERT_EQUAL(in_child(count_copies, never), 0);
	return *copies;
}

static void
open_with_dlq(void)
{
	open_fresh();
	(void)snprintf(dlq, sizeof dlq, "%s.dlq", topic);
	copies =
	    mmap(NULL, sizeof *copies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_NOT_EQUAL_FATAL((void *)copies, MAP_FAILED);
	CU_ASSERT_EQUAL_FATAL(in_child(make_dlq, never), 0);
}

/* What became of one bad event whose consumers died at ${arrow}, and of the one that came after them. */
static void
expect_one_letter_and_its_copy(int arrow)
{
	const bool committed = arrow != INGEST_COPIED;

	CU_ASSERT_TRUE(WIFSIGNALED(in_child(consume_all, arrow)));
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", committed ? "1" : "0"));
	CU_ASSERT_EQUAL(in_child(consume_all, never), 0);
	CU_ASSERT_TRUE(says("SELECT count(*) FROM weir_dead_letters", "1"));
	/* A clash that comes again is one again: its letter is there, and it is copied once more. */
	CU_ASSERT_TRUE(copies_there() >= (committed ? 1 : 2));
}

static void
close_with_dlq(void)
{
	(void)munmap(copies, sizeof *copies);
	close_all();
}

static void
killed_around_the_commit_of_a_dead_letter_there_is_one_letter_and_at_least_one_copy(void)
{
	static const enum ingest_arrow arrows[] = { INGEST_COPIED, INGEST_COMMITTED,
		INGEST_PURGED };

	for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
		open_with_dlq();
		accept_many("k", 1, 0);
		CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
		expect_one_letter_and_its_copy((int)arrows[i]);
		CU_ASSERT_TRUE(says("SELECT count(*) FROM things", "0"));
		close_with_dlq();
	}
}

/* Accepted by a host whose spool has not seen the first event of this key. */
static void
accept_on_another_host(const char *prefix, const char *payload)
{
	struct spool_house first = p.h.s;
	struct spool_write w;
	char key[40];

	(void)snprintf(key, sizeof key, "%s0", prefix);
	spool_house_make(&p.h.s, 64 << 20);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&p.h.s), ERR_OK);
	spool_write_make(&w, "create", "acme", key, slice_of(payload), clock_wall_us());
	spool_claim(&p.h.s, &w.item);
	CU_ASSERT_EQUAL(w.item.outcome, QUEUE_ACCEPTED);
	arena_free(&w.arena);
	queue_close(&p.h.s.q);
	CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
	spool_house_free(&p.h.s);
	p.h.s = first;
}

static void
so_it_is_for_a_key_that_came_twice_with_other_parameters(void)
{
	static const enum ingest_arrow arrows[] = { INGEST_COPIED, INGEST_COMMITTED };

	for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
		open_with_dlq();
		accept_many("k", 1, never);
		CU_ASSERT_EQUAL(in_child(forward_all, never), 0);
		CU_ASSERT_EQUAL(in_child(consume_all, never), 0);
		accept_on_another_host("k", "other");
		expect_one_letter_and_its_copy((int)arrows[i]);
		CU_ASSERT_TRUE(says("SELECT sqlstate FROM weir_dead_letters", "23505"));
		CU_ASSERT_TRUE(each_once("1"));
		close_with_dlq();
	}
}

UNIT_SUITE(kafka_steps, TEST(forwarders_killed_between_any_two_steps_lose_nothing),
    TEST(consumers_killed_between_any_two_steps_apply_each_event_once),
    TEST(a_bad_event_among_500_stops_none_of_the_others),
    TEST(killed_around_the_commit_of_a_dead_letter_there_is_one_letter_and_at_least_one_copy),
    TEST(so_it_is_for_a_key_that_came_twice_with_other_parameters));
