/*
 * Borrowed bytes: comparing, cutting, reading numbers, and UTF-8.
 *
 * Growing bytes are next door, in strbuf.c.  Nothing here allocates, and a
 * slice may hold any byte: no function looks for a NUL.
 */
#include "base/str.h"

#include <string.h>

struct slice
slice_of(const char *cstr)
{
	return (struct slice){ .ptr = cstr, .len = cstr == NULL ? 0 : strlen(cstr) };
}

bool
slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool
slice_eq_cstr(struct slice a, const char *cstr)
{
	return slice_eq(a, slice_of(cstr));
}

static unsigned char
ascii_lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool
slice_eq_nocase(struct slice a, const char *cstr)
{
	const struct slice b = slice_of(cstr);

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
			return false;
	return true;
}

bool
slice_starts(struct slice s, const char *prefix)
{
	const struct slice p = slice_of(prefix);

	return s.len >= p.len && slice_eq((struct slice){ s.ptr, p.len }, p);
}

int
slice_cmp(struct slice a, struct slice b)
{
	const size_t common = a.len < b.len ? a.len : b.len;
	const int d = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);

	if (d != 0)
		return d;
	return (a.len > b.len) - (a.len < b.len);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice
slice_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
		s.len--;
	while (s.len > 0 && is_blank(*s.ptr)) {
		s.ptr++;
		s.len--;
	}
	return s;
}

struct slice
slice_cut(struct slice *rest, char sep)
{
	const struct slice whole = *rest;
	const char *at = whole.len == 0 ? NULL : memchr(whole.ptr, sep, whole.len);
	size_t before;

	if (at == NULL) {
		*rest = (struct slice){ NULL, 0 };
		return whole;
	}
	before = (size_t)(at - whole.ptr);
	*rest = (struct slice){ at + 1, whole.len - before - 1 };
	return (struct slice){ whole.ptr, before };
}

size_t
slice_digits_at(struct slice s, size_t at)
{
	size_t n = 0;

	while (at + n < s.len && s.ptr[at + n] >= '0' && s.ptr[at + n] <= '9')
		n++;
	return n;
}

enum err
slice_to_i64(struct slice s, int64_t *out)
{
	const bool negative = s.len > 0 && *s.ptr == '-';
	int64_t n = 0;

	if (s.len == (negative ? 1 : 0))
		return ERR_INVALID;
	for (size_t i = negative ? 1 : 0; i < s.len; i++) {
		const int digit = s.ptr[i] - '0';

		if (digit < 0 || digit > 9 || __builtin_mul_overflow(n, 10, &n))
			return ERR_INVALID;
		/* Downwards for negative ones: the lowest number has no positive twin. */
		if (__builtin_add_overflow(n, negative ? -digit : digit, &n))
			return ERR_INVALID;
	}
	*out = n;
	return ERR_OK;
}

size_t
i64_write(int64_t n, char out[I64_BYTES])
{
	char digits[I64_BYTES];
	size_t at = sizeof digits;
	uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (n < 0)
		digits[--at] = '-';
	memcpy(out, digits + at, sizeof digits - at);
	return sizeof digits - at;
}

/* Which second bytes may follow a lead byte: this is what excludes overlong forms, surrogates and
 * anything above U+10FFFF (Unicode 15, table 3-7). */
static const struct lead {
	unsigned char first, last, second_min, second_max, len;
} leads[] = {
	{ 0x00, 0x7f, 0x00, 0x00, 1 },
	{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
	{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
	{ 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 },
	{ 0xee, 0xef, 0x80, 0xbf, 3 },
	{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
	{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

static bool
tail_fits(const struct lead *l, const unsigned char *p, size_t left)
{
	if (l->len > left)
		return false;
	if (l->len > 1 && (p[1] < l->second_min || p[1] > l->second_max))
		return false;
	for (size_t i = 2; i < l->len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return false;
	return true;
}

size_t
utf8_first(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.ptr;

	for (size_t i = 0; s.len > 0 && i < sizeof leads / sizeof *leads; i++)
		if (*p >= leads[i].first && *p <= leads[i].last)
			return tail_fits(&leads[i], p, s.len) ? leads[i].len : 0;
	return 0;
}

bool
utf8_valid(struct slice s, size_t *points_out)
{
	size_t points = 0;

	for (size_t at = 0; at < s.len; points++) {
		const bool ascii = (s.ptr[at] & 0x80) == 0;
		const size_t n = ascii ? 1 : utf8_first((struct slice){ s.ptr + at, s.len - at });

		if (n == 0)
			return false;
		at += n;
	}
	if (points_out != NULL)
		*points_out = points;
	return true;
}
