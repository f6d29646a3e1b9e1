/* Goal: the hashes are the published ones, and a digest cannot be confused by moving a border. */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

static const char *
digest_hex(const struct slice *parts, size_t n)
{
	static char hex[2 * DIGEST_BYTES + 1];
	uint8_t digest[DIGEST_BYTES];

	digest_sha256(parts, n, digest);
	hex_encode(digest, sizeof digest, hex);
	return hex;
}

static void
hex_is_lower_case_and_ends_with_nul(void)
{
	char out[9] = "........";

	hex_encode("\x00\x9f\xff", 3, out);
	CU_ASSERT_STRING_EQUAL(out, "009fff");
	hex_encode(NULL, 0, out);
	CU_ASSERT_STRING_EQUAL(out, "");
}

static void
hex_is_read_back_and_nothing_else_is(void)
{
	uint8_t all[256], back[256];
	char text[2 * sizeof all + 1];

	for (size_t i = 0; i < sizeof all; i++)
		all[i] = (uint8_t)i;
	hex_encode(all, sizeof all, text);
	CU_ASSERT_TRUE(hex_decode(text, sizeof all, back));
	CU_ASSERT_EQUAL(memcmp(all, back, sizeof all), 0);
	CU_ASSERT_FALSE(hex_decode("0g", 1, back));
	CU_ASSERT_FALSE(hex_decode("A0", 1, back));
	CU_ASSERT_FALSE(hex_decode("0 ", 1, back));
	CU_ASSERT_FALSE(hex_decode("00-1", 2, back));
}

static void
xxh3_of_nothing_is_the_published_value(void)
{
	const struct hash128 h = hash128(NULL, 0);

	CU_ASSERT_EQUAL(hash64(0, NULL, 0), 0x2d06800538d394c2u);
	CU_ASSERT_EQUAL(h.hi, 0x99aa06d3014798d8u);
	CU_ASSERT_EQUAL(h.lo, 0x6001c324468d497fu);
}

static void
seed_and_every_byte_change_the_hash(void)
{
	char text[300];
	size_t same = 0;
	uint64_t plain;

	memset(text, 'x', sizeof text);
	plain = hash64(1, text, sizeof text);
	CU_ASSERT_EQUAL(hash64(1, text, sizeof text), plain);
	CU_ASSERT_NOT_EQUAL(hash64(2, text, sizeof text), plain);
	for (size_t i = 0; i < sizeof text; i++) {
		text[i] = 'y';
		same += hash64(1, text, sizeof text) == plain;
		text[i] = 'x';
	}
	CU_ASSERT_EQUAL(same, 0);
}

/* The expected digests are sha256sum's, over the same bytes with the lengths in front. */
static void
sha256_of_framed_parts_is_what_the_standard_says(void)
{
	const struct slice empty = { NULL, 0 };
	struct slice million = { malloc(1000000), 1000000 };

	CU_ASSERT_PTR_NOT_NULL_FATAL(million.ptr);
	memset((void *)(uintptr_t)million.ptr, 'a', million.len);
	CU_ASSERT_STRING_EQUAL(digest_hex(NULL, 0),
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	CU_ASSERT_STRING_EQUAL(digest_hex(&empty, 1),
	    "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
	CU_ASSERT_STRING_EQUAL(digest_hex(&million, 1),
	    "ed0b8b8c0574374dfd3c74e6e7c903ebc27c256dc3feb2752e112bd44c0b1608");
	free((void *)(uintptr_t)million.ptr);
}

static void
moving_a_border_between_parts_changes_the_digest(void)
{
	const struct slice one[] = { SLICE("ab"), SLICE("c") };
	const struct slice two[] = { SLICE("a"), SLICE("bc") };

	CU_ASSERT_STRING_EQUAL(
	    digest_hex(one, 2), "43ee655579de01ca739b3f95c1c2d3f46d353b2c0df818064ea594506cdb2617");
	CU_ASSERT_STRING_EQUAL(
	    digest_hex(two, 2), "9a8acca1b6c6c0befd3fbc756aed625da998c998f7252e738c4ef061906b9b21");
}

static void
digests_are_equal_in_every_byte_or_not_at_all(void)
{
	uint8_t a[DIGEST_BYTES], b[DIGEST_BYTES];
	unsigned equal = 0;

	memset(a, 0x5a, sizeof a);
	memcpy(b, a, sizeof b);
	CU_ASSERT_TRUE(digest_equal(a, b));
	for (size_t i = 0; i < sizeof b; i++) {
		b[i] ^= 0x80;
		equal += digest_equal(a, b);
		b[i] ^= 0x80;
	}
	CU_ASSERT_EQUAL(equal, 0);
}

UNIT_SUITE(hash, TEST(hex_is_lower_case_and_ends_with_nul),
    TEST(hex_is_read_back_and_nothing_else_is), TEST(xxh3_of_nothing_is_the_published_value),
    TEST(seed_and_every_byte_change_the_hash),
    TEST(sha256_of_framed_parts_is_what_the_standard_says),
    TEST(moving_a_border_between_parts_changes_the_digest),
    TEST(digests_are_equal_in_every_byte_or_not_at_all));
