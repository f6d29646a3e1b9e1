#ifndef SERVICE_PG_BIND_H
#define SERVICE_PG_BIND_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct endpoint;
struct pg_param; /* client/pg.h */
struct value;

/*
 * From an endpoint's parameters to the $1, $2 ... of its statement, for reads and writes alike.
 *
 * Integers, numbers and booleans are sent as bigint, double precision and boolean.  All else is sent as text whose
 * type the server takes from where it stands, as it does for a literal in quotes: one file may so compare `:id` with a
 * text column here and a uuid column there (but one name in one type everywhere, apart from IS NULL), and JSON keeps the client's own bytes in a `json` or `text` column.
 * Moments are text with six decimals, the same bytes that SQLite is given.
 */
struct pg_ambient {
	struct slice tenant; /* empty, never absent */
	int64_t now_us;	     /* wall, as all here */
	/* Of a write; absent in a read, whose statement cannot name them. */
	struct slice event_id, idempotency_key;
	int64_t accepted_us;
};

/* One for each of e->binds, in the arena; texts live there or with the caller.  ERR_NOMEM: the arena is full. */
enum err pg_bind_endpoint(const struct endpoint *e, const struct value *values,
    const struct pg_ambient *ambient, struct arena *a, struct pg_param **out);

/* The same without values, for pg_describe(). */
enum err pg_bind_types(const struct endpoint *e, struct arena *a, struct pg_param **out);

#endif
