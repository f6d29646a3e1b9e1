/* Goal: what librdkafka is asked for is what it gives, and nothing waits for a broker that is not there. */
#include "client/kafka.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { POLLS_MAX = 2000, PLACES = 8 };

/* A broker inside of the client's own process. */
static const struct kafka_setting mock[] = { { "test.mock.num.brokers", "1" } };

struct reports {
	unsigned good, bad;
	uint64_t last;
};

static void
delivered(void *ctx, uint64_t ticket, enum err result)
{
	struct reports *r = ctx;

	if (result == ERR_OK)
		r->good++;
	else
		r->bad++;
	r->last = ticket;
}

static struct kafka_producer *
open_producer(struct reports *r, bool mocked, bool idempotent)
{
	static const char *const names[] = { "t", "u" };
	const struct kafka_producer_options o = {
		.common = { .brokers = "127.0.0.1:1",
		    .client_id = "test",
		    .settings = mock,
		    .setting_count = mocked ? 1 : 0 },
		.idempotent = idempotent,
		.give_up_ms = 200,
		.topics = names,
		.topic_count = 2,
		.delivered = delivered,
		.ctx = r,
	};
	struct kafka_producer *p;

	*r = (struct reports){ 0 };
	CU_ASSERT_EQUAL_FATAL(kafka_producer_open(&o, &p), ERR_OK);
	return p;
}

static struct kafka_message
message(struct slice value, uint64_t ticket)
{
	static struct kafka_header headers[1];

	headers[0] = (struct kafka_header){ SLICE("name"), SLICE("value") };
	return (struct kafka_message){ .topic = "t",
		.key = SLICE("k"),
		.value = value,
		.headers = headers,
		.header_count = 1,
		.timestamp_ms = 1,
		.ticket = ticket };
}

static void
what_weir_depends_on_cannot_be_set_and_the_rest_is_librdkafkas_word(void)
{
	static const struct {
		struct kafka_setting s;
		const char *why; /* NULL: good */
	} tries[] = {
		{ { "security.protocol", "ssl" }, NULL },
		{ { "linger.ms", "20" }, NULL },
		{ { "acks", "1" }, "weir sets acks itself" },
		{ { "enable.idempotence", "false" }, "weir sets enable.idempotence itself" },
		{ { "plugin.library.paths", "/tmp/x.so" },
		    "weir sets plugin.library.paths itself" },
		{ { "no.such.thing", "1" }, "no.such.thing" },
		{ { "linger.ms", "soon" }, "queue.buffering.max.ms" /* its older name */ },
		{ { "security.protocol", "none" }, "security.protocol" },
	};
	char why[256];

	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		const enum err rc = kafka_check_setting(&tries[i].s, why, sizeof why);

		CU_ASSERT_EQUAL(rc, tries[i].why == NULL ? ERR_OK : ERR_INVALID);
		if (tries[i].why != NULL)
			CU_ASSERT_PTR_NOT_NULL(strstr(why, tries[i].why));
	}
}

static void
each_message_is_reported_once_with_its_ticket(void)
{
	struct reports r;
	struct kafka_producer *p = open_producer(&r, true, true);

	for (uint64_t i = 1; i <= 100; i++) {
		const struct kafka_message m = message(SLICE("value"), i << 40);

		CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_OK);
	}
	for (int i = 0; i < POLLS_MAX && r.good < 100; i++)
		kafka_producer_poll(p, 50);
	CU_ASSERT_EQUAL(r.good, 100);
	CU_ASSERT_EQUAL(r.bad, 0);
	CU_ASSERT_EQUAL(r.last, (uint64_t)100 << 40);
	CU_ASSERT_FALSE(kafka_producer_failed(p));
	kafka_producer_close(&p);
	CU_ASSERT_PTR_NULL(p);
}

static void
a_message_over_the_bound_is_refused_at_once(void)
{
	static char large[3000000];
	struct reports r;
	struct kafka_producer *p = open_producer(&r, true, true);
	const struct kafka_message m = message((struct slice){ large, sizeof large }, 1);

	CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_TOO_LARGE);
	kafka_producer_close(&p);
	CU_ASSERT_EQUAL(r.good + r.bad, 0);
}

static void
a_fatal_error_is_told_and_another_producer_goes_on(void)
{
	struct reports r;
	struct kafka_producer *p = open_producer(&r, true, true);
	const struct kafka_message m = message(SLICE("value"), 7);

	kafka_producer_fail(p);
	CU_ASSERT_TRUE(kafka_producer_failed(p));
	CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_UNAVAILABLE);
	kafka_producer_close(&p);
	p = open_producer(&r, true, true);
	CU_ASSERT_FALSE(kafka_producer_failed(p));
	CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_OK);
	for (int i = 0; i < POLLS_MAX && r.good == 0; i++)
		kafka_producer_poll(p, 50);
	CU_ASSERT_EQUAL(r.good, 1);
	kafka_producer_close(&p);
}

static void
topics_can_be_asked_for_ahead_and_without_a_broker_the_answer_is_bounded(void)
{
	struct reports r;
	struct kafka_producer *p = open_producer(&r, true, true);
	enum err rc = ERR_TIMEOUT;

	for (int i = 0; i < POLLS_MAX && rc != ERR_OK; i++)
		rc = kafka_producer_prepare(p, 50);
	CU_ASSERT_EQUAL(rc, ERR_OK);
	kafka_producer_close(&p);
	p = open_producer(&r, false, true);
	rc = kafka_producer_prepare(p, 50);
	CU_ASSERT_TRUE(rc == ERR_TIMEOUT || rc == ERR_UNAVAILABLE);
	kafka_producer_close(&p);
}

static void
without_a_broker_an_idempotent_producer_keeps_its_messages_and_the_other_gives_up(void)
{
	struct reports r;
	struct kafka_producer *p = open_producer(&r, false, true);
	const struct kafka_message m = message(SLICE("value"), 7);

	CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_OK);
	for (int i = 0; i < 10; i++)
		kafka_producer_poll(p, 50);
	CU_ASSERT_EQUAL(r.good + r.bad, 0);
	kafka_producer_close(&p); /* at once, and without a report */
	CU_ASSERT_EQUAL(r.good + r.bad, 0);
	p = open_producer(&r, false, false);
	CU_ASSERT_EQUAL(kafka_produce(p, &m), ERR_OK);
	for (int i = 0; i < POLLS_MAX && r.bad == 0; i++)
		kafka_producer_poll(p, 50);
	CU_ASSERT_EQUAL(r.bad, 1);
	kafka_producer_close(&p);
}

static void
without_a_broker_a_consumer_finds_nothing_and_can_be_closed(void)
{
	static const char *const names[] = { "t" };
	const struct kafka_consumer_options o = {
		.common = { .brokers = "127.0.0.1:1", .client_id = "test" },
		.group = "g",
		.instance = "i",
		.topics = names,
		.topic_count = 1,
	};
	struct kafka_place places[PLACES];
	struct kafka_received *got;
	struct kafka_consumer *c;
	size_t count = 1;
	enum err rc;

	CU_ASSERT_EQUAL_FATAL(kafka_consumer_open(&o, &c), ERR_OK);
	CU_ASSERT_EQUAL(kafka_consumer_poll(c, 100, &got), ERR_NOT_FOUND);
	CU_ASSERT_FALSE(kafka_consumer_at_end(c));
	kafka_consumer_pause(c, true);
	kafka_consumer_pause(c, false);
	rc = kafka_places(c, names, 1, 100, places, PLACES, &count);
	CU_ASSERT_TRUE(rc == ERR_TIMEOUT || rc == ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(count, 0);
	kafka_consumer_close(&c, 500);
	CU_ASSERT_PTR_NULL(c);
	kafka_consumer_close(&c, 500); /* as free(NULL) */
}

UNIT_SUITE(kafka, TEST(what_weir_depends_on_cannot_be_set_and_the_rest_is_librdkafkas_word),
    TEST(each_message_is_reported_once_with_its_ticket),
    TEST(a_message_over_the_bound_is_refused_at_once),
    TEST(a_fatal_error_is_told_and_another_producer_goes_on),
    TEST(topics_can_be_asked_for_ahead_and_without_a_broker_the_answer_is_bounded),
    TEST(without_a_broker_an_idempotent_producer_keeps_its_messages_and_the_other_gives_up),
    TEST(without_a_broker_a_consumer_finds_nothing_and_can_be_closed));
