/*
 * Values to what PostgreSQL reads: everything travels as text.
 */
#include "service/pg_bind.h"

#include <stdio.h>

#include "base/clock.h"
#include "client/pg.h"
#include "http/endpoint.h"
#include "service/rows.h"

enum { NUMBER_BYTES = 32 };

/* Of a value of type ${t}; what is not here is the server's to find out. */
static uint32_t
oid_of(enum value_type t)
{
	if (t == VALUE_INTEGER)
		return PG_INT8;
	if (t == VALUE_NUMBER)
		return PG_FLOAT8;
	return t == VALUE_BOOLEAN ? PG_BOOL : PG_UNKNOWN;
}

/* Text that sorts, see rows.h. */
static struct slice
timestamp(struct slice canonical, struct arena *a)
{
	char *text = arena_alloc(a, MOMENT_BYTES);

	if (text == NULL || rows_sortable_timestamp(canonical, text) != ERR_OK)
		return canonical;
	return slice_of(text);
}

static struct slice
text_of(const struct value *v, struct arena *a)
{
	char *text;

	if (v->type == VALUE_BOOLEAN)
		return v->integer != 0 ? SLICE("t") : SLICE("f");
	if (v->type == VALUE_TIMESTAMP)
		return timestamp(v->text, a);
	if (v->type != VALUE_INTEGER && v->type != VALUE_NUMBER)
		return v->text;
	text = arena_alloc(a, NUMBER_BYTES);
	if (text == NULL)
		return (struct slice){ 0 };
	if (v->type == VALUE_INTEGER)
		return (struct slice){ text, i64_write(v->integer, text) };
	(void)snprintf(text, NUMBER_BYTES, "%.17g", v->number);
	return slice_of(text);
}

static struct slice
moment(int64_t wall_us, struct arena *a)
{
	char *text = arena_alloc(a, CLOCK_RFC3339_BYTES);

	return text == NULL ? (struct slice){ 0 } : slice_of(clock_rfc3339(wall_us, text));
}

static struct pg_param
param_of(const struct endpoint *e, const struct bind *b, const struct value *values,
    const struct pg_ambient *ambient, struct arena *a)
{
	switch (b->source) {
	case BIND_PARAM: {
		const struct value *v = &values[b->param];

		return (struct pg_param){ .oid = oid_of(e->params[b->param].type),
			.null = v->null,
			.value = v->null ? (struct slice){ 0 } : text_of(v, a) };
	}
	case BIND_TENANT:
		return (struct pg_param){ .value = ambient->tenant };
	case BIND_NOW:
		return (struct pg_param){ .value = moment(ambient->now_us, a) };
	case BIND_EVENT_ID:
		return (struct pg_param){ .value = ambient->event_id };
	case BIND_IDEMPOTENCY_KEY:
		return (struct pg_param){ .value = ambient->idempotency_key };
	case BIND_ACCEPTED_AT:
		break;
	}
	return (struct pg_param){ .value = moment(ambient->accepted_us, a) };
}

enum err
pg_bind_endpoint(const struct endpoint *e, const struct value *values,
    const struct pg_ambient *ambient, struct arena *a, struct pg_param **out)
{
	struct pg_param *params = arena_alloc(a, e->bind_count * sizeof *params);

	if (params == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < e->bind_count; i++)
		params[i] = param_of(e, &e->binds[i], values, ambient, a);
	*out = params;
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}

enum err
pg_bind_types(const struct endpoint *e, struct arena *a, struct pg_param **out)
{
	struct pg_param *params = arena_alloc(a, e->bind_count * sizeof *params);

	if (params == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < e->bind_count; i++)
		params[i] = (struct pg_param){ .null = true,
			.oid = e->binds[i].source == BIND_PARAM
				   ? oid_of(e->params[e->binds[i].param].type)
				   : (uint32_t)PG_UNKNOWN };
	*out = params;
	return ERR_OK;
}
