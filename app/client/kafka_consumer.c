/*
 * librdkafka's consumer: a member of the group, its partitions, and where the group is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/kafka_room.h"

enum { CLOSE_PIECE_MS = 50 };

struct kafka_consumer {
	rd_kafka_t *handle;
	rd_kafka_topic_partition_list_t *assigned; /* NULL: not known yet */
	bool *ended;				   /* one for each of them */
	int at;					   /* the one that spoke last */
	bool paused, looks;			   /* looks: has no topics */
	void (*revoked)(void *ctx, bool lost);
	void *ctx;
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
		kafka_say_failed("kafka_commit_failed",
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
		kafka_say_failed("kafka_subscribe_failed", o->topics[0], code);
	return kafka_meaning(code);
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
	rc = kafka_configure(
	    &o->common, of_consumer, sizeof of_consumer / sizeof *of_consumer, conf);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "group.id", o->group);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "group.instance.id", o->instance);
	rd_kafka_conf_set_opaque(conf, c);
	rd_kafka_conf_set_rebalance_cb(conf, rebalance);
	rd_kafka_conf_set_offset_commit_cb(conf, committed);
	rc = kafka_make(RD_KAFKA_CONSUMER, conf, rc, &c->handle);
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
	rd_kafka_message_t *m = rd_kafka_consumer_poll(c->handle, kafka_poll_ms(timeout_ms));

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
	kafka_say_failed(
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
		kafka_say_failed("kafka_commit_failed", count > 0 ? places[0].topic : "", code);
	return kafka_meaning(code);
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
	code = rd_kafka_metadata(handle, 0, t, &meta, kafka_poll_ms(timeout_ms));
	/* A topic that nobody has written to yet has none; one that is being moved only lists none. */
	if (meta != NULL && meta->topic_cnt == 1 &&
	    meta->topics[0].err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		code = meta->topics[0].err;
	for (int i = 0; meta != NULL && meta->topic_cnt == 1 && i < meta->topics[0].partition_cnt;
	     i++)
		(void)rd_kafka_topic_partition_list_add(
		    list, topic, meta->topics[0].partitions[i].id);
	if (meta != NULL)
		rd_kafka_metadata_destroy(meta);
	rd_kafka_topic_destroy(t);
	return kafka_meaning(code);
}

/* What ListOffsets says for ${which} of every partition, in one question to each broker. */
static enum err
ask_edges(
    rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, int64_t which, int64_t timeout_ms)
{
	rd_kafka_resp_err_t code;

	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = which;
	code = rd_kafka_offsets_for_times(handle, list, kafka_poll_ms(timeout_ms));
	for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = list->elems[i].err;
	return kafka_meaning(code);
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
	code = rd_kafka_committed(handle, list, kafka_poll_ms(until_ms - clock_mono_ms()));
	for (int i = 0; i < list->cnt; i++)
		places[i].committed = list->elems[i].offset < 0 ? -1 : list->elems[i].offset;
	return kafka_meaning(code);
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

enum err
kafka_members(struct kafka_consumer *c, const char *group, int64_t timeout_ms, size_t *count_out)
{
	const struct rd_kafka_group_list *found = NULL;
	const rd_kafka_resp_err_t code =
	    rd_kafka_list_groups(c->handle, group, &found, kafka_poll_ms(timeout_ms));

	*count_out = 0;
	for (int i = 0; found != NULL && i < found->group_cnt; i++)
		*count_out += (size_t)found->groups[i].member_cnt;
	if (found != NULL)
		rd_kafka_group_list_destroy(found);
	return kafka_meaning(code);
}
