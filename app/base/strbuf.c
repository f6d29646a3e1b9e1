/*
 * Growing bytes with a sticky failure.
 *
 * Capacity doubles, so n appended bytes cost O(n).  One byte more than asked
 * for is always kept, because vsnprintf() insists on writing its NUL.
 */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 64 };

/* Room for ${more} bytes and a NUL; false (and failed) past the bound or without memory. */
static bool
reserve(struct strbuf *b, size_t more)
{
	size_t want;
	char *p;

	if (b->failed)
		return false;
	if (b->len < b->cap && more < b->cap - b->len)
		return true;
	if (b->len > b->max || more > b->max - b->len || more >= SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return false;
	}
	want = b->len + more + 1;
	if (want < 2 * b->cap)
		want = 2 * b->cap;
	if (want < FIRST_BYTES)
		want = FIRST_BYTES;
	if (want - 1 > b->max)
		want = b->max + 1;
	p = realloc(b->ptr, want);
	if (p == NULL) {
		b->failed = true;
		return false;
	}
	b->ptr = p;
	b->cap = want;
	return true;
}

void
strbuf_add(struct strbuf *b, const void *bytes, size_t len)
{
	if (len == 0 || !reserve(b, len))
		return;
	memcpy(b->ptr + b->len, bytes, len);
	b->len += len;
}

void
strbuf_add_slice(struct strbuf *b, struct slice s)
{
	strbuf_add(b, s.ptr, s.len);
}

void
strbuf_add_cstr(struct strbuf *b, const char *s)
{
	strbuf_add_slice(b, slice_of(s));
}

void
strbuf_add_char(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void
strbuf_add_i64(struct strbuf *b, int64_t n)
{
	char digits[I64_BYTES];

	strbuf_add(b, digits, i64_write(n, digits));
}

void
strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		b->failed = true;
	if (n <= 0 || !reserve(b, (size_t)n))
		return;
	va_start(args, fmt);
	(void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, args);
	va_end(args);
	b->len += (size_t)n;
}

/* What follows the backslash for bytes that have a short escape; 'u' for the other controls. */
static char
json_escape(unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return c < 0x20 ? 'u' : '\0';
	}
}

void
strbuf_add_json(struct strbuf *b, struct slice s)
{
	size_t plain = 0; /* where the run of bytes that need no escape began */

	strbuf_add_char(b, '"');
	for (size_t i = 0; i < s.len; i++) {
		const char esc = json_escape((unsigned char)s.ptr[i]);

		if (esc == '\0')
			continue;
		strbuf_add(b, s.ptr + plain, i - plain);
		plain = i + 1;
		if (esc == 'u')
			strbuf_addf(b, "\\u%04x", (unsigned)(unsigned char)s.ptr[i]);
		else
			strbuf_add(b, (const char[]){ '\\', esc }, 2);
	}
	if (plain < s.len)
		strbuf_add(b, s.ptr + plain, s.len - plain);
	strbuf_add_char(b, '"');
}

struct slice
strbuf_slice(const struct strbuf *b)
{
	return (struct slice){ .ptr = b->ptr == NULL ? "" : b->ptr, .len = b->len };
}

void
strbuf_free(struct strbuf *b)
{
	free(b->ptr);
	*b = STRBUF_INIT(b->max);
}
