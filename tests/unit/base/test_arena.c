/* Goal: an arena hands out clean, aligned memory within its bound, and keeps its first block. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "tests/support/unit.h"

static bool
is_zero(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != 0)
			return false;
	return true;
}

static void
memory_is_zeroed_and_aligned_also_after_a_reset(void)
{
	struct arena a;

	arena_init(&a, 1 << 20);
	for (int round = 0; round < 2; round++) {
		for (size_t n = 0; n < 100; n++) {
			char *p = arena_alloc(&a, n);

			CU_ASSERT_PTR_NOT_NULL_FATAL(p);
			CU_ASSERT_EQUAL((uintptr_t)p % alignof(max_align_t), 0);
			CU_ASSERT_TRUE(is_zero(p, n));
			memset(p, 0xa5, n);
		}
		arena_reset(&a);
	}
	arena_free(&a);
}

static void
pieces_do_not_overlap_across_blocks(void)
{
	enum { PIECES = 300 };
	struct arena a;
	char *p[PIECES];
	int wrong = 0;

	arena_init(&a, 1 << 24);
	for (int i = 0; i < PIECES; i++) {
		p[i] = arena_alloc(&a, (size_t)i * 37);
		CU_ASSERT_PTR_NOT_NULL_FATAL(p[i]);
		memset(p[i], i & 0xff, (size_t)i * 37);
	}
	for (int i = 0; i < PIECES; i++)
		for (int at = 0; at < i * 37; at++)
			wrong += (unsigned char)p[i][at] != (i & 0xff);
	CU_ASSERT_EQUAL(wrong, 0);
	arena_free(&a);
}

static void
the_bound_holds_and_the_overflow_stays_set_until_the_reset(void)
{
	struct arena a;

	arena_init(&a, 1024);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 1000));
	CU_ASSERT_FALSE(a.overflowed);
	CU_ASSERT_PTR_NULL(arena_alloc(&a, 100));
	CU_ASSERT_TRUE(a.overflowed);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 1));
	CU_ASSERT_TRUE(a.overflowed);
	arena_reset(&a);
	CU_ASSERT_FALSE(a.overflowed);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 1024));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, 0));
	arena_free(&a);
}

static void
an_absurd_size_fails_instead_of_wrapping(void)
{
	struct arena a;

	arena_init(&a, SIZE_MAX);
	CU_ASSERT_PTR_NULL(arena_alloc(&a, SIZE_MAX));
	CU_ASSERT_PTR_NULL(arena_alloc(&a, SIZE_MAX - 8));
	CU_ASSERT_PTR_NULL(arena_copy(&a, (struct slice){ "x", SIZE_MAX }));
	CU_ASSERT_TRUE(a.overflowed);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 10));
	arena_free(&a);
}

static void
nothing_is_allocated_before_the_first_piece(void)
{
	struct arena a;

	arena_init(&a, 1024);
	CU_ASSERT_PTR_NULL(a.first);
	arena_reset(&a);
	arena_free(&a);
	CU_ASSERT_PTR_NULL(a.first);
}

static void
a_reset_keeps_the_first_block_and_gives_the_others_back(void)
{
	struct arena a;
	void *first;

	arena_init(&a, 1 << 20);
	first = arena_alloc(&a, 100);
	for (int i = 0; i < 50; i++)
		CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 5000));
	arena_reset(&a);
	CU_ASSERT_EQUAL(a.used_bytes, 0);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 100), first);
	arena_free(&a);
}

static void
a_large_piece_does_not_end_the_block_of_small_ones(void)
{
	struct arena a;
	const char *one, *two;

	arena_init(&a, 1 << 20);
	one = arena_alloc(&a, 16);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 100000));
	two = arena_alloc(&a, 16);
	CU_ASSERT_PTR_EQUAL(two, one + 16);
	arena_free(&a);
}

static void
copies_end_with_nul_and_keep_every_byte(void)
{
	struct arena a;
	struct slice s;
	char *p;

	arena_init(&a, 1 << 20);
	p = arena_copy(&a, SLICE("a\0b"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_EQUAL(memcmp(p, "a\0b", 4), 0);
	CU_ASSERT_STRING_EQUAL(arena_copy(&a, (struct slice){ NULL, 0 }), "");
	s = arena_slice(&a, SLICE("xyz"));
	CU_ASSERT_TRUE(slice_eq_cstr(s, "xyz"));
	CU_ASSERT_PTR_NULL(arena_slice(&a, (struct slice){ NULL, 0 }).ptr);
	CU_ASSERT_PTR_NOT_NULL(arena_slice(&a, SLICE("")).ptr);
	arena_free(&a);
}

static void
printing_measures_first(void)
{
	struct arena a;
	char *p;

	arena_init(&a, 20000);
	p = arena_printf(&a, "%s-%09000d", "x", 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_EQUAL(strlen(p), 9002);
	CU_ASSERT_STRING_EQUAL(p + 8996, "000001");
	CU_ASSERT_PTR_NULL(arena_printf(&a, "%020000d", 1));
	CU_ASSERT_TRUE(a.overflowed);
	arena_free(&a);
}

UNIT_SUITE(arena, TEST(memory_is_zeroed_and_aligned_also_after_a_reset),
    TEST(pieces_do_not_overlap_across_blocks),
    TEST(the_bound_holds_and_the_overflow_stays_set_until_the_reset),
    TEST(an_absurd_size_fails_instead_of_wrapping),
    TEST(nothing_is_allocated_before_the_first_piece),
    TEST(a_reset_keeps_the_first_block_and_gives_the_others_back),
    TEST(a_large_piece_does_not_end_the_block_of_small_ones),
    TEST(copies_end_with_nul_and_keep_every_byte), TEST(printing_measures_first));
