/*
 * PostgreSQL's values to cells.
 */
#include "service/pg_cell.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "client/pg.h"

/* What is not here is text: names, uuid, enums, arrays, ranges, times, intervals ... */
static const struct pg_type {
	uint32_t oid;
	enum cell_form form;
	enum cell_kind kind;
} types[] = {
	{ PG_BOOL, CELL_AS_BOOLEAN, CELL_INTEGER },
	{ PG_INT8, CELL_AS_INTEGER, CELL_INTEGER },
	{ PG_INT4, CELL_AS_INTEGER, CELL_INTEGER },
	{ PG_INT2, CELL_AS_INTEGER, CELL_INTEGER },
	{ PG_OID, CELL_AS_INTEGER, CELL_INTEGER },
	{ PG_FLOAT8, CELL_AS_NUMBER, CELL_REAL },
	{ PG_FLOAT4, CELL_AS_NUMBER,
	    CELL_TEXT }, /* its own digits: 0.1, and no double's 0.10000000149 */
	{ PG_NUMERIC, CELL_AS_NUMBER, CELL_TEXT },
	{ PG_JSON, CELL_AS_JSON, CELL_TEXT },
	{ PG_JSONB, CELL_AS_JSON, CELL_TEXT },
	{ PG_TIMESTAMPTZ, CELL_AS_TIMESTAMP, CELL_TEXT },
	{ PG_TIMESTAMP, CELL_AS_TIMESTAMP, CELL_TEXT },
	{ PG_DATE, CELL_AS_DATE, CELL_TEXT },
	{ PG_BYTEA, CELL_AS_BYTES, CELL_BLOB },
};

static const struct pg_type *
type_of(uint32_t oid)
{
	static const struct pg_type text = { 0, CELL_AS_TEXT, CELL_TEXT };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (types[i].oid == oid)
			return &types[i];
	return &text;
}

enum cell_form
pg_cell_form(uint32_t oid)
{
	return type_of(oid)->form;
}

static unsigned char
nibble(char c)
{
	return (unsigned char)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* "\x00ff" to its bytes. */
static struct slice
unhex(struct slice text, struct arena *a)
{
	const size_t n = text.len < 2 ? 0 : (text.len - 2) / 2;
	char *bytes = arena_alloc(a, n + 1);

	if (bytes == NULL)
		return text;
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(nibble(text.ptr[2 + 2 * i]) << 4 | nibble(text.ptr[3 + 2 * i]));
	return (struct slice){ bytes, n };
}

/* NaN and the infinities, which JSON has no number for. */
static bool
is_no_number(struct slice text)
{
	return slice_eq_cstr(text, "NaN") || slice_eq_cstr(text, "Infinity") ||
	       slice_eq_cstr(text, "-Infinity");
}

struct cell
pg_cell(uint32_t oid, bool null, struct slice text, struct arena *a)
{
	const struct pg_type *t = type_of(oid);
	struct cell c = { .kind = null ? CELL_NULL : t->kind, .bytes = text };

	if (c.kind == CELL_NULL)
		return c;
	if (t->form == CELL_AS_NUMBER && is_no_number(text))
		c.kind = CELL_NULL;
	else if (t->kind == CELL_INTEGER && t->form == CELL_AS_BOOLEAN)
		c.integer = slice_eq_cstr(text, "t");
	else if (t->kind == CELL_INTEGER)
		(void)slice_to_i64(text, &c.integer);
	else if (t->kind == CELL_REAL)
		c.real = strtod(text.ptr, NULL); /* libpq's texts end with a NUL */
	else if (t->kind == CELL_BLOB)
		c.bytes = unhex(text, a);
	return c;
}
