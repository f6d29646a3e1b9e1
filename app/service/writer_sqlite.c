/*
 * The write database on SQLite.
 *
 * weir_keys grows by rowid and has one index, by event id: inserting touches one random page a key, and
 * forgetting deletes from the head.  Endpoint, tenant and key need no index, for the event id is made from
 * them.  A key says rows = 1 until mark() knows better: most statements touch one row, and
 * need no second statement of ours.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/sqlite_bind.h"
#include "service/writer_driver.h"

#define SCHEME "sqlite:"

enum { BIND_BYTES_MAX = 1 << 20 }; /* of one statement, beside the values themselves */

struct writer_sqlite {
	struct sqlite *db;
	struct arena arena; /* of one statement */
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS weir_keys (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL,"
    " endpoint TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, event_id BLOB NOT NULL,"
    " state TEXT NOT NULL, reason TEXT, rows INTEGER NOT NULL, at TIMESTAMP NOT NULL);"
    "CREATE UNIQUE INDEX IF NOT EXISTS weir_keys_by_event ON weir_keys (event_id);"
    "CREATE TABLE IF NOT EXISTS weir_dead_letters (id INTEGER PRIMARY KEY, event_id BLOB NOT NULL,"
    " tenant TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, sqlstate TEXT NOT NULL,"
    " message TEXT NOT NULL, record BLOB NOT NULL, accepted_at TIMESTAMP NOT NULL,"
    " at TIMESTAMP NOT NULL);"
    "CREATE INDEX IF NOT EXISTS weir_dead_letters_by_event ON weir_dead_letters (event_id);"
    "CREATE TABLE IF NOT EXISTS weir_api_keys (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, plan "
    "TEXT,"
    " hash BLOB NOT NULL, created_at TIMESTAMP NOT NULL, revoked_at TIMESTAMP);";

/* 64 MiB for the index by event id, whose pages are touched at random; 16 MiB between checkpoints. */
static const char tuning[] = "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000";

/*
 * Failures.
 */
static void
explain(const struct sqlite_fault *f, struct writer_failure *why)
{
	/* A broken file is no event's fault, and no event may be tried on it. */
	const bool broken = f->kind == SQLITE_FAULT_BROKEN;

	writer_failure_set(why, broken ? WRITER_BAD_DEPLOYMENT : writer_verdict_of(f->sqlstate),
	    f->sqlstate, f->message);
}

static enum err
checked(struct writer_sqlite *w, enum err rc, struct writer_failure *why)
{
	if (rc != ERR_OK)
		explain(sqlite_last_fault(w->db), why);
	return rc;
}

static void
set_deadline(struct writer_sqlite *w, int64_t ms)
{
	sqlite_deadline(w->db, clock_mono_ms() + ms);
}

/*
 * Connection and transaction.
 */
static enum err
exec(struct writer_sqlite *w, const char *sql, struct writer_failure *why)
{
	set_deadline(w, WRITER_DEADLINE_MS);
	return checked(w, sqlite_exec(w->db, sql), why);
}

static enum err
open_file(struct writer_sqlite *w, const char *path, struct writer_failure *why)
{
	const struct sqlite_options o = { .path = path,
		.mode = SQLITE_FOR_WRITES,
		.quiet = true, /* who writes says what failed, and how often */
		.deadline_ms = clock_mono_ms() + WRITER_DEADLINE_MS };
	struct sqlite_fault fault = { .sqlstate = "53200", .message = "out of memory" };
	const enum err rc = sqlite_open(&o, &w->db, &fault);

	if (rc == ERR_OK)
		return exec(w, tuning, why);
	explain(&fault, why);
	return rc;
}

static void
close_writer(void *state)
{
	struct writer_sqlite *w = state;

	sqlite_close(&w->db);
	arena_free(&w->arena);
	free(w);
}

static enum err
open_writer(const struct writer_options *o, void **out, struct writer_failure *why)
{
	struct writer_sqlite *w = calloc(1, sizeof *w);
	enum err rc;

	if (w == NULL)
		return writer_no_memory(why);
	arena_init(&w->arena, BIND_BYTES_MAX);
	rc = open_file(w, o->url + sizeof SCHEME - 1, why);
	if (rc == ERR_OK)
		*out = w;
	else
		close_writer(w);
	return rc;
}

static enum err
migrate(void *state, struct writer_failure *why)
{
	return exec(state, schema, why);
}

static enum err
begin(void *state, struct writer_failure *why)
{
	return exec(state, "BEGIN IMMEDIATE", why);
}

static enum err
commit(void *state, uint64_t *position_out, struct writer_failure *why)
{
	(void)position_out; /* whoever reads sees it */
	return exec(state, "COMMIT", why);
}

static void
rollback(void *state)
{
	struct writer_sqlite *w = state;
	struct writer_failure ignored; /* what cannot be rolled back is not there any more */

	if (sqlite_in_transaction(w->db))
		(void)exec(w, "ROLLBACK", &ignored);
}

/*
 * Our own statements: take, bind, run.
 */
static enum err
take(struct writer_sqlite *w, const char *sql, struct sqlite_statement **out,
    struct writer_failure *why)
{
	*out = NULL;
	set_deadline(w, WRITER_DEADLINE_MS);
	return checked(w, sqlite_take(w->db, SLICE("weir"), slice_of(sql), out), why);
}

static enum err
run_to_end(struct writer_sqlite *w, struct sqlite_statement *s, struct writer_failure *why)
{
	bool row;
	enum err rc;

	do
		rc = sqlite_step(s, &row);
	while (rc == ERR_OK && row);
	return checked(w, rc, why);
}

/* Runs and gives back; ${rc} is how it went so far. */
static enum err
finish(struct writer_sqlite *w, struct sqlite_statement *s, enum err rc, struct writer_failure *why)
{
	if (rc == ERR_OK)
		rc = run_to_end(w, s, why);
	sqlite_give(&s);
	return rc;
}

static struct slice
id_bytes(const struct event *ev)
{
	return (struct slice){ (const char *)ev->id, EVENT_ID_BYTES };
}

static struct slice
fingerprint_bytes(const struct event *ev)
{
	return (struct slice){ (const char *)ev->fingerprint, EVENT_FINGERPRINT_BYTES };
}

/* ?1 to ?5: who the event is. */
static void
bind_event(struct sqlite_statement *s, const struct event *ev)
{
	sqlite_bind_blob(s, 1, id_bytes(ev));
	sqlite_bind_blob(s, 2, fingerprint_bytes(ev));
	sqlite_bind_text(s, 3, ev->tenant);
	sqlite_bind_text(s, 4, ev->endpoint);
	sqlite_bind_text(s, 5, ev->key);
}

/*
 * Keys.
 */

/* The key is there: is it this event's? */
static enum err
compare_key(struct writer_sqlite *w, const struct event *ev, enum writer_claim *claim,
    struct writer_failure *why)
{
	struct sqlite_statement *s;
	bool row = false, same = false;
	enum err rc = take(w,
	    "SELECT fingerprint = ?2 AND tenant = ?3 AND endpoint = ?4 AND key = ?5"
	    " FROM weir_keys WHERE event_id = ?1",
	    &s, why);

	if (rc == ERR_OK) {
		bind_event(s, ev);
		rc = checked(w, sqlite_step(s, &row), why);
	}
	if (rc == ERR_OK && row)
		same = sqlite_cell(s, 0).integer != 0;
	sqlite_give(&s);
	*claim = same ? WRITER_APPLIED : WRITER_CLASH;
	return rc;
}

/* An expired key gets a new number too: their order is that of time, and expiry works from the head. */
static const char claim_sql[] =
    "INSERT INTO weir_keys (event_id, fingerprint, tenant, endpoint, key, state, rows, at)"
    " VALUES (?1, ?2, ?3, ?4, ?5, 'applied', 1, ?6)"
    " ON CONFLICT (event_id) DO UPDATE SET id = (SELECT max(id) FROM weir_keys) + 1,"
    " fingerprint = ?2, state = 'applied', reason = NULL, rows = 1, at = ?6 WHERE at < ?7";

static enum err
claim_key(struct writer_sqlite *w, struct sqlite_statement *s, const struct event *ev,
    struct slice now, int64_t key_ttl_us, enum writer_claim *claim, struct writer_failure *why)
{
	char expired[CLOCK_RFC3339_BYTES];
	enum err rc;

	bind_event(s, ev);
	sqlite_bind_text(s, 6, now);
	sqlite_bind_text(s, 7, slice_of(clock_rfc3339(ev->accepted_us - key_ttl_us, expired)));
	rc = run_to_end(w, s, why);
	sqlite_rewind(s);
	*claim = WRITER_NEW;
	if (rc == ERR_OK && sqlite_changes(w->db) == 0)
		rc = compare_key(w, ev, claim, why);
	return rc;
}

static enum err
claim_keys(void *state, const struct event *events, size_t count, int64_t now_us,
    int64_t key_ttl_us, enum writer_claim *claims_out, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char now[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	enum err rc = take(w, claim_sql, &s, why);

	(void)clock_rfc3339(now_us, now);
	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = claim_key(w, s, &events[i], slice_of(now), key_ttl_us, &claims_out[i], why);
	sqlite_give(&s);
	return rc;
}

static enum err
mark(struct writer_sqlite *w, const struct event *ev, int64_t rows, struct writer_failure *why)
{
	struct sqlite_statement *s;
	enum err rc;

	if (rows == 1)
		return ERR_OK; /* as the claim wrote it */
	rc = take(w, "UPDATE weir_keys SET rows = ?2 WHERE event_id = ?1", &s, why);
	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_integer(s, 2, rows);
	}
	return finish(w, s, rc, why);
}

static enum err
expire_keys(void *state, int64_t before_us, size_t max, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char before[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	enum err rc = take(w,
	    "DELETE FROM weir_keys WHERE id IN (SELECT id FROM"
	    " (SELECT id, at FROM weir_keys ORDER BY id LIMIT ?1) WHERE at < ?2)",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_integer(s, 1, (int64_t)max);
		sqlite_bind_text(s, 2, slice_of(clock_rfc3339(before_us, before)));
	}
	return finish(w, s, rc, why);
}

/*
 * The endpoints' statements.
 */
static enum err
run_statement(struct writer_sqlite *w, const struct writer_job *job, const struct value *values,
    int64_t now_us, int64_t *rows_out, struct writer_failure *why)
{
	const struct endpoint *e = job->endpoint;
	char id[EVENT_ID_TEXT];
	struct sqlite_ambient ambient = { .tenant = job->event->tenant,
		.now_us = now_us,
		.idempotency_key = job->event->key,
		.accepted_us = job->event->accepted_us };
	struct sqlite_statement *s = NULL;
	enum err rc;

	event_id_text(job->event->id, id);
	ambient.event_id = slice_of(id);
	set_deadline(w, writer_timeout_ms(e));
	rc = checked(w, sqlite_take(w->db, e->name, e->sql, &s), why);
	if (rc == ERR_OK)
		sqlite_bind_endpoint(s, e, values, &ambient, &w->arena);
	if (rc == ERR_OK && w->arena.overflowed) /* then something else was bound */
		rc = writer_no_memory(why);
	if (rc == ERR_OK)
		rc = run_to_end(w, s, why);
	if (rc == ERR_OK)
		*rows_out = sqlite_is_readonly(s) ? 0 : sqlite_changes(w->db);
	sqlite_give(&s);
	return rc;
}

static enum err
apply_one(struct writer_sqlite *w, const struct writer_job *job, int64_t now_us,
    struct writer_failure *why)
{
	struct value *values;
	int64_t rows = 0;
	enum err rc;

	arena_reset(&w->arena);
	rc = writer_values(job, &w->arena, &values, why);
	if (rc == ERR_OK)
		rc = run_statement(w, job, values, now_us, &rows, why);
	if (rc == ERR_OK && !sqlite_in_transaction(w->db)) {
		writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "0A000",
		    "the statement ends the batch's transaction");
		rc = ERR_UNAVAILABLE;
	}
	return rc == ERR_OK ? mark(w, job->event, rows, why) : rc;
}

static enum err
apply(void *state, const struct writer_job *jobs, size_t count, int64_t now_us, int64_t until_ms,
    size_t *done_out, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	enum err rc = ERR_OK;

	for (size_t i = 0; i < count && rc == ERR_OK; i++) {
		if (i > 0 && clock_mono_ms() > until_ms) {
			writer_failure_set(why, WRITER_TOO_MUCH, "57014", "the batch's time is up");
			return ERR_TIMEOUT;
		}
		rc = apply_one(w, &jobs[i], now_us, why);
		*done_out = rc == ERR_OK ? i + 1 : i;
	}
	return rc;
}

/*
 * Dead letters.
 */
static enum err
fail_key(struct writer_sqlite *w, const struct event *ev, const char *reason, struct slice now,
    struct writer_failure *why)
{
	struct sqlite_statement *s;
	enum err rc = take(w,
	    "UPDATE weir_keys SET state = 'failed', reason = ?3, rows = 0, at = ?4"
	    " WHERE event_id = ?1 AND fingerprint = ?2",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_blob(s, 2, fingerprint_bytes(ev));
		sqlite_bind_text(s, 3, slice_of(reason));
		sqlite_bind_text(s, 4, now);
	}
	return finish(w, s, rc, why);
}

static enum err
bury(void *state, const struct event *ev, const struct writer_failure *reason, int64_t now_us,
    struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char now[CLOCK_RFC3339_BYTES], accepted[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	enum err rc = take(w,
	    "INSERT INTO weir_dead_letters (event_id, record, tenant, endpoint, key, sqlstate,"
	    " message, accepted_at, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS"
	    " (SELECT 1 FROM weir_dead_letters WHERE event_id = ?1 AND record = ?2)",
	    &s, why);

	if (rc == ERR_OK) {
		bind_event(s, ev);
		sqlite_bind_blob(s, 2, ev->record); /* in the fingerprint's place */
		sqlite_bind_text(s, 6, slice_of(reason->sqlstate));
		sqlite_bind_text(s, 7, slice_of(reason->message));
		sqlite_bind_text(s, 8, slice_of(clock_rfc3339(ev->accepted_us, accepted)));
		sqlite_bind_text(s, 9, slice_of(clock_rfc3339(now_us, now)));
	}
	rc = finish(w, s, rc, why);
	return rc == ERR_OK ? fail_key(w, ev, reason->message, slice_of(now), why) : rc;
}

static enum err
revive(void *state, const struct event *ev, int64_t now_us, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char now[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	enum err rc = take(w,
	    "INSERT INTO weir_keys (event_id, fingerprint, tenant, endpoint, key, state, rows, at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, 'applied', 1, ?6) ON CONFLICT (event_id) DO UPDATE"
	    " SET id = (SELECT max(id) FROM weir_keys) + 1, state = 'applied', reason = NULL, rows "
	    "= 1,"
	    " at = ?6 WHERE state = 'failed' AND fingerprint = ?2",
	    &s, why);

	if (rc == ERR_OK) {
		bind_event(s, ev);
		sqlite_bind_text(s, 6, slice_of(clock_rfc3339(now_us, now)));
	}
	rc = finish(w, s, rc, why);
	if (rc != ERR_OK || sqlite_changes(w->db) > 0)
		return rc;
	writer_failure_set(why, WRITER_BAD_EVENT, "23505",
	    "its idempotency key belongs to an event that was applied");
	return ERR_CONFLICT;
}

static enum err
drop_letter(void *state, int64_t letter_id, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	struct sqlite_statement *s;
	enum err rc = take(w, "DELETE FROM weir_dead_letters WHERE id = ?1", &s, why);

	if (rc == ERR_OK)
		sqlite_bind_integer(s, 1, letter_id);
	rc = finish(w, s, rc, why);
	if (rc != ERR_OK || sqlite_changes(w->db) > 0)
		return rc;
	writer_failure_set(why, WRITER_BAD_EVENT, "02000", "the letter is not there any more");
	return ERR_NOT_FOUND;
}

static enum err
drop_letters(
    void *state, const uint8_t *event_id, uint64_t *dropped_out, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	struct sqlite_statement *s;
	enum err rc =
	    take(w, "DELETE FROM weir_dead_letters WHERE ?1 IS NULL OR event_id = ?1", &s, why);

	if (rc == ERR_OK && event_id != NULL)
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)event_id, EVENT_ID_BYTES });
	rc = finish(w, s, rc, why);
	*dropped_out = rc == ERR_OK ? (uint64_t)sqlite_changes(w->db) : 0;
	return rc;
}

/*
 * API keys.
 */
static enum err
add_api_key(void *state, const struct api_key_row *row, const uint8_t digest[DIGEST_BYTES],
    int64_t now_us, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char now[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	enum err rc = take(w,
	    "INSERT INTO weir_api_keys (id, tenant, plan, hash, created_at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5)",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_text(s, 1, row->id);
		sqlite_bind_text(s, 2, row->tenant);
		if (row->plan.ptr != NULL)
			sqlite_bind_text(s, 3, row->plan);
		sqlite_bind_blob(s, 4, (struct slice){ (const char *)digest, DIGEST_BYTES });
		sqlite_bind_text(s, 5, slice_of(clock_rfc3339(now_us, now)));
	}
	return finish(w, s, rc, why);
}

/* A key that was revoked before keeps its moment, and shows by it. */
static enum err
revoke_api_key(void *state, struct slice id, int64_t now_us, struct writer_failure *why)
{
	struct writer_sqlite *w = state;
	char now[CLOCK_RFC3339_BYTES];
	struct sqlite_statement *s;
	bool row = false, ours = false;
	enum err rc = take(w,
	    "UPDATE weir_api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1"
	    " RETURNING revoked_at = ?2",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_text(s, 1, id);
		sqlite_bind_text(s, 2, slice_of(clock_rfc3339(now_us, now)));
		rc = checked(w, sqlite_step(s, &row), why);
	}
	if (rc == ERR_OK && row)
		ours = sqlite_cell(s, 0).integer != 0;
	rc = finish(w, s, rc, why);
	return rc == ERR_OK ? writer_api_key_revoked(row, ours, why) : rc;
}

const struct writer_driver writer_driver_sqlite = {
	.schemes = { SCHEME },
	.open = open_writer,
	.close = close_writer,
	.migrate = migrate,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.claim_keys = claim_keys,
	.apply = apply,
	.bury = bury,
	.revive = revive,
	.drop_letter = drop_letter,
	.drop_letters = drop_letters,
	.add_api_key = add_api_key,
	.revoke_api_key = revoke_api_key,
	.expire_keys = expire_keys,
};
