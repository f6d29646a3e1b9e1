/*
 * The values of directives, but for parameters and limits, which have files of
 * their own.
 *
 * A parser says everything that is wrong with its line and leaves the default
 * where it could not read.  What needs two lines to judge is in front_matter.c.
 */
#include "service/draft.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "base/units.h"

static const int64_t year_ms = INT64_C(366) * 24 * 3600 * 1000;

enum { MAX_SUGGESTIONS = 16, MAX_TAG_BYTES = 200, TOPIC_BYTES_MAX = 245 /* and ".dlq" */ };

bool
directive_is_name(struct slice s, const char *extra)
{
	if (s.len == 0 || s.len > 63)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		const char c = s.ptr[i];
		const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		const bool later =
		    (c >= '0' && c <= '9') || (c != '\0' && strchr(extra, c) != NULL);

		if (!letter && (i == 0 || !later))
			return false;
	}
	return true;
}

int
directive_find_param(const struct endpoint *e, struct slice name)
{
	for (size_t i = 0; i < e->param_count; i++)
		if (slice_eq(e->params[i].name, name))
			return (int)i;
	return -1;
}

static const struct ambient {
	const char *name;
	enum bind_source source;
} ambients[] = {
	{ "tenant", BIND_TENANT },
	{ "now", BIND_NOW },
	{ "event_id", BIND_EVENT_ID },
	{ "idempotency_key", BIND_IDEMPOTENCY_KEY },
	{ "accepted_at", BIND_ACCEPTED_AT },
};

enum { AMBIENTS = sizeof ambients / sizeof *ambients };

bool
directive_ambient(struct slice name, enum bind_source *source_out)
{
	for (size_t i = 0; i < AMBIENTS; i++) {
		if (slice_eq_cstr(name, ambients[i].name)) {
			*source_out = ambients[i].source;
			return true;
		}
	}
	return false;
}

const char *
directive_suggest_param(struct draft *d, struct slice name)
{
	const char *known[ENDPOINT_MAX_PARAMS + AMBIENTS + 1];
	const char *near, *text = NULL;
	size_t n = 0;

	if (d->suggestions++ >= MAX_SUGGESTIONS)
		return "";
	for (size_t i = 0; i < d->e->param_count; i++) {
		known[n] = arena_copy(d->arena, d->e->params[i].name);
		n += known[n] != NULL;
	}
	for (size_t i = 0; i < AMBIENTS; i++)
		known[n++] = ambients[i].name;
	known[n] = NULL;
	text = name.len > SHOWN_BYTES ? NULL : arena_copy(d->arena, name);
	near = text == NULL ? NULL : fault_nearest(text, known);
	if (near != NULL)
		text = arena_printf(d->arena, " (did you mean :%s?)", near);
	return near == NULL || text == NULL ? "" : text;
}

/* Which of two words the value is; ${dflt} after a fault. */
static bool
one_of_two(struct draft *d, const char *no, const char *yes, bool dflt)
{
	if (slice_eq_cstr(d->value, yes))
		return true;
	if (slice_eq_cstr(d->value, no))
		return false;
	DRAFT_FAULT(
	    d, "%.*s: \"%.*s\", expected %s or %s", SHOWN(d->word), SHOWN(d->value), no, yes);
	return dflt;
}

void
directive_returns(struct draft *d)
{
	d->e->returns_one = one_of_two(d, "many", "one", false);
}

void
directive_idempotency(struct draft *d)
{
	d->e->key_optional = one_of_two(d, "required", "optional", false);
}

void
directive_auth(struct draft *d)
{
	if (slice_eq_cstr(d->value, "none"))
		d->e->auth = AUTH_NONE;
	else if (slice_eq_cstr(d->value, "optional"))
		d->e->auth = AUTH_OPTIONAL;
	else if (slice_eq_cstr(d->value, "required"))
		d->e->auth = AUTH_REQUIRED;
	else
		DRAFT_FAULT(
		    d, "auth: \"%.*s\", expected none, optional or required", SHOWN(d->value));
}

void
directive_read(struct draft *d)
{
	if (slice_eq_cstr(d->value, "primary"))
		d->e->read_primary = true;
	else if (slice_eq_cstr(d->value, "replica"))
		d->e->read_primary = false;
	else
		DRAFT_FAULT(d, "read: \"%.*s\", expected replica or primary", SHOWN(d->value));
}

void
directive_priority(struct draft *d)
{
	if (slice_eq_cstr(d->value, "critical"))
		d->e->priority = PRIORITY_CRITICAL;
	else if (slice_eq_cstr(d->value, "normal"))
		d->e->priority = PRIORITY_NORMAL;
	else if (slice_eq_cstr(d->value, "bulk"))
		d->e->priority = PRIORITY_BULK;
	else
		DRAFT_FAULT(
		    d, "priority: \"%.*s\", expected critical, normal or bulk", SHOWN(d->value));
}

void
directive_max_rows(struct draft *d)
{
	enum { MAX = 1000000 };
	int64_t n;

	if (slice_to_i64(d->value, &n) == ERR_OK && n >= 1 && n <= MAX)
		d->e->max_rows = n;
	else
		DRAFT_FAULT(
		    d, "max-rows: \"%.*s\", expected a number from 1 to %d", SHOWN(d->value), MAX);
}

void
directive_max_body(struct draft *d)
{
	int64_t n;

	if (units_bytes(d->value, &n) == ERR_OK && n >= 1 && n <= 1 << 30)
		d->e->max_body_bytes = n;
	else
		DRAFT_FAULT(d, "max-body: \"%.*s\", expected a size from 1 to 1g, such as 64k",
		    SHOWN(d->value));
}

/*
 * A duration with its unit: a bare number could be meant as seconds or as milliseconds, and a file
 * has no column that says which.
 */
bool
directive_duration(
    struct draft *d, struct slice text, const char *what, int64_t max_ms, int64_t *out)
{
	const bool bare =
	    text.len > 0 && text.ptr[text.len - 1] >= '0' && text.ptr[text.len - 1] <= '9';
	int64_t ms;

	if (!bare && units_duration_ms(text, 1, &ms) == ERR_OK && ms >= 1 && ms <= max_ms) {
		*out = ms;
		return true;
	}
	DRAFT_FAULT(d, "%s \"%.*s\", expected a duration from 1ms to %" PRId64 "%s, such as 30s",
	    what, SHOWN(text), max_ms == year_ms ? 366 : max_ms / 1000,
	    max_ms == year_ms ? "d" : "s");
	return false;
}

void
directive_timeout(struct draft *d)
{
	(void)directive_duration(d, d->value, "timeout:", 3600 * 1000, &d->e->timeout_ms);
}

struct slice
directive_after_word(struct slice item, const char *word)
{
	const size_t n = strlen(word);

	if (!slice_starts(item, word) || item.len == n ||
	    (item.ptr[n] != ' ' && item.ptr[n] != '\t'))
		return (struct slice){ 0 };
	return slice_trim((struct slice){ item.ptr + n, item.len - n });
}

/* One more of a cache line's items: "stale 10m" or "if-error 1d". */
static void
cache_item(struct draft *d, struct cache_rule *c, struct slice item)
{
	const struct slice stale = directive_after_word(item, "stale");
	const struct slice if_error = directive_after_word(item, "if-error");
	int64_t *to = stale.ptr != NULL ? &c->stale_ms : &c->if_error_ms;

	if (stale.ptr == NULL && if_error.ptr == NULL) {
		DRAFT_FAULT(d, "cache: \"%.*s\", expected stale DURATION or if-error DURATION",
		    SHOWN(item));
		return;
	}
	if (*to != 0)
		DRAFT_FAULT(d, "cache: \"%.*s\" a second time, expected it once", SHOWN(item));
	(void)directive_duration(d, stale.ptr != NULL ? stale : if_error,
	    stale.ptr != NULL ? "cache: stale" : "cache: if-error", year_ms, to);
}

void
directive_cache(struct draft *d)
{
	struct cache_rule *c = &d->e->cache;
	struct slice rest = d->value;

	if (slice_eq_cstr(rest, "off"))
		return;
	c->on = directive_duration(
	    d, slice_trim(slice_cut(&rest, ',')), "cache:", year_ms, &c->fresh_ms);
	while (rest.ptr != NULL)
		cache_item(d, c, slice_trim(slice_cut(&rest, ',')));
}

/* A token of RFC 9110 that a front server can pass as HTTP_NAME. */
static bool
is_header_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!directive_is_name((struct slice){ s.ptr + i, 1 }, "") && s.ptr[i] != '-' &&
		    (s.ptr[i] < '0' || s.ptr[i] > '9'))
			return false;
	/* The body's own two come under other names, and no read has a body. */
	return s.len > 0 && s.len <= 64 && !slice_eq_nocase(s, "content-type") &&
	       !slice_eq_nocase(s, "content-length");
}

/* As CGI names it: HTTP_ACCEPT_LANGUAGE. */
static struct slice
cgi_name(struct draft *d, struct slice name)
{
	char *text = arena_printf(d->arena, "HTTP_%.*s", (int)name.len, name.ptr);

	for (char *c = text; c != NULL && *c != '\0'; c++) {
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
		if (*c == '-')
			*c = '_';
	}
	return slice_of(text);
}

static void
vary_item(struct draft *d, struct slice item)
{
	struct endpoint *e = d->e;
	const struct slice name = directive_after_word(item, "header");
	const struct slice param = is_header_name(name) ? cgi_name(d, name) : name;

	if (!is_header_name(name)) {
		DRAFT_FAULT(d,
		    "vary: \"%.*s\", expected header NAME, such as header Accept-Language",
		    SHOWN(item));
		return;
	}
	for (size_t i = 0; i < e->vary_count; i++) {
		if (slice_eq(e->vary[i].param, param)) {
			DRAFT_FAULT(
			    d, "vary: header %.*s a second time, expected it once", SHOWN(name));
			return;
		}
	}
	if (e->vary_count == ENDPOINT_MAX_VARY) {
		DRAFT_FAULT(d, "vary: header %.*s is one too many, expected at most %d",
		    SHOWN(name), ENDPOINT_MAX_VARY);
		return;
	}
	e->vary[e->vary_count++] = (struct vary_header){ name, param };
}

void
directive_vary(struct draft *d)
{
	struct slice rest = d->value;

	d->e->vary = arena_alloc(d->arena, ENDPOINT_MAX_VARY * sizeof *d->e->vary);
	while (rest.ptr != NULL && d->e->vary != NULL)
		vary_item(d, slice_trim(slice_cut(&rest, ',')));
}

void
directive_tags(struct draft *d)
{
	d->tags = (struct template_source){ d->value, d->line };
}

void
directive_invalidates(struct draft *d)
{
	d->invalidates = (struct template_source){ d->value, d->line };
}

/* A column's type is said as a parameter's is. */
void
directive_column(struct draft *d)
{
	struct column_rule *c = &d->columns[d->e->column_count];

	if (d->e->column_count == DIRECTIVE_MAX_COLUMNS) {
		DRAFT_FAULT(d, "column %.*s: one too many, expected at most %d", SHOWN(d->name),
		    DIRECTIVE_MAX_COLUMNS);
		return;
	}
	c->name = d->name;
	for (size_t i = 0; i < d->e->column_count; i++) {
		if (slice_eq(d->columns[i].name, d->name)) {
			DRAFT_FAULT(
			    d, "column %.*s: a second time, expected it once", SHOWN(d->name));
			return;
		}
	}
	d->e->column_count++;
	if (!value_type_parse(d->value, &c->type))
		DRAFT_FAULT(d,
		    "column %.*s: \"%.*s\", expected text, integer, number, boolean, date, "
		    "timestamp, uuid or json",
		    SHOWN(d->name), SHOWN(d->value));
}

static bool
is_word_byte(char c)
{
	return directive_is_name((struct slice){ &c, 1 }, "") || (c >= '0' && c <= '9');
}

/* Takes ":name" or a run of literal bytes off the front. */
static struct slice
next_part(struct slice *rest)
{
	struct slice part = { rest->ptr, 1 };
	const bool is_param = *part.ptr == ':';

	while (part.len < rest->len &&
	       (is_param ? is_word_byte(part.ptr[part.len]) : part.ptr[part.len] != ':'))
		part.len++;
	rest->ptr += part.len;
	rest->len -= part.len;
	return part;
}

static void
template_param(struct draft *d, struct slice name, struct template_part *part)
{
	part->param = directive_find_param(d->e, name);
	if (part->param < 0)
		DRAFT_FAULT(d, "\":%.*s\" is not a declared parameter, expected one%s", SHOWN(name),
		    directive_suggest_param(d, name));
	else if (d->e->params[part->param].type >= VALUE_JSON)
		DRAFT_FAULT(d,
		    "\":%.*s\" is %s, expected a parameter that is one word of text or a number",
		    SHOWN(name), value_type_name(d->e->params[part->param].type));
	else
		d->used[part->param] = true;
}

void
directive_queue(struct draft *d)
{
	const struct slice s = d->value;
	bool good = s.len <= TOPIC_BYTES_MAX && !slice_eq_cstr(s, ".") && !slice_eq_cstr(s, "..");

	for (size_t i = 0; i < s.len; i++)
		good = good && (is_word_byte(s.ptr[i]) || s.ptr[i] == '.' || s.ptr[i] == '-');
	if (good)
		d->e->topic = arena_copy(d->arena, s);
	else
		DRAFT_FAULT(d,
		    "queue: \"%.*s\", expected a topic of Kafka: letters, digits, '.', '_' and "
		    "'-' (%d at most)",
		    SHOWN(s), TOPIC_BYTES_MAX);
}

void
directive_key(struct draft *d)
{
	d->partition = (struct template_source){ d->value, d->line };
}

void
directive_partition(struct draft *d)
{
	const struct slice text = d->partition.text;
	struct template_part part = { .param = -1 };

	d->line = d->partition.line;
	if (text.ptr == NULL || slice_eq_cstr(text, "idempotency-key"))
		return;
	if (text.len < 2 || *text.ptr != ':') {
		DRAFT_FAULT(d, "key: \"%.*s\", expected idempotency-key or :NAME", SHOWN(text));
		return;
	}
	template_param(d, (struct slice){ text.ptr + 1, text.len - 1 }, &part);
	if (part.param >= 0)
		d->e->partition_param = d->e->params[part.param].name;
}

/* Visible ASCII without quotes: a tag goes into headers and command lines. */
static bool
is_tag_text(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f || s.ptr[i] == '"' || s.ptr[i] == '\'')
			return false;
	return s.len > 0 && s.len <= MAX_TAG_BYTES;
}

static void
read_template(struct draft *d, struct slice text, struct template *out)
{
	size_t max = 1;

	if (!is_tag_text(text)) {
		DRAFT_FAULT(d,
		    "tag \"%.*s\", expected 1 to %d visible ASCII characters without quotes",
		    SHOWN(text), MAX_TAG_BYTES);
		return;
	}
	for (size_t i = 0; i < text.len; i++)
		max += text.ptr[i] == ':' ? 2 : 0;
	out->parts = arena_alloc(d->arena, max * sizeof *out->parts);
	while (text.len > 0 && out->parts != NULL) {
		struct template_part *part = &out->parts[out->count++];
		const struct slice piece = next_part(&text);

		if (*piece.ptr == ':')
			template_param(d, (struct slice){ piece.ptr + 1, piece.len - 1 }, part);
		else
			*part = (struct template_part){ .literal = piece, .param = -1 };
	}
}

void
directive_templates(struct draft *d, const struct template_source *source,
    struct template **items_out, size_t *count_out)
{
	struct slice rest = source->text;
	struct template *items;

	if (rest.ptr == NULL)
		return;
	d->line = source->line;
	items = arena_alloc(d->arena, ENDPOINT_MAX_TAGS * sizeof *items);
	for (size_t n = 0; rest.ptr != NULL && items != NULL; n++) {
		const struct slice text = slice_trim(slice_cut(&rest, ','));

		if (n == ENDPOINT_MAX_TAGS) {
			DRAFT_FAULT(d, "more than %d tags, expected fewer", ENDPOINT_MAX_TAGS);
			break;
		}
		read_template(d, text, &items[n]);
		*count_out = n + 1;
	}
	*items_out = items;
}
