/* Goal: a ring keeps its order round after round, and never takes more than it was made for. */
#include "base/ring.h"

#include "tests/support/unit.h"

static int items[8];

static void
what_went_in_first_comes_out_first(void)
{
	struct ring r;

	CU_ASSERT_TRUE_FATAL(ring_init(&r, 3));
	for (int round = 0; round < 10; round++) { /* so that the head goes round the array */
		CU_ASSERT_TRUE(ring_push(&r, &items[0]));
		CU_ASSERT_TRUE(ring_push(&r, &items[1]));
		CU_ASSERT_PTR_EQUAL(ring_pop(&r), &items[0]);
		CU_ASSERT_PTR_EQUAL(ring_pop(&r), &items[1]);
		CU_ASSERT_PTR_NULL(ring_pop(&r));
	}
	ring_free(&r);
}

static void
a_full_ring_refuses(void)
{
	struct ring r;

	CU_ASSERT_TRUE_FATAL(ring_init(&r, 2));
	CU_ASSERT_TRUE(ring_push(&r, &items[0]));
	CU_ASSERT_TRUE(ring_push(&r, &items[1]));
	CU_ASSERT_FALSE(ring_push(&r, &items[2]));
	CU_ASSERT_PTR_EQUAL(ring_pop(&r), &items[0]);
	CU_ASSERT_TRUE(ring_push(&r, &items[2]));
	ring_free(&r);
}

static void
a_ring_of_nothing_is_always_full_and_empty(void)
{
	struct ring r;

	CU_ASSERT_TRUE_FATAL(ring_init(&r, 0));
	CU_ASSERT_FALSE(ring_push(&r, &items[0]));
	CU_ASSERT_PTR_NULL(ring_pop(&r));
	CU_ASSERT_FALSE(ring_remove(&r, &items[0]));
	ring_free(&r);
}

static void
removing_from_the_middle_keeps_the_order(void)
{
	for (int gone = 0; gone < 4; gone++) {
		struct ring r;

		CU_ASSERT_TRUE_FATAL(ring_init(&r, 4));
		(void)ring_push(&r, &items[7]);
		(void)ring_push(&r, &items[7]);
		(void)ring_pop(&r);
		(void)ring_pop(&r); /* the head is now in the middle of the array */
		for (int i = 0; i < 4; i++)
			CU_ASSERT_TRUE(ring_push(&r, &items[i]));
		CU_ASSERT_TRUE(ring_remove(&r, &items[gone]));
		CU_ASSERT_FALSE(ring_remove(&r, &items[gone]));
		for (int i = 0; i < 4; i++)
			if (i != gone)
				CU_ASSERT_PTR_EQUAL(ring_pop(&r), &items[i]);
		CU_ASSERT_EQUAL(r.count, 0);
		ring_free(&r);
	}
}

UNIT_SUITE(ring, TEST(what_went_in_first_comes_out_first), TEST(a_full_ring_refuses),
    TEST(a_ring_of_nothing_is_always_full_and_empty),
    TEST(removing_from_the_middle_keeps_the_order));
