/*
 * The write database on PostgreSQL: the connection, its transaction, weir's own tables, dead letters.
 *
 * Everything is said in round trips of many statements, unnamed, with settings that end with their transaction:
 * PgBouncer in transaction mode may give the next one to another server.  BEGIN waits for the first
 * statement, with which it goes out.
 *
 * The key of an event is its id, made from tenant, endpoint and key, so that is weir_keys' only key; the other
 * index is the order in which keys expire.  A key says rows = 1 until more is known, as most statements touch one.
 */
#include "service/writer_postgresql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
	GRACE_MS =
	    500, /* for the answer, beyond the server's own timeout, which should strike first */
	ROLLBACK_MS = 1000,
	STATEMENTS_MAX = 4, /* of one pg_writer_run() */
	STATEMENT_BYTES_MAX = 1 << 30,
	MIGRATION_LOCK = 0x77656972, /* "weir": the key of an advisory lock */
};

/*
 * Failures.
 */

/* Weir's own statements are no event's fault: values that they refuse are a schema that does not fit, and what is too
 * slow or unclear is a bad moment. */
static enum writer_verdict
without_blame(enum writer_verdict v)
{
	switch (v) {
	case WRITER_BAD_EVENT:
		return WRITER_BAD_DEPLOYMENT;
	case WRITER_UNCLEAR:
	case WRITER_TOO_MUCH:
	case WRITER_OK:
		return WRITER_BAD_MOMENT;
	case WRITER_BAD_MOMENT:
	case WRITER_BAD_DEPLOYMENT:
		break;
	}
	return v;
}

void
pg_writer_explain(
    const struct pg_writer *w, const struct pg_fault *f, bool own, struct writer_failure *why)
{
	enum writer_verdict v = writer_verdict_of(f->sqlstate);

	/* A lost connection says nothing about the batch, whatever its last words were. */
	if (w->pg != NULL && pg_is_dead(w->pg))
		v = WRITER_BAD_MOMENT;
	writer_failure_set(why, own ? without_blame(v) : v, f->sqlstate, f->message);
}

/*
 * Round trips.
 */

/*
 * A consumer that hangs must not keep its keys from the others, nor a server go on with what nobody waits for.  Who
 * commits without waiting for the disk would lose what was acknowledged.
 */
static const char first_settings[] =
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),"
    " set_config('idle_in_transaction_session_timeout', '5000', true),"
    " CASE WHEN current_setting('synchronous_commit') = 'off'"
    " THEN set_config('synchronous_commit', 'on', true) END,"
    " CASE WHEN version() LIKE '%linux%'"
    " AND current_setting('client_connection_check_interval', true) IS NOT NULL"
    " THEN set_config('client_connection_check_interval', '1000', true) END";

static const char more_settings[] =
    "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)";

enum err
pg_writer_set_timeout(struct pg_writer *w, int64_t ms)
{
	char statement[24], lock[24];
	struct pg_param params[2];
	struct pg_statement s = { .name = "weir",
		.sql = w->set_ms == 0 ? first_settings : more_settings,
		.params = params,
		.count = 2 };

	/* Waiting for another's lock ends sooner, and as what it is: a bad moment. */
	(void)snprintf(statement, sizeof statement, "%lld", (long long)ms);
	(void)snprintf(lock, sizeof lock, "%lld", (long long)(ms / 4 * 3 + 1));
	params[0] = (struct pg_param){ .value = slice_of(statement), .oid = PG_TEXT };
	params[1] = (struct pg_param){ .value = slice_of(lock), .oid = PG_TEXT };
	w->set_ms = ms;
	return pg_send(w->pg, &s);
}

static enum err
send_before(struct pg_call *c, int64_t ms)
{
	static const struct pg_statement begin = { .name = "weir",
		.sql = "BEGIN ISOLATION LEVEL READ COMMITTED" };
	struct pg_writer *w = c->w;
	enum err rc = ERR_OK;

	if (w->wanted && !w->begun) {
		rc = pg_send(w->pg, &begin);
		w->begun = true;
		c->before++;
	}
	if (rc == ERR_OK && w->set_ms != ms) {
		rc = pg_writer_set_timeout(w, ms);
		c->before++;
	}
	return rc;
}

enum err
pg_call_begin(struct pg_writer *w, int64_t ms, int64_t all_ms, struct pg_call *out,
    struct writer_failure *why)
{
	struct pg_fault fault = { .sqlstate = "08000" };
	enum err rc = primary_enter(w->primary, PRIMARY_CONSUMER, w->pg,
	    clock_mono_ms() + all_ms + GRACE_MS, &out->guarded, &fault);

	out->w = w;
	out->before = 0;
	if (rc != ERR_OK) {
		pg_writer_explain(w, &fault, true, why);
		return rc;
	}
	if (!w->wanted)
		w->set_ms = 0; /* a call without a transaction is one itself */
	rc = send_before(out, ms);
	return rc == ERR_OK ? ERR_OK : pg_call_end(out, rc, true, why);
}

enum err
pg_call_go(struct pg_call *c)
{
	struct pg_result *r = NULL;
	enum err rc = pg_sync(c->w->pg);

	for (; c->before > 0 && rc == ERR_OK; c->before--) {
		rc = pg_fetch(c->w->pg, &r);
		if (rc == ERR_OK)
			pg_result_free(&r);
	}
	return rc;
}

enum err
pg_call_end(struct pg_call *c, enum err rc, bool own, struct writer_failure *why)
{
	struct pg_fault fault = { .sqlstate = "08006" };

	rc = primary_leave(&c->guarded, rc, &fault);
	if (rc != ERR_OK)
		pg_writer_explain(c->w, &fault, own, why);
	return rc;
}

static enum err
run(struct pg_writer *w, const struct pg_statement *s, size_t count, struct pg_result **results,
    bool own, struct writer_failure *why)
{
	struct pg_call c;
	enum err rc = pg_call_begin(w, w->own_ms, w->own_ms, &c, why);

	for (size_t i = 0; i < count; i++)
		results[i] = NULL;
	if (rc != ERR_OK)
		return rc;
	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = pg_send(w->pg, &s[i]);
	if (rc == ERR_OK)
		rc = pg_call_go(&c);
	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = pg_fetch(w->pg, &results[i]);
	rc = pg_call_end(&c, rc, own, why);
	for (size_t i = 0; i < count && rc != ERR_OK; i++)
		pg_result_free(&results[i]);
	return rc;
}

enum err
pg_writer_run(struct pg_writer *w, const struct pg_statement *s, size_t count,
    struct pg_result **results_out, struct writer_failure *why)
{
	return run(w, s, count, results_out, true, why);
}

/* One call; *${affected_out} (may be NULL) is of the last statement. */
static enum err
run_counted(struct pg_writer *w, const struct pg_statement *s, size_t count, int64_t *affected_out,
    struct writer_failure *why)
{
	struct pg_result *results[STATEMENTS_MAX];
	enum err rc;

	if (w->arena.overflowed)
		return writer_no_memory(why);
	rc = pg_writer_run(w, s, count, results, why);
	if (rc == ERR_OK && affected_out != NULL)
		*affected_out = pg_affected(results[count - 1]);
	for (size_t i = 0; i < count; i++)
		pg_result_free(&results[i]);
	return rc;
}

/*
 * Parameters.
 */
struct pg_param
pg_text_param(struct slice text, struct arena *a)
{
	struct slice left = text;
	char *out;

	if (utf8_valid(text, NULL) && (text.len == 0 || memchr(text.ptr, '\0', text.len) == NULL))
		return (struct pg_param){ .value = text, .oid = PG_TEXT };
	out = arena_copy(a, text);
	while (out != NULL && left.len > 0) {
		const size_t n = utf8_first(left), step = n > 0 ? n : 1;

		if (n == 0 || *left.ptr == '\0')
			memset(out + (left.ptr - text.ptr), '?', step);
		left.ptr += step;
		left.len -= step;
	}
	return (struct pg_param){ .value = { out, out == NULL ? 0 : text.len }, .oid = PG_TEXT };
}

struct pg_param
pg_moment_param(int64_t wall_us, struct arena *a)
{
	char *text = arena_alloc(a, CLOCK_RFC3339_BYTES);

	return (
	    struct pg_param){ .value = slice_of(text == NULL ? NULL : clock_rfc3339(wall_us, text)),
		.oid = PG_TIMESTAMPTZ };
}

struct pg_param
pg_id_param(const uint8_t *event_id, struct arena *a)
{
	char *text = arena_alloc(a, EVENT_ID_TEXT);

	if (text != NULL)
		event_id_text(event_id, text);
	return (struct pg_param){ .value = slice_of(text), .oid = PG_UUID };
}

struct pg_param
pg_bytes_param(const void *bytes, size_t len)
{
	return (struct pg_param){ .value = { bytes, len }, .oid = PG_BYTEA, .binary = true };
}

/*
 * Connection and transaction.
 */
static void
close_writer(void *state)
{
	struct pg_writer *w = state;

	primary_hang_up(w->primary, &w->link);
	arena_free(&w->arena);
	free(w);
}

static enum err
connect(struct pg_writer *w, struct writer_failure *why)
{
	struct pg_fault fault = { .sqlstate = "08001" };
	const enum err rc = primary_connect(
	    w->primary, PRIMARY_CONSUMER, clock_mono_ms() + WRITER_DEADLINE_MS, &w->link, &fault);

	w->pg = w->link.pg;
	if (rc != ERR_OK)
		pg_writer_explain(w, &fault, false, why);
	w->stride = 1; /* its pace is not known yet */
	return rc;
}

static enum err
open_writer(const struct writer_options *o, void **out, struct writer_failure *why)
{
	const int64_t ms = o->primary == NULL ? 0 : primary_timeout_ms(o->primary);
	struct pg_writer *w = calloc(1, sizeof *w);
	enum err rc;

	if (w == NULL)
		return writer_no_memory(why);
	arena_init(&w->arena, STATEMENT_BYTES_MAX);
	w->primary = o->primary;
	w->own_ms = ms > 0 && ms < WRITER_DEADLINE_MS ? ms : WRITER_DEADLINE_MS;
	rc = connect(w, why);
	if (rc == ERR_OK)
		*out = w;
	else
		close_writer(w);
	return rc;
}

static enum err
begin(void *state, struct writer_failure *why)
{
	struct pg_writer *w = state;

	/* A server or PgBouncer that was restarted in a quiet hour is no event. */
	if (w->pg == NULL || !pg_is_fresh(w->pg)) {
		primary_hang_up(w->primary, &w->link);
		if (connect(w, why) != ERR_OK)
			return ERR_UNAVAILABLE;
	}
	arena_reset(&w->arena);
	w->wanted = true;
	w->begun = false;
	w->set_ms = 0;
	return ERR_OK;
}

/* Whatever happened: the next statement is in a transaction of its own. */
static void
forget_transaction(struct pg_writer *w)
{
	w->wanted = w->begun = false;
	w->set_ms = 0;
}

/* What is visible was flushed, and what was flushed is on its way to the replicas. */
static enum err
commit(void *state, uint64_t *position_out, struct writer_failure *why)
{
	static const struct pg_statement s[] = {
		{ .name = "weir", .sql = "COMMIT" },
		{ .name = "weir", .sql = "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn" },
	};
	struct pg_writer *w = state;
	struct pg_result *r[2] = { NULL };
	int64_t position = 0;
	enum err rc = ERR_OK;

	/* A constraint that is checked at the end is some event's: so not weir's own. */
	if (w->begun)
		rc = run(w, s, 2, r, false, why);
	if (r[1] != NULL && slice_to_i64(pg_text(r[1], 0, 0), &position) == ERR_OK)
		*position_out = (uint64_t)position;
	pg_result_free(&r[0]);
	pg_result_free(&r[1]);
	if (rc == ERR_OK)
		forget_transaction(w);
	return rc;
}

static void
rollback(void *state)
{
	static const struct pg_statement s = { .name = "weir", .sql = "ROLLBACK" };
	struct pg_writer *w = state;

	if (w->begun && !pg_is_dead(w->pg) && pg_in_transaction(w->pg)) {
		pg_deadline(w->pg, clock_mono_ms() + ROLLBACK_MS);
		(void)pg_run(w->pg, &s, NULL); /* failed: dead, which undoes it too */
	}
	forget_transaction(w);
}

/*
 * Weir's own tables.  Made in one transaction under a lock, for several hosts may begin at once; and only what is missing,
 * for who may write rows need not be allowed to make tables.
 */
static const struct part {
	const char *name, *sql;
} parts[] = {
	{ "weir_keys",
	    "CREATE TABLE IF NOT EXISTS weir_keys (event_id uuid PRIMARY KEY, tenant text NOT NULL,"
	    " endpoint text NOT NULL, key text NOT NULL, fingerprint bytea NOT NULL,"
	    " state text NOT NULL, reason text, rows bigint NOT NULL, at timestamptz NOT NULL)" },
	{ "weir_keys_by_time", "CREATE INDEX IF NOT EXISTS weir_keys_by_time ON weir_keys (at)" },
	{ "weir_dead_letters",
	    "CREATE TABLE IF NOT EXISTS weir_dead_letters (id bigint GENERATED ALWAYS AS IDENTITY"
	    " PRIMARY KEY, event_id uuid NOT NULL, tenant text NOT NULL, endpoint text NOT NULL,"
	    " key text NOT NULL, sqlstate text NOT NULL, message text NOT NULL, record bytea NOT "
	    "NULL,"
	    " accepted_at timestamptz NOT NULL, at timestamptz NOT NULL)" },
	{ "weir_dead_letters_by_event", "CREATE INDEX IF NOT EXISTS weir_dead_letters_by_event"
					" ON weir_dead_letters (event_id)" },
	{ "weir_api_keys",
	    "CREATE TABLE IF NOT EXISTS weir_api_keys (id text PRIMARY KEY, tenant text NOT NULL,"
	    " plan text, hash bytea NOT NULL, created_at timestamptz NOT NULL,"
	    " revoked_at timestamptz)" },
};

enum { PARTS = sizeof parts / sizeof *parts };

static enum err
find_missing(struct pg_writer *w, bool missing[PARTS], bool *any_out, struct writer_failure *why)
{
	struct pg_param params[PARTS];
	struct pg_statement s[PARTS];
	struct pg_result *results[PARTS];
	enum err rc;

	*any_out = false;
	for (size_t i = 0; i < PARTS; i++) {
		params[i] = (struct pg_param){ .value = slice_of(parts[i].name), .oid = PG_TEXT };
		s[i] = (struct pg_statement){ "weir", "SELECT to_regclass($1)", &params[i], 1 };
	}
	rc = pg_writer_run(w, s, PARTS, results, why);
	for (size_t i = 0; i < PARTS && rc == ERR_OK; i++) {
		missing[i] = pg_rows(results[i]) != 1 || pg_is_null(results[i], 0, 0);
		*any_out = *any_out || missing[i];
	}
	for (size_t i = 0; i < PARTS; i++)
		pg_result_free(&results[i]);
	return rc;
}

static enum err
make_missing(struct pg_writer *w, const bool missing[PARTS], struct writer_failure *why)
{
	char lock[80];
	struct pg_result *results[PARTS + 1];
	struct pg_statement s[PARTS + 1];
	size_t count = 1;
	enum err rc;

	(void)snprintf(lock, sizeof lock, "SELECT pg_advisory_xact_lock(%d)", MIGRATION_LOCK);
	s[0] = (struct pg_statement){ .name = "weir", .sql = lock };
	for (size_t i = 0; i < PARTS; i++)
		if (missing[i])
			s[count++] = (struct pg_statement){ .name = "weir", .sql = parts[i].sql };
	rc = pg_writer_run(w, s, count, results, why);
	for (size_t i = 0; i < count; i++)
		pg_result_free(&results[i]);
	return rc;
}

static enum err
migrate(void *state, struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct writer_failure first;
	bool missing[PARTS], any;
	enum err rc = find_missing(w, missing, &any, why);

	if (rc != ERR_OK || !any)
		return rc;
	rc = make_missing(w, missing, why);
	if (rc != ERR_OK && why->verdict == WRITER_BAD_DEPLOYMENT) {
		first = *why;
		(void)snprintf(why->message, sizeof why->message,
		    "weir's tables are missing and cannot be made: %.200s", first.message);
	}
	return rc;
}

/*
 * Dead letters.
 */
static enum err
bury(void *state, const struct event *ev, const struct writer_failure *reason, int64_t now_us,
    struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct arena *a = &w->arena;
	const struct pg_param now = pg_moment_param(now_us, a), id = pg_id_param(ev->id, a),
			      message = pg_text_param(slice_of(reason->message), a);
	const struct pg_param letter[] = { id, pg_text_param(ev->tenant, a),
		pg_text_param(ev->endpoint, a), pg_text_param(ev->key, a),
		pg_text_param(slice_of(reason->sqlstate), a), message,
		pg_bytes_param(ev->record.ptr, ev->record.len), pg_moment_param(ev->accepted_us, a),
		now };
	const struct pg_param key[] = { id,
		pg_bytes_param(ev->fingerprint, EVENT_FINGERPRINT_BYTES), message, now };
	const struct pg_statement s[] = {
		{ "weir",
		    "INSERT INTO weir_dead_letters (event_id, tenant, endpoint, key, sqlstate,"
		    " message, record, accepted_at, at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9"
		    " WHERE NOT EXISTS (SELECT 1 FROM weir_dead_letters"
		    " WHERE event_id = $1 AND record = $7)",
		    letter, 9 },
		{ "weir",
		    "UPDATE weir_keys SET state = 'failed', reason = $3, rows = 0, at = $4"
		    " WHERE event_id = $1 AND fingerprint = $2",
		    key, 4 },
	};

	return run_counted(w, s, 2, NULL, why);
}

static enum err
revive(void *state, const struct event *ev, int64_t now_us, struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct arena *a = &w->arena;
	const struct pg_param params[] = { pg_id_param(ev->id, a),
		pg_bytes_param(ev->fingerprint, EVENT_FINGERPRINT_BYTES),
		pg_text_param(ev->tenant, a), pg_text_param(ev->endpoint, a),
		pg_text_param(ev->key, a), pg_moment_param(now_us, a) };
	const struct pg_statement s = { "weir",
		"INSERT INTO weir_keys AS k (event_id, fingerprint, tenant, endpoint, key, state, "
		"rows, at)"
		" VALUES ($1, $2, $3, $4, $5, 'applied', 1, $6) ON CONFLICT (event_id) DO UPDATE"
		" SET state = 'applied', reason = NULL, rows = 1, at = excluded.at"
		" WHERE k.state = 'failed' AND k.fingerprint = excluded.fingerprint",
		params, 6 };
	int64_t changed = 0;
	const enum err rc = run_counted(w, &s, 1, &changed, why);

	if (rc != ERR_OK || changed > 0)
		return rc;
	writer_failure_set(why, WRITER_BAD_EVENT, "23505",
	    "its idempotency key belongs to an event that was applied");
	return ERR_CONFLICT;
}

static enum err
drop_letter(void *state, int64_t letter_id, struct writer_failure *why)
{
	struct pg_writer *w = state;
	char id[24];
	struct pg_param param;
	const struct pg_statement s = { "weir", "DELETE FROM weir_dead_letters WHERE id = $1",
		&param, 1 };
	int64_t gone = 0;
	enum err rc;

	(void)snprintf(id, sizeof id, "%lld", (long long)letter_id);
	param = (struct pg_param){ .value = slice_of(id), .oid = PG_INT8 };
	rc = run_counted(w, &s, 1, &gone, why);
	if (rc != ERR_OK || gone > 0)
		return rc;
	writer_failure_set(why, WRITER_BAD_EVENT, "02000", "the letter is not there any more");
	return ERR_NOT_FOUND;
}

static enum err
drop_letters(
    void *state, const uint8_t *event_id, uint64_t *dropped_out, struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct pg_param param = { .oid = PG_UUID, .null = true };
	const struct pg_statement s = { "weir",
		"DELETE FROM weir_dead_letters WHERE $1 IS NULL OR event_id = $1", &param, 1 };
	int64_t gone = 0;
	enum err rc;

	if (event_id != NULL)
		param = pg_id_param(event_id, &w->arena);
	rc = run_counted(w, &s, 1, &gone, why);
	*dropped_out = rc == ERR_OK ? (uint64_t)gone : 0;
	return rc;
}

const struct writer_driver writer_driver_postgresql = {
	.schemes = { "postgres:", "postgresql:" },
	.open = open_writer,
	.close = close_writer,
	.migrate = migrate,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.claim_keys = pg_writer_claim_keys,
	.apply = pg_writer_apply,
	.bury = bury,
	.revive = revive,
	.drop_letter = drop_letter,
	.drop_letters = drop_letters,
	.add_api_key = pg_writer_add_api_key,
	.revoke_api_key = pg_writer_revoke_api_key,
	.expire_keys = pg_writer_expire_keys,
};
