/*
 * The thread behind struct fleet: two bounded queues, one lock.  The lock is never held over a call.
 */
#include "service/fleet_keeper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"

enum { REFILLS_MAX = 512, OWED_MAX = 4096, NAME_BYTES = 256 };

struct item {
	struct fleet_key key;
	char name[NAME_BYTES]; /* key.name lies here */
	int64_t due_ms;
};

struct queue_of_items {
	struct item *items;
	size_t cap, head, count;
};

struct fleet_keeper {
	struct fleet_keeper_options o;
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_t thread;
	bool closing;
	struct queue_of_items refills, owed;
};

static bool
push(struct fleet_keeper *k, struct queue_of_items *q, const struct fleet_key *key, int64_t due_ms)
{
	struct item *i;
	bool room;

	if (key->name.len > NAME_BYTES)
		return false;
	(void)pthread_mutex_lock(&k->lock);
	room = q->count < q->cap;
	if (room) {
		i = &q->items[(q->head + q->count++) % q->cap];
		i->key = *key;
		i->due_ms = due_ms;
		if (key->name.len > 0)
			memcpy(i->name, key->name.ptr, key->name.len);
	}
	if (room && q == &k->refills && q->count == 1)
		(void)pthread_cond_signal(&k->work);
	(void)pthread_mutex_unlock(&k->lock);
	return room;
}

/* With the lock.  ${out} is the caller's own copy. */
static bool
pop_due(struct queue_of_items *q, int64_t now_ms, struct item *out)
{
	if (q->count == 0 || q->items[q->head].due_ms > now_ms)
		return false;
	*out = q->items[q->head];
	out->key.name.ptr = out->name;
	q->head = (q->head + 1) % q->cap;
	q->count--;
	return true;
}

static void
wait_for_work(struct fleet_keeper *k, int64_t until_ms)
{
	if (k->refills.count == 0 && !k->closing)
		(void)thread_wait(&k->work, &k->lock, until_ms);
}

/* With the lock, which it gives up while it works. */
static bool
work_once(struct fleet_keeper *k)
{
	void (*run)(void *ctx, const struct fleet_key *key) = k->o.refill;
	struct item item;
	const int64_t now_ms = clock_mono_ms();

	if (!pop_due(&k->refills, now_ms, &item)) {
		run = k->o.settle;
		if (!pop_due(&k->owed, now_ms, &item))
			return false;
	}
	(void)pthread_mutex_unlock(&k->lock);
	run(k->o.ctx, &item.key);
	(void)pthread_mutex_lock(&k->lock);
	return true;
}

static void *
keep(void *arg)
{
	struct fleet_keeper *k = arg;
	int64_t tick_ms = 0;

	(void)pthread_mutex_lock(&k->lock);
	while (!k->closing) {
		const int64_t now_ms = clock_mono_ms();

		if (now_ms >= tick_ms) {
			tick_ms = now_ms + FLEET_TICK_MS;
			(void)pthread_mutex_unlock(&k->lock);
			k->o.tick(k->o.ctx, now_ms);
			(void)pthread_mutex_lock(&k->lock);
		}
		if (!work_once(k))
			wait_for_work(k, tick_ms);
	}
	(void)pthread_mutex_unlock(&k->lock);
	return NULL;
}

bool
fleet_keeper_refill(struct fleet_keeper *k, const struct fleet_key *key)
{
	return push(k, &k->refills, key, 0);
}

bool
fleet_keeper_owe(struct fleet_keeper *k, const struct fleet_key *key, int64_t due_ms)
{
	return push(k, &k->owed, key, due_ms);
}

static void
keeper_free(struct fleet_keeper *k)
{
	(void)pthread_cond_destroy(&k->work);
	(void)pthread_mutex_destroy(&k->lock);
	free(k->refills.items);
	free(k->owed.items);
	free(k);
}

enum err
fleet_keeper_open(const struct fleet_keeper_options *o, struct fleet_keeper **out)
{
	struct fleet_keeper *k = calloc(1, sizeof *k);

	*out = NULL;
	if (k == NULL)
		return ERR_NOMEM;
	k->o = *o;
	k->refills.cap = REFILLS_MAX;
	k->owed.cap = OWED_MAX;
	k->refills.items = calloc(REFILLS_MAX, sizeof *k->refills.items);
	k->owed.items = calloc(OWED_MAX, sizeof *k->owed.items);
	thread_lock_init(&k->lock, &k->work);
	if (k->refills.items == NULL || k->owed.items == NULL ||
	    !thread_start(THREAD_SMALL_STACK_BYTES, keep, k, &k->thread)) {
		keeper_free(k);
		return ERR_NOMEM;
	}
	*out = k;
	return ERR_OK;
}

/* Without the thread, whose queue is this one's now. */
static void
leave(struct fleet_keeper *k, int64_t closing_ms)
{
	struct item item;

	while (pop_due(&k->owed, INT64_MAX, &item) && k->o.leave(k->o.ctx, &item.key, closing_ms))
		continue;
}

void
fleet_keeper_close(struct fleet_keeper **kp)
{
	struct fleet_keeper *k = *kp;
	const int64_t closing_ms = clock_mono_ms();

	if (k == NULL)
		return;
	*kp = NULL;
	(void)pthread_mutex_lock(&k->lock);
	k->closing = true;
	(void)pthread_cond_signal(&k->work);
	(void)pthread_mutex_unlock(&k->lock);
	(void)pthread_join(k->thread, NULL);
	leave(k, closing_ms);
	keeper_free(k);
}
