/*
 * Goal: no Accept and no Accept-Encoding crashes who reads its weights, and a header that names nothing asks for nothing.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static bool
has(const char *text, size_t size, char c)
{
	return size > 0 && memchr(text, c, size) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const struct slice header = { text, size };

	if (negotiate_openmetrics(header))
		must(has(text, size, '/') && has(text, size, '-'));
	if (negotiate_gzip(header))
		must(has(text, size, '*') || has(text, size, 'z') || has(text, size, 'Z'));
	return 0;
}
