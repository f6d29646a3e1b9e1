/*
 * The write database for the consumer, on SQLite.
 *
 * weir_keys is a table with a growing rowid and one index by event id, so that inserting touches one random
 * page a key and forgetting deletes from the head.  A key says rows = 1 until writer_mark() knows better:
 * most statements touch one row, and need no second statement of ours.
 */
#include "service/writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/sqlite_bind.h"

enum {
	DEADLINE_MS =
	    5000, /* of one call here; far below the 10 s after which a silent process is killed */
	MAX_BIND_BYTES = 16 << 20,
};

struct writer {
	struct sqlite *db;
	struct arena arena; /* of one statement */
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS weir_keys ("
    " id INTEGER PRIMARY KEY, event_id BLOB NOT NULL, tenant TEXT NOT NULL, endpoint TEXT NOT NULL,"
    " key TEXT NOT NULL, fingerprint BLOB NOT NULL, state TEXT NOT NULL, reason TEXT, rows "
    "INTEGER, at INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX IF NOT EXISTS weir_keys_by_event ON weir_keys (event_id);"
    "CREATE TABLE IF NOT EXISTS weir_dead_letters ("
    " id INTEGER PRIMARY KEY, event_id BLOB NOT NULL, tenant TEXT NOT NULL, endpoint TEXT NOT "
    "NULL, key TEXT NOT NULL,"
    " sqlstate TEXT NOT NULL, message TEXT NOT NULL, record BLOB NOT NULL, accepted_at INTEGER NOT "
    "NULL,"
    " at INTEGER NOT NULL);"
    "CREATE INDEX IF NOT EXISTS weir_dead_letters_by_event ON weir_dead_letters (event_id);";

/* A larger cache for the index by event id, whose pages are touched at random. */
static const char tuning[] = "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;";

/*
 * SQLSTATE to what it means for a batch: a whole code before its class; what is not here is unclear.
 */
static const struct {
	char state[6];
	enum writer_verdict verdict;
} verdicts[] = {
	{ "57014", WRITER_UNCLEAR },
	{ "25006", WRITER_BAD_MOMENT },
	{ "21", WRITER_BAD_EVENT },
	{ "22", WRITER_BAD_EVENT },
	{ "23", WRITER_BAD_EVENT },
	{ "39", WRITER_BAD_EVENT },
	{ "44", WRITER_BAD_EVENT },
	{ "54", WRITER_BAD_EVENT },
	{ "P0", WRITER_BAD_EVENT },
	{ "08", WRITER_BAD_MOMENT },
	{ "40", WRITER_BAD_MOMENT },
	{ "53", WRITER_BAD_MOMENT },
	{ "55", WRITER_BAD_MOMENT },
	{ "57", WRITER_BAD_MOMENT },
	{ "58", WRITER_BAD_MOMENT },
	{ "0A", WRITER_BAD_DEPLOYMENT },
	{ "26", WRITER_BAD_DEPLOYMENT },
	{ "28", WRITER_BAD_DEPLOYMENT },
	{ "2F", WRITER_BAD_DEPLOYMENT },
	{ "3F", WRITER_BAD_DEPLOYMENT },
	{ "42", WRITER_BAD_DEPLOYMENT },
	{ "00", WRITER_OK },
};

enum writer_verdict
writer_verdict_of(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
		if (strncmp(sqlstate, verdicts[i].state, strlen(verdicts[i].state)) == 0)
			return verdicts[i].verdict;
	return WRITER_UNCLEAR;
}

static void
explain(const struct sqlite_fault *f, struct writer_failure *why)
{
	*why = (struct writer_failure){ .verdict = writer_verdict_of(f->sqlstate) };
	if (f->kind == SQLITE_FAULT_BROKEN)
		why->verdict =
		    WRITER_BAD_DEPLOYMENT; /* no event is at fault, and none may be tried on a broken file */
	memcpy(why->sqlstate, f->sqlstate, sizeof why->sqlstate);
	memcpy(why->message, f->message, sizeof why->message);
	why->message[sizeof why->message - 1] = '\0';
}

static enum err
checked(struct writer *w, enum err rc, struct writer_failure *why)
{
	if (rc != ERR_OK)
		explain(sqlite_last_fault(w->db), why);
	return rc;
}

static void
set_deadline(struct writer *w)
{
	sqlite_deadline(w->db, clock_mono_ms() + DEADLINE_MS);
}

static enum err
exec(struct writer *w, const char *sql, struct writer_failure *why)
{
	set_deadline(w);
	return checked(w, sqlite_exec(w->db, sql), why);
}

enum err
writer_open(const char *url, struct writer **out, struct writer_failure *why)
{
	static const char scheme[] = "sqlite:";
	struct sqlite_fault fault = { .sqlstate = "08001" };
	struct sqlite_options o = { .mode = SQLITE_FOR_WRITES,
		.deadline_ms = clock_mono_ms() + DEADLINE_MS };
	struct writer *w;
	enum err rc;

	*out = NULL;
	if (strncmp(url, scheme, sizeof scheme - 1) != 0)
		return ERR_INVALID;
	o.path = url + sizeof scheme - 1;
	w = calloc(1, sizeof *w);
	if (w == NULL)
		return ERR_NOMEM;
	arena_init(&w->arena, MAX_BIND_BYTES);
	rc = sqlite_open(&o, &w->db, &fault);
	if (rc != ERR_OK)
		explain(&fault, why);
	else
		rc = exec(w, tuning, why);
	if (rc != ERR_OK)
		writer_close(&w);
	*out = w;
	return rc;
}

void
writer_close(struct writer **wp)
{
	struct writer *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	sqlite_close(&w->db);
	arena_free(&w->arena);
	free(w);
}

enum err
writer_migrate(struct writer *w, struct writer_failure *why)
{
	return exec(w, schema, why);
}

enum err
writer_begin(struct writer *w, struct writer_failure *why)
{
	return exec(w, "BEGIN IMMEDIATE", why);
}

enum err
writer_commit(struct writer *w, struct writer_failure *why)
{
	return exec(w, "COMMIT", why);
}

void
writer_rollback(struct writer *w)
{
	struct writer_failure
	    ignored; /* a transaction that cannot be rolled back is not there any more */

	if (sqlite_in_transaction(w->db))
		(void)exec(w, "ROLLBACK", &ignored);
}

/* Prepared statements of ours, with what they need bound, run to their end. */
static enum err
take(struct writer *w, const char *sql, struct sqlite_statement **out, struct writer_failure *why)
{
	set_deadline(w);
	return checked(w, sqlite_take(w->db, SLICE("weir"), slice_of(sql), out), why);
}

static enum err
finish(struct writer *w, struct sqlite_statement *s, struct writer_failure *why)
{
	bool row;
	enum err rc;

	do
		rc = sqlite_step(s, &row);
	while (rc == ERR_OK && row);
	return checked(w, rc, why);
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

/* The key is there: is it this event's? */
static enum err
compare_key(
    struct writer *w, const struct event *ev, enum writer_claim *claim, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	bool row = false, same = false;
	enum err rc = take(w,
	    "SELECT fingerprint = ?2 AND tenant = ?3 AND endpoint = ?4 AND key = ?5"
	    " FROM weir_keys WHERE event_id = ?1",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_blob(s, 2, fingerprint_bytes(ev));
		sqlite_bind_text(s, 3, ev->tenant);
		sqlite_bind_text(s, 4, ev->endpoint);
		sqlite_bind_text(s, 5, ev->key);
		rc = checked(w, sqlite_step(s, &row), why);
	}
	if (rc == ERR_OK && row)
		same = sqlite_cell(s, 0).integer != 0;
	sqlite_give(&s);
	*claim = same ? WRITER_APPLIED : WRITER_CLASH;
	return rc;
}

static enum err
claim_key(struct writer *w, struct sqlite_statement *insert, const struct event *ev, int64_t now_us,
    enum writer_claim *claim, struct writer_failure *why)
{
	bool row = false;
	enum err rc;

	sqlite_bind_blob(insert, 1, id_bytes(ev));
	sqlite_bind_text(insert, 2, ev->tenant);
	sqlite_bind_text(insert, 3, ev->endpoint);
	sqlite_bind_text(insert, 4, ev->key);
	sqlite_bind_blob(insert, 5, fingerprint_bytes(ev));
	sqlite_bind_integer(insert, 6, now_us);
	rc = checked(w, sqlite_step(insert, &row), why);
	if (rc == ERR_OK && row)
		rc = finish(w, insert, why);
	sqlite_rewind(insert);
	*claim = WRITER_NEW;
	return rc != ERR_OK || row ? rc : compare_key(w, ev, claim, why);
}

enum err
writer_claim_keys(struct writer *w, const struct event *events, size_t count, int64_t now_us,
    enum writer_claim *state_out, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc = take(w,
	    "INSERT INTO weir_keys (event_id, tenant, endpoint, key, fingerprint, state, rows, at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, 'applied', 1, ?6) ON CONFLICT DO NOTHING RETURNING 1",
	    &s, why);

	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = claim_key(w, s, &events[i], now_us, &state_out[i], why);
	sqlite_give(&s);
	return rc;
}

static enum err
run_statement(struct writer *w, const struct endpoint *e, const struct event *ev,
    const struct value *values, int64_t now_us, int64_t *rows_out, struct writer_failure *why)
{
	char id[EVENT_ID_TEXT];
	struct sqlite_ambient ambient = { .tenant = ev->tenant,
		.now_us = now_us,
		.idempotency_key = ev->key,
		.accepted_us = ev->accepted_us };
	struct sqlite_statement *s = NULL;
	enum err rc;

	event_id_text(ev->id, id);
	ambient.event_id = slice_of(id);
	set_deadline(w);
	rc = checked(w, sqlite_take(w->db, e->name, e->sql, &s), why);
	if (rc == ERR_OK) {
		sqlite_bind_endpoint(s, e, values, &ambient, &w->arena);
		rc = finish(w, s, why);
	}
	*rows_out = rc == ERR_OK ? sqlite_changes(w->db) : 0;
	sqlite_give(&s);
	return rc;
}

enum err
writer_apply(struct writer *w, const struct endpoint *e, const struct event *ev, int64_t now_us,
    int64_t *rows_out, struct writer_failure *why)
{
	struct value *values;

	arena_reset(&w->arena);
	values = arena_alloc(&w->arena, (e->param_count + 1) * sizeof *values);
	if (values == NULL) {
		*why = (struct writer_failure){ .verdict = WRITER_BAD_MOMENT,
			.sqlstate = "53200",
			.message = "out of memory" };
		return ERR_NOMEM;
	}
	if (event_values(e, ev, values) == ERR_OK)
		return run_statement(w, e, ev, values, now_us, rows_out, why);
	*why = (struct writer_failure){ .verdict = WRITER_BAD_DEPLOYMENT,
		.sqlstate = "42000",
		.message = "the event has not all parameters that its endpoint file now asks for" };
	return ERR_UNAVAILABLE;
}

enum err
writer_mark(struct writer *w, const struct event *ev, int64_t rows, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc;

	if (rows == 1)
		return ERR_OK; /* as writer_claim_keys() wrote it */
	rc = take(w, "UPDATE weir_keys SET rows = ?2 WHERE event_id = ?1", &s, why);
	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_integer(s, 2, rows);
		rc = finish(w, s, why);
	}
	sqlite_give(&s);
	return rc;
}

static enum err
bury_key(struct writer *w, const struct event *ev, struct slice reason, int64_t now_us,
    struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc = take(w,
	    "INSERT INTO weir_keys (event_id, tenant, endpoint, key, fingerprint, state, reason, "
	    "rows, at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, 'failed', ?6, 0, ?7) ON CONFLICT DO NOTHING",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_text(s, 2, ev->tenant);
		sqlite_bind_text(s, 3, ev->endpoint);
		sqlite_bind_text(s, 4, ev->key);
		sqlite_bind_blob(s, 5, fingerprint_bytes(ev));
		sqlite_bind_text(s, 6, reason);
		sqlite_bind_integer(s, 7, now_us);
		rc = finish(w, s, why);
	}
	sqlite_give(&s);
	return rc;
}

enum err
writer_bury(struct writer *w, const struct event *ev, struct slice record,
    const struct writer_failure *reason, int64_t now_us, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc = take(w,
	    "INSERT INTO weir_dead_letters"
	    " (event_id, tenant, endpoint, key, sqlstate, message, record, accepted_at, at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, id_bytes(ev));
		sqlite_bind_text(s, 2, ev->tenant);
		sqlite_bind_text(s, 3, ev->endpoint);
		sqlite_bind_text(s, 4, ev->key);
		sqlite_bind_text(s, 5, slice_of(reason->sqlstate));
		sqlite_bind_text(s, 6, slice_of(reason->message));
		sqlite_bind_blob(s, 7, record);
		sqlite_bind_integer(s, 8, ev->accepted_us);
		sqlite_bind_integer(s, 9, now_us);
		rc = finish(w, s, why);
	}
	sqlite_give(&s);
	return rc == ERR_OK ? bury_key(w, ev, slice_of(reason->message), now_us, why) : rc;
}

enum err
writer_revive(struct writer *w, const struct event *ev, int64_t now_us, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc = take(w,
	    "INSERT INTO weir_keys (event_id, tenant, endpoint, key, fingerprint, state, rows, at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, 'applied', 1, ?6) ON CONFLICT (event_id) DO UPDATE"
	    " SET state = 'applied', reason = NULL, rows = 1, at = ?6"
	    " WHERE state = 'failed' AND fingerprint = ?5 RETURNING 1",
	    &s, why);
	enum writer_claim claim = WRITER_CLASH;

	if (rc == ERR_OK)
		rc = claim_key(w, s, ev, now_us, &claim, why);
	sqlite_give(&s);
	if (rc != ERR_OK || claim == WRITER_NEW)
		return rc;
	*why = (struct writer_failure){ .verdict = WRITER_BAD_EVENT,
		.sqlstate = "23505",
		.message = "its idempotency key belongs to an event that was applied" };
	return ERR_CONFLICT;
}

enum err
writer_drop_letters(
    struct writer *w, const uint8_t *event_id, uint64_t *dropped_out, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	enum err rc = take(w,
	    event_id == NULL ? "DELETE FROM weir_dead_letters"
			     : "DELETE FROM weir_dead_letters WHERE event_id = ?1",
	    &s, why);

	if (rc == ERR_OK && event_id != NULL)
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)event_id, EVENT_ID_BYTES });
	if (rc == ERR_OK)
		rc = finish(w, s, why);
	*dropped_out = rc == ERR_OK ? (uint64_t)sqlite_changes(w->db) : 0;
	sqlite_give(&s);
	return rc;
}

enum err
writer_expire_keys(struct writer *w, int64_t before_us, size_t max, struct writer_failure *why)
{
	struct sqlite_statement *s = NULL;
	/* Keys are written in order of time: from the head, up to the first that is young enough. */
	enum err rc = take(w,
	    "DELETE FROM weir_keys WHERE id IN (SELECT id FROM (SELECT id, at FROM weir_keys ORDER "
	    "BY id"
	    " LIMIT ?2) WHERE at < ?1)",
	    &s, why);

	if (rc == ERR_OK) {
		sqlite_bind_integer(s, 1, before_us);
		sqlite_bind_integer(s, 2, (int64_t)max);
		rc = finish(w, s, why);
	}
	sqlite_give(&s);
	return rc;
}
