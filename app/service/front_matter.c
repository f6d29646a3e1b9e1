/*
 * One endpoint file: its lines, and what they say together.
 *
 * The file is read once from top to bottom; what a line says alone is judged
 * in draft_route.c, directive*.c and draft_statement.c, what needs the whole
 * file here at the end.  Every fault is found in one pass: after a bad line
 * reading goes on with the default.
 */
#include "service/front_matter.h"

#include <string.h>

#include "base/hash.h"
#include "service/catalog.h"
#include "service/draft.h"

enum naming { BARE, NAMED, EITHER };
enum scope { ANY, READS, WRITES };

static const struct directive {
	const char *word;
	enum naming naming;
	enum scope scope;
	directive_parser *parse; /* NULL: comes with a later version */
} directives[] = {
#define DIRECTIVE(word, name, naming, scope, parser, form, fallback, help)                         \
	{ word, naming, scope, parser },
#define LATER(word, name, form, help) { word, BARE, ANY, NULL },
#include "service/directives.inc"
#undef DIRECTIVE
#undef LATER
};

static const struct directive_doc docs[] = {
#define DIRECTIVE(word, name, naming, scope, parser, form, fallback, help)                         \
	{ name, form, fallback, help, false },
#define LATER(word, name, form, help) { name, form, "", help, true },
#include "service/directives.inc"
#undef DIRECTIVE
#undef LATER
};

#define DIRECTIVES (sizeof directives / sizeof *directives)

_Static_assert(DIRECTIVES <= DIRECTIVE_MAX, "a draft remembers the line of each");

const struct directive_doc *
front_matter_docs(size_t *count_out)
{
	*count_out = DIRECTIVES;
	return docs;
}

static size_t
span(struct slice s, size_t from, bool (*belongs)(char c))
{
	while (from < s.len && belongs(s.ptr[from]))
		from++;
	return from;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_directive_byte(char c)
{
	return (c >= 'a' && c <= 'z') || c == '-';
}

static bool
is_name_byte(char c)
{
	return !is_blank(c) && c != ':';
}

static const struct directive *
find_directive(struct slice word)
{
	for (size_t i = 0; i < DIRECTIVES; i++)
		if (slice_eq_cstr(word, directives[i].word))
			return &directives[i];
	return NULL;
}

/*
 * `word: value` or `word NAME: value`.  The name is whatever stands there, so that a bad one is a fault
 * and not a silent description.  A web address at the beginning of a line is description.
 */
static bool
split_directive(struct slice text, struct slice *word, struct slice *name, struct slice *value)
{
	const size_t word_end = span(text, 0, is_directive_byte);
	const size_t name_begin = span(text, word_end, is_blank);
	size_t name_end = name_begin, colon;

	if (word_end == 0 || *text.ptr == '-')
		return false;
	if (name_begin > word_end)
		name_end = span(text, name_begin, is_name_byte);
	colon = span(text, name_end, is_blank);
	if (colon == text.len || text.ptr[colon] != ':')
		return false;
	*word = draft_part(text, 0, word_end);
	*name =
	    name_end > name_begin ? draft_part(text, name_begin, name_end) : (struct slice){ 0 };
	*value = slice_trim(draft_part(text, colon + 1, text.len));
	return find_directive(*word) != NULL ||
	       !slice_starts(draft_part(text, colon, text.len), "://");
}

/* A carriage return at the end of ${line} is no part of it. */
bool
draft_comment(struct slice line, struct slice *out)
{
	struct slice s = slice_trim(line);

	if (s.len > 0 && s.ptr[s.len - 1] == '\r')
		s = slice_trim(draft_part(s, 0, s.len - 1));
	if (!slice_starts(s, "--"))
		return false;
	*out = draft_part(s, s.len > 2 && s.ptr[2] == ' ' ? 3 : 2, s.len);
	return true;
}

bool
draft_is_directive(struct slice comment)
{
	struct slice word, name, value;

	return split_directive(slice_trim(comment), &word, &name, &value) &&
	       find_directive(word) != NULL;
}

static void
unknown_directive(struct draft *d)
{
	const char *known[DIRECTIVES + 1] = { NULL };
	const char *word = d->word.len > SHOWN_BYTES ? NULL : arena_copy(d->arena, d->word);
	const char *near;

	for (size_t i = 0; i < DIRECTIVES; i++)
		known[i] = directives[i].word;
	near = word == NULL ? NULL : fault_nearest(word, known);
	if (near != NULL)
		DRAFT_FAULT(
		    d, "unknown directive \"%.*s\", expected \"%s\"?", SHOWN(d->word), near);
	else
		DRAFT_FAULT(d,
		    "unknown directive \"%.*s\", expected one that there is; a description begins "
		    "otherwise than with a lower-case word and a colon",
		    SHOWN(d->word));
}

/* True when the directive may stand here, in this form, on this kind of endpoint. */
static bool
is_welcome(struct draft *d, const struct directive *dir)
{
	const bool writes = http_method_writes(d->e->method);
	unsigned *first = &d->first_line[dir - directives];

	if (dir->parse == NULL)
		DRAFT_FAULT(d, "%s: comes with a later version, expected no such line", dir->word);
	else if (dir->naming == BARE && d->name.ptr != NULL)
		DRAFT_FAULT(
		    d, "%s %.*s: a name, expected `%s:`", dir->word, SHOWN(d->name), dir->word);
	else if (dir->naming == NAMED && d->name.ptr == NULL)
		DRAFT_FAULT(d, "%s: no name, expected `%s NAME:`", dir->word, dir->word);
	else if (dir->naming == EITHER && d->name.ptr != NULL && !directive_is_name(d->name, "-"))
		DRAFT_FAULT(d,
		    "%s %.*s: not a name, expected letters, digits, - and _ (63 at most)",
		    dir->word, SHOWN(d->name));
	else if (d->routed && dir->scope == READS && writes)
		DRAFT_FAULT(d, "%s: on a %s, expected it on a GET only", dir->word,
		    http_method_name(d->e->method));
	else if (d->routed && dir->scope == WRITES && !writes)
		DRAFT_FAULT(
		    d, "%s: on a GET, expected it on a POST, PUT, PATCH or DELETE only", dir->word);
	else if (dir->naming == BARE && *first != 0)
		DRAFT_FAULT(
		    d, "%s: a second time (first on line %u), expected it once", dir->word, *first);
	else if (d->value.len == 0)
		DRAFT_FAULT(d, "%s: nothing behind the colon, expected %s", dir->word,
		    docs[dir - directives].form);
	else {
		*first = d->line;
		return true;
	}
	return false;
}

/*
 * A line that was meant as a directive and is none by its form restricts nothing: say so, but let it
 * stand, for it may be a sentence.
 */
static void
warn_lookalike(struct draft *d, struct slice text)
{
	const size_t end = span(text, 0, is_name_byte);
	const bool colon = end < text.len && text.ptr[end] == ':';

	for (size_t i = 0; i < DIRECTIVES && end < text.len; i++) {
		const struct slice word = draft_part(text, 0, end);
		const bool exact = slice_eq_cstr(word, directives[i].word);

		if ((exact && memchr(text.ptr, ':', text.len) != NULL) ||
		    (colon && slice_eq_nocase(word, directives[i].word)))
			fault_warn(d->faults, d->file, d->line,
			    "read as description, expected `%s%s` if it is a directive",
			    directives[i].word, directives[i].naming == BARE ? ":" : " NAME:");
	}
}

static void
read_comment(struct draft *d, struct slice text, struct strbuf *description)
{
	const struct directive *dir;

	if (!split_directive(slice_trim(text), &d->word, &d->name, &d->value)) {
		warn_lookalike(d, slice_trim(text));
		if (description->len > 0)
			strbuf_add_char(description, '\n');
		strbuf_add_slice(description, text);
		return;
	}
	dir = find_directive(d->word);
	if (dir == NULL)
		unknown_directive(d);
	else if (is_welcome(d, dir))
		dir->parse(d);
}

/* True when the statement begins with ${line}: neither empty nor a comment. */
static bool
is_statement(struct slice line)
{
	struct slice comment;

	return !draft_comment(line, &comment) && slice_trim(line).len > 0 &&
	       !slice_eq_cstr(slice_trim(line), "\r");
}

static void
read_first_line(struct draft *d, struct slice line)
{
	struct slice text = { 0 };

	d->routed = draft_comment(line, &text) && draft_route(d, slice_trim(text));
	if (text.ptr == NULL)
		DRAFT_FAULT(d, "no route, expected `-- METHOD /path` on the first line");
}

/* Reads the comment lines; ${text} is then the statement, from d->line on, empty when there is none. */
static void
read_head(struct draft *d, struct slice *text)
{
	struct strbuf description = STRBUF_INIT(FRONT_MATTER_MAX_BYTES);
	struct slice rest = *text, comment;

	for (d->line = 1; rest.ptr != NULL; d->line++) {
		const struct slice line = slice_cut(&rest, '\n');

		if (d->line == 1)
			read_first_line(d, line);
		else if (draft_comment(line, &comment))
			read_comment(d, comment, &description);
		if (is_statement(line))
			break;
		*text = rest.ptr == NULL ? SLICE("") : rest;
	}
	while (description.len > 0 && description.ptr[description.len - 1] == '\n')
		description.len--;
	d->e->description = arena_slice(d->arena, strbuf_slice(&description));
	strbuf_free(&description);
}

/* Path parameters come first, in the order of the route; the rest keeps its order. */
static void
order_params(struct draft *d)
{
	struct param sorted[ENDPOINT_MAX_PARAMS];
	size_t n = 0;

	d->line = 1;
	for (size_t i = 0; i < d->route_name_count; i++) {
		const struct slice name = d->route_names[i];
		const int at = directive_find_param(d->e, name);

		if (at >= 0 && d->params[at].place == PARAM_PATH)
			sorted[n++] = d->params[at];
		else
			DRAFT_FAULT(d,
			    "route parameter \":%.*s\" is not declared, expected `param %.*s:`",
			    SHOWN(name), SHOWN(name));
	}
	for (size_t i = 0; i < d->e->param_count; i++)
		if (d->params[i].place != PARAM_PATH)
			sorted[n++] = d->params[i];
	memcpy(d->params, sorted, n * sizeof *sorted);
}

static void
check_unused(struct draft *d)
{
	for (size_t i = 0; i < d->e->param_count; i++) {
		const struct param *p = &d->params[i];

		d->line = p->line;
		if (!d->used[i])
			DRAFT_FAULT(d,
			    "parameter \"%.*s\" is never used, expected it in statement or tags",
			    SHOWN(p->name));
	}
}

static void
default_tag(struct draft *d)
{
	d->e->tags = arena_alloc(d->arena, sizeof *d->e->tags);
	if (d->e->tags == NULL)
		return;
	d->e->tags->parts = arena_alloc(d->arena, sizeof *d->e->tags->parts);
	if (d->e->tags->parts == NULL)
		return;
	*d->e->tags->parts = (struct template_part){ .literal = d->e->name, .param = -1 };
	d->e->tags->count = d->e->tag_count = 1;
}

/* What follows from all lines together. */
static void
settle(struct draft *d)
{
	struct endpoint *e = d->e;

	directive_templates(d, &d->tags, &e->tags, &e->tag_count);
	directive_templates(d, &d->invalidates, &e->invalidates, &e->invalidate_count);
	directive_partition(d);
	check_unused(d);
	if (e->tag_count == 0 && !http_method_writes(e->method))
		default_tag(d);
	for (size_t i = 0; i < e->limit_count; i++)
		e->limits[i].seed = directive_limit_seed(e->name, &e->limits[i]);
	e->uses_tenant = draft_binds_tenant(e) || e->auth != AUTH_NONE;
	if (e->auth == AUTH_REQUIRED && !draft_binds_tenant(e))
		fault_warn(d->faults, d->file, e->sql_line,
		    "auth: required without :tenant in the statement, so all tenants see the same, "
		    "expected it there");
}

static void *
keep(struct arena *a, const void *items, size_t bytes)
{
	void *p = arena_alloc(a, bytes);

	return p == NULL ? NULL : memcpy(p, items, bytes);
}

void
front_matter_default_limit(
    const struct catalog_options *defaults, struct arena *a, struct endpoint *e)
{
	struct limit_rule r = directive_default_rule(defaults);

	r.seed = directive_limit_seed(e->name, &r);
	e->limits = keep(a, &r, sizeof r);
	e->limit_count = e->limits != NULL;
}

/* Moves the arrays from the draft to where the endpoint lives. */
static void
move_to_arena(struct draft *d)
{
	struct endpoint *e = d->e;

	e->params = keep(d->arena, d->params, e->param_count * sizeof *d->params);
	e->columns = keep(d->arena, d->columns, e->column_count * sizeof *d->columns);
	e->limits = keep(d->arena, d->limits, e->limit_count * sizeof *d->limits);
	if (e->limit_count == 0)
		front_matter_default_limit(d->defaults, d->arena, e);
	if (!d->routed)
		e->route = (struct slice){ 0 };
	if (d->unpreparable)
		e->sql = (struct slice){ 0 };
}

/* "a/b/country.postgresql.sql" is the endpoint "country". */
static struct slice
name_of(const char *file, enum sql_dialect *dialect_out)
{
	static const char *const suffixes[] = { ".sql", ".postgresql" };
	const char *slash = strrchr(file, '/');
	struct slice name = slice_of(slash == NULL ? file : slash + 1);

	for (size_t i = 0; i < 2; i++) {
		const size_t n = strlen(suffixes[i]);

		if (name.len <= n || memcmp(name.ptr + name.len - n, suffixes[i], n) != 0)
			break;
		name.len -= n;
		if (i == 1)
			*dialect_out = SQL_POSTGRESQL;
	}
	return name;
}

static bool
is_text(struct draft *d, struct slice text)
{
	if (text.len > FRONT_MATTER_MAX_BYTES)
		fault_add(d->faults, d->file, 0, "too large, expected at most %d bytes",
		    FRONT_MATTER_MAX_BYTES);
	else if (memchr(text.ptr, '\0', text.len) != NULL)
		fault_add(d->faults, d->file, 0, "a NUL byte, expected text");
	else if (!utf8_valid(text, NULL))
		fault_add(d->faults, d->file, 0, "invalid UTF-8, expected UTF-8 text");
	else
		return true;
	return false;
}

static void
draft_init(struct draft *d, struct endpoint *e)
{
	*e = (struct endpoint){
		.file = arena_copy(d->arena, slice_of(d->file)),
		.max_rows = FRONT_MATTER_DEFAULT_ROWS,
		.timeout_ms = d->defaults->timeout_ms,
		.max_body_bytes = d->defaults->max_body_bytes,
		.params = d->params,
		.columns = d->columns,
		.limits = d->limits,
	};
	d->dialect = d->defaults->postgresql ? SQL_POSTGRESQL : SQL_SQLITE;
	e->name = arena_slice(d->arena, name_of(d->file, &d->dialect));
	e->postgresql = d->dialect == SQL_POSTGRESQL;
	e->name_hash = hash64(0, e->name.ptr, e->name.len);
	d->e = e;
	if (!directive_is_name(e->name, "-"))
		fault_add(d->faults, d->file, 0,
		    "name \"%.*s\", expected a letter, then letters, digits, - and _ (63 at most)",
		    SHOWN(e->name));
}

static void
read_text(struct draft *d, struct slice text)
{
	unsigned statement_line;

	if (slice_starts(text, "\xef\xbb\xbf")) /* the mark that some editors put before UTF-8 */
		text = draft_part(text, 3, text.len);
	read_head(d, &text);
	statement_line =
	    text.len > 0 ? d->line : d->line - 1; /* the last line, when nothing follows */
	order_params(d);
	d->line = statement_line;
	draft_statement(d, text);
	settle(d);
}

enum err
front_matter_parse(struct slice text, const char *file, const struct catalog_options *defaults,
    struct arena *a, struct endpoint *out, struct fault_list *faults)
{
	const size_t errors_before = faults->errors;
	struct draft d = { .file = file, .defaults = defaults, .arena = a, .faults = faults };
	struct slice rest = text.ptr == NULL ? SLICE("") : text;

	draft_init(&d, out);
	if (is_text(&d, rest)) {
		rest = arena_slice(a, rest); /* what the endpoint holds are pieces of it */
		if (rest.ptr != NULL)
			read_text(&d, rest);
	}
	move_to_arena(&d);
	out->handler =
	    http_method_writes(out->method) ? defaults->write_handler : defaults->read_handler;
	if (a->overflowed)
		return ERR_NOMEM;
	return faults->errors > errors_before ? ERR_INVALID : ERR_OK;
}
