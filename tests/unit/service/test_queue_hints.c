/* Goal: hints find what was hinted, are never dropped while there is room, and forget what has expired. */
#include "tests/unit/service/spool_house.h"

enum { SMALL = 256 << 10 };

static void
a_hint_table_without_room_is_counted_and_later_has_room_again(void)
{
	struct queue_shared *s = spool_shared_make(SMALL);
	const size_t words = (size_t)s->bucket_count * HINT_BUCKET_WORDS;
	struct hint_range range = { 1, 5000 };
	uint8_t id[EVENT_ID_BYTES] = { 0 };
	uint64_t found;
	struct hint_walk w;

	for (unsigned i = 1; i <= 5000; i++) {
		memcpy(id, &i, sizeof i);
		hint_insert(s, id, i, range);
	}
	CU_ASSERT_TRUE(atomic_load(&s->dropped) >= 5000 - words);
	range = (struct hint_range){ 5001, 5001 }; /* the first five thousand expired */
	hint_insert(s, id, 5001, range);
	w = hint_walk(s, id, range);
	CU_ASSERT_TRUE(hint_next(&w, &found));
	do { /* twice when both of its buckets are the same */
		CU_ASSERT_EQUAL(found, 5001);
	} while (hint_next(&w, &found));
	(void)munmap(s, queue_shared_size(SMALL));
}

static void
hints_fill_their_table_nearly_whole_before_one_is_dropped(void)
{
	struct queue_shared *s = spool_shared_make(4 << 20);
	const size_t words = (size_t)s->bucket_count * HINT_BUCKET_WORDS;
	const struct hint_range range = { 1, words };
	uint8_t id[EVENT_ID_BYTES] = { 0 };

	s->seed = 1; /* chance would fill a bucket once in a few hundred runs */
	for (uint64_t i = 1; i <= words * 85 / 100; i++) {
		memcpy(id, &i, sizeof i);
		hint_insert(s, id, i, range);
	}
	CU_ASSERT_EQUAL(atomic_load(&s->dropped), 0);
	(void)munmap(s, queue_shared_size(4 << 20));
}

static void
numbers_beyond_40_bits_are_still_found(void)
{
	struct queue_shared *s = spool_shared_make(SMALL);
	const uint64_t base = (1ull << 43) + 5;
	const struct hint_range range = { base - 3, base + 3 };
	const uint8_t id[EVENT_ID_BYTES] = { 7 };
	struct hint_walk w;
	uint64_t found;
	unsigned seen = 0;

	for (uint64_t seq = base - 3; seq <= base + 3; seq++)
		hint_insert(s, id, seq, range);
	w = hint_walk(s, id, range);
	while (hint_next(&w, &found))
		seen |= 1u << (found - range.first);
	CU_ASSERT_EQUAL(seen, 0x7f);
	(void)munmap(s, queue_shared_size(SMALL));
}

UNIT_SUITE(queue_hints, TEST(a_hint_table_without_room_is_counted_and_later_has_room_again),
    TEST(hints_fill_their_table_nearly_whole_before_one_is_dropped),
    TEST(numbers_beyond_40_bits_are_still_found));
