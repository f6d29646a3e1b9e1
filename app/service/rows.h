#ifndef SERVICE_ROWS_H
#define SERVICE_ROWS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "http/moment.h"
#include "http/value.h"

/*
 * Database values to JSON, by the column's declared type, the same for every database.
 *
 * A value that does not fit its column's type (SQLite lets any be stored anywhere) is written as what it
 * is: a number, a string, or base64.  NULL, NaN and the infinities are null; a byte that is no UTF-8 is U+FFFD.
 */
enum cell_form {
	CELL_AS_STORED, /* an expression without a type: by what the value is */
	CELL_AS_TEXT,
	CELL_AS_INTEGER,
	CELL_AS_NUMBER, /* also NUMERIC: text that is a number keeps its digits */
	CELL_AS_BOOLEAN,
	CELL_AS_JSON,
	CELL_AS_TIMESTAMP, /* RFC 3339 in UTC; from text, Unix seconds (integer) or Julian day (real) */
	CELL_AS_DATE,
	CELL_AS_BYTES /* base64, RFC 4648 section 4 */
};

/* Of a type as CREATE TABLE says it ("VARCHAR(20)"), in any case; NULL is an expression. */
enum cell_form cell_form_of_declared(const char *type);
/* Of a `column NAME: TYPE` line. */
enum cell_form cell_form_of_rule(enum value_type t);

enum cell_kind { CELL_NULL, CELL_INTEGER, CELL_REAL, CELL_TEXT, CELL_BLOB };
struct cell {
	enum cell_kind kind;
	int64_t integer;
	double real;
	struct slice bytes; /* of TEXT and BLOB; any bytes at all */
};

/* Appends one JSON value.  ${scratch} is for checking JSON and may be reset after any call. */
void cell_add_json(
    struct strbuf *out, const struct cell *c, enum cell_form form, struct arena *scratch);

/*
 * A timestamp as it is bound to SQLite, which compares them as text: always six decimals, so that the order
 * of the texts is the order of the moments (44.5Z sorts before 44Z).  ${canonical} is what moment_to_utc()
 * made; anything else is ERR_INVALID.
 */
enum err rows_sortable_timestamp(struct slice canonical, char out[MOMENT_BYTES]);

#endif
