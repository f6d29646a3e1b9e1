/*
 * Kafka as the consumer's source: a member of the group that all hosts share.
 *
 *   broker --> librdkafka's queue --> our buffer --read--> one batch --acknowledge--> offsets committed
 *
 * The buffer keeps what was not acknowledged, in the order in which it came, so that a failed batch can be read again and cut.
 * When partitions are taken from us it is emptied: what was not applied is for others, and what was applied
 * they know from the key table.  A message that is none of ours goes to the dead-letter topic and is passed.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "client/kafka.h"
#include "service/event.h"
#include "service/event_envelope.h"
#include "service/forward.h"
#include "service/source.h"
#include "service/topics.h"
#include "service/writer.h"

enum {
	OPEN_AGAIN_MS = 2000,
	LEAVE_MS = 3000,
	COPY_WAIT_MS = 2000,
	COPY_GIVE_UP_MS = 30000,
	BATCH_BYTES_MAX = 16 << 20,
	PLACES_MAX = 1024, /* partitions in one batch; more make it shorter */
	TOPIC_BYTES = 256,
};

struct held {
	struct kafka_received *message;
	uint64_t seq; /* of this life: tells events apart */
};

struct kafka_source {
	struct source source;
	struct source_kafka_options o;
	struct kafka_consumer *consumer; /* NULL: to be opened */
	struct kafka_producer *copier;	 /* of dead letters; NULL: none was yet */
	struct held *buffer;		 /* a ring */
	size_t first, count, cap;
	uint64_t last_seq;
	int64_t open_at_ms;
	uint64_t copies_out; /* not reported yet */
	bool copies_late;    /* the last wait for one was in vain */
};

static struct held *
held_at(const struct kafka_source *s, size_t i)
{
	return &s->buffer[(s->first + i) % s->cap];
}

static void
drop_first(struct kafka_source *s, size_t count)
{
	for (; count > 0 && s->count > 0; count--, s->count--) {
		kafka_received_free(&held_at(s, 0)->message);
		s->first = (s->first + 1) % s->cap;
	}
}

static void
revoked(void *ctx, bool lost)
{
	struct kafka_source *s = ctx;

	log_info("kafka_revoked", LOG_INT("held", s->count), LOG_STR("lost", lost ? "yes" : "no"));
	drop_first(s, s->count);
}

static void
close_consumer(struct kafka_source *s)
{
	drop_first(s, s->count); /* before the handle that they belong to */
	kafka_consumer_close(&s->consumer, LEAVE_MS);
}

static bool
open_consumer(struct kafka_source *s)
{
	const struct kafka_consumer_options o = {
		.common = *s->o.kafka,
		.group = s->o.group,
		.instance = s->o.instance,
		.topics = s->o.topics->names,
		.topic_count = s->o.topics->count,
		.revoked = revoked,
		.ctx = s,
	};
	const int64_t now_ms = clock_mono_ms();

	if (s->consumer != NULL)
		return true;
	if (now_ms < s->open_at_ms)
		return false;
	s->open_at_ms = now_ms + OPEN_AGAIN_MS;
	return kafka_consumer_open(&o, &s->consumer) == ERR_OK;
}

/* Room for one more; the ring grows, for what is sent already cannot be refused. */
static bool
make_room(struct kafka_source *s)
{
	const size_t cap = s->cap == 0 ? 1024 : s->cap * 2;
	struct held *buffer;

	if (s->count < s->cap)
		return true;
	buffer = calloc(cap, sizeof *buffer);
	if (buffer == NULL)
		return false;
	for (size_t i = 0; i < s->count; i++)
		buffer[i] = *held_at(s, i);
	free(s->buffer);
	s->buffer = buffer;
	s->first = 0;
	s->cap = cap;
	return true;
}

/* One message into the buffer.  False: there was none. */
static bool
receive(struct kafka_source *s, int64_t timeout_ms)
{
	struct kafka_received *m;
	const enum err rc =
	    make_room(s) ? kafka_consumer_poll(s->consumer, timeout_ms, &m) : ERR_NOMEM;

	if (rc == ERR_UNAVAILABLE) {
		log_warn("kafka_member_ended",
		    LOG_STR("why", "the group goes on without this member; it joins again"));
		close_consumer(s);
	}
	if (rc != ERR_OK)
		return false;
	*held_at(s, s->count++) = (struct held){ m, ++s->last_seq };
	return true;
}

/* Always polls at least once: that is what tells the group that we live. */
static void
receive_all(struct kafka_source *s)
{
	kafka_consumer_pause(s->consumer, s->count >= s->o.buffer_max);
	while (receive(s, 0) && s->count < s->o.buffer_max)
		;
	if (s->copier != NULL)
		kafka_producer_poll(s->copier, 0);
}

/*
 * Dead letters, for others.
 */
static void
copied(void *ctx, uint64_t ticket, enum err result)
{
	struct kafka_source *s = ctx;

	(void)ticket;
	s->copies_out--;
	s->copies_late = result != ERR_OK;
	if (result != ERR_OK)
		log_warn("dead_letter_not_copied", LOG_ERR("error", result));
}

static bool
open_copier(struct kafka_source *s)
{
	const struct kafka_producer_options o = {
		.common = *s->o.kafka, .give_up_ms = COPY_GIVE_UP_MS, .delivered = copied, .ctx = s
	};

	return s->copier != NULL || kafka_producer_open(&o, &s->copier) == ERR_OK;
}

/* As Kafka Connect names them, so that its tools can read ours. */
static void
add_reason(
    struct kafka_message *m, struct kafka_header *headers, const char *name, struct slice value)
{
	if (m->header_count < KAFKA_HEADERS_MAX)
		headers[m->header_count++] = (struct kafka_header){ slice_of(name), value };
}

static void
copy(
    struct kafka_source *s, const struct kafka_received *from, const char *code, const char *reason)
{
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	char topic[TOPIC_BYTES], partition[16], offset[24];
	struct kafka_message m = { .topic = topic,
		.key = from->key,
		.value = from->value,
		.headers = headers,
		.header_count = from->header_count,
		.timestamp_ms = clock_wall_us() / 1000 };
	enum err rc;

	(void)snprintf(topic, sizeof topic, "%s.dlq", from->topic);
	(void)snprintf(partition, sizeof partition, "%d", (int)from->partition);
	(void)snprintf(offset, sizeof offset, "%lld", (long long)from->offset);
	memcpy(headers, from->headers, from->header_count * sizeof *headers);
	add_reason(&m, headers, "__connect.errors.topic", slice_of(from->topic));
	add_reason(&m, headers, "__connect.errors.partition", slice_of(partition));
	add_reason(&m, headers, "__connect.errors.offset", slice_of(offset));
	add_reason(&m, headers, "__connect.errors.connector.name", slice_of(s->o.group));
	add_reason(&m, headers, "__connect.errors.task.id", SLICE("0"));
	add_reason(&m, headers, "__connect.errors.stage", SLICE("TASK_PUT"));
	add_reason(&m, headers, "__connect.errors.class.name", SLICE("weir"));
	add_reason(&m, headers, "__connect.errors.exception.class.name", slice_of(code));
	add_reason(&m, headers, "__connect.errors.exception.message", slice_of(reason));
	if (!open_copier(s))
		return; /* said */
	rc = kafka_produce(s->copier, &m);
	if (rc == ERR_OK)
		s->copies_out++;
	else
		log_warn("dead_letter_not_copied", LOG_ERR("error", rc));
}

static void
wait_copied(struct kafka_source *s)
{
	const int64_t until_ms = clock_mono_ms() + COPY_WAIT_MS;

	while (s->copies_out > 0 && !s->copies_late && clock_mono_ms() < until_ms)
		kafka_producer_poll(s->copier, until_ms - clock_mono_ms());
	s->copies_late = s->copies_out > 0; /* then no other waits, until one is reported */
}

static void
kafka_bury(struct source *source, const struct event *ev, const struct writer_failure *reason)
{
	struct kafka_source *s = (struct kafka_source *)source;

	for (size_t i = 0; i < s->count; i++)
		if (held_at(s, i)->seq == ev->seq) {
			copy(s, held_at(s, i)->message, reason->sqlstate, reason->message);
			return;
		}
}

static void
kafka_wait_buried(struct source *source)
{
	wait_copied((struct kafka_source *)source);
}

/*
 * Offsets.
 */
static bool
note_place(struct kafka_place *places, size_t *count, const struct kafka_received *m)
{
	size_t i = *count;

	while (i > 0 && (places[i - 1].partition != m->partition ||
			    strcmp(places[i - 1].topic, m->topic) != 0))
		i--;
	if (i == 0) {
		if (*count == PLACES_MAX)
			return false;
		i = ++*count;
		(void)snprintf(places[i - 1].topic, sizeof places[i - 1].topic, "%s", m->topic);
		places[i - 1].partition = m->partition;
	}
	places[i - 1].committed = m->offset + 1;
	return true;
}

/* The first ${count} are done.  What is not committed comes again, and is known then. */
static enum err
commit(struct kafka_source *s, size_t count)
{
	struct kafka_place *places = calloc(PLACES_MAX, sizeof *places);
	size_t place_count = 0;

	if (places == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < count && i < s->count; i++)
		if (!note_place(places, &place_count, held_at(s, i)->message))
			break;
	if (place_count > 0)
		(void)kafka_consumer_commit(s->consumer, places, place_count);
	free(places);
	drop_first(s, count);
	return ERR_OK;
}

static enum err
kafka_acknowledge(struct source *source, const struct event *events, size_t count, int64_t now_us)
{
	(void)events;
	(void)now_us;
	return commit((struct kafka_source *)source, count);
}

/*
 * Reading.
 */
static enum err
decode(const struct held *h, struct arena *a, struct event *out)
{
	const struct kafka_received *m = h->message;
	const enum err rc = event_envelope_decode(m->value, m->headers, m->header_count, a, out);

	out->seq = h->seq;
	return rc;
}

/* Somebody else's message, at the head: nobody was promised anything, so it must not stop us. */
static void
pass_foreign(struct kafka_source *s)
{
	const struct kafka_received *m = held_at(s, 0)->message;

	log_warn("foreign_message", LOG_STR("topic", m->topic), LOG_INT("partition", m->partition),
	    LOG_INT("offset", m->offset));
	copy(s, m, "22000", "not a message of weir, or damaged");
	wait_copied(s);
	(void)commit(s, 1);
}

static enum err
take_events(
    struct kafka_source *s, size_t max, struct arena *a, struct event *events, size_t *count)
{
	size_t bytes = 0;
	enum err rc = s->count > 0 ? ERR_OK : ERR_NOT_FOUND;

	while (*count < max && *count < s->count) {
		bytes += held_at(s, *count)->message->value.len;
		if (*count > 0 && bytes > BATCH_BYTES_MAX)
			break;
		rc = decode(held_at(s, *count), a, &events[*count]);
		if (rc == ERR_OK) {
			++*count;
		} else if (rc == ERR_INVALID && *count == 0) {
			pass_foreign(s);
			rc = ERR_NOT_FOUND;
		} else {
			break; /* left until it is the first */
		}
	}
	if (*count > 0)
		return ERR_OK;
	return rc == ERR_MISMATCH ? ERR_INVALID : rc;
}

static enum err
kafka_read(struct source *source, size_t max, struct arena *a, struct event **events_out,
    size_t *count_out)
{
	struct kafka_source *s = (struct kafka_source *)source;

	*count_out = 0;
	*events_out = arena_alloc(a, max * sizeof **events_out);
	if (*events_out == NULL)
		return ERR_NOMEM;
	if (!open_consumer(s))
		return ERR_NOT_FOUND;
	receive_all(s);
	return take_events(s, max, a, *events_out, count_out);
}

static int64_t
kafka_oldest_us(const struct source *source, const struct event *events, size_t count)
{
	const struct kafka_source *s = (const struct kafka_source *)source;
	const int64_t confirmed_us = atomic_load(&s->o.progress->confirmed_us);
	/* What a host had not forwarded then is at most as old as a key lives. */
	int64_t oldest_us = confirmed_us == 0 ? 0 : confirmed_us - s->o.key_ttl_ms * 1000;

	for (size_t i = 0; i < count; i++)
		if (events[i].accepted_us < oldest_us)
			oldest_us = events[i].accepted_us;
	return oldest_us;
}

static void
kafka_wait(struct source *source, int64_t timeout_ms)
{
	struct kafka_source *s = (struct kafka_source *)source;
	static _Atomic uint32_t never;

	if (open_consumer(s))
		(void)receive(s, timeout_ms);
	else
		wake_wait(&never, 0, timeout_ms);
}

static bool
kafka_is_drained(const struct source *source)
{
	const struct kafka_source *s = (const struct kafka_source *)source;

	return s->consumer != NULL && s->count == 0 && kafka_consumer_at_end(s->consumer);
}

static void
kafka_close(struct source *source)
{
	struct kafka_source *s = (struct kafka_source *)source;

	close_consumer(s);
	kafka_producer_close(&s->copier);
	free(s->buffer);
	free(s);
}

static const struct source_driver driver = {
	.name = "kafka",
	.read = kafka_read,
	.acknowledge = kafka_acknowledge,
	.bury = kafka_bury,
	.wait_buried = kafka_wait_buried,
	.oldest_us = kafka_oldest_us,
	.wait = kafka_wait,
	.is_drained = kafka_is_drained,
	.close = kafka_close,
};

enum err
source_kafka_open(const struct source_kafka_options *o, struct source **out)
{
	struct kafka_source *s = calloc(1, sizeof *s);

	*out = NULL;
	if (s == NULL)
		return ERR_NOMEM;
	s->source.driver = &driver;
	s->o = *o;
	*out = &s->source;
	return ERR_OK;
}
