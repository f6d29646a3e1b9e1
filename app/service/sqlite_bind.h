#ifndef SERVICE_SQLITE_BIND_H
#define SERVICE_SQLITE_BIND_H

#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

struct endpoint;
struct sqlite_statement;
struct value;

/*
 * From an endpoint's parameters to the placeholders of its statement, for reads and writes alike.
 */
struct sqlite_ambient {
	struct slice tenant; /* empty, never absent */
	int64_t now_us;	     /* wall, as all here */
	/* Of a write; absent in a read, whose statement cannot name them. */
	struct slice event_id, idempotency_key;
	int64_t accepted_us;
};

/* Binds every placeholder.  ${values}: one for each e->params.  Texts live in the arena or with the caller, and
 * must until the statement is given back. */
void sqlite_bind_endpoint(struct sqlite_statement *s, const struct endpoint *e,
    const struct value *values, const struct sqlite_ambient *ambient, struct arena *a);

#endif
