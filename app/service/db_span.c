/*
 * What a statement is called: its verb, and the first table that it names.
 */
#include "service/db_span.h"

#include <stdio.h>

#include "http/endpoint.h"
#include "telemetry/span.h"

enum { SUMMARY_BYTES = 128 };

static struct slice
unquoted(struct sql_token t)
{
	if (t.kind == SQL_QUOTED && t.text.len > 2)
		return (struct slice){ t.text.ptr + 1, t.text.len - 2 };
	return t.text;
}

static bool
names_a_table_next(struct slice word)
{
	return slice_eq_nocase(word, "from") || slice_eq_nocase(word, "into") ||
	       slice_eq_nocase(word, "update");
}

/* What follows the first FROM, INTO or UPDATE; absent when that is a sub-select. */
static struct slice
table_of(struct slice sql, enum sql_dialect d)
{
	struct sql_scan scan = SQL_SCAN(sql, 1, d);
	struct sql_token t;
	bool next = false;

	while ((t = sql_next(&scan)).kind != SQL_END && t.kind != SQL_UNCLOSED) {
		if (t.kind == SQL_COMMENT)
			continue;
		if (next)
			return t.kind == SQL_WORD || t.kind == SQL_QUOTED ? unquoted(t)
									  : (struct slice){ 0 };
		next = t.kind == SQL_WORD && names_a_table_next(t.text);
	}
	return (struct slice){ 0 };
}

struct span *
db_span_begin(const struct endpoint *e)
{
	const enum sql_dialect d = e->postgresql ? SQL_POSTGRESQL : SQL_SQLITE;
	struct span *s = span_begin(SPAN_CLIENT, "database");
	char summary[SUMMARY_BYTES];
	struct slice verb, table;
	int n;

	if (s == NULL)
		return NULL;
	verb = sql_verb(e->sql, d);
	table = table_of(e->sql, d);
	n = snprintf(summary, sizeof summary, "%.*s%s%.*s", (int)verb.len, verb.ptr,
	    table.len > 0 ? " " : "", (int)table.len, table.ptr);
	span_str(s, SPAN_KEY_DB_SYSTEM_NAME, e->postgresql ? SLICE("postgresql") : SLICE("sqlite"));
	span_str(s, SPAN_KEY_DB_OPERATION_NAME, verb);
	span_str(s, SPAN_KEY_DB_COLLECTION_NAME, table);
	span_str(s, SPAN_KEY_DB_QUERY_TEXT, e->sql);
	if (n > 0 && (size_t)n < sizeof summary) {
		span_name(s, (struct slice){ summary, (size_t)n });
		span_str(s, SPAN_KEY_DB_QUERY_SUMMARY, (struct slice){ summary, (size_t)n });
	}
	return s;
}

void
db_span_end(struct span *s, enum err result, const char *sqlstate)
{
	if (sqlstate != NULL && *sqlstate != '\0') {
		span_str(s, SPAN_KEY_DB_RESPONSE_STATUS_CODE, slice_of(sqlstate));
		span_str(s, SPAN_KEY_ERROR_TYPE, slice_of(sqlstate));
	}
	span_end(s, result);
}
