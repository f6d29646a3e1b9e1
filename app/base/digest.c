/*
 * SHA-256 (FIPS 180-4) over several parts, and SHA-1 where a protocol asks for it; nettle's only home.
 *
 * Each part is preceded by its length, so no two lists of parts give the same
 * bytes to the hash.
 */
#include "base/hash.h"

#include <nettle/memops.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

_Static_assert(DIGEST_BYTES == SHA256_DIGEST_SIZE, "one digest is one SHA-256");

static void
add_length(struct sha256_ctx *ctx, uint64_t len)
{
	uint8_t framed[8];

	for (size_t i = 0; i < sizeof framed; i++)
		framed[i] = (uint8_t)(len >> (8 * i));
	sha256_update(ctx, sizeof framed, framed);
}

void
digest_sha256(const struct slice *parts, size_t n, uint8_t out[DIGEST_BYTES])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	for (size_t i = 0; i < n; i++) {
		add_length(&ctx, parts[i].len);
		if (parts[i].len > 0)
			sha256_update(&ctx, parts[i].len, (const uint8_t *)parts[i].ptr);
	}
	sha256_digest(&ctx, DIGEST_BYTES, out);
}

bool
digest_equal(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES])
{
	return memeql_sec(a, b, DIGEST_BYTES) != 0;
}

void
digest_sha1(struct slice text, char out[DIGEST_SHA1_CHARS + 1])
{
	uint8_t digest[SHA1_DIGEST_SIZE];
	struct sha1_ctx ctx;

	sha1_init(&ctx);
	sha1_update(&ctx, text.len, (const uint8_t *)text.ptr);
	sha1_digest(&ctx, sizeof digest, digest);
	hex_encode(digest, sizeof digest, out);
}
