/*
 * Goal: no bytes crash or hang the JSON scanner, and what it takes has one
 * canonical form that it takes again and that changes no more.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 1 << 20, OUT_BYTES = 1 << 20 };

static void
must(bool ok)
{
	if (!ok)
		abort();
}

/* Every listed member is a value of its own, and unescapes if it is a string. */
static void
check_members(struct slice text, struct arena *a)
{
	struct json_member *m;
	struct json_fault fault;
	enum json_type type;
	struct slice s;
	size_t n;

	if (json_scan_object(text, a, &m, &n, &fault) != ERR_OK)
		return;
	for (size_t i = 0; i < n; i++) {
		must(json_scan_value(m[i].raw, a, &type, &fault) == ERR_OK && type == m[i].type);
		must(utf8_valid(m[i].name, NULL));
		if (type == JSON_STRING)
			must(json_unescape(m[i].raw, a, &s) != ERR_INVALID && utf8_valid(s, NULL));
	}
}

static void
check_canonical(struct slice text, struct arena *a)
{
	struct strbuf once = STRBUF_INIT(OUT_BYTES), twice = STRBUF_INIT(OUT_BYTES);

	if (json_canonical(text, a, &once) == ERR_OK) {
		must(json_canonical(strbuf_slice(&once), a, &twice) == ERR_OK);
		must(slice_eq(strbuf_slice(&once), strbuf_slice(&twice)));
	} else {
		must(a->overflowed || once.failed);
	}
	strbuf_free(&once);
	strbuf_free(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct slice text = { (const char *)data, size };
	struct json_fault fault;
	enum json_type type;
	struct arena a;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	rc = json_scan_value(text, &a, &type, &fault);
	if (rc == ERR_INVALID)
		must(fault.why != NULL && fault.offset <= size);
	if (rc == ERR_OK) {
		check_canonical(text, &a);
		arena_reset(&a);
		check_members(text, &a);
	}
	arena_free(&a);
	return 0;
}
