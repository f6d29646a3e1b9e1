/*
 * The ledger on PostgreSQL.  It asks the primary: only there is what was applied a moment ago known for certain.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "client/pg.h"
#include "service/event.h"
#include "service/ledger_driver.h"
#include "service/primary.h"
#include "service/writer.h"

enum { KEY_BYTES_MAX = 4096 };

struct ledger_pg {
	struct primary *primary;
	struct primary_link link;
};

/* As RFC 3339 with six decimals, whatever the server's time zone and style are. */
#define MOMENT(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

static enum err
said(enum err rc, const struct pg_fault *why)
{
	static struct log_gate gate;
	uint64_t held;

	if (rc != ERR_OK && log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn("ledger_failed", LOG_STR("sqlstate", why->sqlstate),
		    LOG_STR("reason", why->message), LOG_INT("held_back", held));
	return rc;
}

static void
close_connection(void *connection)
{
	struct ledger_pg *l = connection;

	primary_hang_up(l->primary, &l->link);
	free(l);
}

static enum err
open_connection(const struct writer_options *o, int64_t deadline_ms, void **out)
{
	struct pg_fault why = { .sqlstate = "53200", .message = "out of memory" };
	struct ledger_pg *l = calloc(1, sizeof *l);
	enum err rc;

	if (l == NULL)
		return ERR_NOMEM;
	l->primary = o->primary;
	rc = said(primary_connect(o->primary, PRIMARY_REQUEST, deadline_ms, &l->link, &why), &why);
	if (rc == ERR_OK)
		*out = l;
	else
		close_connection(l);
	return rc;
}

/* Rows, or ERR_NOT_FOUND.  What was closed while it lay idle is opened anew. */
static enum err
ask(struct ledger_pg *l, const struct pg_statement *s, int64_t deadline_ms, struct pg_result **out)
{
	struct pg_fault why = { .sqlstate = "08006" };
	enum err rc = ERR_OK;

	if (!pg_is_fresh(l->link.pg)) {
		primary_hang_up(l->primary, &l->link);
		rc = primary_connect(l->primary, PRIMARY_REQUEST, deadline_ms, &l->link, &why);
	}
	if (rc == ERR_OK)
		rc = primary_ask(l->primary, l->link.pg, s, deadline_ms, out, &why);
	rc = said(rc, &why);
	if (rc != ERR_OK || pg_rows(*out) > 0)
		return rc;
	pg_result_free(out);
	return ERR_NOT_FOUND;
}

static struct slice
cell(const struct pg_result *r, size_t column, struct arena *a)
{
	const struct slice text = pg_text(r, 0, column);

	return arena_slice(a, text.ptr != NULL ? text : SLICE(""));
}

static int64_t
number(const struct pg_result *r, size_t column)
{
	int64_t n = 0;

	(void)slice_to_i64(pg_text(r, 0, column), &n);
	return n;
}

static int
digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Of bytes written as hex. */
static struct slice
bytes(const struct pg_result *r, size_t column, struct arena *a)
{
	const struct slice hex = pg_text(r, 0, column);
	char *out = arena_alloc(a, hex.len / 2 + 1);

	for (size_t i = 0; out != NULL && i < hex.len / 2; i++)
		out[i] = (char)(digit(hex.ptr[2 * i]) << 4 | digit(hex.ptr[2 * i + 1]));
	return (struct slice){ out, out == NULL ? 0 : hex.len / 2 };
}

static enum err
letter(void *connection, int64_t after, struct slice event_id, int64_t deadline_ms, struct arena *a,
    struct letter *out)
{
	char text[EVENT_ID_TEXT], first[I64_BYTES];
	struct pg_param params[2] = {
		{ .value = { first, i64_write(after, first) }, .oid = PG_INT8 },
		{ .oid = PG_UUID, .null = event_id.ptr == NULL },
	};
	const struct pg_statement s = { "weir",
		"SELECT id, replace(event_id::text, '-', ''), tenant, endpoint, key, sqlstate, "
		"message,"
		" encode(record, 'hex'), " MOMENT("accepted_at") ", " MOMENT(
		    "at") " FROM weir_dead_letters WHERE id > $1 AND ($2 IS NULL OR event_id = $2)"
			  " ORDER BY id LIMIT 1",
		params, 2 };
	struct pg_result *r = NULL;
	enum err rc;

	if (event_id.ptr != NULL) {
		event_id_text((const uint8_t *)event_id.ptr, text);
		params[1].value = slice_of(text);
	}
	rc = ask(connection, &s, deadline_ms, &r);
	if (rc == ERR_OK)
		*out = (struct letter){ .id = number(r, 0),
			.event_id = bytes(r, 1, a),
			.tenant = cell(r, 2, a),
			.endpoint = cell(r, 3, a),
			.key = cell(r, 4, a),
			.sqlstate = cell(r, 5, a),
			.message = cell(r, 6, a),
			.record = bytes(r, 7, a),
			.accepted_at = cell(r, 8, a),
			.at = cell(r, 9, a) };
	pg_result_free(&r);
	return rc;
}

static enum err
operation(void *connection, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out)
{
	char text[EVENT_ID_TEXT];
	struct pg_param param = { .oid = PG_UUID };
	const struct pg_statement s = { "weir",
		"SELECT tenant, state, reason, rows, (extract(epoch FROM at) * 1000000)::bigint,"
		" CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
		" ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn"
		" FROM weir_keys WHERE event_id = $1",
		&param, 1 };
	struct pg_result *r = NULL;
	enum err rc;

	event_id_text(event_id, text);
	param.value = slice_of(text);
	rc = ask(connection, &s, deadline_ms, &r);
	if (rc == ERR_OK)
		*out = (struct operation){ .tenant = cell(r, 0, a),
			.state = cell(r, 1, a),
			.reason = cell(r, 2, a),
			.rows = number(r, 3),
			.at_us = number(r, 4),
			.position = (uint64_t)number(r, 5) };
	pg_result_free(&r);
	return rc;
}

static enum err
key(void *connection, struct slice id, int64_t deadline_ms, struct api_key_found *out)
{
	const struct pg_param param = { .value = id, .oid = PG_TEXT };
	const struct pg_statement s = { "weir",
		"SELECT encode(hash, 'hex'), tenant, revoked_at IS NOT NULL"
		" FROM weir_api_keys WHERE id = $1",
		&param, 1 };
	struct pg_result *r = NULL;
	struct arena a;
	enum err rc = ask(connection, &s, deadline_ms, &r);

	arena_init(&a, KEY_BYTES_MAX);
	if (rc == ERR_OK)
		rc = api_key_found_fill(
		    out, bytes(r, 0, &a), pg_text(r, 0, 1), slice_eq_cstr(pg_text(r, 0, 2), "t"));
	arena_free(&a);
	pg_result_free(&r);
	return rc;
}

/* Absent when null. */
static struct slice
lent(const struct pg_result *r, size_t row, size_t column)
{
	return pg_is_null(r, row, column) ? (struct slice){ NULL, 0 } : pg_text(r, row, column);
}

static enum err
keys(void *connection, int64_t deadline_ms, api_key_row_fn *fn, void *ctx)
{
	const struct pg_statement s = { .name = "weir",
		.sql = "SELECT id, tenant, plan, " MOMENT("created_at") ", " MOMENT(
		    "revoked_at") " FROM weir_api_keys ORDER BY created_at, id" };
	struct pg_result *r = NULL;
	const enum err rc = ask(connection, &s, deadline_ms, &r);

	for (size_t i = 0; rc == ERR_OK && i < pg_rows(r); i++)
		fn(ctx, &(struct api_key_row){ .id = lent(r, i, 0),
			    .tenant = lent(r, i, 1),
			    .plan = lent(r, i, 2),
			    .created_at = lent(r, i, 3),
			    .revoked_at = lent(r, i, 4) });
	pg_result_free(&r);
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

const struct ledger_driver ledger_driver_postgresql = {
	.schemes = { "postgres:", "postgresql:" },
	.open = open_connection,
	.close = close_connection,
	.letter = letter,
	.operation = operation,
	.key = key,
	.keys = keys,
};
