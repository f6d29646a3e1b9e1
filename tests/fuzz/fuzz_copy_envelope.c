/*
 * Goal: no bytes that somebody left in Redis crash or fool who opens a copy.
 *
 * The hash would hide everything behind it from the fuzzer, so each input is tried as it is and with its hash mended.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "service/copy.h"
#include "service/copy_envelope.h"

enum { MAX_BYTES = 1 << 20, AT_HASH = 40, AT_REST = 48, HASH_SEED = 0x6c32 };

static void
mend(char *bytes, size_t len)
{
	const uint64_t h =
	    hash64(hash64(HASH_SEED, bytes, AT_HASH), bytes + AT_REST, len - AT_REST);

	for (size_t i = 0; i < 8; i++)
		bytes[AT_HASH + i] = (char)(h >> (8 * i) & 0xff);
}

static void
try_to_open(struct slice bytes)
{
	struct copy_envelope e;
	struct copy copy;
	struct arena a;

	arena_init(&a, 2 * MAX_BYTES);
	if (copy_envelope_open(bytes, MAX_BYTES, &a, &e) == ERR_OK) {
		if (e.block.len > MAX_BYTES || e.generations.len > COPY_GENERATIONS_MAX ||
		    e.fresh_ms < 0 || e.stale_ms < 0 || e.error_ms < 0 || e.stored_us < 0)
			abort();
		(void)copy_open(e.block, &copy);
	}
	arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size + 1);

	if (bytes == NULL)
		return 0;
	memcpy(bytes, data, size);
	try_to_open((struct slice){ bytes, size });
	if (size > AT_REST) {
		mend(bytes, size);
		try_to_open((struct slice){ bytes, size });
	}
	free(bytes);
	return 0;
}
