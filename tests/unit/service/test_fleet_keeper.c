/* Goal: what is owed reaches its bucket though the process ends, and nothing is asked for that nobody will use. */
#include "service/fleet_keeper.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "tests/support/unit.h"

enum { LEFT_MAX = 8, FAR_MS = 3600000 };

/* A keeper's work, as it is seen from outside. */
struct book {
	uint64_t left[LEFT_MAX]; /* by leave(), in order */
	size_t left_count, left_most;
	int64_t closing_ms;
	_Atomic unsigned settled, refilled;
};

static void
refill(void *ctx, const struct fleet_key *key)
{
	struct book *b = ctx;

	(void)key;
	(void)atomic_fetch_add(&b->refilled, 1);
}

static void
settle(void *ctx, const struct fleet_key *key)
{
	struct book *b = ctx;

	(void)key;
	(void)atomic_fetch_add(&b->settled, 1);
}

static void
tick(void *ctx, int64_t now_ms)
{
	(void)ctx;
	(void)now_ms;
}

static bool
leave(void *ctx, const struct fleet_key *key, int64_t closing_ms)
{
	struct book *b = ctx;

	CU_ASSERT_TRUE(slice_eq_cstr(key->name, "192.0.2.1"));
	b->closing_ms = closing_ms;
	b->left[b->left_count++] = key->key;
	return b->left_count < b->left_most;
}

static struct fleet_keeper *
keeper_of(struct book *b)
{
	const struct fleet_keeper_options o = {
		.ctx = b, .refill = refill, .settle = settle, .tick = tick, .leave = leave
	};
	struct fleet_keeper *k = NULL;

	CU_ASSERT_EQUAL_FATAL(fleet_keeper_open(&o, &k), ERR_OK);
	return k;
}

static void
owe(struct fleet_keeper *k, uint64_t key, int64_t due_ms)
{
	const struct fleet_key owed = { .key = key, .name = SLICE("192.0.2.1") };

	CU_ASSERT_TRUE(fleet_keeper_owe(k, &owed, due_ms));
}

static void
what_is_not_due_yet_is_left_in_its_order_when_it_closes(void)
{
	struct book b = { .left_most = LEFT_MAX };
	const int64_t before_ms = clock_mono_ms();
	struct fleet_keeper *k = keeper_of(&b);

	owe(k, 1, before_ms + FAR_MS);
	owe(k, 2, before_ms + FAR_MS);
	fleet_keeper_close(&k);
	CU_ASSERT_PTR_NULL(k);
	CU_ASSERT_EQUAL_FATAL(b.left_count, 2);
	CU_ASSERT_EQUAL(b.left[0], 1);
	CU_ASSERT_EQUAL(b.left[1], 2);
	CU_ASSERT_EQUAL(b.settled, 0);
	CU_ASSERT_TRUE(b.closing_ms >= before_ms && b.closing_ms <= clock_mono_ms());
}

static void
without_time_for_more_the_rest_is_not_tried(void)
{
	struct book b = { .left_most = 2 };
	struct fleet_keeper *k = keeper_of(&b);

	for (uint64_t key = 1; key <= 4; key++)
		owe(k, key, clock_mono_ms() + FAR_MS);
	fleet_keeper_close(&k);
	CU_ASSERT_EQUAL(b.left_count, 2);
}

static void
what_is_due_is_settled_or_left_but_once(void)
{
	struct book b = { .left_most = LEFT_MAX };
	struct fleet_keeper *k = keeper_of(&b);

	for (uint64_t key = 1; key <= 4; key++)
		owe(k, key, 0);
	fleet_keeper_close(&k);
	CU_ASSERT_EQUAL(b.settled + b.left_count, 4);
	CU_ASSERT_EQUAL(b.refilled, 0);
}

UNIT_SUITE(fleet_keeper, TEST(what_is_not_due_yet_is_left_in_its_order_when_it_closes),
    TEST(without_time_for_more_the_rest_is_not_tried),
    TEST(what_is_due_is_settled_or_left_but_once));
