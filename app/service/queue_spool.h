#ifndef SERVICE_QUEUE_SPOOL_H
#define SERVICE_QUEUE_SPOOL_H

#include <pthread.h>

#include "client/lmdb.h"
#include "service/queue.h"
#include "service/queue_hints.h"

/*
 * The rooms of the queue know each other through this page and nobody else does: queue.c (committer
 * thread), queue_claim.c (what a commit decides), queue_ack.c (who waits for the forwarder), queue_consume.c (the consumer's side) and
 * queue_spool.c (the tables).
 */
enum spool_table { SPOOL_LOG, SPOOL_KEYS, SPOOL_MARKS, SPOOL__TABLES };

struct queue {
	struct queue_options o;
	int spool_fd;
	struct lmdb *db;

	pthread_t committer, acker;
	pthread_mutex_t lock; /* of all down to the next blank line */
	pthread_cond_t wakes;
	struct queue_item *head, **tail;
	size_t waiting;
	struct queue_item *acking, **acking_tail; /* durable, and wait to be forwarded */
	bool started, acks, stopping;

	/* The committer's own. */
	int64_t disk_asked_ms, early_said_ms;
	bool disk_low;

	/* The consumer's own. */
	uint32_t wake_seen;
	int64_t readers_checked_ms;
};

/* One moment of the spool, inside a transaction. */
struct spool_view {
	struct lmdb_txn *txn;
	struct hint_range range; /* numbers in `keys`; first == last + 1 when empty */
	uint64_t applied_seq;	 /* all up to here are applied */
};
enum err spool_view(struct lmdb_txn *txn, struct spool_view *out);

/* A row of `keys`; the slices point into the map. */
struct spool_key {
	uint64_t seq;
	const uint8_t *id, *fingerprint;
	int64_t accepted_us;
	struct slice tenant, endpoint, key;
};
enum err spool_key_at(struct spool_view *v, uint64_t seq, struct spool_key *out);
/* The newest key of ${id}. */
enum err spool_find(
    struct queue *q, struct spool_view *v, const uint8_t id[EVENT_ID_BYTES], struct spool_key *out);
/* The mark that covers ${seq}: at ${applied_us} all up to ${through} was applied; both 0: it waits. */
enum err spool_applied(
    struct spool_view *v, uint64_t seq, uint64_t *through_out, int64_t *applied_us_out);
bool spool_key_fits(const struct event *ev); /* its names are short enough for a row */
enum err spool_append_key(
    struct queue *q, struct spool_view *v, const struct event *ev, uint64_t seq);
enum err spool_append_mark(struct spool_view *v, uint64_t seq, int64_t applied_us);
/* Forgets keys up to ${through}, at most ${max}. */
enum err spool_forget(struct spool_view *v, uint64_t through, size_t max, size_t *forgotten_out);
/* Hints what was appended without us, at most ${max} keys. */
enum err spool_catch_up(struct queue *q, struct spool_view *v, size_t max, uint64_t *hinted_out);
enum err spool_bytes(struct spool_view *v, uint64_t *log_out, uint64_t *all_out);

/* Items that are to be told when they were forwarded; queue_ack.c. */
bool queue_ack_later(struct queue *q, struct queue_item *item);
bool queue_ack_withdraw(struct queue *q, struct queue_item *item); /* under the queue's lock */
void *queue_ack_thread(void *queue);

/* Decides and commits a list of items and sets their outcomes.  Takes ${txn}, which was begun for it;
 * ${begun}: or why it was not. */
void queue_claim(struct queue *q, struct lmdb_txn *txn, enum err begun, struct queue_item *items);

#endif
