/*
 * A reply before it is written: headers are gathered here and become the CGI
 * header block of RFC 3875 §6.
 *
 * This is the last door before the wire, so it is here that no value can end
 * its own line.
 */
#include "http/response.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/problem.h"

enum { SHORT_VALUE_BYTES = 256 };

static bool
ends_line(char c)
{
	return c == '\r' || c == '\n' || c == '\0';
}

/* ${value} itself, or a copy with spaces where a byte would end the line; absent without memory. */
static struct slice
one_line(struct arena *a, struct slice value)
{
	char *clean = NULL;

	for (size_t i = 0; i < value.len; i++) {
		if (!ends_line(value.ptr[i]))
			continue;
		if (clean == NULL)
			clean = arena_copy(a, value);
		if (clean == NULL)
			return (struct slice){ NULL, 0 };
		clean[i] = ' ';
	}
	return clean == NULL ? value : (struct slice){ clean, value.len };
}

void
response_header(struct response *r, struct arena *a, const char *name, struct slice value)
{
	const struct slice clean = one_line(a, value);

	if (clean.ptr == NULL || r->header_count == RESPONSE_MAX_HEADERS)
		return;
	r->headers[r->header_count++] = (struct response_header){ .name = name, .value = clean };
}

void
response_headerf(struct response *r, struct arena *a, const char *name, const char *fmt, ...)
{
	char text[SHORT_VALUE_BYTES];
	struct slice value = { NULL, 0 };
	char *longer;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof text) {
		value = arena_slice(a, (struct slice){ text, (size_t)n });
	} else if (n >= 0) {
		longer = arena_alloc(a, (size_t)n + 1);
		va_start(args, fmt);
		if (longer != NULL && vsnprintf(longer, (size_t)n + 1, fmt, args) == n)
			value = (struct slice){ longer, (size_t)n };
		va_end(args);
	}
	response_header(r, a, name, value);
}

struct slice
response_find(const struct response *r, const char *name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (slice_eq_nocase(slice_of(r->headers[i].name), name))
			return r->headers[i].value;
	return (struct slice){ NULL, 0 };
}

static char *
put(char *at, struct slice s)
{
	return s.len == 0 ? at : (char *)memcpy(at, s.ptr, s.len) + s.len;
}

static char *
put_i64(char *at, int64_t n)
{
	return at + i64_write(n, at);
}

/* RFC 9110 §8.6: no Content-Length on 1xx and 204; on 304 it would have to be the other reply's. */
static bool
tells_length(int status)
{
	return status >= 200 && status != 204 && status != 304;
}

/* At least as many bytes as the block takes. */
static size_t
head_bytes(const struct response *r, const char *phrase)
{
	size_t n = sizeof "Status:  \r\nContent-Length: \r\n\r\n" + 2 * I64_BYTES + strlen(phrase);

	for (size_t i = 0; i < r->header_count; i++)
		n += strlen(r->headers[i].name) + r->headers[i].value.len + sizeof ": \r\n";
	return n;
}

struct slice
response_head(const struct response *r, struct arena *a)
{
	const char *phrase = http_status_phrase(r->status);
	char *bytes = arena_alloc(a, head_bytes(r, phrase)), *at = bytes;

	if (bytes == NULL)
		return (struct slice){ NULL, 0 };
	at = put(at, SLICE("Status: "));
	at = put_i64(at, r->status);
	at = put(at, SLICE(" "));
	at = put(at, slice_of(phrase));
	at = put(at, SLICE("\r\n"));
	for (size_t i = 0; i < r->header_count; i++) {
		at = put(at, slice_of(r->headers[i].name));
		at = put(at, SLICE(": "));
		at = put(at, r->headers[i].value);
		at = put(at, SLICE("\r\n"));
	}
	if (tells_length(r->status)) {
		at = put(at, SLICE("Content-Length: "));
		at = put_i64(at, (int64_t)r->body.len);
		at = put(at, SLICE("\r\n"));
	}
	at = put(at, SLICE("\r\n"));
	return (struct slice){ bytes, (size_t)(at - bytes) };
}
