/* Goal: every event of the spool reaches Kafka in its order, whatever fails or dies; the mark never passes one that did not. */
#include "service/forward.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "service/topics.h"
#include "tests/unit/service/write_house.h"

enum { TAKEN_MAX = 20000, OUT_MAX = 10000, STEPS_MAX = 2000 };

/* What stands for Kafka: it outlives the processes that send to it. */
struct fake_kafka {
	_Atomic uint32_t count;
	char keys[TAKEN_MAX][16];
	/* How it behaves. */
	bool away;	     /* takes messages, and says nothing */
	bool backwards;	     /* reports the last first, as many partitions may */
	enum err produced;   /* what the next produce() says */
	uint32_t fails_at;   /* a fatal error when so many were taken; 0: never */
	uint32_t refuses_at; /* a bad report for this one; 0: never */
	uint32_t made_at;    /* topics are there when asked for so often; 0: always were */
	uint32_t asked;
};

struct kafka_producer { /* the fake's own */
	struct kafka_producer_options o;
	struct {
		uint64_t ticket;
		char key[16];
	} out[OUT_MAX];
	size_t out_count;
	bool failed;
};

static struct write_house h;
static struct fake_kafka *kafka;
static struct forward_shared *shared;
static struct topics topics;
static struct forward_options options;
static struct forward *f;

static enum err
fake_open(const struct kafka_producer_options *o, struct kafka_producer **out)
{
	*out = calloc(1, sizeof **out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(*out);
	(*out)->o = *o;
	CU_ASSERT_TRUE(o->idempotent);
	return ERR_OK;
}

static void
fake_close(struct kafka_producer **pp)
{
	free(*pp);
	*pp = NULL;
}

static enum err
fake_prepare(struct kafka_producer *p, int64_t timeout_ms)
{
	(void)p;
	(void)timeout_ms;
	kafka->asked++;
	return kafka->asked < kafka->made_at ? ERR_NOT_FOUND : ERR_OK;
}

static enum err
fake_produce(struct kafka_producer *p, const struct kafka_message *m)
{
	if (kafka->produced != ERR_OK)
		return kafka->produced;
	CU_ASSERT_FATAL(p->out_count < OUT_MAX && m->key.len < 16);
	p->out[p->out_count].ticket = m->ticket;
	memset(p->out[p->out_count].key, 0, 16);
	memcpy(p->out[p->out_count++].key, m->key.ptr, m->key.len);
	return ERR_OK;
}

static void
take(struct kafka_producer *p, size_t i)
{
	const uint32_t n = atomic_fetch_add(&kafka->count, 1);

	if (n + 1 == kafka->refuses_at) {
		kafka->refuses_at = 0;
		(void)atomic_fetch_sub(&kafka->count, 1);
		p->o.delivered(p->o.ctx, p->out[i].ticket, ERR_UNAVAILABLE);
		return;
	}
	CU_ASSERT_FATAL(n < TAKEN_MAX);
	memcpy(kafka->keys[n], p->out[i].key, 16);
	p->o.delivered(p->o.ctx, p->out[i].ticket, ERR_OK);
}

static void
fake_poll(struct kafka_producer *p, int64_t timeout_ms)
{
	(void)timeout_ms;
	if (kafka->away || p->failed)
		return;
	for (size_t i = 0; i < p->out_count && !p->failed; i++) {
		take(p, kafka->backwards ? p->out_count - 1 - i : i);
		p->failed = kafka->fails_at != 0 && atomic_load(&kafka->count) == kafka->fails_at;
	}
	p->out_count = 0;
	if (p->failed)
		kafka->fails_at = 0;
}

static bool
fake_failed(struct kafka_producer *p)
{
	return p->failed;
}

static const struct forward_driver fake = { fake_open, fake_close, fake_prepare, fake_produce,
	fake_poll, fake_failed };

static void *
shared_memory(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	return mem;
}

static void
open_forward(void)
{
	options.queue = h.s.q;
	CU_ASSERT_EQUAL_FATAL(forward_open(&options, &f), ERR_OK);
}

static void
open_fresh(void)
{
	static const struct kafka_options none = { 0 };

	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h.s), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(topics_make(h.catalog, "writes", &topics), ERR_OK);
	kafka = shared_memory(sizeof *kafka);
	shared = shared_memory(sizeof *shared);
	options = (struct forward_options){ .driver = &fake,
		.kafka = &none,
		.topics = &topics,
		.catalog = h.catalog,
		.shared = shared,
		.stalled_ms = 10 };
	open_forward();
}

static void
close_all(void)
{
	forward_close(&f);
	topics_free(&topics);
	(void)munmap(kafka, sizeof *kafka);
	(void)munmap(shared, sizeof *shared);
	write_house_free(&h);
}

/* ${n} writes with keys "${prefix}0000" and so on. */
static void
accept_many(const char *prefix, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%.4s%04d", prefix, i);
		CU_ASSERT_EQUAL(spool_put(&h.s, "create", "acme", key, SLICE("p"), 1000000, NULL),
		    QUEUE_ACCEPTED);
	}
}

static void
step_some(int steps)
{
	while (steps-- > 0)
		(void)forward_step(f);
}

static void
forward_all(void)
{
	for (int i = 0; i < STEPS_MAX; i++)
		if (forward_step(f) == ERR_NOT_FOUND)
			return;
	CU_FAIL("the log does not become empty");
}

static bool
has(const char *key)
{
	for (uint32_t i = 0; i < atomic_load(&kafka->count); i++)
		if (strcmp(kafka->keys[i], key) == 0)
			return true;
	return false;
}

static bool
has_all(const char *prefix, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%.4s%04d", prefix, i);
		if (!has(key))
			return false;
	}
	return true;
}

static enum forward_state
state(void)
{
	return (enum forward_state)atomic_load(&shared->state);
}

static void
the_log_is_sent_in_its_order_and_once_and_is_empty_then(void)
{
	open_fresh();
	accept_many("k", 700);
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, 700);
	for (uint32_t i = 1; i < kafka->count; i++)
		CU_ASSERT_TRUE(strcmp(kafka->keys[i - 1], kafka->keys[i]) < 0);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	CU_ASSERT_EQUAL(spool_status(&h.s).keys, 700); /* which still replay */
	CU_ASSERT_EQUAL(spool_status(&h.s).applied_seq, 0);
	CU_ASSERT_EQUAL(queue_forwarded_seq(h.s.q), 700);
	CU_ASSERT_EQUAL(shared->delivered, 700);
	CU_ASSERT_EQUAL(state(), FORWARD_GOING);
	close_all();
}

static void
a_forwarder_begins_at_the_head_of_the_log_whatever_the_segment_says(void)
{
	open_fresh();
	accept_many("a", 5);
	forward_all();
	accept_many("b", 5);
	forward_close(&f);
	queue_tell_forwarded(h.s.q, 1000); /* of a spool that was another one */
	open_forward();
	kafka->away = true;
	step_some(1);
	CU_ASSERT_EQUAL(queue_forwarded_seq(h.s.q), 5);
	kafka->away = false;
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, 10);
	close_all();
}

static void
reports_in_any_order_move_the_mark_only_over_what_is_whole(void)
{
	open_fresh();
	accept_many("k", 3);
	kafka->backwards = true;
	kafka->refuses_at = 3; /* the first event, whose report comes last */
	step_some(2);
	CU_ASSERT_EQUAL(queue_forwarded_seq(h.s.q), 0);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 3);
	CU_ASSERT_EQUAL(state(), FORWARD_STOPPED);
	forward_all();
	CU_ASSERT_TRUE(has_all("k", 3));
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	CU_ASSERT_EQUAL(state(), FORWARD_GOING);
	close_all();
}

static void
a_fatal_error_of_the_producer_begins_again_behind_what_was_delivered(void)
{
	open_fresh();
	accept_many("k", 100);
	kafka->fails_at = 40;
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, 100); /* nothing twice: the 40 had been reported */
	CU_ASSERT_TRUE(has_all("k", 100));
	CU_ASSERT_EQUAL(shared->restarts, 1);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
	close_all();
}

static void
while_kafka_is_away_events_stay_and_the_stall_is_shown_and_ends(void)
{
	open_fresh();
	accept_many("k", 10);
	kafka->away = true;
	for (int i = 0; i < STEPS_MAX && state() != FORWARD_STALLED; i++) {
		step_some(1);
		(void)usleep(1000); /* a poll of the fake takes no time */
	}
	CU_ASSERT_EQUAL(state(), FORWARD_STALLED);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 10);
	kafka->away = false;
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, 10);
	CU_ASSERT_EQUAL(state(), FORWARD_GOING);
	close_all();
}

static void
an_event_that_is_too_large_stops_it_before_that_event_and_not_before_the_others(void)
{
	open_fresh();
	accept_many("a", 5);
	forward_all();
	accept_many("b", 5);
	kafka->produced = ERR_TOO_LARGE;
	step_some(2);
	CU_ASSERT_EQUAL(state(), FORWARD_STOPPED);
	CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 5);
	kafka->produced = ERR_OK; /* somebody has raised the limit */
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, 10);
	close_all();
}

static void
more_than_a_window_goes_in_pieces(void)
{
	enum { MANY = 9000 };
	struct spool_write *w = calloc(MANY, sizeof *w);
	char key[16];

	open_fresh();
	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof key, "k%04d", i);
		spool_write_make(&w[i], "create", "acme", key, SLICE("p"), 1000000);
		if (i > 0)
			w[i - 1].item.next = &w[i].item;
	}
	spool_claim(&h.s, &w[0].item);
	kafka->away = true;
	step_some(40);
	kafka->away = false;
	forward_all();
	CU_ASSERT_EQUAL(kafka->count, MANY);
	for (int i = 0; i < MANY; i++)
		arena_free(&w[i].arena);
	free(w);
	close_all();
}

static void
events_do_not_wait_until_the_topics_are_known(void)
{
	open_fresh();
	kafka->made_at = UINT32_MAX;
	accept_many("k", 5);
	forward_all();
	CU_ASSERT_TRUE(has_all("k", 5));
	close_all();
}

static void
a_producer_asks_a_few_times_at_first_and_then_no_more(void)
{
	open_fresh();
	kafka->made_at = 3;
	for (int i = 0; i < STEPS_MAX && kafka->asked < 6; i++)
		(void)forward_step(f);
	step_some(8); /* of a quarter of a second each */
	CU_ASSERT_EQUAL(kafka->asked, 6);
	kafka->fails_at = 2;
	accept_many("k", 5);
	forward_all();
	CU_ASSERT_TRUE(kafka->asked > 6); /* by the next producer */
	CU_ASSERT_TRUE(has_all("k", 5));
	close_all();
}

static void
die_at(void *ctx, enum forward_arrow arrow)
{
	const enum forward_arrow *at = ctx;

	if (arrow == *at)
		(void)kill(getpid(), SIGKILL);
}

/* A forwarder of its own process; no environment of LMDB may cross the fork. */
static int
forward_in_child(void)
{
	const pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		if (spool_house_open(&h.s) != ERR_OK)
			_exit(1);
		open_forward();
		forward_all();
		forward_close(&f);
		queue_close(&h.s.q);
		_exit(0);
	}
	(void)waitpid(pid, &status, 0);
	return status;
}

static void
killed_between_any_two_steps_nothing_is_lost(void)
{
	for (enum forward_arrow at = FORWARD_READ; at < FORWARD_ARROW__COUNT; at++) {
		open_fresh();
		accept_many("k", 40);
		forward_close(&f);
		queue_close(&h.s.q);
		options.passed = die_at;
		options.ctx = &at;
		CU_ASSERT_TRUE(WIFSIGNALED(forward_in_child()));
		options.passed = NULL;
		CU_ASSERT_EQUAL(forward_in_child(), 0);
		CU_ASSERT_TRUE(has_all("k", 40));
		CU_ASSERT_EQUAL_FATAL(spool_house_open(&h.s), ERR_OK);
		CU_ASSERT_EQUAL(spool_status(&h.s).waiting, 0);
		close_all();
	}
}

UNIT_SUITE(forward, TEST(the_log_is_sent_in_its_order_and_once_and_is_empty_then),
    TEST(a_forwarder_begins_at_the_head_of_the_log_whatever_the_segment_says),
    TEST(reports_in_any_order_move_the_mark_only_over_what_is_whole),
    TEST(a_fatal_error_of_the_producer_begins_again_behind_what_was_delivered),
    TEST(while_kafka_is_away_events_stay_and_the_stall_is_shown_and_ends),
    TEST(an_event_that_is_too_large_stops_it_before_that_event_and_not_before_the_others),
    TEST(more_than_a_window_goes_in_pieces), TEST(events_do_not_wait_until_the_topics_are_known),
    TEST(a_producer_asks_a_few_times_at_first_and_then_no_more),
    TEST(killed_between_any_two_steps_nothing_is_lost));
