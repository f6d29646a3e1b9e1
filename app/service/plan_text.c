/*
 * PostgreSQL's plan as it may be logged.
 *
 * One walk over the JSON.  Outside of its texts only white space goes; inside, the text is SQL whose quotes JSON leaves
 * alone, so a literal ends at the next quote that is not doubled.
 */
#include "service/plan_text.h"

#include <stdbool.h>

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What a name, or a placeholder ($1), goes on with. */
static bool
continues_name(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == '$' || c == '.' || (unsigned char)c >= 0x80;
}

/* Behind the literal whose opening quote is at ${at}: at the end of the JSON text at the latest. */
static size_t
skip_literal(struct slice json, size_t at)
{
	for (at++; at < json.len && json.ptr[at] != '"'; at++) {
		if (json.ptr[at] == '\\' && at + 1 < json.len)
			at++;
		else if (json.ptr[at] == '\'' && at + 1 < json.len && json.ptr[at + 1] == '\'')
			at++;
		else if (json.ptr[at] == '\'')
			return at + 1;
	}
	return at;
}

static size_t
skip_number(struct slice json, size_t at)
{
	while (at < json.len && (continues_name(json.ptr[at]) ||
				    ((json.ptr[at] == '-' || json.ptr[at] == '+') &&
					(json.ptr[at - 1] == 'e' || json.ptr[at - 1] == 'E'))))
		at++;
	return at;
}

/* The text whose opening quote is at ${at}; returns where it ends. */
static size_t
add_text(struct strbuf *out, struct slice json, size_t at)
{
	char before = '"';

	strbuf_add_char(out, '"');
	at++;
	while (at < json.len && json.ptr[at] != '"') {
		const char c = json.ptr[at];
		size_t next = at + 1;

		if (c == '\'') {
			next = skip_literal(json, at);
			strbuf_add_cstr(out, "'?'");
		} else if (is_digit(c) && !continues_name(before)) {
			next = skip_number(json, at);
			strbuf_add_char(out, '?');
		} else if (c != '\\') {
			strbuf_add_char(out, c);
		} else if (next < json.len) { /* else it would take our quote for its own */
			next++;
			strbuf_add(out, json.ptr + at, next - at);
		}
		before = json.ptr[next - 1];
		at = next;
	}
	strbuf_add_char(out, '"');
	return at + 1;
}

void
plan_text_add(struct strbuf *out, struct slice json)
{
	size_t at = 0;

	while (at < json.len) {
		const char c = json.ptr[at];

		if (c == '"') {
			at = add_text(out, json, at);
			continue;
		}
		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			strbuf_add_char(out, c);
		at++;
	}
}
