/*
 * Reads from the embedded database: parameters in, rows out into a copy block;
 * and what can be said of a statement before it ever runs.
 *
 * Connections come from the pool next door.  Nothing here writes: the consumer
 * has a connection of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/consistency.h"
#include "service/copy.h"
#include "service/rows.h"
#include "service/sqlite_bind.h"
#include "service/sqlite_pool.h"
#include "service/store_driver.h"

enum {
	MAX_BIND_BYTES = 1 << 20, /* beside the values themselves */
	MAX_SCRATCH_BYTES = 16 << 20,
	SHOW_WAIT_MS = 200, /* the consumer needs a few; a thread of the lane waits */
	SHOW_NAP_MS = 5,
};

/* The rows of one running statement, on their way into a copy. */
struct reading {
	const struct endpoint *e;
	struct sqlite_statement *s;
	struct copy_builder copy;
	size_t columns;
	enum cell_form *forms;
	struct arena arena, scratch;
};

static void
log_refusal(const struct endpoint *e, const char *why)
{
	static struct log_gate gate;
	uint64_t held;

	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_error("answer_refused", LOG_STR("file", e->file), LOG_STR("reason", why),
		    LOG_INT("held_back", held));
}

static enum cell_form
form_of(const struct reading *r, struct slice name, int column)
{
	for (size_t i = 0; i < r->e->column_count; i++)
		if (slice_eq(r->e->columns[i].name, name))
			return cell_form_of_rule(r->e->columns[i].type);
	return cell_form_of_declared(sqlite_column_type(r->s, column));
}

/* After the first step, for that may have prepared the statement again for a new schema. */
static enum err
begin_copy(struct reading *r, size_t max_bytes)
{
	struct slice *names;

	r->columns = (size_t)sqlite_columns(r->s);
	names = arena_alloc(&r->arena, r->columns * sizeof *names);
	r->forms = arena_alloc(&r->arena, r->columns * sizeof *r->forms);
	if (names == NULL || r->forms == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < r->columns; i++) {
		names[i] = slice_of(sqlite_column_name(r->s, (int)i));
		r->forms[i] = form_of(r, names[i], (int)i);
		if (!utf8_valid(names[i], NULL)) {
			log_refusal(r->e, "a column whose name is no UTF-8");
			return ERR_UNAVAILABLE;
		}
	}
	copy_begin(&r->copy, names, r->columns, r->e->returns_one, max_bytes);
	return ERR_OK;
}

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

static enum err
add_row(struct reading *r)
{
	if (r->copy.row_count == (uint64_t)r->e->max_rows) {
		log_refusal(r->e, "more rows than max-rows");
		return ERR_TOO_LARGE;
	}
	for (size_t i = 0; i < r->columns; i++) {
		const struct cell c = cell_of(r->s, (int)i);

		copy_cell(&r->copy);
		cell_add_json(&r->copy.json, &c, r->forms[i], &r->scratch);
		if (r->scratch.used_bytes > 0)
			arena_reset(&r->scratch);
	}
	if (!r->copy.json.failed)
		return ERR_OK;
	log_refusal(r->e, "more bytes than WEIR_MAX_RESPONSE");
	return ERR_TOO_LARGE;
}

/* The first row is there already, when there is one. */
static enum err
read_rows(struct reading *r, bool row)
{
	enum err rc = ERR_OK;

	if (!row && r->e->returns_one)
		return ERR_NOT_FOUND;
	while (rc == ERR_OK && row) {
		rc = add_row(r);
		if (rc == ERR_OK && r->e->returns_one)
			break;
		if (rc == ERR_OK)
			rc = sqlite_step(r->s, &row);
	}
	return rc;
}

static enum err
run(struct reading *r, size_t max_bytes, struct strbuf *block_out)
{
	bool row;
	enum err rc = sqlite_step(r->s, &row);

	if (rc != ERR_OK)
		return rc;
	rc = begin_copy(r, max_bytes);
	if (rc == ERR_OK)
		rc = read_rows(r, row);
	if (rc == ERR_OK)
		return copy_end(&r->copy, block_out);
	copy_abort(&r->copy);
	return rc;
}

static const char applied_sql[] =
    "SELECT CAST(strftime('%s', substr(at, 1, 19)) AS INTEGER) * 1000000"
    " + CAST(substr(at, 21, 6) AS INTEGER) FROM weir_keys WHERE event_id = ?1";

static enum err
look_for(struct sqlite *db, struct consistency *c)
{
	struct sqlite_statement *s;
	enum err rc = ERR_OK;
	bool row;

	c->missing = c->count;
	for (size_t i = 0; i < c->count && rc == ERR_OK; i++) {
		rc = sqlite_take(db, SLICE("weir"), slice_of(applied_sql), &s);
		if (rc != ERR_OK)
			break;
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)c->ids[i], EVENT_ID_BYTES });
		rc = sqlite_step(s, &row);
		if (rc == ERR_OK && row) {
			c->missing--;
			if (sqlite_cell(s, 0).integer > c->applied_us)
				c->applied_us = sqlite_cell(s, 0).integer;
		}
		sqlite_give(&s);
	}
	return rc;
}

/* Until all can be seen, or it has taken long enough: one file has no other copy to look at.  A key table that
 * cannot be read, or is not there yet, shows nothing, and is no reason not to answer. */
static void
wait_for_writes(struct sqlite *db, struct consistency *c, int64_t deadline_ms)
{
	const int64_t most_ms = clock_mono_ms() + SHOW_WAIT_MS;
	const int64_t until_ms = most_ms < deadline_ms ? most_ms : deadline_ms;

	while ((look_for(db, c) != ERR_OK || c->missing > 0) && clock_mono_ms() < until_ms)
		(void)nanosleep(&(struct timespec){ .tv_nsec = SHOW_NAP_MS * 1000000L }, NULL);
}

static enum err
look_pool(void *state, struct consistency *c, int64_t deadline_ms)
{
	struct sqlite *db;
	enum err rc = sqlite_pool_borrow(state, deadline_ms, &db);

	if (rc != ERR_OK)
		return rc;
	rc = look_for(db, c);
	sqlite_pool_return(state, &db, rc);
	return rc;
}

static enum err
read_pool(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out)
{
	struct sqlite_pool *p = state;
	struct reading r = { .e = e };
	struct sqlite *db;
	enum err rc = sqlite_pool_borrow(p, deadline_ms, &db);

	if (rc != ERR_OK)
		return rc;
	arena_init(&r.arena, MAX_BIND_BYTES);
	arena_init(&r.scratch, MAX_SCRATCH_BYTES);
	if (ambient->must_show != NULL)
		wait_for_writes(db, ambient->must_show, deadline_ms);
	rc = sqlite_take(db, e->name, e->sql, &r.s);
	if (rc == ERR_OK) {
		sqlite_bind_endpoint(r.s, e, values,
		    &(struct sqlite_ambient){
			.tenant = ambient->tenant, .now_us = ambient->now_us },
		    &r.arena);
		rc = run(&r, sqlite_pool_max_response(p), block_out);
	}
	sqlite_give(&r.s);
	sqlite_pool_return(p, &db, rc);
	arena_free(&r.arena);
	arena_free(&r.scratch);
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

/* The line of the file that byte ${offset} of the statement stands on. */
static unsigned
line_of(const struct endpoint *e, int offset)
{
	unsigned line = e->sql_line;

	for (int i = 0; i < offset && (size_t)i < e->sql.len; i++)
		line += e->sql.ptr[i] == '\n';
	return line;
}

static bool
has_column(const struct sqlite_statement *s, struct slice name, int before)
{
	for (int i = 0; i < before; i++)
		if (slice_eq_cstr(name, sqlite_column_name(s, i)))
			return true;
	return false;
}

static void
check_columns(const struct sqlite_statement *s, const struct endpoint *e, struct fault_list *faults)
{
	const int columns = sqlite_columns(s);

	for (int i = 0; i < columns; i++) {
		const char *name = sqlite_column_name(s, i);

		if (has_column(s, slice_of(name), i))
			fault_add(faults, e->file, e->sql_line,
			    "two columns are named \"%s\", expected AS with another name", name);
	}
	for (size_t i = 0; i < e->column_count; i++) {
		const struct slice name = e->columns[i].name;

		if (!has_column(s, name, columns))
			fault_add(faults, e->file, e->sql_line,
			    "column \"%.*s\" is not in the result, expected one that is",
			    (int)name.len, name.ptr);
	}
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
		fault_add(faults, e->file, line_of(e, f->offset),
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

const struct store_driver store_driver_sqlite = {
	.scheme = "sqlite",
	.open = open_pool,
	.close = close_pool,
	.read = read_pool,
	.look = look_pool,
	.check = check_pool,
	.ping = ping_pool,
	.expire = expire_pool,
};
