/*
 * WEIR_ACK=kafka: writes that are durable here and wait until the forwarder says that
 * Kafka has them, too.  They are parked, and one thread of each worker wakes them.
 *
 * The forwarder may be another process: it raises a number in the segment.  Items wait in the order of their
 * commits, which is the order of their numbers but for replays, so the whole list is walked.
 */
#include "base/wake.h"
#include "service/queue_spool.h"

enum { LOOK_MS = 250 }; /* a forwarder may be killed between the number and the bell */

void
queue_tell_forwarded(struct queue *q, uint64_t seq)
{
	struct queue_shared *s = q->o.shared;

	if (atomic_load(&s->forwarded_seq) == seq)
		return;
	atomic_store(&s->forwarded_seq, seq);
	(void)atomic_fetch_add(&s->forwarded, 1);
	wake_all(&s->forwarded);
}

uint64_t
queue_forwarded_seq(const struct queue *q)
{
	return atomic_load(&q->o.shared->forwarded_seq);
}

/* True: it waits now, and the caller has given it away. */
bool
queue_ack_later(struct queue *q, struct queue_item *item)
{
	const bool stored = item->outcome == QUEUE_ACCEPTED || item->outcome == QUEUE_REPLAYED;
	bool later = false;

	if (!q->acks || !stored || item->seq <= atomic_load(&q->o.shared->forwarded_seq))
		return false;
	(void)pthread_mutex_lock(&q->lock);
	/* Looked at again under the lock, or the thread might just have passed. */
	if (item->seq > atomic_load(&q->o.shared->forwarded_seq)) {
		item->next = NULL;
		item->acking = later = true;
		*q->acking_tail = item;
		q->acking_tail = &item->next;
	}
	(void)pthread_mutex_unlock(&q->lock);
	return later;
}

/* Takes the item at ${at} off the list. */
static struct queue_item *
take(struct queue *q, struct queue_item **at)
{
	struct queue_item *item = *at;

	*at = item->next;
	if (q->acking_tail == &item->next)
		q->acking_tail = at;
	item->acking = false;
	return item;
}

bool
queue_ack_withdraw(struct queue *q, struct queue_item *item)
{
	struct queue_item **at = &q->acking;

	if (!item->acking)
		return false;
	while (*at != item)
		at = &(*at)->next;
	(void)take(q, at);
	return true;
}

/* All whose number was reached, as a list of their own. */
static struct queue_item *
reached(struct queue *q, uint64_t seq)
{
	struct queue_item *first = NULL, **end = &first, **at = &q->acking;

	(void)pthread_mutex_lock(&q->lock);
	while (*at != NULL) {
		if ((*at)->seq > seq) {
			at = &(*at)->next;
			continue;
		}
		*end = take(q, at);
		end = &(*end)->next;
	}
	*end = NULL;
	(void)pthread_mutex_unlock(&q->lock);
	return first;
}

/* What still waits at the end is durable, but its clients are not told: they ask again. */
void *
queue_ack_thread(void *queue)
{
	struct queue *q = queue;
	struct queue_shared *s = q->o.shared;
	struct queue_item *items, *next;
	bool stopping = false;
	uint32_t seen;

	while (!stopping) {
		seen = atomic_load(&s->forwarded);
		for (items = reached(q, atomic_load(&s->forwarded_seq)); items != NULL;
		     items = next) {
			next = items->next;
			items->done(items);
		}
		wake_wait(&s->forwarded, seen, LOOK_MS);
		(void)pthread_mutex_lock(&q->lock);
		stopping = q->stopping;
		(void)pthread_mutex_unlock(&q->lock);
	}
	return NULL;
}
