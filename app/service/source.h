#ifndef SERVICE_SOURCE_H
#define SERVICE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

struct event;
struct forward_shared;
struct kafka_options;
struct queue;
struct topics;
struct writer_failure;

/*
 * Where the consumer takes its events from: the spool of this host, or Kafka.
 *
 * What was read is read again, from the same event on, until it is acknowledged, also by the next life of the
 * consumer.  For one thread.
 */
struct source;

struct source_driver {
	const char *name;
	enum err (*read)(struct source *s, size_t max, struct arena *a, struct event **events_out,
	    size_t *count_out);
	enum err (*acknowledge)(
	    struct source *s, const struct event *events, size_t count, int64_t now_us);
	void (*bury)(struct source *s, const struct event *ev, const struct writer_failure *reason);
	void (*wait_buried)(struct source *s);
	int64_t (*oldest_us)(const struct source *s, const struct event *events, size_t count);
	void (*wait)(struct source *s, int64_t timeout_ms);
	bool (*is_drained)(const struct source *s);
	void (*close)(struct source *s);
};

struct source { /* the first member of what a driver makes */
	const struct source_driver *driver;
};

/* ${q} is lent for the source's life. */
enum err source_spool_open(struct queue *q, struct source **out);

struct source_kafka_options {
	const struct kafka_options *kafka; /* lent for the source's life, as all that follows */
	const struct topics *topics;
	const char *group, *instance;
	const struct forward_shared *progress; /* how far all consumers are */
	int64_t key_ttl_ms;
	size_t buffer_max; /* events held here; beyond it the broker is told to pause */
};
enum err source_kafka_open(const struct source_kafka_options *o, struct source **out);

static inline void
source_close(struct source **sp)
{
	struct source *s = *sp;

	*sp = NULL;
	if (s != NULL)
		s->driver->close(s);
}

/* Up to ${max} events, oldest first, decoded into the arena.  ERR_NOT_FOUND: there are none now.  ERR_INVALID: the
 * first is of a version that we do not know.  Waits for nobody. */
static inline enum err
source_read(
    struct source *s, size_t max, struct arena *a, struct event **events_out, size_t *count_out)
{
	return s->driver->read(s, max, a, events_out, count_out);
}

/* The first ${count} that were read are applied, or dead letters: the database's transaction lies behind us. */
static inline enum err
source_acknowledge(struct source *s, const struct event *events, size_t count, int64_t now_us)
{
	return s->driver->acknowledge(s, events, count, now_us);
}

/*
 * ${ev} becomes a dead letter with the transaction that is open: tells others, before its commit, so that who dies in
 * between tells them again.  At least once, then, and it is the database that counts: a transaction that is not
 * committed in the end may leave a copy of an event that goes well later.  Does not wait.
 */
static inline void
source_bury(struct source *s, const struct event *ev, const struct writer_failure *reason)
{
	s->driver->bury(s, ev, reason);
}

/* Until others have what they were told of, at most 2 s, and not again while that is in vain: failing is no failure. */
static inline void
source_wait_buried(struct source *s)
{
	s->driver->wait_buried(s);
}

/* No event that was accepted before this waits anywhere: keys that were over by then may be forgotten. */
static inline int64_t
source_oldest_us(const struct source *s, const struct event *events, size_t count)
{
	return s->driver->oldest_us(s, events, count);
}

/* Sleeps until there may be something to read, at most ${timeout_ms}. */
static inline void
source_wait(struct source *s, int64_t timeout_ms)
{
	s->driver->wait(s, timeout_ms);
}

/* After ERR_NOT_FOUND: there is nothing left, and not only nothing known yet. */
static inline bool
source_is_drained(const struct source *s)
{
	return s->driver->is_drained(s);
}

#endif
