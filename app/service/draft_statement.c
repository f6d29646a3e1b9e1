/*
 * The statement of an endpoint file: names become numbers, and what must not
 * stand there is found before any database sees it.
 */
#include <string.h>

#include "service/draft.h"

enum {
	MAX_STATEMENT_BYTES = 1 << 20, /* of the rewritten text: ":a" may become "?64" */
	MAX_BINDS = 2 * (ENDPOINT_MAX_PARAMS + 8), /* each may also stand before IS NULL */
};

static int
find_bind(const struct endpoint *e, struct bind b)
{
	for (size_t i = 0; i < e->bind_count; i++)
		if (e->binds[i].source == b.source && e->binds[i].param == b.param &&
		    e->binds[i].null_test == b.null_test)
			return (int)i;
	return -1;
}

/* What ${name} is bound to; false after a fault. */
static bool
resolve(struct draft *d, struct slice name, struct bind *out)
{
	*out = (struct bind){ .source = BIND_PARAM, .param = directive_find_param(d->e, name) };
	if (out->param >= 0) {
		d->used[out->param] = true;
		return true;
	}
	if (directive_ambient(name, &out->source)) {
		out->param = 0;
		if (out->source < BIND_EVENT_ID || http_method_writes(d->e->method))
			return true;
		DRAFT_FAULT(d, "\":%.*s\" in a GET, expected it in a write only", SHOWN(name));
	} else if (!draft_is_route_name(d, name)) { /* else it is said at the route */
		DRAFT_FAULT(d, "\":%.*s\" is not declared, expected `param %.*s: TYPE`%s",
		    SHOWN(name), SHOWN(name), directive_suggest_param(d, name));
	}
	return false;
}

static bool
is_in_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '$' || (c & 0x80) != 0;
}

/* Whether ${scan} goes on with IS NULL or IS NOT NULL; it is a copy. */
static bool
is_null_test(struct sql_scan scan)
{
	struct sql_token t = sql_next_code(&scan);

	if (slice_eq_nocase(t.text, "ISNULL") || slice_eq_nocase(t.text, "NOTNULL"))
		return true;
	if (!slice_eq_nocase(t.text, "IS"))
		return false;
	t = sql_next_code(&scan);
	if (slice_eq_nocase(t.text, "NOT"))
		t = sql_next_code(&scan);
	return slice_eq_nocase(t.text, "NULL");
}

/* PostgreSQL takes the type of these from where they stand (service/pg_bind.h). */
static bool
is_untyped(const struct endpoint *e, const struct bind *b)
{
	const enum value_type t = b->source == BIND_PARAM ? e->params[b->param].type : VALUE_TEXT;

	return t != VALUE_INTEGER && t != VALUE_NUMBER && t != VALUE_BOOLEAN;
}

static int
number_of(struct endpoint *e, struct bind b)
{
	int at = find_bind(e, b);

	if (at < 0) {
		at = (int)e->bind_count++;
		e->binds[at] = b;
	}
	return at + 1;
}

/*
 * The same name is the same number.  But in `:x IS NULL OR day = :x` PostgreSQL would not find the type of the first,
 * and were it text, it would not fit the second: before IS NULL stands a text with a number of its own.
 */
static void
add_placeholder(struct draft *d, struct bind b, const struct sql_scan *scan, struct strbuf *sql)
{
	if (d->dialect != SQL_POSTGRESQL) {
		strbuf_addf(sql, "?%d", number_of(d->e, b));
		return;
	}
	/* A name may hold a '$', so none must grow out of a keyword: WHEN:x. */
	if (sql->len > 0 && is_in_word(sql->ptr[sql->len - 1]))
		strbuf_add_char(sql, ' ');
	b.null_test = is_untyped(d->e, &b) && is_null_test(*scan);
	strbuf_addf(sql, b.null_test ? "CAST($%d AS text)" : "$%d", number_of(d->e, b));
}

static void
bind_name(struct draft *d, struct slice name, const struct sql_scan *scan, struct strbuf *sql)
{
	struct bind b;

	if (resolve(d, name, &b))
		add_placeholder(d, b, scan, sql);
	else
		strbuf_add_cstr(sql, "NULL"); /* so that the rest can still be prepared */
}

/* True when nothing but blanks stands before ${at} on its line. */
static bool
begins_line(struct slice text, const char *at)
{
	while (at > text.ptr && (at[-1] == ' ' || at[-1] == '\t'))
		at--;
	return at == text.ptr || at[-1] == '\n';
}

/* A directive below the statement's first word would restrict nothing. */
static void
check_comment(struct draft *d, struct slice text, const struct sql_token *t)
{
	struct slice comment;

	if (begins_line(text, t->text.ptr) && draft_comment(t->text, &comment) &&
	    draft_is_directive(comment))
		DRAFT_FAULT(d, "directive \"%.*s\" inside the statement, expected it above",
		    SHOWN(comment));
}

/* ${scan}: behind the token. */
static void
read_token(
    struct draft *d, const struct sql_token *t, const struct sql_scan *scan, struct strbuf *sql)
{
	if (t->kind == SQL_PARAM) {
		bind_name(d, draft_part(t->text, 1, t->text.len), scan, sql);
		return;
	}
	strbuf_add_slice(sql, t->text);
	if (t->kind == SQL_CAST && d->dialect == SQL_SQLITE)
		DRAFT_FAULT(d, "\"::\" does not run on SQLite, expected CAST(:x AS text)");
	else if (t->kind == SQL_FOREIGN)
		DRAFT_FAULT(
		    d, "placeholder \"%.*s\", expected a named one such as :id", SHOWN(t->text));
	else if (t->kind == SQL_UNCLOSED)
		DRAFT_FAULT(d, "\"%.*s\" is never closed, expected its end", SHOWN(t->text));
	else
		return;
	d->unpreparable = true;
}

/* Rewrites the one statement; stops at a second. */
static void
rewrite(struct draft *d, struct slice text, struct strbuf *sql)
{
	struct sql_scan scan = SQL_SCAN(text, d->line, d->dialect);
	bool ended = false;

	for (;;) {
		const size_t from = scan.at;
		const struct sql_token t = sql_next(&scan);

		d->line = t.line;
		if (t.kind == SQL_COMMENT)
			check_comment(d, text, &t);
		if (t.kind == SQL_END)
			return;
		if (ended && t.kind != SQL_COMMENT && t.kind != SQL_SEMICOLON) {
			DRAFT_FAULT(d, "another statement, expected one in a file");
			d->unpreparable = true;
			return;
		}
		ended = ended || t.kind == SQL_SEMICOLON;
		if (ended)
			continue;
		strbuf_add_slice(sql, draft_part(text, from, (size_t)(t.text.ptr - text.ptr)));
		read_token(d, &t, &scan, sql);
	}
}

/* Verbs that may stand in a file; everything else is refused, such as ATTACH and PRAGMA. */
static const struct verb {
	const char *word;
	bool reads, writes, postgresql_only;
} verbs[] = {
	{ "SELECT", true, false, false },
	{ "VALUES", true, false, false },
	{ "INSERT", false, true, false },
	{ "UPDATE", false, true, false },
	{ "DELETE", false, true, false },
	{ "REPLACE", false, true, false },
	{ "MERGE", false, true, true },
	{ "TABLE", true, false, true },
};

/* A SELECT may call a function that writes only in PostgreSQL. */
static bool
verb_fits(const struct draft *d, const struct verb *v)
{
	if (v->postgresql_only && d->dialect != SQL_POSTGRESQL)
		return false;
	if (!http_method_writes(d->e->method))
		return v->reads;
	return v->writes || d->dialect == SQL_POSTGRESQL;
}

/* False after a fault. */
static bool
check_verb(struct draft *d)
{
	const struct slice verb = sql_verb(d->e->sql, d->dialect);
	const bool writes = http_method_writes(d->e->method);
	bool fits = false;

	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (slice_eq_nocase(verb, verbs[i].word))
			fits = verb_fits(d, &verbs[i]) || !d->routed;
	if (verb.ptr == NULL)
		DRAFT_FAULT(d, "no statement, expected one below the comment lines");
	else if (!fits)
		DRAFT_FAULT(d, "%s whose statement is \"%.*s\", expected %s",
		    http_method_name(d->e->method), SHOWN(verb),
		    writes ? "INSERT, UPDATE or DELETE" : "SELECT: a GET changes nothing");
	else if (!writes && sql_changes_inside(d->e->sql, d->dialect))
		DRAFT_FAULT(d, "GET whose statement writes, expected one that changes nothing");
	else
		return true;
	return false;
}

void
draft_statement(struct draft *d, struct slice text)
{
	struct strbuf sql = STRBUF_INIT(MAX_STATEMENT_BYTES);

	d->e->sql_line = d->line;
	d->e->binds = arena_alloc(d->arena, MAX_BINDS * sizeof *d->e->binds);
	if (d->e->binds == NULL)
		return;
	rewrite(d, text, &sql);
	d->line = d->e->sql_line;
	d->e->sql = arena_slice(d->arena, strbuf_slice(&sql));
	d->arena->overflowed = d->arena->overflowed || sql.failed;
	if (!d->arena->overflowed)
		d->unpreparable = !check_verb(d) || d->unpreparable;
	strbuf_free(&sql);
}

bool
draft_binds_tenant(const struct endpoint *e)
{
	for (size_t i = 0; i < e->bind_count; i++)
		if (e->binds[i].source == BIND_TENANT)
			return true;
	return false;
}
