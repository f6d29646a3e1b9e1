#ifndef SERVICE_PG_CELL_H
#define SERVICE_PG_CELL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "service/rows.h"

/*
 * PostgreSQL's values to those of rows.h, by the type that the server names, so that the JSON is the same bytes that SQLite's
 * would be.  Values come as text, in the settings of pg_cell_settings.
 */

/* Pairs for set_config(): what the texts of values must not depend on the server's taste for. */
#define PG_CELL_SETTINGS                                                                           \
	"set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true), "         \
	"set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true), " \
	"set_config('extra_float_digits', '1', true)"

enum cell_form pg_cell_form(uint32_t oid);

/* ${text} is lent for as long as the cell; what must be decoded goes to the arena (full: the text as it is). */
struct cell pg_cell(uint32_t oid, bool null, struct slice text, struct arena *a);

#endif
