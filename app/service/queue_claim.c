/*
 * What one commit decides, inside its transaction and so under the host's
 * only write lock: which items are new, which replay, which clash, and which find no
 * room.  Then one fsync for all of them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "service/queue_spool.h"

enum {
	DISK_ASK_MS = 100,
	RESERVE_PERCENT = 5,
	FORGET_STEP = 256,
	EARLY_SAY_MS = 60000,
	SEED_STEP = 20000,
};

struct claim {
	struct queue *q;
	struct spool_view view;
	uint64_t durable_seq; /* the last number before this transaction */
	bool refused;	      /* something found no room */
};

static bool
disk_is_low(struct queue *q)
{
	const uint64_t percent = q->o.reserve_percent > 0 ? q->o.reserve_percent : RESERVE_PERCENT;
	const int64_t now_ms = clock_mono_ms();
	struct statvfs disk;

	if (q->disk_asked_ms != 0 && now_ms - q->disk_asked_ms < DISK_ASK_MS)
		return q->disk_low;
	q->disk_asked_ms = now_ms;
	/* A disk that cannot be asked is left to the write itself. */
	q->disk_low = fstatvfs(q->spool_fd, &disk) == 0 &&
		      (uint64_t)disk.f_bavail < (uint64_t)disk.f_blocks / 100 * percent;
	return q->disk_low;
}

static void
say_early(struct queue *q, size_t forgotten)
{
	const int64_t now_ms = clock_mono_ms();

	if (q->early_said_ms != 0 && now_ms - q->early_said_ms < EARLY_SAY_MS)
		return;
	q->early_said_ms = now_ms;
	log_warn("spool_keys_expire_early",
	    LOG_STR("why", "WEIR_SPOOL_BYTES is full of applied keys"), LOG_INT("keys", forgotten));
}

/*
 * What waits to be applied is never given up; the oldest applied keys are,
 * before their time, for the write database's key table still stands behind them.
 */
static enum err
make_room(struct claim *c, const struct queue_item *item)
{
	const uint64_t max = (uint64_t)c->q->o.max_bytes;
	const uint64_t need = lmdb_row_bytes(c->q->db, item->record.len) +
			      lmdb_row_bytes(c->q->db, item->event->key.len);
	uint64_t log_bytes, all_bytes;
	size_t forgotten = 0;
	enum err rc;

	if (disk_is_low(c->q))
		return ERR_FULL;
	for (;;) {
		rc = spool_bytes(&c->view, &log_bytes, &all_bytes);
		if (rc != ERR_OK || all_bytes + need <= max)
			return rc;
		if (log_bytes + need > max)
			return ERR_FULL;
		rc = spool_forget(&c->view, c->view.applied_seq, FORGET_STEP, &forgotten);
		if (rc != ERR_OK || forgotten == 0)
			return rc != ERR_OK ? rc : ERR_FULL;
		say_early(c->q, forgotten);
	}
}

static enum err
append(struct claim *c, struct queue_item *item)
{
	const uint64_t seq = c->view.range.last + 1;
	enum err rc = make_room(c, item);

	if (rc == ERR_FULL) {
		c->refused = true;
		item->outcome = QUEUE_FULL;
		return ERR_OK;
	}
	if (rc == ERR_OK)
		rc = lmdb_append(c->view.txn, SPOOL_LOG, seq, item->record);
	if (rc == ERR_OK)
		rc = spool_append_key(c->q, &c->view, item->event, seq);
	item->outcome = QUEUE_ACCEPTED;
	item->seq = seq;
	item->accepted_us = item->event->accepted_us;
	return rc;
}

static bool
same_key(const struct spool_key *key, const struct event *ev)
{
	return slice_eq(key->tenant, ev->tenant) && slice_eq(key->endpoint, ev->endpoint) &&
	       slice_eq(key->key, ev->key);
}

/* ERR_NOT_FOUND: no such key, or its time is over. */
static enum err
replay(struct claim *c, struct queue_item *item)
{
	const struct event *ev = item->event;
	struct spool_key key;
	uint64_t through;
	int64_t applied_us;
	enum err rc = spool_find(c->q, &c->view, ev->id, &key);

	if (rc == ERR_OK && !same_key(&key, ev))
		rc = ERR_NOT_FOUND;
	if (rc == ERR_OK)
		rc = spool_applied(&c->view, key.seq, &through, &applied_us);
	if (rc != ERR_OK)
		return rc;
	if (applied_us != 0 && ev->accepted_us - applied_us > c->q->o.key_ttl_ms * 1000)
		return ERR_NOT_FOUND;
	item->outcome = memcmp(key.fingerprint, ev->fingerprint, EVENT_FINGERPRINT_BYTES) == 0
			    ? QUEUE_REPLAYED
			    : QUEUE_MISMATCH;
	item->seq = key.seq;
	item->accepted_us = key.accepted_us;
	return ERR_OK;
}

static enum err
decide(struct claim *c, struct queue_item *items)
{
	uint64_t hinted;
	enum err rc = spool_view(c->view.txn, &c->view);

	c->durable_seq = c->view.range.last;
	if (rc == ERR_OK)
		rc = spool_catch_up(c->q, &c->view, SIZE_MAX, &hinted);
	for (struct queue_item *i = items; i != NULL && rc == ERR_OK; i = i->next) {
		rc = replay(c, i);
		if (rc == ERR_NOT_FOUND)
			rc = append(c, i);
	}
	return rc;
}

/* What stood durable before this transaction stays true; all else was not kept. */
static void
fail_items(const struct claim *c, struct queue_item *items, enum err why)
{
	for (; items != NULL; items = items->next)
		if (items->seq == 0 || items->seq > c->durable_seq)
			items->outcome = why == ERR_FULL ? QUEUE_FULL : QUEUE_FAILED;
}

static void
announce(struct claim *c)
{
	struct queue_shared *s = c->q->o.shared;

	atomic_store(&s->hinted_seq, c->view.range.last);
	atomic_fetch_add(&s->wake, 1);
	wake_all(&s->wake);
}

static void
say_room(struct queue *q, bool refused)
{
	const uint32_t full = refused;

	if (atomic_exchange(&q->o.shared->full, full) == full)
		return;
	if (refused)
		log_warn("spool_full", LOG_STR("bound", q->disk_low ? "disk" : "WEIR_SPOOL_BYTES"));
	else
		log_info("spool_has_room", LOG_INT("max_bytes", q->o.max_bytes));
}

void
queue_claim(struct queue *q, struct lmdb_txn *txn, enum err begun, struct queue_item *items)
{
	struct claim c = { .q = q, .view = { .txn = txn } };
	enum err rc = begun;

	for (struct queue_item *i = items; i != NULL; i = i->next)
		i->seq = 0;
	if (rc == ERR_OK)
		rc = decide(&c, items);
	if (rc == ERR_OK && c.view.range.last > c.durable_seq) {
		rc = lmdb_commit(&c.view.txn);
		if (rc == ERR_OK)
			announce(&c);
	}
	lmdb_abort(&c.view.txn); /* failed, or nothing new */
	if (rc != ERR_OK)
		fail_items(&c, items, rc);
	if (items != NULL)
		say_room(q, c.refused || rc == ERR_FULL);
}

static enum err
seed_some(struct queue *q, struct spool_view *v, uint64_t n, int64_t now_us)
{
	char name[37]; /* as long as a UUID */
	enum err rc = ERR_OK;

	for (uint64_t i = 0; i < n && rc == ERR_OK; i++) {
		struct event ev = {
			.endpoint = SLICE("seed"), .tenant = SLICE(""), .accepted_us = now_us
		};
		const uint64_t seq = v->range.last + 1;

		(void)snprintf(name, sizeof name, "seed-%031llu", (unsigned long long)seq);
		ev.key = slice_of(name);
		event_id_make(ev.tenant, ev.endpoint, ev.key, ev.id);
		rc = spool_append_key(q, v, &ev, seq);
	}
	return rc == ERR_OK ? spool_append_mark(v, v->range.last, now_us) : rc;
}

enum err
queue_seed_keys(struct queue *q, uint64_t n, int64_t now_us)
{
	struct spool_view v = { 0 };
	struct lmdb_table_size log_size;
	uint64_t some, hinted;
	enum err rc = ERR_OK;

	for (; n > 0 && rc == ERR_OK; n -= some) {
		some = n < SEED_STEP ? n : SEED_STEP;
		rc = lmdb_begin_write(q->db, &v.txn);
		if (rc == ERR_OK)
			rc = spool_view(v.txn, &v);
		if (rc == ERR_OK)
			rc = lmdb_table_size(v.txn, SPOOL_LOG, &log_size);
		if (rc == ERR_OK && log_size.rows > 0)
			rc = ERR_CONFLICT; /* the mark would call it applied */
		if (rc == ERR_OK)
			rc = spool_catch_up(q, &v, SIZE_MAX, &hinted);
		if (rc == ERR_OK)
			rc = seed_some(q, &v, some, now_us);
		if (rc == ERR_OK)
			rc = lmdb_commit(&v.txn);
		lmdb_abort(&v.txn);
		if (rc == ERR_OK)
			atomic_store(&q->o.shared->hinted_seq, v.range.last);
	}
	return rc;
}
