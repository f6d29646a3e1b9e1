/*
 * librdkafka's producer: topics that are held, tickets, and reports of what was delivered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/kafka_room.h"

enum { CLOSE_PIECE_MS = 50 };

struct kafka_producer {
	rd_kafka_t *handle;
	rd_kafka_topic_t **topics; /* held, so that their partitions stay known */
	size_t topic_count;
	void (*delivered)(void *ctx, uint64_t ticket, enum err result);
	void *ctx;
};

static const struct kafka_setting of_producer[] = {
	{ "acks", "all" },
	{ "partitioner", "murmur2_random" }, /* as Java's, so that keys of others meet ours */
	{ "message.max.bytes", "2000000" },
	{ "linger.ms", "2" },
};

_Static_assert(sizeof(void *) == sizeof(uint64_t), "a ticket travels in a pointer");

static void *
opaque_of(uint64_t ticket)
{
	void *p;

	memcpy(&p, &ticket, sizeof p);
	return p;
}

static void
report(rd_kafka_t *handle, const rd_kafka_message_t *m, void *opaque)
{
	const struct kafka_producer *p = opaque;
	uint64_t ticket;

	(void)handle;
	memcpy(&ticket, &m->_private, sizeof ticket);
	if (m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || m->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
		return;
	if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		kafka_say_failed("kafka_delivery_failed",
		    m->rkt == NULL ? "" : rd_kafka_topic_name(m->rkt), m->err);
	p->delivered(p->ctx, ticket, kafka_meaning(m->err));
}

static enum err
configure_producer(const struct kafka_producer_options *o, rd_kafka_conf_t *conf)
{
	char give_up[24];
	enum err rc;

	(void)snprintf(give_up, sizeof give_up, "%lld",
	    o->idempotent ? 0 : (long long)o->give_up_ms); /* 0: never */
	rc = kafka_configure(
	    &o->common, of_producer, sizeof of_producer / sizeof *of_producer, conf);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "message.timeout.ms", give_up);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "enable.idempotence", o->idempotent ? "true" : "false");
	rd_kafka_conf_set_dr_msg_cb(conf, report);
	return rc;
}

/* A topic that is held is asked for as soon as a broker is there. */
static enum err
hold_topics(struct kafka_producer *p, const struct kafka_producer_options *o)
{
	p->topics = calloc(o->topic_count + 1, sizeof *p->topics);
	if (p->topics == NULL)
		return ERR_NOMEM;
	for (; p->topic_count < o->topic_count; p->topic_count++) {
		rd_kafka_topic_t *t =
		    rd_kafka_topic_new(p->handle, o->topics[p->topic_count], NULL);

		if (t == NULL)
			return ERR_NOMEM;
		p->topics[p->topic_count] = t;
	}
	return ERR_OK;
}

enum err
kafka_producer_open(const struct kafka_producer_options *o, struct kafka_producer **out)
{
	struct kafka_producer *p = calloc(1, sizeof *p);
	rd_kafka_conf_t *conf = p == NULL ? NULL : rd_kafka_conf_new();
	enum err rc;

	*out = NULL;
	if (conf == NULL)
		return ERR_NOMEM;
	*p = (struct kafka_producer){ .delivered = o->delivered, .ctx = o->ctx };
	rc = configure_producer(o, conf);
	rd_kafka_conf_set_opaque(conf, p);
	rc = kafka_make(RD_KAFKA_PRODUCER, conf, rc, &p->handle);
	if (rc != ERR_OK) {
		free(p);
		return rc;
	}
	*out = p;
	rc = hold_topics(p, o);
	if (rc != ERR_OK)
		kafka_producer_close(out);
	return rc;
}

void
kafka_producer_close(struct kafka_producer **pp)
{
	struct kafka_producer *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	(void)rd_kafka_purge(p->handle,
	    RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
	for (size_t i = 0; i < p->topic_count; i++)
		rd_kafka_topic_destroy(p->topics[i]);
	rd_kafka_destroy(p->handle);
	free(p->topics);
	free(p);
}

/* The answer to one question about all topics that are held also tells librdkafka itself. */
enum err
kafka_producer_prepare(struct kafka_producer *p, int64_t timeout_ms)
{
	const struct rd_kafka_metadata *meta = NULL;
	const rd_kafka_resp_err_t code =
	    rd_kafka_metadata(p->handle, 0, NULL, &meta, kafka_poll_ms(timeout_ms));
	size_t known = 0;

	for (int i = 0; meta != NULL && i < meta->topic_cnt; i++)
		known += meta->topics[i].partition_cnt > 0;
	if (meta != NULL)
		rd_kafka_metadata_destroy(meta);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return kafka_meaning(code);
	return known >= p->topic_count ? ERR_OK : ERR_NOT_FOUND;
}

static rd_kafka_headers_t *
headers_of(const struct kafka_message *m)
{
	rd_kafka_headers_t *h = rd_kafka_headers_new(m->header_count);

	for (size_t i = 0; i < m->header_count; i++)
		(void)rd_kafka_header_add(h, m->headers[i].name.ptr,
		    (ssize_t)m->headers[i].name.len, m->headers[i].value.ptr,
		    (ssize_t)m->headers[i].value.len);
	return h;
}

/* The library copies what it is given and declares none of it const. */
static void *
unconst(const void *p)
{
	void *q;

	memcpy(&q, &p, sizeof q);
	return q;
}

enum err
kafka_produce(struct kafka_producer *p, const struct kafka_message *m)
{
	rd_kafka_headers_t *h = headers_of(m);
	const rd_kafka_vu_t parts[] = {
		{ .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = m->topic },
		{ .vtype = RD_KAFKA_VTYPE_KEY, .u.mem = { unconst(m->key.ptr), m->key.len } },
		{ .vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = { unconst(m->value.ptr), m->value.len } },
		{ .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = h },
		{ .vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = m->timestamp_ms },
		{ .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY },
		{ .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque_of(m->ticket) },
	};
	rd_kafka_error_t *error =
	    rd_kafka_produceva(p->handle, parts, sizeof parts / sizeof *parts);
	rd_kafka_resp_err_t code;

	if (error == NULL)
		return ERR_OK;
	code = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	rd_kafka_headers_destroy(h); /* taken only by what was accepted */
	if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
		kafka_say_failed("kafka_produce_failed", m->topic, code);
	return kafka_meaning(code);
}

void
kafka_producer_poll(struct kafka_producer *p, int64_t timeout_ms)
{
	(void)rd_kafka_poll(p->handle, kafka_poll_ms(timeout_ms));
}

bool
kafka_producer_failed(struct kafka_producer *p)
{
	return rd_kafka_fatal_error(p->handle, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void
kafka_producer_fail(struct kafka_producer *p)
{
	(void)rd_kafka_test_fatal_error(
	    p->handle, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "asked for by a test");
}
