/*
 * `param` and `body`: TYPE, then bounds, choices and what happens when the
 * parameter is not there.
 *
 * Bounds and values are read by the same code that reads a request's
 * (http/value.h), so a file cannot declare what a request could not send.
 */
#include "service/draft.h"

#include <string.h>

struct reading {
	struct draft *d;
	struct param p;
	struct slice choices, fallback; /* as written; read when all bounds are known */
};

typedef void item_parser(struct reading *r, struct slice value);

static item_parser item_min, item_max, item_length, item_one_of, item_default, item_optional;

static const struct item {
	const char *word;
	bool wants_value;
	item_parser *parse;
} items[] = {
	{ "min", true, item_min },
	{ "max", true, item_max },
	{ "length", true, item_length },
	{ "one of", true, item_one_of },
	{ "default", true, item_default },
	{ "optional", false, item_optional },
};

enum { ITEMS = sizeof items / sizeof *items };

#define FAULT(r, fmt, ...)                                                                         \
	DRAFT_FAULT((r)->d, "%.*s %.*s: " fmt, SHOWN((r)->d->word), SHOWN((r)->p.name), __VA_ARGS__)

static bool
is_json(enum value_type t)
{
	return t >= VALUE_JSON;
}

/* A bound: a count for text, else a value of the parameter's own type. */
static bool
read_bound(
    struct reading *r, const char *what, struct slice text, double *bound_out, int64_t *whole_out)
{
	const bool number = r->p.type == VALUE_NUMBER;
	const struct param plain = { .type = number ? VALUE_NUMBER : VALUE_INTEGER,
		.has_min = r->p.type == VALUE_TEXT };
	const char *expected = NULL;
	struct value v;

	if (r->p.type != VALUE_TEXT && r->p.type != VALUE_INTEGER && !number) {
		FAULT(r, "%s of type %s, expected type text, integer or number", what,
		    value_type_name(r->p.type));
		return false;
	}
	if (value_parse(&plain, text, r->d->arena, &v, &expected) != ERR_OK) {
		FAULT(r, "%s \"%.*s\", expected %s", what, SHOWN(text),
		    expected == NULL ? "a number" : expected);
		return false;
	}
	*bound_out = number ? v.number : (double)v.integer;
	*whole_out = v.integer;
	return true;
}

static void
item_min(struct reading *r, struct slice value)
{
	r->p.has_min = read_bound(r, "min", value, &r->p.min, &r->p.min_int) || r->p.has_min;
}

static void
item_max(struct reading *r, struct slice value)
{
	r->p.has_max = read_bound(r, "max", value, &r->p.max, &r->p.max_int) || r->p.has_max;
}

static void
item_length(struct reading *r, struct slice value)
{
	double ignored;

	if (r->p.type != VALUE_TEXT)
		FAULT(r, "length of type %s, expected type text", value_type_name(r->p.type));
	else
		r->p.has_length = read_bound(r, "length", value, &ignored, &r->p.length);
}

static void
item_one_of(struct reading *r, struct slice value)
{
	if (is_json(r->p.type))
		FAULT(r, "one of with type %s, expected a scalar type", value_type_name(r->p.type));
	else
		r->choices = value;
}

static void
item_default(struct reading *r, struct slice value)
{
	r->fallback = value;
}

static void
item_optional(struct reading *r, struct slice value)
{
	(void)value;
	r->p.optional = true;
}

/* The item that ${text} begins with; *${value_out} is what follows. */
static const struct item *
find_item(struct slice text, struct slice *value_out)
{
	for (size_t i = 0; i < ITEMS; i++) {
		const size_t n = strlen(items[i].word);

		if (!slice_starts(text, items[i].word))
			continue;
		*value_out = slice_trim((struct slice){ text.ptr + n, text.len - n });
		if (text.len == n || text.ptr[n] == ' ' || text.ptr[n] == '\t')
			return &items[i];
	}
	return NULL;
}

static void
read_item(struct reading *r, struct slice text, unsigned *seen)
{
	struct slice value;
	const struct item *item = find_item(text, &value);
	unsigned bit;

	if (item == NULL || item->wants_value != (value.len > 0)) {
		FAULT(r,
		    "\"%.*s\", expected min N, max N, length N, one of a|b|c, default V or "
		    "optional",
		    SHOWN(text));
		return;
	}
	bit = 1u << (item - items);
	if ((*seen & bit) != 0)
		FAULT(r, "%s a second time, expected it once", item->word);
	*seen |= bit;
	item->parse(r, value);
}

static void
read_choices(struct reading *r)
{
	struct slice rest = r->choices;
	struct param plain = r->p;
	size_t max = 1;

	for (size_t i = 0; i < rest.len; i++)
		max += rest.ptr[i] == '|';
	r->p.choices = arena_alloc(r->d->arena, max * sizeof *r->p.choices);
	while (rest.ptr != NULL && r->p.choices != NULL) {
		const struct slice text = slice_trim(slice_cut(&rest, '|'));
		const char *expected = NULL;
		struct value v;

		if (value_parse(&plain, text, r->d->arena, &v, &expected) == ERR_OK)
			r->p.choices[r->p.choice_count++] = v.text;
		else
			FAULT(r, "one of \"%.*s\", expected %s", SHOWN(text),
			    expected == NULL ? "a value of its type" : expected);
	}
}

static void
read_default(struct reading *r)
{
	const char *expected = NULL;

	if (value_parse(&r->p, r->fallback, r->d->arena, &r->p.fallback, &expected) == ERR_OK)
		r->p.has_default = true;
	else
		FAULT(r, "default \"%.*s\", expected %s", SHOWN(r->fallback),
		    expected == NULL ? "a value of its type" : expected);
}

/* What no single item shows. */
static void
check_together(struct reading *r)
{
	const struct param *p = &r->p;

	if (p->has_min && p->has_max &&
	    (p->type == VALUE_INTEGER ? p->min_int > p->max_int : p->min > p->max))
		FAULT(r, "%s", "min above max, expected it below");
	if (p->has_length && (p->has_min || p->has_max))
		FAULT(r, "%s", "length beside min or max, expected one of the two");
	if (p->optional && r->fallback.ptr != NULL)
		FAULT(r, "%s", "optional beside default, expected one of the two");
	if (p->place == PARAM_PATH && (p->optional || r->fallback.ptr != NULL))
		FAULT(r, "%s",
		    "a default for a part of the path, which is always there; expected none");
}

static void
check_name(struct reading *r)
{
	const struct slice name = r->p.name;
	const int before = directive_find_param(r->d->e, name);
	enum bind_source source;

	if (!directive_is_name(name, ""))
		FAULT(r, "%s",
		    "not a name, expected a letter or _, then letters, digits and _ (63 at most)");
	else if (directive_ambient(name, &source))
		FAULT(r, "%s", "a name that weir fills itself, expected another");
	else if (r->p.place == PARAM_QUERY && slice_eq_cstr(name, "fields"))
		FAULT(r, "%s", "a name kept for ?fields=, expected another");
	else if (before >= 0)
		FAULT(r, "a second time (first on line %u), expected one line for each name",
		    r->d->e->params[before].line);
}

static void
check_type(struct reading *r, struct slice word)
{
	const bool body = r->p.place == PARAM_BODY;

	if (value_type_parse(word, &r->p.type) && (body || r->p.type <= VALUE_JSON))
		return;
	FAULT(r, "type \"%.*s\", expected text, integer, number, boolean, date, timestamp, uuid%s",
	    SHOWN(word), body ? ", json, object, array or any" : " or json");
	r->p.type = VALUE_TEXT;
}

static void
read_param(struct draft *d, enum param_place place)
{
	struct reading r = { .d = d, .p = { .name = d->name, .place = place, .line = d->line } };
	struct slice rest = d->value;
	unsigned seen = 0;

	if (d->e->param_count == ENDPOINT_MAX_PARAMS) {
		FAULT(&r, "one too many, expected at most %d", ENDPOINT_MAX_PARAMS);
		return;
	}
	check_name(&r);
	check_type(&r, slice_trim(slice_cut(&rest, ',')));
	while (rest.ptr != NULL)
		read_item(&r, slice_trim(slice_cut(&rest, ',')), &seen);
	if (r.choices.ptr != NULL)
		read_choices(&r);
	if (r.fallback.ptr != NULL)
		read_default(&r);
	check_together(&r);
	if (directive_find_param(d->e, r.p.name) < 0)
		d->params[d->e->param_count++] = r.p;
}

void
directive_param(struct draft *d)
{
	enum param_place place = PARAM_QUERY;

	for (size_t i = 0; i < d->route_name_count; i++)
		if (slice_eq(d->route_names[i], d->name))
			place = PARAM_PATH;
	read_param(d, place);
}

void
directive_body(struct draft *d)
{
	read_param(d, PARAM_BODY);
}
