/*
 * The consumer's side of the spool, and the two that only look: read the
 * head of the log, acknowledge it, find an event, tell how full it is.
 */
#include <string.h>

#include "base/clock.h"
#include "service/queue_spool.h"

enum {
	READ_MAX_BYTES = 16 << 20,
	CHECK_READERS_MS = 1000,
	FORGET_MIN = 1000, /* keys a call: more than come in, or the spool would only grow */
};

static enum err
look(struct queue *q, struct spool_view *v)
{
	enum err rc;

	*v = (struct spool_view){ 0 };
	rc = lmdb_begin_read(q->db, &v->txn);
	if (rc != ERR_OK)
		return rc;
	rc = spool_view(v->txn, v);
	if (rc != ERR_OK)
		lmdb_abort(&v->txn);
	return rc;
}

static void
check_readers(struct queue *q)
{
	const int64_t now_ms = clock_mono_ms();

	if (q->readers_checked_ms != 0 && now_ms - q->readers_checked_ms < CHECK_READERS_MS)
		return;
	q->readers_checked_ms = now_ms;
	lmdb_check_readers(q->db);
}

static enum err
take_event(struct slice row, uint64_t seq, struct arena *a, struct event *out)
{
	const struct slice record = arena_slice(a, row);
	enum err rc;

	if (record.ptr == NULL)
		return ERR_NOMEM;
	rc = event_decode(record, a, out);
	out->seq = seq;
	return rc;
}

/* What fails after the first event is left for the next call. */
static enum err
take_events(struct lmdb_txn *txn, uint64_t from, size_t max, struct arena *a, struct event *events,
    size_t *count)
{
	size_t bytes = 0;
	struct slice row;
	uint64_t seq;
	enum err rc = lmdb_seek(txn, SPOOL_LOG, from, &seq, &row);

	while (rc == ERR_OK && *count < max) {
		bytes += row.len;
		if (*count > 0 && bytes > READ_MAX_BYTES)
			break;
		rc = take_event(row, seq, a, &events[*count]);
		if (rc == ERR_OK) {
			++*count;
			rc = lmdb_next(txn, SPOOL_LOG, &seq, &row);
		}
	}
	return *count > 0 ? ERR_OK : rc;
}

enum err
queue_read_after(struct queue *q, uint64_t after, size_t max, struct arena *a,
    struct event **events_out, size_t *count_out)
{
	struct lmdb_txn *txn;
	enum err rc;

	*count_out = 0;
	*events_out = arena_alloc(a, max * sizeof **events_out);
	if (*events_out == NULL)
		return ERR_NOMEM;
	check_readers(q);
	/* Before the look: what comes during it wakes the next wait. */
	q->wake_seen = atomic_load(&q->o.shared->wake);
	rc = lmdb_begin_read(q->db, &txn);
	if (rc == ERR_OK)
		rc = take_events(txn, after + 1, max, a, *events_out, count_out);
	lmdb_abort(&txn);
	return rc;
}

enum err
queue_read(
    struct queue *q, size_t max, struct arena *a, struct event **events_out, size_t *count_out)
{
	return queue_read_after(q, 0, max, a, events_out, count_out);
}

enum err
queue_first(struct queue *q, uint64_t *seq_out)
{
	struct spool_view v;
	struct slice row;
	enum err rc = look(q, &v);

	if (rc != ERR_OK)
		return rc;
	rc = lmdb_seek(v.txn, SPOOL_LOG, 0, seq_out, &row);
	if (rc == ERR_NOT_FOUND) {
		*seq_out = v.range.last + 1;
		rc = ERR_OK;
	}
	lmdb_abort(&v.txn);
	return rc;
}

enum err
queue_forwarded(struct queue *q, uint64_t seq)
{
	struct lmdb_txn *txn = NULL;
	size_t dropped;
	enum err rc = lmdb_begin_write(q->db, &txn);

	if (rc == ERR_OK)
		rc = lmdb_drop_head(txn, SPOOL_LOG, seq, SIZE_MAX, &dropped);
	if (rc == ERR_OK)
		rc = lmdb_commit(&txn);
	lmdb_abort(&txn);
	return rc;
}

/* Forgets keys whose time is over: those under the marks that are older than it. */
static enum err
forget_old(struct queue *q, struct spool_view *v, int64_t now_us, size_t max)
{
	uint64_t through = 0, next = 0;
	int64_t applied_us;
	size_t forgotten;
	enum err rc = ERR_OK;

	while (next < v->applied_seq && next < v->range.first + max) {
		rc = spool_applied(v, next + 1, &next, &applied_us);
		if (rc != ERR_OK || now_us - applied_us <= q->o.key_ttl_ms * 1000)
			break;
		through = next;
	}
	return rc == ERR_OK && through > 0 ? spool_forget(v, through, max, &forgotten) : rc;
}

enum err
queue_acknowledge(struct queue *q, uint64_t seq, int64_t now_us)
{
	struct spool_view v = { 0 };
	size_t dropped = 0;
	enum err rc = lmdb_begin_write(q->db, &v.txn);

	if (rc == ERR_OK)
		rc = spool_view(v.txn, &v);
	if (rc == ERR_OK && seq > v.range.last)
		rc = ERR_INVALID;
	if (rc == ERR_OK)
		rc = lmdb_drop_head(v.txn, SPOOL_LOG, seq, SIZE_MAX, &dropped);
	if (rc == ERR_OK && seq > v.applied_seq)
		rc = spool_append_mark(&v, seq, now_us);
	if (rc == ERR_OK)
		rc = forget_old(q, &v, now_us, 2 * dropped + FORGET_MIN);
	if (rc == ERR_OK)
		rc = lmdb_commit(&v.txn);
	lmdb_abort(&v.txn);
	return rc;
}

static enum err
copy_record(
    struct spool_view *v, const struct spool_key *key, struct arena *a, struct queue_record *out)
{
	uint64_t through;

	*out = (struct queue_record){
		.tenant = arena_slice(a, key->tenant),
		.endpoint = arena_slice(a, key->endpoint),
		.key = arena_slice(a, key->key),
		.accepted_us = key->accepted_us,
		.seq = key->seq,
	};
	return a->overflowed ? ERR_NOMEM : spool_applied(v, key->seq, &through, &out->applied_us);
}

enum err
queue_find(
    struct queue *q, const uint8_t id[EVENT_ID_BYTES], struct arena *a, struct queue_record *out)
{
	struct spool_view v;
	struct spool_key key;
	enum err rc = look(q, &v);

	if (rc != ERR_OK)
		return rc;
	rc = spool_find(q, &v, id, &key);
	if (rc == ERR_OK)
		rc = copy_record(&v, &key, a, out);
	lmdb_abort(&v.txn);
	return rc;
}

static enum err
count_rows(struct spool_view *v, struct queue_status *out)
{
	struct lmdb_table_size log_size, key_size;
	uint64_t log_bytes, all_bytes;
	enum err rc = lmdb_table_size(v->txn, SPOOL_LOG, &log_size);

	if (rc == ERR_OK)
		rc = lmdb_table_size(v->txn, SPOOL_KEYS, &key_size);
	if (rc == ERR_OK)
		rc = spool_bytes(v, &log_bytes, &all_bytes);
	if (rc != ERR_OK)
		return rc;
	out->waiting = log_size.rows;
	out->keys = key_size.rows;
	out->bytes = (int64_t)all_bytes;
	return ERR_OK;
}

/* The first that waits; its row in `keys` says when it came. */
static enum err
oldest(struct spool_view *v, struct queue_status *out)
{
	struct spool_key key;
	struct slice row;
	uint64_t seq;
	enum err rc = lmdb_seek(v->txn, SPOOL_LOG, 0, &seq, &row);

	if (rc == ERR_OK)
		rc = spool_key_at(v, seq, &key);
	if (rc == ERR_OK)
		out->oldest_accepted_us = key.accepted_us;
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err
queue_status_read(struct queue *q, struct queue_status *out)
{
	const struct queue_shared *s = q->o.shared;
	struct spool_view v;
	enum err rc = look(q, &v);

	*out = (struct queue_status){ .max_bytes = q->o.max_bytes };
	if (rc != ERR_OK)
		return rc;
	out->last_seq = v.range.last;
	out->applied_seq = v.applied_seq;
	out->hints_dropped = atomic_load(&s->dropped);
	out->full = atomic_load(&s->full) != 0;
	rc = count_rows(&v, out);
	if (rc == ERR_OK)
		rc = oldest(&v, out);
	lmdb_abort(&v.txn);
	return rc;
}
