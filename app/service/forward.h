#ifndef SERVICE_FORWARD_H
#define SERVICE_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "client/kafka.h"

struct catalog;
struct exporter; /* service/exporter.h */
struct guard;
struct queue;
struct topics;

/*
 * The forwarder: takes events from the spool in their order and gives them to Kafka, with the host's only
 * idempotent producer.
 *
 *   read the log --> produce --> reports --> tell who waits (WEIR_ACK=kafka) --> the head of the log goes
 *
 * Killed between any two of these, or after a fatal error of the producer, it begins again at the head of the log:
 * nothing is lost, and what Kafka then has twice the key table drops.  While Kafka is away, events
 * stay in the spool, and nobody but WEIR_ACK=kafka notices.
 */
struct forward;

/* What lies behind it when ${passed} is called. */
enum forward_arrow {
	FORWARD_READ,
	FORWARD_PRODUCED,
	FORWARD_REPORTED,
	FORWARD_TOLD,
	FORWARD_MARKED,
	FORWARD_ARROW__COUNT
};

enum forward_state {
	FORWARD_NONE, /* without Kafka, or nobody has begun */
	FORWARD_GOING,
	FORWARD_STALLED, /* Kafka does not answer: goes on by itself */
	FORWARD_STOPPED	 /* before an event that Kafka refuses: said once a minute, tried again */
};

enum { FORWARD_LAGS = 64, FORWARD_TOPIC_BYTES = 64 };

struct forward_lag {
	char topic[FORWARD_TOPIC_BYTES];
	_Atomic int32_t partition;
	_Atomic int64_t high,
	    committed; /* the next to be written, and to be applied (-1: none was) */
};

/* No more is out at once; bytes: no more is begun. */
enum { FORWARD_OUT_MAX = 8192 /* a power of two */, FORWARD_OUT_BYTES_MAX = 64 << 20 };

struct forward_shared { /* in the segment; plain words, written by the holder of forwarder.lock */
	_Atomic uint32_t state, pid;
	_Atomic int64_t since_ms; /* monotonic, of the state */
	_Atomic int64_t
	    confirmed_us; /* what Kafka held at this moment (wall) is applied; 0: not known */
	_Atomic uint64_t delivered, restarts;
	_Atomic uint64_t out, out_bytes; /* sent, and not reported yet */
	_Atomic uint32_t lag_count;
	struct forward_lag lags[FORWARD_LAGS]; /* texts may be torn */
};

/* The producer; a test has its own. */
struct forward_driver {
	enum err (*open)(const struct kafka_producer_options *o, struct kafka_producer **out);
	void (*close)(struct kafka_producer **pp);
	enum err (*prepare)(struct kafka_producer *p, int64_t timeout_ms);
	enum err (*produce)(struct kafka_producer *p, const struct kafka_message *m);
	void (*poll)(struct kafka_producer *p, int64_t timeout_ms);
	bool (*failed)(struct kafka_producer *p);
};
extern const struct forward_driver forward_driver_kafka;

struct forward_options {
	const struct forward_driver *driver;
	const struct kafka_options *kafka; /* lent, as all that follows */
	const struct topics *topics;
	const struct catalog *catalog;
	struct queue *queue;
	struct forward_shared *shared;
	struct exporter *exporter; /* NULL: no traces */
	const struct guard *guard; /* `kafka`: while it is open nothing new is sent.  NULL: none */
	int64_t stalled_ms;	   /* unanswered for so long: Kafka stalls */
	/* Clients wait for the reports (WEIR_ACK=kafka).  Else events wait some 20 ms for others to go with
	 * them: each request costs us and the broker far more than a message in it. */
	bool prompt;
	/* For tests, which die between two steps; else NULL. */
	void (*passed)(void *ctx, enum forward_arrow arrow);
	void *ctx;
};

enum err forward_open(const struct forward_options *o, struct forward **out);
void forward_close(struct forward **fp);

/* One turn: takes reports, moves the mark, sends what is new; sleeps when there is nothing to do.
 * Takes about 250 ms at most, and the spool's transaction.  ERR_NOT_FOUND: the log is empty. */
enum err forward_step(struct forward *f);

/*
 * Who looks how far the consumers of all hosts are: for lag, and to know what of this host's spool was
 * applied, so that its keys begin to age.  A thread of its own, for it waits for brokers.
 */
struct forward_watch;

struct forward_watch_options {
	const struct kafka_options *kafka;
	const struct topics *topics;
	const char *group;
	struct queue *queue;
	struct forward_shared *shared;
};
enum err forward_watch_open(const struct forward_watch_options *o, struct forward_watch **out);
void forward_watch_close(struct forward_watch **wp);
/* Asks the brokers once; takes at most ${timeout_ms} and the spool's transaction. */
void forward_watch_step(struct forward_watch *w, int64_t timeout_ms);

#endif
