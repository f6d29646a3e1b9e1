/*
 * Goal: no bytes crash the .env parser; every name it gives is a name, no
 * value holds a NUL, and a refusal says where and why.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/dotenv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
check_line(void *ctx, struct slice name, struct slice value, unsigned line)
{
	unsigned *last = ctx;

	must(line > *last);
	*last = line;
	must(name.len > 0 && (*name.ptr < '0' || *name.ptr > '9'));
	for (size_t i = 0; i < name.len; i++)
		must(name.ptr[i] != '=' && name.ptr[i] > ' ');
	must(value.len == 0 || memchr(value.ptr, '\0', value.len) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned line = 0, last = 0;
	const char *why = NULL;
	const enum err rc = dotenv_parse(
	    (struct slice){ (const char *)data, size }, check_line, &last, &line, &why);

	must(rc == ERR_OK || rc == ERR_INVALID);
	must((why != NULL) == (rc == ERR_INVALID) && last <= line);
	return 0;
}
