/*
 * The text of a JSON string: quotes and escapes gone.
 *
 * The scanner needs it for names, which it then trusts; json_unescape() is
 * for everybody, and looks first whether it was given a string at all.
 */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"

/* Appends the character ${point} and returns the place behind it. */
static char *
put_utf8(char *at, unsigned point)
{
	if (point < 0x80) {
		*at++ = (char)point;
		return at;
	}
	if (point < 0x800) {
		*at++ = (char)(0xc0 | point >> 6);
	} else {
		if (point < 0x10000) {
			*at++ = (char)(0xe0 | point >> 12);
		} else {
			*at++ = (char)(0xf0 | point >> 18);
			*at++ = (char)(0x80 | (point >> 12 & 0x3f));
		}
		*at++ = (char)(0x80 | (point >> 6 & 0x3f));
	}
	*at++ = (char)(0x80 | (point & 0x3f));
	return at;
}

static unsigned
hex4(const char *p)
{
	const char digits[5] = { p[0], p[1], p[2], p[3], '\0' };

	return (unsigned)strtoul(digits, NULL, 16);
}

/* Undoes the escape at ${*from} (a backslash), moving both places on. */
static char *
undo_escape(const char **from, char *to)
{
	static const char names[] = "bfnrt", meanings[] = "\b\f\n\r\t";
	const char c = (*from)[1];
	const char *at = strchr(names, c);
	unsigned point;

	if (c != 'u') {
		*from += 2;
		*to++ = at == NULL ? c : meanings[at - names];
		return to;
	}
	point = hex4(*from + 2);
	*from += 6;
	if (point >= 0xd800 && point <= 0xdbff) {
		point = 0x10000 + ((point - 0xd800) << 10) + (hex4(*from + 2) - 0xdc00);
		*from += 6;
	}
	return put_utf8(to, point);
}

/* The bytes between the quotes, escapes undone; never longer than they were. */
static struct slice
unescape_into(struct slice inner, char *buf)
{
	const char *from = inner.ptr, *end = inner.ptr + inner.len;
	char *to = buf;

	while (from < end) {
		if (*from == '\\')
			to = undo_escape(&from, to);
		else
			*to++ = *from++;
	}
	return (struct slice){ buf, (size_t)(to - buf) };
}

enum err
json_unescape_lazy(struct slice raw, struct arena *a, struct slice *out)
{
	const struct slice inner = { raw.ptr + 1, raw.len - 2 };
	char *buf;

	if (inner.len == 0 || memchr(inner.ptr, '\\', inner.len) == NULL) {
		*out = inner;
		return ERR_OK;
	}
	buf = arena_alloc(a, inner.len);
	if (buf == NULL)
		return ERR_NOMEM;
	*out = unescape_into(inner, buf);
	return ERR_OK;
}

enum err
json_unescape(struct slice raw, struct arena *a, struct slice *out)
{
	struct json_fault fault;
	enum json_type type;
	struct slice text;
	enum err rc;

	if (raw.len < 2 || *raw.ptr != '"' || raw.ptr[raw.len - 1] != '"')
		return ERR_INVALID;
	rc = json_scan_value(raw, a, &type, &fault);
	if (rc == ERR_OK)
		rc = json_unescape_lazy(raw, a, &text);
	if (rc != ERR_OK)
		return rc;
	if (text.ptr == raw.ptr + 1)
		text = arena_slice(a, text);
	if (text.ptr == NULL)
		return ERR_NOMEM;
	*out = text;
	return ERR_OK;
}
