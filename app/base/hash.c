/*
 * Fast hashes for tables: XXH3 (github.com/Cyan4973/xxHash, its only home).
 *
 * Inlined, because most keys are a few bytes long and the call would cost as
 * much as the hash.  Digests that must not collide by intent: digest.c.
 */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t
hash64(uint64_t seed, const void *bytes, size_t len)
{
	return XXH3_64bits_withSeed(bytes, len, seed);
}

struct hash128
hash128(const void *bytes, size_t len)
{
	const XXH128_hash_t h = XXH3_128bits(bytes, len);

	return (struct hash128){ .lo = h.low64, .hi = h.high64 };
}

void
hex_encode(const void *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = '\0';
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
hex_decode(const char *text, size_t len, void *out)
{
	uint8_t *p = out;

	for (size_t i = 0; i < len; i++) {
		const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		p[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
