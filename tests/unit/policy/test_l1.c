/*
 * Goal: a copy is found whole or not at all, never after its time or a purge, and
 * only by its own key; what is asked for stays when room gets scarce.
 */
#include "policy/l1.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/l1_house.h"

static void
a_size_out_of_range_is_refused(void)
{
	CU_ASSERT_EQUAL(l1_size(MIB - 1), 0);
	CU_ASSERT_EQUAL(l1_size(((size_t)1 << 40) + 1), 0);
	CU_ASSERT_TRUE(l1_size(MIB) > MIB);
	CU_ASSERT_TRUE(l1_size(64 * MIB) < 72 * (size_t)MIB); /* what is not copies is an eighth */
	CU_ASSERT_TRUE(l1_size((size_t)1 << 40) > (size_t)1 << 40);
}

static void
what_was_stored_is_found_with_its_times(void)
{
	struct l1 *l = cache_of(MIB);
	const struct l1_times times = {
		.stored = 900, .fresh_until = 2000, .stale_until = 3000, .cost_us = 4000000000u
	};
	struct l1_times found;
	struct l1_tags tags;
	struct slice value;
	struct arena a;
	uint32_t evicted = 9;

	arena_init(&a, MIB);
	l1_tags_read(l, NULL, 0, &tags);
	CU_ASSERT_EQUAL(l1_put(l, SLICE("k"), SLICE("value"), &tags, &times, 0, &evicted), ERR_OK);
	CU_ASSERT_EQUAL(evicted, 0);
	CU_ASSERT_EQUAL(l1_get(l, SLICE("k"), NOW_MS, 0, &a, &value, &found), L1_FRESH);
	CU_ASSERT_TRUE(slice_eq(value, SLICE("value")));
	CU_ASSERT_EQUAL(found.stored, 900);
	CU_ASSERT_EQUAL(found.fresh_until, 2000);
	CU_ASSERT_EQUAL(found.stale_until, 3000);
	CU_ASSERT_EQUAL(found.cost_us, 4000000000u);
	CU_ASSERT_EQUAL(l1_get(l, SLICE("other"), NOW_MS, 0, &a, &value, &found), L1_MISS);
	CU_ASSERT_PTR_NULL(value.ptr);
	arena_free(&a);
	cache_end(l, MIB);
}

static void
time_makes_it_stale_then_error_only_then_gone(void)
{
	struct l1 *l = cache_of(MIB);
	const struct l1_times times = { 1000, 2000, 3000, 4000, 5 };
	struct l1_tags tags;
	uint32_t evicted;

	l1_tags_read(l, NULL, 0, &tags);
	(void)l1_put(l, SLICE("k"), SLICE("v"), &tags, &times, 0, &evicted);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 1999), L1_FRESH);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 2000), L1_STALE);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 2999), L1_STALE);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 3000), L1_ERROR_ONLY);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 3999), L1_ERROR_ONLY);
	CU_ASSERT_EQUAL(stats(l).entries, 1);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), 4000), L1_MISS);
	CU_ASSERT_EQUAL(stats(l).entries, 0); /* dropped when it was met */
	CU_ASSERT_EQUAL(stats(l).bytes_used, 0);
	cache_end(l, MIB);
}

static void
the_same_key_is_replaced(void)
{
	struct l1 *l = cache_of(MIB);

	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("one")), ERR_OK);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("another")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("another")));
	CU_ASSERT_EQUAL(stats(l).entries, 1);
	CU_ASSERT_EQUAL(stats(l).bytes_used, 512);
	cache_end(l, MIB);
}

static void
sizes_around_every_block_border_come_back_whole(void)
{
	struct l1 *l = cache_of(MIB);
	const size_t max = l1_max_value_bytes(l);
	char *bytes = malloc(2 * max);
	unsigned bad = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	CU_ASSERT_EQUAL(max, MIB / 4);
	for (size_t i = 0; i < 2 * max; i++)
		bytes[i] = (char)(i * 31 >> 3);
	for (size_t key = 0; key < 1200; key += 37)
		for (size_t value = 0; value < 1200; value += 13) {
			const struct slice k = { bytes, key }, v = { bytes + 77, value };

			bad += put(l, k, v) != ERR_OK || !holds(l, k, v);
		}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(put(l, (struct slice){ bytes, max }, (struct slice){ bytes, max }), ERR_OK);
	CU_ASSERT_TRUE(holds(l, (struct slice){ bytes, max }, (struct slice){ bytes, max }));
	free(bytes);
	cache_end(l, MIB);
}

static void
what_is_too_large_is_refused_and_changes_nothing(void)
{
	struct l1 *l = cache_of(MIB);
	const size_t over = l1_max_value_bytes(l) + 1;
	char *bytes = calloc(1, over);

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), (struct slice){ bytes, over }), ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(put(l, (struct slice){ bytes, over }, SLICE("v")), ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(answer_at(l, (struct slice){ bytes, over }, NOW_MS), L1_MISS);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("v")));
	free(bytes);
	cache_end(l, MIB);
}

static void
a_purge_takes_the_copies_of_its_tag_and_no_others(void)
{
	struct l1 *l = cache_of(MIB);
	const uint64_t ab[] = { 11, 12 }, b[] = { 12 }, c[] = { 13 };

	(void)put_tagged(l, SLICE("ab"), SLICE("v"), ab, 2);
	(void)put_tagged(l, SLICE("b"), SLICE("v"), b, 1);
	(void)put_tagged(l, SLICE("c"), SLICE("v"), c, 1);
	l1_purge(l, 11);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("ab"), NOW_MS), L1_MISS);
	CU_ASSERT_TRUE(holds(l, SLICE("b"), SLICE("v")));
	l1_purge(l, 12);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("b"), NOW_MS), L1_MISS);
	CU_ASSERT_TRUE(holds(l, SLICE("c"), SLICE("v")));
	CU_ASSERT_EQUAL(stats(l).entries, 1);
	cache_end(l, MIB);
}

static void
a_purge_of_all_takes_also_what_has_no_tag(void)
{
	struct l1 *l = cache_of(MIB);
	const uint64_t tag = 11;

	(void)put_tagged(l, SLICE("tagged"), SLICE("v"), &tag, 1);
	(void)put(l, SLICE("bare"), SLICE("v"));
	l1_purge_all(l);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("tagged"), NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("bare"), NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(put(l, SLICE("bare"), SLICE("v")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("bare"), SLICE("v")));
	cache_end(l, MIB);
}

/* No tag's word is the one that belongs to all. */
static void
no_purge_of_a_tag_takes_everything(void)
{
	struct l1 *l = cache_of(MIB);

	(void)put(l, SLICE("bare"), SLICE("v"));
	for (uint64_t tag = 0; tag < 3 * L1_TAG_WORDS; tag++)
		l1_purge(l, tag);
	CU_ASSERT_TRUE(holds(l, SLICE("bare"), SLICE("v")));
	cache_end(l, MIB);
}

static void
a_purge_during_a_fill_leaves_nothing_old_behind(void)
{
	struct l1 *l = cache_of(MIB);
	const uint64_t tag = 11;
	struct l1_tags before;
	uint32_t evicted;

	l1_tags_read(l, &tag, 1, &before); /* the query begins */
	l1_purge(l, tag);		   /* a write is applied */
	CU_ASSERT_EQUAL(
	    l1_put(l, SLICE("k"), SLICE("old"), &before, &an_hour, 0, &evicted), ERR_CONFLICT);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), NOW_MS), L1_MISS);

	l1_tags_read(l, &tag, 1, &before);
	l1_purge_all(l);
	CU_ASSERT_EQUAL(
	    l1_put(l, SLICE("k"), SLICE("old"), &before, &an_hour, 0, &evicted), ERR_CONFLICT);
	CU_ASSERT_EQUAL(put_tagged(l, SLICE("k"), SLICE("new"), &tag, 1), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("new")));
	cache_end(l, MIB);
}

static void
with_more_tags_than_can_be_kept_nothing_is_stored(void)
{
	struct l1 *l = cache_of(MIB);
	uint64_t tags[L1_MAX_TAGS];

	for (uint64_t i = 0; i < L1_MAX_TAGS; i++)
		tags[i] = i + 1;
	CU_ASSERT_EQUAL(put_tagged(l, SLICE("k"), SLICE("v"), tags, L1_MAX_TAGS), ERR_TOO_LARGE);
	CU_ASSERT_EQUAL(put_tagged(l, SLICE("k"), SLICE("v"), tags, L1_MAX_TAGS - 1), ERR_OK);
	l1_purge(l, L1_MAX_TAGS - 1);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), NOW_MS), L1_MISS);
	cache_end(l, MIB);
}

static void
eviction_keeps_what_is_asked_for(void)
{
	enum { HOT = 200, COLD = 20000 };
	struct l1 *l = cache_of(MIB);
	uint32_t evicted, evictions = 0;
	unsigned kept = 0;
	struct l1_tags tags;
	char text[TEXT_MAX];

	l1_tags_read(l, NULL, 0, &tags);
	for (unsigned i = 0; i < HOT; i++)
		(void)put(l, key_of(i, text), SLICE("hot"));
	for (unsigned i = 0; i < COLD; i++) {
		(void)l1_put(l, key_of(HOT + i, text), SLICE("cold"), &tags, &an_hour, 0, &evicted);
		evictions += evicted;
		(void)answer_at(l, key_of(i % HOT, text), NOW_MS);
	}
	for (unsigned i = 0; i < HOT; i++)
		kept += holds(l, key_of(i, text), SLICE("hot"));
	CU_ASSERT_EQUAL(kept, HOT);
	CU_ASSERT_EQUAL(stats(l).entries, MIB / 512);
	CU_ASSERT_EQUAL(evictions, HOT + COLD - MIB / 512);
	CU_ASSERT_EQUAL(stats(l).bytes_used, MIB);
	CU_ASSERT_EQUAL(stats(l).bytes_total, MIB);
	CU_ASSERT_EQUAL(stats(l).emptied, 0);
	cache_end(l, MIB);
}

static void
a_large_copy_makes_room_for_itself(void)
{
	struct l1 *l = cache_of(MIB);
	const size_t max = l1_max_value_bytes(l);
	char *bytes = calloc(1, max), text[TEXT_MAX];
	uint32_t evicted;
	struct l1_tags tags;

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	l1_tags_read(l, NULL, 0, &tags);
	for (unsigned i = 0; i < MIB / 512; i++)
		(void)put(l, key_of(i, text), SLICE("v"));
	CU_ASSERT_EQUAL(
	    l1_put(l, SLICE("k"), (struct slice){ bytes, max }, &tags, &an_hour, 0, &evicted),
	    ERR_OK);
	CU_ASSERT_EQUAL(evicted, max / 512 + 1);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), (struct slice){ bytes, max }));
	CU_ASSERT_EQUAL(stats(l).emptied, 0);
	free(bytes);
	cache_end(l, MIB);
}

/*
 * XXH3 of 16 bytes is a function of 16 + swap(lo) + hi + fold(lo * hi), where lo and hi are the two
 * halves under a mask of its constants and the seed: with one of them 0, two keys meet.
 */
static void
craft_key(uint64_t seed, uint64_t lo, uint64_t hi, char key[16])
{
	lo ^= (UINT64_C(0x1f67b3b7a4a44072) ^ UINT64_C(0x78e5c0cc4ee679cb)) + seed;
	hi ^= (UINT64_C(0x2172ffcc7dd05a82) ^ UINT64_C(0x8e2443f7744608b8)) - seed;
	memcpy(key, &lo, 8);
	memcpy(key + 8, &hi, 8);
}

static void
a_key_crafted_to_the_same_hash_reads_nothing_of_the_other(void)
{
	struct l1 *l = cache_of(MIB);
	const uint64_t x = UINT64_C(0x0123456789abcdef);
	char a[16], b[16];
	const struct slice key_a = { a, 16 }, key_b = { b, 16 };

	craft_key(SEED, 0, x, a);
	craft_key(SEED, __builtin_bswap64(x), 0, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 16), 0);
	CU_ASSERT_EQUAL_FATAL(hash64(SEED, a, 16), hash64(SEED, b, 16));
	CU_ASSERT_EQUAL(put(l, key_a, SLICE("of a")), ERR_OK);
	CU_ASSERT_EQUAL(answer_at(l, key_b, NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(put(l, key_b, SLICE("of b")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, key_a, SLICE("of a")));
	CU_ASSERT_TRUE(holds(l, key_b, SLICE("of b")));
	cache_end(l, MIB);
}

static void
a_full_arena_is_a_miss_and_costs_nothing(void)
{
	struct l1 *l = cache_of(MIB);
	struct l1_times times;
	struct slice value;
	struct arena a;
	char big[4096] = { 0 };

	CU_ASSERT_EQUAL(put(l, SLICE("k"), (struct slice){ big, sizeof big }), ERR_OK);
	arena_init(&a, 1024);
	CU_ASSERT_EQUAL(l1_get(l, SLICE("k"), NOW_MS, 0, &a, &value, &times), L1_MISS);
	CU_ASSERT_TRUE(a.overflowed);
	arena_free(&a);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), (struct slice){ big, sizeof big }));
	CU_ASSERT_EQUAL(stats(l).emptied, 0);
	cache_end(l, MIB);
}

static void
many_shards_hold_what_one_would(void)
{
	enum { COPIES = 4000 };
	struct l1 *l = cache_of(64 * MIB);
	unsigned found = 0;
	char text[TEXT_MAX];

	CU_ASSERT_EQUAL(l1_max_value_bytes(l), MIB); /* 16 shards */
	for (unsigned i = 0; i < COPIES; i++) {
		const struct slice key = key_of(i, text);

		(void)put(l, key, key);
	}
	for (unsigned i = 0; i < COPIES; i++) {
		const struct slice key = key_of(i, text);

		found += holds(l, key, key);
	}
	CU_ASSERT_EQUAL(found, COPIES);
	CU_ASSERT_EQUAL(stats(l).entries, COPIES);
	cache_end(l, 64 * MIB);
}

UNIT_SUITE(l1, TEST(a_size_out_of_range_is_refused), TEST(what_was_stored_is_found_with_its_times),
    TEST(time_makes_it_stale_then_error_only_then_gone), TEST(the_same_key_is_replaced),
    TEST(sizes_around_every_block_border_come_back_whole),
    TEST(what_is_too_large_is_refused_and_changes_nothing),
    TEST(a_purge_takes_the_copies_of_its_tag_and_no_others),
    TEST(a_purge_of_all_takes_also_what_has_no_tag), TEST(no_purge_of_a_tag_takes_everything),
    TEST(a_purge_during_a_fill_leaves_nothing_old_behind),
    TEST(with_more_tags_than_can_be_kept_nothing_is_stored), TEST(eviction_keeps_what_is_asked_for),
    TEST(a_large_copy_makes_room_for_itself),
    TEST(a_key_crafted_to_the_same_hash_reads_nothing_of_the_other),
    TEST(a_full_arena_is_a_miss_and_costs_nothing), TEST(many_shards_hold_what_one_would));
