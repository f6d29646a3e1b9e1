#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Hashes.  hash64/hash128 (XXH3) are fast and for tables under a random seed;
 * digest_sha256 (FIPS 180-4) is for names that must not collide by intent.
 */
struct hash128 {
	uint64_t lo, hi;
};

uint64_t hash64(uint64_t seed, const void *bytes, size_t len);
struct hash128 hash128(const void *bytes, size_t len);

enum { DIGEST_BYTES = 32 };
/* Digest of the ${n} ${parts}, each preceded by its length (8 bytes, little endian), so that
 * ("ab","c") and ("a","bc") differ. */
void digest_sha256(const struct slice *parts, size_t n, uint8_t out[DIGEST_BYTES]);
/* Takes as long wherever they differ: for digests of secrets. */
bool digest_equal(const uint8_t a[DIGEST_BYTES], const uint8_t b[DIGEST_BYTES]);

/* SHA-1 (FIPS 180-4) of ${text} in lower-case hex, with a NUL: the name that Redis gives a script. */
enum { DIGEST_SHA1_CHARS = 40 };
void digest_sha1(struct slice text, char out[DIGEST_SHA1_CHARS + 1]);

void hex_encode(const void *bytes, size_t len, char *out); /* 2*len characters and NUL */
/* Back from 2*${len} characters; false: not lower-case hex. */
bool hex_decode(const char *text, size_t len, void *out);

#endif
