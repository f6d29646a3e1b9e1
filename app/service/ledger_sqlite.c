/*
 * The ledger on SQLite: read-only connections beside the one that writes.
 */
#include "base/arena.h"
#include "client/sqlite.h"
#include "service/event.h"
#include "service/ledger_driver.h"
#include "service/writer.h"

/* SLICE() is no constant expression. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

#define SCHEME "sqlite:"

static enum err
open_reader(const struct writer_options *w, int64_t deadline_ms, void **out)
{
	const struct sqlite_options o = { .path = w->url + sizeof SCHEME - 1,
		.mode = SQLITE_FOR_READS,
		.deadline_ms = deadline_ms };
	struct sqlite *db;
	const enum err rc = sqlite_open(&o, &db, NULL);

	*out = db;
	return rc;
}

static void
close_reader(void *connection)
{
	struct sqlite *db = connection;

	sqlite_close(&db);
}

static struct slice
cell(struct sqlite_statement *s, int column, struct arena *a)
{
	const struct slice bytes = sqlite_cell(s, column).bytes;

	return arena_slice(a, bytes.ptr != NULL ? bytes : SLICE(""));
}

static enum err
take(void *connection, int64_t deadline_ms, struct slice sql, struct sqlite_statement **out)
{
	sqlite_deadline(connection, deadline_ms);
	return sqlite_take(connection, SLICE("weir"), sql, out);
}

static enum err
one_row(struct sqlite_statement *s)
{
	bool row;
	const enum err rc = sqlite_step(s, &row);

	return rc == ERR_OK && !row ? ERR_NOT_FOUND : rc;
}

static enum err
letter(void *connection, int64_t after, struct slice event_id, int64_t deadline_ms, struct arena *a,
    struct letter *out)
{
	static const struct slice sql = TEXT(
	    "SELECT id, event_id, tenant, endpoint, key, sqlstate, message, record, accepted_at, at"
	    " FROM weir_dead_letters WHERE id > ?1 AND (?2 IS NULL OR event_id = ?2)"
	    " ORDER BY id LIMIT 1");
	struct sqlite_statement *s = NULL;
	enum err rc = take(connection, deadline_ms, sql, &s);

	if (rc == ERR_OK) {
		sqlite_bind_integer(s, 1, after);
		if (event_id.ptr != NULL)
			sqlite_bind_blob(s, 2, event_id);
		rc = one_row(s);
	}
	if (rc == ERR_OK)
		*out = (struct letter){ .id = sqlite_cell(s, 0).integer,
			.event_id = cell(s, 1, a),
			.tenant = cell(s, 2, a),
			.endpoint = cell(s, 3, a),
			.key = cell(s, 4, a),
			.sqlstate = cell(s, 5, a),
			.message = cell(s, 6, a),
			.record = cell(s, 7, a),
			.accepted_at = cell(s, 8, a),
			.at = cell(s, 9, a) };
	sqlite_give(&s);
	return rc;
}

static enum err
operation(void *connection, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out)
{
	static const struct slice sql = TEXT(
	    "SELECT tenant, state, reason, rows, CAST(strftime('%s', substr(at, 1, 19)) AS INTEGER)"
	    " * 1000000 + CAST(substr(at, 21, 6) AS INTEGER) FROM weir_keys WHERE event_id = ?1");
	struct sqlite_statement *s = NULL;
	enum err rc = take(connection, deadline_ms, sql, &s);

	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)event_id, EVENT_ID_BYTES });
		rc = one_row(s);
	}
	if (rc == ERR_OK)
		*out = (struct operation){ .tenant = cell(s, 0, a),
			.state = cell(s, 1, a),
			.reason = cell(s, 2, a),
			.rows = sqlite_cell(s, 3).integer,
			.at_us = sqlite_cell(s, 4).integer };
	sqlite_give(&s);
	return rc;
}

static enum err
key(void *connection, struct slice id, int64_t deadline_ms, struct api_key_found *out)
{
	static const struct slice sql =
	    TEXT("SELECT hash, tenant, revoked_at IS NOT NULL FROM weir_api_keys WHERE id = ?1");
	struct sqlite_statement *s = NULL;
	enum err rc = take(connection, deadline_ms, sql, &s);

	if (rc == ERR_OK) {
		sqlite_bind_text(s, 1, id);
		rc = one_row(s);
	}
	if (rc == ERR_OK)
		rc = api_key_found_fill(out, sqlite_cell(s, 0).bytes, sqlite_cell(s, 1).bytes,
		    sqlite_cell(s, 2).integer != 0);
	sqlite_give(&s);
	return rc;
}

/* Absent when null. */
static struct slice
lent(struct sqlite_statement *s, int column)
{
	const struct sqlite_cell c = sqlite_cell(s, column);

	return c.kind == SQLITE_KIND_NULL ? (struct slice){ NULL, 0 } : c.bytes;
}

static void
tell(struct sqlite_statement *s, api_key_row_fn *fn, void *ctx)
{
	const struct api_key_row row = { .id = lent(s, 0),
		.tenant = lent(s, 1),
		.plan = lent(s, 2),
		.created_at = lent(s, 3),
		.revoked_at = lent(s, 4) };

	fn(ctx, &row);
}

static enum err
keys(void *connection, int64_t deadline_ms, api_key_row_fn *fn, void *ctx)
{
	static const struct slice sql =
	    TEXT("SELECT id, tenant, plan, created_at, revoked_at FROM weir_api_keys"
		 " ORDER BY created_at, id");
	struct sqlite_statement *s = NULL;
	bool row = false;
	enum err rc = take(connection, deadline_ms, sql, &s);

	if (rc == ERR_OK)
		rc = sqlite_step(s, &row);
	while (rc == ERR_OK && row) {
		tell(s, fn, ctx);
		rc = sqlite_step(s, &row);
	}
	sqlite_give(&s);
	return rc;
}

const struct ledger_driver ledger_driver_sqlite = {
	.schemes = { SCHEME },
	.open = open_reader,
	.close = close_reader,
	.letter = letter,
	.operation = operation,
	.key = key,
	.keys = keys,
};
