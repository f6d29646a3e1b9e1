/*
 * librdkafka, and nobody else includes its header.
 *
 * It brings its own threads, retries and reconnects, so a stalled broker blocks none of our calls; what
 * is left to do here is to choose the settings that weir's promises rest on, to translate, and to
 * keep clear of what is broken in 2.0.2: messages are polled one by one, the assignor is `range`, and only what
 * was paused is resumed.
 */
#include "client/kafka.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { CLOSE_PIECE_MS = 50, WHY_BYTES = 512, LEVEL_WARNING = 4 /* of syslog */ };

struct kafka_producer {
	rd_kafka_t *handle;
	rd_kafka_topic_t **topics; /* held, so that their partitions stay known */
	size_t topic_count;
	void (*delivered)(void *ctx, uint64_t ticket, enum err result);
	void *ctx;
};

struct kafka_consumer {
	rd_kafka_t *handle;
	rd_kafka_topic_partition_list_t *assigned; /* NULL: not known yet */
	bool *ended;				   /* one for each of them */
	int at;					   /* the one that spoke last */
	bool paused, looks;			   /* looks: has no topics */
	void (*revoked)(void *ctx, bool lost);
	void *ctx;
};

/*
 * Settings.
 */
static const char *const reserved[] = {
	"bootstrap.servers",
	"metadata.broker.list",
	"client.id",
	"group.id",
	"group.instance.id",
	"enable.idempotence",
	"enable.gapless.guarantee",
	"transactional.id",
	"acks",
	"request.required.acks",
	"message.timeout.ms",
	"delivery.timeout.ms",
	"max.in.flight",
	"max.in.flight.requests.per.connection",
	"retries",
	"message.send.max.retries",
	"queuing.strategy",
	"partitioner",
	"enable.auto.commit",
	"auto.commit.enable",
	"enable.auto.offset.store",
	"enable.partition.eof",
	"auto.offset.reset",
	"partition.assignment.strategy",
	"plugin.library.paths",
};

enum err
kafka_check_setting(const struct kafka_setting *s, char *why_out, size_t bytes)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	enum err rc = ERR_OK;

	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcmp(reserved[i], s->name) == 0) {
			(void)snprintf(why_out, bytes, "weir sets %s itself", s->name);
			rc = ERR_INVALID;
		}
	if (rc == ERR_OK &&
	    rd_kafka_conf_set(conf, s->name, s->value, why_out, bytes) != RD_KAFKA_CONF_OK)
		rc = ERR_INVALID;
	rd_kafka_conf_destroy(conf);
	return rc;
}

/* Of every handle; the user's own settings may change them. */
static const struct kafka_setting usual[] = {
	{ "socket.timeout.ms", "10000" },
	{ "request.timeout.ms", "10000" },
	{ "reconnect.backoff.max.ms", "2000" },
	{ "topic.metadata.refresh.interval.ms", "10000" },
	{ "allow.auto.create.topics", "true" },
};

static const struct kafka_setting of_producer[] = {
	{ "acks", "all" },
	{ "partitioner", "murmur2_random" }, /* as Java's, so that keys of others meet ours */
	{ "message.max.bytes", "2000000" },
	{ "linger.ms", "2" },
};

static const struct kafka_setting of_consumer[] = {
	{ "enable.auto.commit", "false" },
	{ "enable.auto.offset.store", "false" },
	{ "enable.partition.eof", "true" },
	{ "auto.offset.reset", "earliest" }, /* else what came before our first start is lost */
	{ "partition.assignment.strategy", "range" },
	{ "queued.min.messages", "10000" },
	{ "queued.max.messages.kbytes", "16384" },
	{ "fetch.wait.max.ms", "100" },
	/* A topic that is made after we subscribed, by the first producer's question, is found by this only. */
	{ "topic.metadata.refresh.interval.ms", "1000" },
};

static enum err
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[WHY_BYTES];

	if (value == NULL ||
	    rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return ERR_OK;
	log_error("kafka_setting_refused", LOG_STR("name", name), LOG_STR("reason", why));
	return ERR_INVALID;
}

static enum err
set_all(rd_kafka_conf_t *conf, const struct kafka_setting *settings, size_t count)
{
	enum err rc = ERR_OK;

	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = set(conf, settings[i].name, settings[i].value);
	return rc;
}

/* What librdkafka says of itself: what it tries again, and why.  Hints about settings of the other kind of
 * handle are no news, for one list of settings serves both. */
static void
say(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
	static struct log_gate gate;
	uint64_t held;

	(void)handle;
	if (level > LEVEL_WARNING || strcmp(facility, "CONFWARN") == 0)
		return;
	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn("kafka_client", LOG_STR("facility", facility), LOG_STR("reason", text),
		    LOG_INT("held_back", held));
}

static void
say_failed(const char *event, const char *topic, rd_kafka_resp_err_t code)
{
	static struct log_gate gate;
	uint64_t held;

	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn(event, LOG_STR("topic", topic), LOG_STR("reason", rd_kafka_err2str(code)),
		    LOG_INT("held_back", held));
}

/* Without it librdkafka would take such errors for what ends the poll. */
static void
failed(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
	(void)opaque;
	say(handle, LEVEL_WARNING, rd_kafka_err2name((rd_kafka_resp_err_t)code), reason);
}

static enum err
configure(const struct kafka_options *o, const struct kafka_setting *kind, size_t kind_count,
    rd_kafka_conf_t *conf)
{
	enum err rc = set_all(conf, usual, sizeof usual / sizeof *usual);

	rd_kafka_conf_set_log_cb(conf, say);
	rd_kafka_conf_set_error_cb(conf, failed);
	if (rc == ERR_OK)
		rc = set_all(conf, kind, kind_count);
	if (rc == ERR_OK)
		rc = set_all(conf, o->settings, o->setting_count);
	if (rc == ERR_OK)
		rc = set(conf, "bootstrap.servers", o->brokers);
	if (rc == ERR_OK)
		rc = set(conf, "client.id", o->client_id);
	return rc;
}

/* Takes ${conf}. */
static enum err
make(rd_kafka_type_t type, rd_kafka_conf_t *conf, enum err configured, rd_kafka_t **out)
{
	char why[WHY_BYTES];

	*out = NULL;
	if (configured == ERR_OK) {
		*out = rd_kafka_new(type, conf, why, sizeof why);
		if (*out != NULL)
			return ERR_OK; /* which has taken ${conf} */
		log_error("kafka_open_failed", LOG_STR("reason", why));
	}
	rd_kafka_conf_destroy(conf);
	return ERR_INVALID;
}

static enum err
meaning(rd_kafka_resp_err_t code)
{
	switch ((int)code) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return ERR_OK;
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
		return ERR_OVERLOADED;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		return ERR_TOO_LARGE;
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
		return ERR_TIMEOUT;
	default:
		return ERR_UNAVAILABLE;
	}
}

static int
poll_ms(int64_t ms)
{
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/*
 * The producer.
 */
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
		say_failed("kafka_delivery_failed",
		    m->rkt == NULL ? "" : rd_kafka_topic_name(m->rkt), m->err);
	p->delivered(p->ctx, ticket, meaning(m->err));
}

static enum err
configure_producer(const struct kafka_producer_options *o, rd_kafka_conf_t *conf)
{
	char give_up[24];
	enum err rc;

	(void)snprintf(give_up, sizeof give_up, "%lld",
	    o->idempotent ? 0 : (long long)o->give_up_ms); /* 0: never */
	rc = configure(&o->common, of_producer, sizeof of_producer / sizeof *of_producer, conf);
	if (rc == ERR_OK)
		rc = set(conf, "message.timeout.ms", give_up);
	if (rc == ERR_OK)
		rc = set(conf, "enable.idempotence", o->idempotent ? "true" : "false");
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
	rc = make(RD_KAFKA_PRODUCER, conf, rc, &p->handle);
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
	    rd_kafka_metadata(p->handle, 0, NULL, &meta, poll_ms(timeout_ms));
	size_t known = 0;

	for (int i = 0; meta != NULL && i < meta->topic_cnt; i++)
		known += meta->topics[i].partition_cnt > 0;
	if (meta != NULL)
		rd_kafka_metadata_destroy(meta);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return meaning(code);
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
		say_failed("kafka_produce_failed", m->topic, code);
	return meaning(code);
}

void
kafka_producer_poll(struct kafka_producer *p, int64_t timeout_ms)
{
	(void)rd_kafka_poll(p->handle, poll_ms(timeout_ms));
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

/*
 * The consumer.
 */
static void
forget_assignment(struct kafka_consumer *c)
{
	if (c->assigned != NULL)
		rd_kafka_topic_partition_list_destroy(c->assigned);
	free(c->ended);
	c->assigned = NULL;
	c->ended = NULL;
	c->paused = false;
}

/* The eager protocol: all is taken away, then all is given. */
static void
rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *parts,
    void *opaque)
{
	struct kafka_consumer *c = opaque;

	if (c->assigned != NULL && c->revoked != NULL)
		c->revoked(c->ctx, rd_kafka_assignment_lost(handle) != 0);
	forget_assignment(c);
	if (code != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		(void)rd_kafka_assign(handle, NULL);
		return;
	}
	c->assigned = rd_kafka_topic_partition_list_copy(parts);
	c->ended = calloc((size_t)parts->cnt + 1, sizeof *c->ended);
	c->at = 0;
	(void)rd_kafka_assign(handle, parts);
	log_info("kafka_assigned", LOG_INT("partitions", parts->cnt));
}

static void
committed(rd_kafka_t *handle, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *offsets,
    void *opaque)
{
	(void)handle;
	(void)opaque;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
		say_failed("kafka_commit_failed",
		    offsets != NULL && offsets->cnt > 0 ? offsets->elems[0].topic : "", code);
}

static enum err
subscribe(struct kafka_consumer *c, const struct kafka_consumer_options *o)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t code;

	if (o->topic_count == 0)
		return ERR_OK;
	list = rd_kafka_topic_partition_list_new((int)o->topic_count);
	for (size_t i = 0; i < o->topic_count; i++)
		(void)rd_kafka_topic_partition_list_add(list, o->topics[i], RD_KAFKA_PARTITION_UA);
	code = rd_kafka_subscribe(c->handle, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		say_failed("kafka_subscribe_failed", o->topics[0], code);
	return meaning(code);
}

enum err
kafka_consumer_open(const struct kafka_consumer_options *o, struct kafka_consumer **out)
{
	struct kafka_consumer *c = calloc(1, sizeof *c);
	rd_kafka_conf_t *conf = c == NULL ? NULL : rd_kafka_conf_new();
	enum err rc;

	*out = NULL;
	if (conf == NULL)
		return ERR_NOMEM;
	c->looks = o->topic_count == 0;
	c->revoked = o->revoked;
	c->ctx = o->ctx;
	rc = configure(&o->common, of_consumer, sizeof of_consumer / sizeof *of_consumer, conf);
	if (rc == ERR_OK)
		rc = set(conf, "group.id", o->group);
	if (rc == ERR_OK)
		rc = set(conf, "group.instance.id", o->instance);
	rd_kafka_conf_set_opaque(conf, c);
	rd_kafka_conf_set_rebalance_cb(conf, rebalance);
	rd_kafka_conf_set_offset_commit_cb(conf, committed);
	rc = make(RD_KAFKA_CONSUMER, conf, rc, &c->handle);
	if (rc != ERR_OK) {
		free(c);
		return rc;
	}
	(void)rd_kafka_poll_set_consumer(c->handle);
	*out = c;
	rc = subscribe(c, o);
	if (rc != ERR_OK)
		kafka_consumer_close(out, 0);
	return rc;
}

/* rd_kafka_consumer_close() waits for the broker without a bound; its asynchronous form does not. */
void
kafka_consumer_close(struct kafka_consumer **cp, int64_t timeout_ms)
{
	struct kafka_consumer *c = *cp;
	const int64_t until_ms = clock_mono_ms() + timeout_ms;
	rd_kafka_queue_t *queue;
	rd_kafka_error_t *error;

	if (c == NULL)
		return;
	*cp = NULL;
	queue = rd_kafka_queue_new(c->handle);
	error = rd_kafka_consumer_close_queue(c->handle, queue);
	while (error == NULL && !rd_kafka_consumer_closed(c->handle) && clock_mono_ms() < until_ms)
		(void)rd_kafka_queue_poll_callback(queue, CLOSE_PIECE_MS);
	if (error != NULL)
		rd_kafka_error_destroy(error);
	rd_kafka_queue_destroy(queue);
	c->revoked = NULL;
	rd_kafka_destroy_flags(c->handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	forget_assignment(c);
	free(c);
}

/* The place of a partition among ours, -1 when it is not ours (any more). */
static int
place_of(struct kafka_consumer *c, const char *topic, int32_t partition)
{
	const rd_kafka_topic_partition_t *p;

	for (int i = 0; c->assigned != NULL && i < c->assigned->cnt; i++) {
		const int at = (c->at + i) % c->assigned->cnt;

		p = &c->assigned->elems[at];
		if (p->partition == partition && strcmp(p->topic, topic) == 0)
			return c->at = at;
	}
	return -1;
}

static void
note_end(struct kafka_consumer *c, const rd_kafka_message_t *m, bool ended)
{
	const int at = m->rkt == NULL ? -1 : place_of(c, rd_kafka_topic_name(m->rkt), m->partition);

	if (at >= 0 && c->ended != NULL)
		c->ended[at] = ended;
}

static void
copy_headers(rd_kafka_message_t *m, struct kafka_received *r)
{
	rd_kafka_headers_t *h;
	const char *name;
	const void *value;
	size_t len;

	if (rd_kafka_message_headers(m, &h) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	while (r->header_count < KAFKA_HEADERS_MAX &&
	       rd_kafka_header_get_all(h, r->header_count, &name, &value, &len) ==
		   RD_KAFKA_RESP_ERR_NO_ERROR)
		r->headers[r->header_count++] =
		    (struct kafka_header){ slice_of(name), { value, value == NULL ? 0 : len } };
}

static enum err
receive(rd_kafka_message_t *m, struct kafka_received **out)
{
	struct kafka_received *r = calloc(1, sizeof *r);

	*out = r;
	if (r == NULL) {
		rd_kafka_message_destroy(m);
		return ERR_NOMEM;
	}
	r->topic = rd_kafka_topic_name(m->rkt);
	r->partition = m->partition;
	r->offset = m->offset;
	r->key = (struct slice){ m->key, m->key == NULL ? 0 : m->key_len };
	r->value = (struct slice){ m->payload, m->payload == NULL ? 0 : m->len };
	r->message = m;
	copy_headers(m, r);
	return ERR_OK;
}

void
kafka_received_free(struct kafka_received **rp)
{
	struct kafka_received *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	rd_kafka_message_destroy(r->message);
	free(r);
}

/* The end of one partition is no end of what lies ready: another may have brought messages since. */
static rd_kafka_message_t *
poll_past_ends(struct kafka_consumer *c, int64_t timeout_ms)
{
	rd_kafka_message_t *m = rd_kafka_consumer_poll(c->handle, poll_ms(timeout_ms));

	while (m != NULL && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		note_end(c, m, true);
		rd_kafka_message_destroy(m);
		m = rd_kafka_consumer_poll(c->handle, 0);
	}
	return m;
}

enum err
kafka_consumer_poll(struct kafka_consumer *c, int64_t timeout_ms, struct kafka_received **out)
{
	rd_kafka_message_t *m = poll_past_ends(c, timeout_ms);

	*out = NULL;
	if (m == NULL)
		return ERR_NOT_FOUND;
	if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
		note_end(c, m, false);
		return receive(m, out);
	}
	say_failed(
	    "kafka_receive_failed", m->rkt == NULL ? "" : rd_kafka_topic_name(m->rkt), m->err);
	rd_kafka_message_destroy(m);
	return rd_kafka_fatal_error(c->handle, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR
		   ? ERR_UNAVAILABLE
		   : ERR_NOT_FOUND;
}

bool
kafka_consumer_at_end(const struct kafka_consumer *c)
{
	if (c->assigned == NULL || c->ended == NULL)
		return false;
	for (int i = 0; i < c->assigned->cnt; i++)
		if (!c->ended[i])
			return false;
	return true;
}

enum err
kafka_consumer_commit(struct kafka_consumer *c, const struct kafka_place *places, size_t count)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
	rd_kafka_resp_err_t code;

	for (size_t i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition)
		    ->offset = places[i].committed;
	code = rd_kafka_commit(c->handle, list, 1 /* asynchronously */);
	rd_kafka_topic_partition_list_destroy(list);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		say_failed("kafka_commit_failed", count > 0 ? places[0].topic : "", code);
	return meaning(code);
}

void
kafka_consumer_pause(struct kafka_consumer *c, bool pause)
{
	if (c->assigned == NULL || c->paused == pause)
		return;
	if (pause)
		(void)rd_kafka_pause_partitions(c->handle, c->assigned);
	else
		(void)rd_kafka_resume_partitions(c->handle, c->assigned);
	c->paused = pause;
}

/*
 * Where the group is.
 */
static enum err
add_partitions(rd_kafka_t *handle, const char *topic, int64_t timeout_ms,
    rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_topic_t *t = rd_kafka_topic_new(handle, topic, NULL);
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;

	if (t == NULL)
		return ERR_NOMEM;
	code = rd_kafka_metadata(handle, 0, t, &meta, poll_ms(timeout_ms));
	for (int i = 0; meta != NULL && meta->topic_cnt == 1 && i < meta->topics[0].partition_cnt;
	     i++)
		(void)rd_kafka_topic_partition_list_add(
		    list, topic, meta->topics[0].partitions[i].id);
	if (meta != NULL)
		rd_kafka_metadata_destroy(meta);
	rd_kafka_topic_destroy(t);
	return meaning(code);
}

/* What ListOffsets says for ${which} of every partition, in one question to each broker. */
static enum err
ask_edges(
    rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, int64_t which, int64_t timeout_ms)
{
	rd_kafka_resp_err_t code;

	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = which;
	code = rd_kafka_offsets_for_times(handle, list, poll_ms(timeout_ms));
	for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = list->elems[i].err;
	return meaning(code);
}

static enum err
ask_places(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, int64_t until_ms,
    struct kafka_place *places)
{
	rd_kafka_resp_err_t code;
	enum err rc =
	    ask_edges(handle, list, RD_KAFKA_OFFSET_BEGINNING, until_ms - clock_mono_ms());

	for (int i = 0; i < list->cnt; i++) {
		(void)snprintf(places[i].topic, sizeof places[i].topic, "%s", list->elems[i].topic);
		places[i].partition = list->elems[i].partition;
		places[i].low = list->elems[i].offset;
	}
	if (rc == ERR_OK)
		rc = ask_edges(handle, list, RD_KAFKA_OFFSET_END, until_ms - clock_mono_ms());
	if (rc != ERR_OK)
		return rc;
	for (int i = 0; i < list->cnt; i++)
		places[i].high = list->elems[i].offset;
	code = rd_kafka_committed(handle, list, poll_ms(until_ms - clock_mono_ms()));
	for (int i = 0; i < list->cnt; i++)
		places[i].committed = list->elems[i].offset < 0 ? -1 : list->elems[i].offset;
	return meaning(code);
}

enum err
kafka_places(struct kafka_consumer *c, const char *const *topics, size_t topic_count,
    int64_t timeout_ms, struct kafka_place *places_out, size_t max, size_t *count_out)
{
	const int64_t until_ms = clock_mono_ms() + timeout_ms;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	struct kafka_received *none;
	enum err rc = ERR_OK;

	*count_out = 0;
	if (c->looks) /* nobody else serves its errors */
		(void)kafka_consumer_poll(c, 0, &none);
	for (size_t i = 0; i < topic_count && rc == ERR_OK; i++)
		rc = add_partitions(c->handle, topics[i], until_ms - clock_mono_ms(), list);
	if (rc == ERR_OK && (size_t)list->cnt > max)
		rc = ERR_FULL;
	if (rc == ERR_OK && list->cnt > 0)
		rc = ask_places(c->handle, list, until_ms, places_out);
	if (rc == ERR_OK)
		*count_out = (size_t)list->cnt;
	rd_kafka_topic_partition_list_destroy(list);
	return rc;
}
