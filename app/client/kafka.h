#ifndef CLIENT_KAFKA_H
#define CLIENT_KAFKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Kafka, thin (librdkafka 2.0.2 and later): a producer, and a member of a consumer group.
 *
 * No call waits for a broker longer than it is told to: sending and receiving are librdkafka's threads'
 * work, and calls only exchange with their queues.  Never across a fork(): open after exec.  One thread uses
 * one handle at a time; callbacks run inside of the polling calls.  Failures are logged here, at most
 * once a second.
 */
enum { KAFKA_HEADERS_MAX = 32, KAFKA_SETTINGS_MAX = 64 };

struct kafka_setting {
	const char *name, *value; /* librdkafka's: "security.protocol" */
};

/*
 * Whether librdkafka takes ${s}.  ERR_INVALID: *${why_out}, in the caller's ${bytes}, says why not; so also for
 * a setting that what weir promises depends on, and which it makes itself.
 */
enum err kafka_check_setting(const struct kafka_setting *s, char *why_out, size_t bytes);

struct kafka_options {
	const char *brokers; /* HOST:PORT, comma-separated */
	const char *client_id;
	const struct kafka_setting *settings; /* checked ones; lent for the opening */
	size_t setting_count;
};

struct kafka_header {
	struct slice name, value;
};

/*
 * The producer.
 */
struct kafka_producer;

struct kafka_message {
	const char *topic;
	struct slice key, value; /* all bytes are copied */
	const struct kafka_header *headers;
	size_t header_count;
	int64_t timestamp_ms;
	uint64_t ticket; /* comes back with the delivery report */
};

struct kafka_producer_options {
	struct kafka_options common;
	/* Idempotent: every message once and in the order of each partition, and none is ever given up
	 * (no time-out): its report comes when a broker answers, or the producer has failed. */
	bool idempotent;
	int64_t give_up_ms; /* of a producer that is not idempotent: reports are ERR_TIMEOUT then */
	/* Where messages will go: their partitions are asked for at once.  For others librdkafka asks once a
	 * second, and their first messages wait for it.  Lent for the opening. */
	const char *const *topics;
	size_t topic_count;
	/* ERR_OK: all in-sync replicas have it.  ERR_TOO_LARGE: never will be taken as it is. */
	void (*delivered)(void *ctx, uint64_t ticket, enum err result);
	void *ctx;
};
enum err kafka_producer_open(const struct kafka_producer_options *o, struct kafka_producer **out);
/* What was not delivered is forgotten without a report; waits for no broker. */
void kafka_producer_close(struct kafka_producer **pp);

/* Asks a broker where the partitions of all ${topics} are; with ERR_OK their messages can go.  ERR_NOT_FOUND: one
 * has none yet; a broker that makes topics by itself does so when it is asked, and a moment later has. */
enum err kafka_producer_prepare(struct kafka_producer *p, int64_t timeout_ms);

/* ERR_OVERLOADED: its queue is full, poll.  ERR_TOO_LARGE: larger than message.max.bytes.  ERR_UNAVAILABLE: the producer
 * has failed for good, as kafka_producer_failed() says. */
enum err kafka_produce(struct kafka_producer *p, const struct kafka_message *m);
void kafka_producer_poll(struct kafka_producer *p, int64_t timeout_ms); /* serves ${delivered} */
/* A fatal error, after which nothing will be delivered any more: close it and open another. */
bool kafka_producer_failed(struct kafka_producer *p);
/* For tests: as if the broker had lost track of our sequence numbers. */
void kafka_producer_fail(struct kafka_producer *p);

/*
 * A member of a group, or (without topics) one who only looks at where the group is.
 */
struct kafka_consumer;

struct kafka_consumer_options {
	struct kafka_options common;
	const char *group;
	const char *instance; /* of static membership; NULL: none */
	const char *const *topics;
	size_t topic_count;
	/* The partitions we had are not ours any more: what came from them is for others.  ${lost}: since
	 * earlier than now, so nothing of them may be committed. */
	void (*revoked)(void *ctx, bool lost);
	void *ctx;
};

/* One message; owned by the receiver.  Everything points into it. */
struct kafka_received {
	const char *topic;
	int32_t partition;
	int64_t offset;
	struct slice key, value; /* absent when null */
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	size_t header_count; /* more of them: the rest is left out */
	void *message;	     /* private */
};
void kafka_received_free(struct kafka_received **rp);

/* From the group's committed offsets; where there are none, from the oldest message. */
enum err kafka_consumer_open(const struct kafka_consumer_options *o, struct kafka_consumer **out);
/* Leaves the group in order if that takes no longer than ${timeout_ms}. */
void kafka_consumer_close(struct kafka_consumer **cp, int64_t timeout_ms);

/*
 * One message, or ERR_NOT_FOUND after ${timeout_ms}.  To be called at least every max.poll.interval.ms (5
 * minutes), paused or not, for the group takes who does not for dead.  ERR_UNAVAILABLE: this
 * member can never go on (another one has our name): close it and open another.
 */
enum err kafka_consumer_poll(
    struct kafka_consumer *c, int64_t timeout_ms, struct kafka_received **out);
/* Our partitions are known, and all of them have been read to their ends. */
bool kafka_consumer_at_end(const struct kafka_consumer *c);

struct kafka_place {
	char topic[250]; /* Kafka's longest name, and its end */
	int32_t partition;
	int64_t committed; /* the next to be applied; -1: none was */
	int64_t low, high; /* the oldest that is stored, the next to be written */
};
/* Everything before ${places[i].committed} is done.  Does not wait: what is not committed in the end comes again. */
enum err kafka_consumer_commit(
    struct kafka_consumer *c, const struct kafka_place *places, size_t count);

/* Backpressure: stops what is sent to us, and starts it again.  Repeating changes nothing. */
void kafka_consumer_pause(struct kafka_consumer *c, bool pause);

/* Where the group is in all partitions of ${topics}, whoever reads them; topics that do not exist have none.  ERR_TIMEOUT,
 * ERR_UNAVAILABLE; ERR_FULL: more than ${max}. */
enum err kafka_places(struct kafka_consumer *c, const char *const *topics, size_t topic_count,
    int64_t timeout_ms, struct kafka_place *places_out, size_t max, size_t *count_out);
/* How many members the group has, on all hosts.  ERR_TIMEOUT, ERR_UNAVAILABLE. */
enum err kafka_members(
    struct kafka_consumer *c, const char *group, int64_t timeout_ms, size_t *count_out);

#endif
