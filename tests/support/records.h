#ifndef TESTS_SUPPORT_RECORDS_H
#define TESTS_SUPPORT_RECORDS_H

#include <stddef.h>
#include <string.h>

/*
 * The bytes that a front server sends: FastCGI 1.0 records, made by hand so that they may also be wrong.
 */
static const unsigned char begin_keep[8] = { 0, 1, 1 };

static inline size_t
record(unsigned char *out, int type, unsigned id, const void *content, size_t len, size_t padding)
{
	const unsigned char h[8] = { 1, (unsigned char)type, (unsigned char)(id >> 8),
		(unsigned char)id, (unsigned char)(len >> 8), (unsigned char)len,
		(unsigned char)padding, 0 };

	memcpy(out, h, sizeof h);
	if (len > 0)
		memcpy(out + 8, content, len);
	memset(out + 8 + len, 0, padding);
	return 8 + len + padding;
}

/* The beginning of a request with one parameter; its body may follow. */
static inline size_t
request_head(unsigned char *out, const unsigned char *begin)
{
	size_t n = record(out, 1, 1, begin, 8, 0);

	n += record(out + n, 4, 1, "\x0b\x02REQUEST_URI/x", 15, 1);
	return n + record(out + n, 4, 1, NULL, 0, 0);
}

/* A whole request with ${body}. */
static inline size_t
request(unsigned char *out, const unsigned char *begin, const char *body, size_t len)
{
	size_t n = request_head(out, begin);

	while (len > 0) {
		const size_t part = len < 32768 ? len : 32768;

		n += record(out + n, 5, 1, body, part, 0);
		body += part;
		len -= part;
	}
	return n + record(out + n, 5, 1, NULL, 0, 0);
}

#endif
