/*
 * Lines of `.env` files, one after the other.
 *
 * Strict on purpose: a line that is understood half is a setting that is
 * silently wrong.  What a name means is not known here.
 */
#include "base/dotenv.h"

#include <stdbool.h>
#include <string.h>

static bool
is_name_byte(char c, bool first)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
	       (!first && c >= '0' && c <= '9');
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice
skip(struct slice s, size_t n)
{
	return (struct slice){ s.ptr + n, s.len - n };
}

/* Takes the name and its '=' off ${line}. */
static const char *
cut_name(struct slice *line, struct slice *name_out)
{
	struct slice s = *line;
	size_t n = 0;

	if (slice_starts(s, "export") && s.len > 6 && is_blank(s.ptr[6]))
		s = slice_trim(skip(s, 6));
	while (n < s.len && is_name_byte(s.ptr[n], n == 0))
		n++;
	if (n == 0 || n == s.len || s.ptr[n] != '=')
		return "expected NAME=value";
	*name_out = (struct slice){ s.ptr, n };
	*line = slice_trim(skip(s, n + 1));
	return NULL;
}

/* Nothing may follow a closing quote but a comment. */
static const char *
check_rest(struct slice rest)
{
	const struct slice s = slice_trim(rest);

	if (s.len == 0 || (*s.ptr == '#' && s.ptr != rest.ptr))
		return NULL;
	return "text after the closing quote";
}

static const char *
read_single(struct slice s, struct strbuf *value)
{
	struct slice rest = skip(s, 1);
	const struct slice inner = slice_cut(&rest, '\'');

	if (rest.ptr == NULL)
		return "quote not closed";
	strbuf_add_slice(value, inner);
	return check_rest(rest);
}

static const char *
read_double(struct slice s, struct strbuf *value)
{
	static const char from[] = "nt\"\\$", to[] = "\n\t\"\\$";
	size_t i = 1;

	for (; i < s.len && s.ptr[i] != '"'; i++) {
		const char *at = NULL;

		if (s.ptr[i] != '\\') {
			strbuf_add_char(value, s.ptr[i]);
			continue;
		}
		if (++i < s.len)
			at = memchr(from, s.ptr[i], sizeof from - 1);
		if (at == NULL)
			return i < s.len ? "unknown escape" : "quote not closed";
		strbuf_add_char(value, to[at - from]);
	}
	if (i == s.len)
		return "quote not closed";
	return check_rest(skip(s, i + 1));
}

/* ${s} begins behind the '=': `#` there has a blank before it only if trimming took one. */
static const char *
read_bare(struct slice s, bool blank_before, struct strbuf *value)
{
	size_t n = 0;

	while (n < s.len && (s.ptr[n] != '#' || !(n == 0 ? blank_before : is_blank(s.ptr[n - 1]))))
		n++;
	strbuf_add_slice(value, slice_trim((struct slice){ s.ptr, n }));
	return NULL;
}

static const char *
read_value(struct slice s, bool blank_before, struct strbuf *value)
{
	if (s.len > 0 && *s.ptr == '\'')
		return read_single(s, value);
	if (s.len > 0 && *s.ptr == '"')
		return read_double(s, value);
	return read_bare(s, blank_before, value);
}

static const char *
read_line(struct slice line, struct slice *name_out, struct strbuf *value)
{
	const char *why = cut_name(&line, name_out);

	if (why != NULL)
		return why;
	if (line.len > 0 && memchr(line.ptr, '\0', line.len) != NULL)
		return "NUL byte";
	return read_value(line, is_blank(line.ptr[-1]), value);
}

enum err
dotenv_parse(
    struct slice text, dotenv_line_fn *fn, void *ctx, unsigned *line_out, const char **why_out)
{
	struct strbuf value = STRBUF_INIT(text.len);
	enum err rc = ERR_OK;

	*line_out = 0;
	*why_out = NULL;
	while (rc == ERR_OK && text.ptr != NULL) {
		struct slice line = slice_cut(&text, '\n'), name;

		++*line_out;
		if (line.len > 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		line = slice_trim(line);
		if (line.len == 0 || *line.ptr == '#')
			continue;
		value.len = 0;
		*why_out = read_line(line, &name, &value);
		if (*why_out != NULL)
			rc = ERR_INVALID;
		else if (value.failed)
			rc = ERR_NOMEM;
		else
			fn(ctx, name, strbuf_slice(&value), *line_out);
	}
	strbuf_free(&value);
	return rc;
}
