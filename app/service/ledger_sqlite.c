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
letter(void *connection, int64_t after, struct slice event_id, int64_t deadline_ms, struct arena *a,
    struct letter *out)
{
	static const struct slice sql = TEXT(
	    "SELECT id, event_id, tenant, endpoint, key, sqlstate, message, record, accepted_at, at"
	    " FROM weir_dead_letters WHERE id > ?1 AND (?2 IS NULL OR event_id = ?2)"
	    " ORDER BY id LIMIT 1");
	struct sqlite_statement *s = NULL;
	bool row = false;
	enum err rc;

	sqlite_deadline(connection, deadline_ms);
	rc = sqlite_take(connection, SLICE("weir"), sql, &s);
	if (rc == ERR_OK) {
		sqlite_bind_integer(s, 1, after);
		if (event_id.ptr != NULL)
			sqlite_bind_blob(s, 2, event_id);
		rc = sqlite_step(s, &row);
	}
	if (rc == ERR_OK && row)
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
	return rc == ERR_OK && !row ? ERR_NOT_FOUND : rc;
}

static enum err
operation(void *connection, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out)
{
	static const struct slice sql = TEXT(
	    "SELECT tenant, state, reason, rows, CAST(strftime('%s', substr(at, 1, 19)) AS INTEGER)"
	    " * 1000000 + CAST(substr(at, 21, 6) AS INTEGER) FROM weir_keys WHERE event_id = ?1");
	struct sqlite_statement *s = NULL;
	bool row = false;
	enum err rc;

	sqlite_deadline(connection, deadline_ms);
	rc = sqlite_take(connection, SLICE("weir"), sql, &s);
	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)event_id, EVENT_ID_BYTES });
		rc = sqlite_step(s, &row);
	}
	if (rc == ERR_OK && row)
		*out = (struct operation){ .tenant = cell(s, 0, a),
			.state = cell(s, 1, a),
			.reason = cell(s, 2, a),
			.rows = sqlite_cell(s, 3).integer,
			.at_us = sqlite_cell(s, 4).integer };
	sqlite_give(&s);
	return rc == ERR_OK && !row ? ERR_NOT_FOUND : rc;
}

const struct ledger_driver ledger_driver_sqlite = {
	.schemes = { SCHEME },
	.open = open_reader,
	.close = close_reader,
	.letter = letter,
	.operation = operation,
};
