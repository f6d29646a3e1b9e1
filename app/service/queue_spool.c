/*
 * The tables of the spool and what their rows look like.
 *
 * A row of `keys`, version 1; numbers little endian:
 *
 *   version 1 | id 16 | fingerprint 16 | accepted_us 8 | tenant length 2 | endpoint length 2 |
 *   tenant | endpoint | key
 *
 * A row of `marks` is 8 bytes of applied_us: "at this time all up to this number was applied".  The last mark
 * is never deleted, so it also keeps the last number when all keys have gone, and no number
 * is ever given out twice.
 */
#include "service/queue_spool.h"

#include <string.h>

enum {
	MARK_BYTES = 8,
	KEY_VERSION = 1,
	KEY_ID_AT = 1,
	KEY_FINGERPRINT_AT = KEY_ID_AT + EVENT_ID_BYTES,
	KEY_ACCEPTED_AT = KEY_FINGERPRINT_AT + EVENT_FINGERPRINT_BYTES,
	KEY_LENGTHS_AT = KEY_ACCEPTED_AT + 8,
	KEY_HEAD_BYTES = KEY_LENGTHS_AT + 4,
	KEY_MAX_BYTES = 1024, /* names of tenants and endpoints are short, keys at most 255 */
};

static void
put_le(char *at, uint64_t n, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (char)(uint8_t)(n >> (8 * i));
}

static uint64_t
get_le(const char *at, size_t bytes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n |= (uint64_t)(uint8_t)at[i] << (8 * i);
	return n;
}

bool
spool_key_fits(const struct event *ev)
{
	const size_t room = KEY_MAX_BYTES - KEY_HEAD_BYTES;

	return ev->tenant.len <= room && ev->endpoint.len <= room - ev->tenant.len &&
	       ev->key.len <= room - ev->tenant.len - ev->endpoint.len;
}

static size_t
key_encode(const struct event *ev, char row[KEY_MAX_BYTES])
{
	const struct slice names[] = { ev->tenant, ev->endpoint, ev->key };
	char *at = row + KEY_HEAD_BYTES;

	row[0] = KEY_VERSION;
	memcpy(row + KEY_ID_AT, ev->id, EVENT_ID_BYTES);
	memcpy(row + KEY_FINGERPRINT_AT, ev->fingerprint, EVENT_FINGERPRINT_BYTES);
	put_le(row + KEY_ACCEPTED_AT, (uint64_t)ev->accepted_us, 8);
	put_le(row + KEY_LENGTHS_AT, ev->tenant.len, 2);
	put_le(row + KEY_LENGTHS_AT + 2, ev->endpoint.len, 2);
	for (size_t i = 0; i < sizeof names / sizeof *names; at += names[i].len, i++)
		if (names[i].len > 0)
			memcpy(at, names[i].ptr, names[i].len);
	return (size_t)(at - row);
}

/* ERR_INVALID: a row of another version, which counts as none. */
static enum err
key_decode(uint64_t seq, struct slice row, struct spool_key *out)
{
	size_t tenant_len, endpoint_len, names_len;
	const char *names;

	if (row.len < KEY_HEAD_BYTES || row.ptr[0] != KEY_VERSION)
		return ERR_INVALID;
	tenant_len = (size_t)get_le(row.ptr + KEY_LENGTHS_AT, 2);
	endpoint_len = (size_t)get_le(row.ptr + KEY_LENGTHS_AT + 2, 2);
	names = row.ptr + KEY_HEAD_BYTES;
	names_len = row.len - KEY_HEAD_BYTES;
	if (tenant_len + endpoint_len > names_len)
		return ERR_INVALID;
	*out = (struct spool_key){
		.seq = seq,
		.id = (const uint8_t *)row.ptr + KEY_ID_AT,
		.fingerprint = (const uint8_t *)row.ptr + KEY_FINGERPRINT_AT,
		.accepted_us = (int64_t)get_le(row.ptr + KEY_ACCEPTED_AT, 8),
		.tenant = { names, tenant_len },
		.endpoint = { names + tenant_len, endpoint_len },
		.key = { names + tenant_len + endpoint_len, names_len - tenant_len - endpoint_len },
	};
	return ERR_OK;
}

/* An empty table has no edge: 0. */
static enum err
edge(enum err found, uint64_t *seq)
{
	if (found == ERR_NOT_FOUND)
		*seq = 0;
	return found == ERR_NOT_FOUND ? ERR_OK : found;
}

enum err
spool_view(struct lmdb_txn *txn, struct spool_view *out)
{
	uint64_t first, last;
	struct slice row;
	enum err rc;

	*out = (struct spool_view){ .txn = txn };
	rc = edge(lmdb_last(txn, SPOOL_MARKS, &out->applied_seq, &row), &out->applied_seq);
	if (rc == ERR_OK)
		rc = edge(lmdb_last(txn, SPOOL_KEYS, &last, &row), &last);
	if (rc == ERR_OK)
		rc = edge(lmdb_seek(txn, SPOOL_KEYS, 0, &first, &row), &first);
	if (rc != ERR_OK)
		return rc;
	out->range.last = last > out->applied_seq ? last : out->applied_seq;
	out->range.first = first > 0 ? first : out->range.last + 1;
	return ERR_OK;
}

enum err
spool_key_at(struct spool_view *v, uint64_t seq, struct spool_key *out)
{
	struct slice row;
	const enum err rc = lmdb_get(v->txn, SPOOL_KEYS, seq, &row);

	return rc == ERR_OK ? key_decode(seq, row, out) : rc;
}

enum err
spool_find(
    struct queue *q, struct spool_view *v, const uint8_t id[EVENT_ID_BYTES], struct spool_key *out)
{
	struct hint_walk walk = hint_walk(q->o.shared, id, v->range);
	struct spool_key key;
	uint64_t seq;
	enum err rc;

	out->seq = 0;
	while (hint_next(&walk, &seq)) {
		if (seq <= out->seq)
			continue;
		rc = spool_key_at(v, seq, &key);
		if (rc == ERR_NOT_FOUND || rc == ERR_INVALID)
			continue;
		if (rc != ERR_OK)
			return rc;
		if (memcmp(key.id, id, EVENT_ID_BYTES) == 0)
			*out = key;
	}
	return out->seq > 0 ? ERR_OK : ERR_NOT_FOUND;
}

enum err
spool_applied(struct spool_view *v, uint64_t seq, uint64_t *through_out, int64_t *applied_us_out)
{
	struct slice row;
	enum err rc;

	*through_out = 0;
	*applied_us_out = 0;
	if (seq > v->applied_seq)
		return ERR_OK;
	rc = lmdb_seek(v->txn, SPOOL_MARKS, seq, through_out, &row);
	if (rc == ERR_OK && row.len != MARK_BYTES)
		rc = ERR_IO;
	if (rc == ERR_OK)
		*applied_us_out = (int64_t)get_le(row.ptr, MARK_BYTES);
	return rc;
}

enum err
spool_append_key(struct queue *q, struct spool_view *v, const struct event *ev, uint64_t seq)
{
	char row[KEY_MAX_BYTES];
	enum err rc = ERR_TOO_LARGE;

	if (spool_key_fits(ev))
		rc = lmdb_append(
		    v->txn, SPOOL_KEYS, seq, (struct slice){ row, key_encode(ev, row) });
	if (rc != ERR_OK)
		return rc;
	if (v->range.first > v->range.last)
		v->range.first = seq;
	v->range.last = seq;
	/* Before the commit, so that the next item of this transaction finds it. */
	hint_insert(q->o.shared, ev->id, seq, v->range);
	return ERR_OK;
}

enum err
spool_append_mark(struct spool_view *v, uint64_t seq, int64_t applied_us)
{
	char row[MARK_BYTES];
	enum err rc;

	put_le(row, (uint64_t)applied_us, sizeof row);
	rc = lmdb_append(v->txn, SPOOL_MARKS, seq, (struct slice){ row, sizeof row });
	if (rc == ERR_OK)
		v->applied_seq = seq;
	return rc;
}

/*
 * ${v->range} stays: should this transaction fail, the keys are still there, and until it is over no hint
 * of theirs may be taken for a free one.
 */
enum err
spool_forget(struct spool_view *v, uint64_t through, size_t max, size_t *forgotten_out)
{
	uint64_t first = v->applied_seq;
	size_t dropped;
	struct slice row;
	enum err rc;

	*forgotten_out = 0;
	if (v->applied_seq == 0)
		return ERR_OK;
	if (through > v->applied_seq)
		through = v->applied_seq;
	rc = lmdb_drop_head(v->txn, SPOOL_KEYS, through, max, forgotten_out);
	if (rc == ERR_OK)
		rc = lmdb_seek(v->txn, SPOOL_KEYS, 0, &first, &row);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return rc;
	if (first > v->applied_seq)
		first = v->applied_seq; /* the last mark stays */
	return lmdb_drop_head(v->txn, SPOOL_MARKS, first - 1, SIZE_MAX, &dropped);
}

enum err
spool_catch_up(struct queue *q, struct spool_view *v, size_t max, uint64_t *hinted_out)
{
	struct spool_key key;
	struct slice row;
	uint64_t seq, hinted = atomic_load(&q->o.shared->hinted_seq);
	enum err rc;

	*hinted_out = v->range.last;
	if (hinted >= v->range.last)
		return ERR_OK;
	rc = lmdb_seek(v->txn, SPOOL_KEYS, hinted + 1, &seq, &row);
	for (; rc == ERR_OK && max > 0; max--) {
		if (key_decode(seq, row, &key) == ERR_OK)
			hint_insert(q->o.shared, key.id, seq, v->range);
		*hinted_out = seq;
		rc = lmdb_next(v->txn, SPOOL_KEYS, &seq, &row);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	*hinted_out = v->range.last;
	return ERR_OK;
}

enum err
spool_bytes(struct spool_view *v, uint64_t *log_out, uint64_t *all_out)
{
	struct lmdb_table_size size;
	enum err rc;

	*all_out = 0;
	for (unsigned table = 0; table < SPOOL__TABLES; table++) {
		rc = lmdb_table_size(v->txn, table, &size);
		if (rc != ERR_OK)
			return rc;
		*all_out += size.bytes;
		if (table == SPOOL_LOG)
			*log_out = size.bytes;
	}
	return ERR_OK;
}
