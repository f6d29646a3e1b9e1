/*
 * Values to SQLite's types: integers and booleans as integers, moments as text that sorts.
 */
#include "service/sqlite_bind.h"

#include "base/clock.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/rows.h"

/* Text that sorts, see rows.h. */
static void
bind_timestamp(struct sqlite_statement *s, int index, struct slice canonical, struct arena *a)
{
	char *text = arena_alloc(a, MOMENT_BYTES);

	if (text == NULL || rows_sortable_timestamp(canonical, text) != ERR_OK)
		sqlite_bind_text(s, index, canonical);
	else
		sqlite_bind_text(s, index, slice_of(text));
}

static void
bind_value(struct sqlite_statement *s, int index, const struct value *v, struct arena *a)
{
	if (v->null)
		sqlite_bind_null(s, index);
	else if (v->type == VALUE_INTEGER || v->type == VALUE_BOOLEAN)
		sqlite_bind_integer(s, index, v->integer);
	else if (v->type == VALUE_NUMBER)
		sqlite_bind_real(s, index, v->number);
	else if (v->type == VALUE_TIMESTAMP)
		bind_timestamp(s, index, v->text, a);
	else
		sqlite_bind_text(s, index, v->text);
}

static void
bind_moment(struct sqlite_statement *s, int index, int64_t wall_us, struct arena *a)
{
	char *text = arena_alloc(a, CLOCK_RFC3339_BYTES);

	if (text == NULL)
		sqlite_bind_null(s, index);
	else
		sqlite_bind_text(s, index, slice_of(clock_rfc3339(wall_us, text)));
}

void
sqlite_bind_endpoint(struct sqlite_statement *s, const struct endpoint *e,
    const struct value *values, const struct sqlite_ambient *ambient, struct arena *a)
{
	for (size_t i = 0; i < e->bind_count; i++) {
		const int index = (int)i + 1;

		switch (e->binds[i].source) {
		case BIND_PARAM:
			bind_value(s, index, &values[e->binds[i].param], a);
			break;
		case BIND_TENANT:
			sqlite_bind_text(s, index, ambient->tenant);
			break;
		case BIND_NOW:
			bind_moment(s, index, ambient->now_us, a);
			break;
		case BIND_EVENT_ID:
			sqlite_bind_text(s, index, ambient->event_id);
			break;
		case BIND_IDEMPOTENCY_KEY:
			sqlite_bind_text(s, index, ambient->idempotency_key);
			break;
		case BIND_ACCEPTED_AT:
			bind_moment(s, index, ambient->accepted_us, a);
			break;
		}
	}
}
