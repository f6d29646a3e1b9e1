/*
 * Goal: no message of a topic crashes the consumer; what passes for an event has the id of its names and
 * a record that reads back as the same event.
 *
 * Input: header lines `name=value`, an empty line, the value.  The nine headers are added by number
 * (`0=` to `8=`), so that the fuzzer need not guess them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/event.h"
#include "service/event_envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "weir-version", "weir-endpoint", "weir-tenant", "weir-key",
	"weir-event-id", "weir-accepted-at", "weir-fingerprint", "weir-types", "traceparent" };

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static size_t
read_headers(struct slice *rest, struct kafka_header headers[KAFKA_HEADERS_MAX])
{
	size_t count = 0;

	while (rest->ptr != NULL && count < KAFKA_HEADERS_MAX) {
		struct slice value = slice_cut(rest, '\n');
		struct slice name = slice_cut(&value, '=');

		if (name.len == 0)
			break;
		if (name.len == 1 && *name.ptr >= '0' && *name.ptr <= '8')
			name = slice_of(names[*name.ptr - '0']);
		headers[count++] = (struct kafka_header){ name, value };
	}
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = { (const char *)data, size };
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	const size_t count = read_headers(&rest, headers);
	uint8_t id[EVENT_ID_BYTES];
	struct event ev, again;
	struct arena a;
	enum err rc;

	arena_init(&a, 64 << 20);
	rc = event_envelope_decode(rest, headers, count, &a, &ev);
	must(rc == ERR_OK || rc == ERR_INVALID || rc == ERR_MISMATCH || rc == ERR_NOMEM);
	if (rc == ERR_OK) {
		event_id_make(ev.tenant, ev.endpoint, ev.key, id);
		must(memcmp(id, ev.id, sizeof id) == 0);
		must(event_decode(ev.record, &a, &again) == ERR_OK);
		must(slice_eq(again.key, ev.key) && again.param_count == ev.param_count);
	}
	arena_free(&a);
	return 0;
}
