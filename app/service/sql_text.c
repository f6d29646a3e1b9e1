/*
 * SQL as text.
 *
 * A token is what one of the read_ functions below takes off the front; what
 * none of them knows is a byte of its own.  Nothing here judges: a statement
 * that is wrong is found by the database that prepares it.
 */
#include "service/sql_text.h"

#include <string.h>

/* The byte ${ahead} of the next one; NUL past the end (the text has none). */
static char
peek(const struct sql_scan *s, size_t ahead)
{
	return ahead < s->text.len - s->at ? s->text.ptr[s->at + ahead] : '\0';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
begins_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool
is_in_name(char c)
{
	return begins_name(c) || is_digit(c) || c == '$';
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
move(struct sql_scan *s, size_t bytes)
{
	for (; bytes > 0; bytes--)
		if (s->text.ptr[s->at++] == '\n')
			s->line++;
}

static size_t
name_length(const struct sql_scan *s, size_t from)
{
	size_t n = 0;

	while (is_in_name(peek(s, from + n)))
		n++;
	return n;
}

/* Past a quote that doubles itself to stand inside (or is escaped); false: the text ends first. */
static bool
read_quoted(struct sql_scan *s, char close, bool backslash)
{
	move(s, 1);
	while (peek(s, 0) != '\0') {
		const bool closes = peek(s, 0) == close;

		if ((backslash && peek(s, 0) == '\\' && peek(s, 1) != '\0') ||
		    (closes && close != ']' && peek(s, 1) == close)) {
			move(s, 2);
			continue;
		}
		move(s, 1);
		if (closes)
			return true;
	}
	return false;
}

static void
read_line_comment(struct sql_scan *s)
{
	while (peek(s, 0) != '\0' && peek(s, 0) != '\n')
		move(s, 1);
}

/* PostgreSQL's block comments nest, SQLite's do not. */
static bool
read_block_comment(struct sql_scan *s)
{
	size_t depth = 1;

	move(s, 2);
	while (depth > 0 && peek(s, 0) != '\0') {
		const bool opens = peek(s, 0) == '/' && peek(s, 1) == '*';
		const bool closes = peek(s, 0) == '*' && peek(s, 1) == '/';

		if (opens && s->dialect == SQL_POSTGRESQL)
			depth++;
		if (closes)
			depth--;
		move(s, closes || (opens && s->dialect == SQL_POSTGRESQL) ? 2 : 1);
	}
	return depth == 0;
}

/* $tag$ ... $tag$; what only looks so is a placeholder of another form. */
static enum sql_token_kind
read_dollar(struct sql_scan *s)
{
	size_t tag = 1;
	const char *end;

	while (begins_name(peek(s, tag)) || (tag > 1 && is_digit(peek(s, tag))))
		tag++;
	if (s->dialect != SQL_POSTGRESQL || peek(s, tag) != '$') {
		move(s, 1 + name_length(s, 1));
		return SQL_FOREIGN;
	}
	tag++;
	end =
	    memmem(s->text.ptr + s->at + tag, s->text.len - s->at - tag, s->text.ptr + s->at, tag);
	move(s, end == NULL ? s->text.len - s->at : (size_t)(end - s->text.ptr) + tag - s->at);
	return end == NULL ? SQL_UNCLOSED : SQL_STRING;
}

static enum sql_token_kind
read_colon(struct sql_scan *s)
{
	const char next = peek(s, 1);

	if (next == ':') {
		move(s, 2);
		return SQL_CAST;
	}
	if (!begins_name(next) && !(is_digit(next) && s->dialect == SQL_SQLITE)) {
		move(s, 1);
		return SQL_OTHER;
	}
	move(s, 1 + name_length(s, 1));
	return begins_name(next) ? SQL_PARAM : SQL_FOREIGN;
}

static enum sql_token_kind
read_word(struct sql_scan *s)
{
	const char first = peek(s, 0);
	const size_t n = name_length(s, 0);

	move(s, n);
	if (s->dialect != SQL_POSTGRESQL || n != 1 || (first != 'e' && first != 'E') ||
	    peek(s, 0) != '\'')
		return SQL_WORD;
	return read_quoted(s, '\'', true) ? SQL_STRING : SQL_UNCLOSED;
}

static enum sql_token_kind
read_number(struct sql_scan *s)
{
	while (is_in_name(peek(s, 0)) || peek(s, 0) == '.')
		move(s, 1);
	return SQL_NUMBER;
}

/* Characters that mean something in one dialect only: quotes and placeholders of SQLite. */
static enum sql_token_kind
read_sqlite_only(struct sql_scan *s)
{
	const char c = peek(s, 0);

	if (c == '`' || c == '[')
		return read_quoted(s, c == '[' ? ']' : c, false) ? SQL_QUOTED : SQL_UNCLOSED;
	move(s, 1 + name_length(s, 1));
	return SQL_FOREIGN;
}

static enum sql_token_kind
read_mark(struct sql_scan *s)
{
	const char c = peek(s, 0);

	move(s, 1);
	switch (c) {
	case ';':
		return SQL_SEMICOLON;
	case '(':
		return SQL_OPEN;
	case ')':
		return SQL_CLOSE;
	default:
		return SQL_OTHER;
	}
}

static enum sql_token_kind
read_token(struct sql_scan *s)
{
	const char c = peek(s, 0);

	if (c == '\0')
		return SQL_END;
	if (c == '-' && peek(s, 1) == '-') {
		read_line_comment(s);
		return SQL_COMMENT;
	}
	if (c == '/' && peek(s, 1) == '*')
		return read_block_comment(s) ? SQL_COMMENT : SQL_UNCLOSED;
	if (c == '\'')
		return read_quoted(s, c, false) ? SQL_STRING : SQL_UNCLOSED;
	if (c == '"')
		return read_quoted(s, c, false) ? SQL_QUOTED : SQL_UNCLOSED;
	if (c == ':')
		return read_colon(s);
	if (c == '$')
		return read_dollar(s);
	if (begins_name(c))
		return read_word(s);
	if (is_digit(c))
		return read_number(s);
	if (s->dialect == SQL_SQLITE && strchr("`[?@", c) != NULL)
		return read_sqlite_only(s);
	return read_mark(s);
}

struct sql_token
sql_next(struct sql_scan *s)
{
	struct sql_token t;
	size_t from;

	while (is_space(peek(s, 0)))
		move(s, 1);
	from = s->at;
	t.line = s->line;
	t.kind = read_token(s);
	t.text = (struct slice){ s->text.ptr + from, s->at - from };
	return t;
}

static bool
is_word_of(const struct sql_token *t, const char *const *words)
{
	for (; t->kind == SQL_WORD && *words != NULL; words++)
		if (slice_eq_nocase(t->text, *words))
			return true;
	return false;
}

struct sql_token
sql_next_code(struct sql_scan *s)
{
	struct sql_token t;

	do
		t = sql_next(s);
	while (t.kind == SQL_COMMENT);
	return t;
}

/*
 * WITH a (x) AS (...), b AS MATERIALIZED (...) SELECT: the verb is the first of its kind that follows
 * a closing parenthesis outside all of them.
 */
static struct slice
verb_after_with(struct sql_scan *s)
{
	static const char *const verbs[] = { "SELECT", "VALUES", "INSERT", "UPDATE", "DELETE",
		"REPLACE", "MERGE", "TABLE", NULL };
	bool closed = false;
	size_t depth = 0;

	for (;;) {
		const struct sql_token t = sql_next_code(s);

		if (t.kind == SQL_END)
			return (struct slice){ 0 };
		if (closed && is_word_of(&t, verbs))
			return t.text;
		if (t.kind == SQL_OPEN)
			depth++;
		else if (t.kind == SQL_CLOSE && depth > 0)
			depth--;
		closed = t.kind == SQL_CLOSE && depth == 0;
	}
}

struct slice
sql_verb(struct slice sql, enum sql_dialect d)
{
	struct sql_scan s = SQL_SCAN(sql, 1, d);
	struct sql_token t;

	do
		t = sql_next_code(&s);
	while (t.kind == SQL_OPEN);
	if (t.kind != SQL_WORD)
		return (struct slice){ 0 };
	return slice_eq_nocase(t.text, "WITH") ? verb_after_with(&s) : t.text;
}

bool
sql_changes_inside(struct slice sql, enum sql_dialect d)
{
	static const char *const changes[] = { "INSERT", "UPDATE", "DELETE", "MERGE", NULL };
	struct sql_scan s = SQL_SCAN(sql, 1, d);
	enum sql_token_kind before = SQL_OTHER;

	for (;;) {
		const struct sql_token t = sql_next_code(&s);

		if (t.kind == SQL_END)
			return false;
		if (before == SQL_OPEN && is_word_of(&t, changes))
			return true;
		before = t.kind;
	}
}
