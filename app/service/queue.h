#ifndef SERVICE_QUEUE_H
#define SERVICE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

/*
 * The spool: the only way in for writes, durable before it is acknowledged.
 *
 * LMDB under ${state}/spool, shared by all processes of the host.  `log` (sequence -> record) is what waits to
 * be applied; `keys` (sequence -> tenant, endpoint, key, fingerprint, when) is what replays, until its time is
 * over; `marks` says up to where was applied when.  All are only appended at the tail and deleted from the
 * head.  Each worker has one committer thread, started by queue_start(), which turns all that wait into one
 * transaction and one fsync; the claim of an idempotency key is decided inside that transaction, so
 * it is exact among all processes.
 *
 * With Kafka the log is what waits to be forwarded: the forwarder takes from its head, and what was applied is
 * acknowledged later, when the consumer group has passed it.
 *
 * Where a key stands is looked up in a hint table in the segment (hash of the event id -> sequence); a hint counts
 * only when the record there shows the same key.  What other segments or an older binary appended is
 * hinted by the next commit.
 */
struct queue;
struct queue_shared; /* in the segment: progress words and hints */

struct queue_options {
	int state_dir_fd;	  /* lent for the queue's life */
	const char *state_dir;	  /* the same, as a path */
	int64_t max_bytes;	  /* WEIR_SPOOL_BYTES: whole pages of all tables together */
	int64_t key_ttl_ms;	  /* IDEMPOTENCY_TTL */
	unsigned reserve_percent; /* of the disk, kept free; 0 means 5 */
	bool ack_forwarded;	  /* WEIR_ACK=kafka: an item is done when its event was forwarded */
	struct queue_shared *shared;
};

size_t queue_shared_size(int64_t max_bytes); /* progress and a hint word per 128 bytes of spool */
void queue_shared_init(void *mem, int64_t max_bytes); /* ${mem}: aligned to 64 bytes */

/* After exec, once a process.  ERR_DENIED: the folder is somebody else's or open to others. */
enum err queue_open(const struct queue_options *o, struct queue **out);
void queue_close(struct queue **qp); /* commits what was submitted, then ends the committer */
/* By who made the segment, before it is published: a few seconds for 5 million keys. */
enum err queue_rebuild_hints(struct queue *q);

enum err queue_start(struct queue *q); /* the committer thread */

/* One write on its way; lives in the exchange's arena until ${done} has been called. */
enum queue_outcome {
	QUEUE_ACCEPTED, /* durable now */
	QUEUE_REPLAYED, /* the same key and parameters were accepted at accepted_us */
	QUEUE_MISMATCH, /* the same key, other parameters */
	QUEUE_FULL,	/* bound or disk: nothing kept */
	QUEUE_FAILED	/* nothing kept, or (a failing disk) not known */
};
struct queue_item {
	const struct event *event;	   /* id, fingerprint, endpoint, tenant, key, accepted_us */
	struct slice record;		   /* event_encode() */
	void (*done)(struct queue_item *); /* on the committer thread; hand over and return */
	void *ctx;
	enum queue_outcome outcome;
	uint64_t seq;
	int64_t accepted_us; /* of the first one, when replayed */
	/* private */
	struct queue_item *next;
	bool waiting, acking; /* under the queue's lock */
};

/* Never waits for a disk.  ERR_OVERLOADED: too many wait; ERR_UNAVAILABLE: no committer (any more). */
enum err queue_submit(struct queue *q, struct queue_item *item);
/* True: it is ours again and ${done} is not called; ${item->seq} is not 0 when it is durable all the same, and only
 * waited to be forwarded.  False: it is being committed, ${done} will come. */
bool queue_withdraw(struct queue *q, struct queue_item *item);

/* For the operations endpoint: is ${id} in the spool?  ERR_NOT_FOUND; the slices are copied into the arena.
 * One look-up in a read transaction; may touch the disk. */
struct queue_record {
	struct slice tenant, endpoint, key;
	int64_t accepted_us, applied_us; /* applied_us 0: waits */
	uint64_t seq;
};
enum err queue_find(
    struct queue *q, const uint8_t id[EVENT_ID_BYTES], struct arena *a, struct queue_record *out);

/*
 * The consumer's side; the caller holds consumer.lock.
 */
/* Up to ${max} events (and about 16 MiB) from the head of the log, oldest first, decoded into the arena.
 * ERR_NOT_FOUND: the log is empty.  ERR_INVALID: its first record is of no version that we know. */
enum err queue_read(
    struct queue *q, size_t max, struct arena *a, struct event **events_out, size_t *count_out);
/* The head up to and including ${seq} is applied (or a dead letter): deletes it from the log, notes when,
 * and lets keys go whose time is over.  One durable transaction. */
enum err queue_acknowledge(struct queue *q, uint64_t seq, int64_t now_us);
/* Sleeps until something was committed after the last queue_read() began, at most ${timeout_ms}. */
void queue_wait(struct queue *q, int64_t timeout_ms);

/*
 * The forwarder's side; the caller holds forwarder.lock, and no consumer takes from this spool.
 */
/* As queue_read(), behind ${after}. */
enum err queue_read_after(struct queue *q, uint64_t after, size_t max, struct arena *a,
    struct event **events_out, size_t *count_out);
/* Kafka has all up to ${seq}: wakes the writes that waited for it, in all processes.  Costs nothing. */
void queue_tell_forwarded(struct queue *q, uint64_t seq);
uint64_t queue_forwarded_seq(const struct queue *q); /* what was told last */
/* The same, for good: the head of the log goes.  One durable transaction. */
enum err queue_forwarded(struct queue *q, uint64_t seq);
/* Of the first event that is not forwarded; the number behind the last when all are. */
enum err queue_first(struct queue *q, uint64_t *seq_out);

struct queue_status {
	uint64_t waiting;	    /* events in the log */
	uint64_t keys;		    /* remembered */
	int64_t oldest_accepted_us; /* of the first that waits, 0 none */
	int64_t bytes, max_bytes;
	uint64_t last_seq, applied_seq;
	uint64_t hints_dropped; /* keys that the hint table had no room for */
	bool full;
};
enum err queue_status_read(struct queue *q, struct queue_status *out);

/* For the bench: ${n} made-up keys, applied at ${now_us}.  ERR_CONFLICT: the log is not empty. */
enum err queue_seed_keys(struct queue *q, uint64_t n, int64_t now_us);

#endif
