/*
 * Reads from the embedded database: parameters in, rows out into a copy block;
 * and what can be said of a statement before it ever runs.
 *
 * Connections come from the pool next door.  Nothing here writes: the consumer
 * has a connection of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/db_span.h"
#include "service/reading.h"
#include "service/sqlite_bind.h"
#include "service/sqlite_pool.h"
#include "service/store_driver.h"

enum { MAX_BOUND_BYTES = 64 << 20 }; /* of texts that are made for placeholders */

static struct cell
cell_of(struct sqlite_statement *s, int column)
{
	static const enum cell_kind kinds[] = {
		[SQLITE_KIND_NULL] = CELL_NULL,
		[SQLITE_KIND_INTEGER] = CELL_INTEGER,
		[SQLITE_KIND_REAL] = CELL_REAL,
		[SQLITE_KIND_TEXT] = CELL_TEXT,
		[SQLITE_KIND_BLOB] = CELL_BLOB,
	};
	const struct sqlite_cell c = sqlite_cell(s, column);

	return (struct cell){
		.kind = kinds[c.kind], .integer = c.integer, .real = c.real, .bytes = c.bytes
	};
}

/* After the first step, for that may have prepared the statement again for a new schema. */
static enum err
begin(struct reading *r, const struct sqlite_statement *s, size_t max_bytes)
{
	const size_t columns = (size_t)sqlite_columns(s);
	struct slice *names = arena_alloc(&r->arena, columns * sizeof *names);
	enum cell_form *forms = arena_alloc(&r->arena, columns * sizeof *forms);

	if (names == NULL || forms == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < columns; i++) {
		names[i] = slice_of(sqlite_column_name(s, (int)i));
		forms[i] = cell_form_of_declared(sqlite_column_type(s, (int)i));
	}
	return reading_begin(r, names, forms, columns, max_bytes);
}

/* The first row is there already, when there is one. */
static enum err
read_rows(struct reading *r, struct sqlite_statement *s, bool row)
{
	struct cell *cells = arena_alloc(&r->arena, r->columns * sizeof *cells);
	enum err rc = cells == NULL ? ERR_NOMEM : ERR_OK;

	while (rc == ERR_OK && row) {
		for (size_t i = 0; i < r->columns; i++)
			cells[i] = cell_of(s, (int)i);
		rc = reading_row(r, cells);
		if (rc == ERR_OK && r->e->returns_one)
			break;
		if (rc == ERR_OK)
			rc = sqlite_step(s, &row);
	}
	return rc;
}

static enum err
run(struct reading *r, struct sqlite_statement *s, size_t max_bytes, struct strbuf *block_out)
{
	bool row;
	enum err rc = sqlite_step(s, &row);

	if (rc == ERR_OK)
		rc = begin(r, s, max_bytes);
	if (rc == ERR_OK)
		rc = read_rows(r, s, row);
	return rc == ERR_OK ? reading_end(r, block_out) : rc;
}

static enum err
read_pool(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out,
    uint64_t *seen_out)
{
	struct sqlite_pool *p = state;
	struct sqlite_statement *s = NULL;
	struct reading r;
	struct sqlite *db;
	struct span *span;
	int64_t begun_ns;
	enum err rc = sqlite_pool_borrow(p, deadline_ms, &db);

	(void)seen_out; /* there is one file, and it shows all */
	if (rc != ERR_OK)
		return rc;
	span = db_span_begin(e);
	begun_ns = sqlite_pool_begin(p);
	reading_open(&r, e);
	rc = sqlite_take(db, e->name, e->sql, &s);
	if (rc == ERR_OK) {
		sqlite_bind_endpoint(s, e, values,
		    &(struct sqlite_ambient){
			.tenant = ambient->tenant, .now_us = ambient->now_us },
		    &r.arena);
		rc = run(&r, s, sqlite_pool_max_response(p), block_out);
	}
	sqlite_give(&s);
	sqlite_pool_end(p, begun_ns, rc);
	db_span_end(span, rc, NULL);
	sqlite_pool_return(p, &db, rc);
	reading_close(&r);
	return rc;
}

/* SCAN c; SEARCH countries USING INDEX code (code=?); placeholders stay what they are. */
static enum err
add_plan(struct sqlite_statement *s, struct strbuf *out)
{
	enum { DETAIL = 3 };
	bool row;
	enum err rc = sqlite_step(s, &row);

	while (rc == ERR_OK && row) {
		strbuf_add_cstr(out, out->len > 0 ? "; " : "");
		strbuf_add_slice(out, sqlite_cell(s, DETAIL).bytes);
		rc = sqlite_step(s, &row);
	}
	return rc == ERR_OK && out->failed ? ERR_TOO_LARGE : rc;
}

static enum err
explain_pool(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *plan_out)
{
	struct sqlite_statement *s = NULL;
	struct strbuf sql = STRBUF_INIT(UINT32_MAX);
	struct sqlite *db;
	struct arena a;
	enum err rc = sqlite_pool_borrow(state, deadline_ms, &db);

	if (rc != ERR_OK)
		return rc;
	arena_init(&a, MAX_BOUND_BYTES);
	strbuf_add_cstr(&sql, "EXPLAIN QUERY PLAN ");
	strbuf_add_slice(&sql, e->sql);
	rc = sql.failed ? ERR_NOMEM : sqlite_take(db, e->name, strbuf_slice(&sql), &s);
	if (rc == ERR_OK) {
		sqlite_bind_endpoint(s, e, values,
		    &(struct sqlite_ambient){
			.tenant = ambient->tenant, .now_us = ambient->now_us },
		    &a);
		rc = add_plan(s, plan_out);
	}
	sqlite_give(&s);
	sqlite_pool_return(state, &db, rc);
	arena_free(&a);
	strbuf_free(&sql);
	return rc;
}

static enum err
ping_pool(void *state, int64_t deadline_ms)
{
	/* Not just SELECT 1, which would not look into the file. */
	static const struct slice sql = { "SELECT 1 FROM sqlite_schema LIMIT 1", 35 };
	struct sqlite_statement *s = NULL;
	struct sqlite *db;
	bool row;
	enum err rc = sqlite_pool_borrow(state, deadline_ms, &db);

	if (rc != ERR_OK)
		return rc;
	rc = sqlite_take(db, SLICE("ping"), sql, &s);
	if (rc == ERR_OK)
		rc = sqlite_step(s, &row);
	sqlite_give(&s);
	sqlite_pool_return(state, &db, rc);
	return rc;
}

static void
check_columns(const struct sqlite_statement *s, const struct endpoint *e, struct fault_list *faults)
{
	const size_t columns = (size_t)sqlite_columns(s);
	struct slice *names = calloc(columns + 1, sizeof *names);

	if (names == NULL) {
		fault_add(faults, e->file, e->sql_line, "no memory for its columns");
		return;
	}
	for (size_t i = 0; i < columns; i++)
		names[i] = slice_of(sqlite_column_name(s, (int)i));
	reading_check_names(names, columns, e, faults);
	free(names);
}

static void
check_prepared(
    const struct sqlite_statement *s, const struct endpoint *e, struct fault_list *faults)
{
	if (http_method_writes(e->method))
		return;
	if (!sqlite_is_readonly(s))
		fault_add(faults, e->file, e->sql_line,
		    "GET whose statement writes, expected one that changes nothing");
	check_columns(s, e, faults);
}

/* An empty database knows no tables, and a table that is not there hides its columns and functions. */
static bool
is_missing_name(const struct sqlite_fault *f)
{
	return strncmp(f->message, "no such ", 8) == 0;
}

static void
check_statement(
    struct sqlite *db, bool connected, const struct endpoint *e, struct fault_list *faults)
{
	const struct sqlite_fault *f = sqlite_last_fault(db);
	struct sqlite_statement *s = NULL;

	if (sqlite_take(db, e->name, e->sql, &s) == ERR_OK)
		check_prepared(s, e, faults);
	else if (connected || !is_missing_name(f))
		fault_add(faults, e->file, reading_line(e, f->offset),
		    "%s, expected a statement that SQLite can prepare", f->message);
	sqlite_give(&s);
}

static void
check_pool(void *state, const struct endpoint *e, struct fault_list *faults)
{
	const struct sqlite_pool *p = state;
	struct sqlite_fault why = { .message = "no memory" };
	struct sqlite *db = NULL;
	enum err rc;

	if (e->sql.ptr == NULL)
		return; /* a built-in one */
	if (p == NULL)
		rc = sqlite_open(
		    &(struct sqlite_options){
			.mode = SQLITE_FOR_CHECKS, .quiet = true, .deadline_ms = INT64_MAX },
		    &db, &why);
	else
		rc = sqlite_pool_open_one(p, &db, &why);
	if (rc == ERR_OK)
		check_statement(db, p != NULL, e, faults);
	else
		fault_add(faults, e->file, e->sql_line, "%s, expected a database that can be read",
		    why.message);
	sqlite_close(&db);
}

static enum err
open_pool(const char *address, const struct store_options *o, void **state_out)
{
	struct sqlite_pool *p;
	const enum err rc = sqlite_pool_open(address, o, &p);

	if (rc == ERR_OK)
		*state_out = p;
	return rc;
}

static void
close_pool(void *state)
{
	struct sqlite_pool *p = state;

	sqlite_pool_close(&p);
}

static void
expire_pool(void *state, int64_t now_ms)
{
	sqlite_pool_expire(state, now_ms);
}

static size_t
room_of_pool(void *state)
{
	return sqlite_pool_room(state);
}

const struct store_driver store_driver_sqlite = {
	.schemes = { "sqlite:" },
	.open = open_pool,
	.close = close_pool,
	.read = read_pool,
	.explain = explain_pool,
	.room = room_of_pool,
	.check = check_pool,
	.ping = ping_pool,
	.expire = expire_pool,
};
