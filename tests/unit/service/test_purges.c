/* Goal: what a host hears is purged, what it may have missed is purged too, and what it could not tell is not forgotten. */
#include "service/purges.h"

#include <stdio.h>

#include "base/hash.h"
#include "tests/unit/service/l2_house.h"

static struct l2_house h;

static void
say(const char *text)
{
	purges_hear(h.purges, 0, slice_of(text));
}

/* In step at 100, with the copies a, b and c. */
static void
open_in_step(void)
{
	l2_house_open(&h, "unix:/none/1,unix:/none/2", NULL);
	atomic_store(&h.purges->rows[0]->last, 100);
	l2_house_put(&h, "a");
	l2_house_put(&h, "b");
	l2_house_put(&h, "c");
}

static void
check_left(bool a, bool b, bool c)
{
	CU_ASSERT_EQUAL(l2_house_has(&h, "a"), a);
	CU_ASSERT_EQUAL(l2_house_has(&h, "b"), b);
	CU_ASSERT_EQUAL(l2_house_has(&h, "c"), c);
}

static void
a_message_purges_its_tags_and_no_others(void)
{
	open_in_step();
	say("2 100 200 7 1:a,1:c,");
	check_left(false, true, false);
	CU_ASSERT_EQUAL(atomic_load(&h.purges->rows[0]->last), 200);
	l2_house_close(&h, false);
}

static void
a_gap_before_a_message_purges_everything(void)
{
	open_in_step();
	say("2 150 200 7 1:a,");
	check_left(false, false, false);
	l2_house_put(&h, "b");
	say("2 200 300 7 1:a,"); /* in step again */
	check_left(false, true, false);
	l2_house_close(&h, false);
}

static void
what_is_known_already_is_not_heard_twice(void)
{
	open_in_step();
	say("2 40 100 7 1:a,"); /* another of this host was faster, and who came back dropped everything */
	check_left(true, true, true);
	CU_ASSERT_EQUAL(atomic_load(&h.purges->rows[0]->last), 100);
	l2_house_close(&h, false);
}

static void
a_message_that_says_all_or_that_nobody_understands_purges_everything(void)
{
	static const char *const texts[] = { "2 100 200 7 !", "", "2", "1 100 200 7 1:a,",
		"2 x 200 7 1:a,", "2 100 y 7 1:a,", "2 100 200 y 1:a,", "2 100 200 -7 1:a,",
		"2 100 200 7 2:a,", "2 100 200 7 1:a", "2 100 200 7 -1:a,", "2 100 200 7 :,",
		"2 100 200 7 99999999999999999999:a,", "2 100 200 7 9223372036854775807:a," };

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		open_in_step();
		say(texts[i]);
		check_left(false, false, false);
		l2_house_close(&h, false);
	}
}

static void
a_purge_that_no_shard_hears_counts_here_and_is_owed(void)
{
	const struct slice a = SLICE("a");

	open_in_step();
	CU_ASSERT_FALSE(purges_are_owed(h.purges, 0));
	purges_add(h.purges, &a, 0);
	CU_ASSERT_EQUAL(purges_send(h.purges), ERR_UNAVAILABLE);
	check_left(false, true, true);
	CU_ASSERT_TRUE(purges_are_owed(h.purges, 0));
	CU_ASSERT_TRUE(purges_are_owed(h.purges, 1));
	CU_ASSERT_EQUAL(purges_send(h.purges), ERR_OK); /* nothing new */
	l2_house_close(&h, false);
}

static void
what_is_owed_belongs_to_the_shard_whatever_its_place(void)
{
	const struct slice a = SLICE("a");
	struct l2_house first, second;

	l2_house_open(&first, "unix:/none/1", NULL);
	purges_add(first.purges, &a, 0);
	(void)purges_send(first.purges);
	l2_house_close(&first, true);
	l2_house_open(&second, "unix:/none/2,unix:/none/1", &first);
	CU_ASSERT_FALSE(purges_are_owed(second.purges, 0));
	CU_ASSERT_TRUE(purges_are_owed(second.purges, 1));
	l2_house_close(&second, false);
}

static void
many_tags_are_gathered_and_each_is_told_once(void)
{
	char text[24];

	open_in_step();
	for (unsigned i = 0; i < 3 * PURGES_BATCH; i++) {
		const int n = snprintf(text, sizeof text, "tag-%u", i % (PURGES_BATCH / 2));
		const struct slice tag = { text, (size_t)n };

		purges_add(h.purges, &tag, 0);
	}
	CU_ASSERT_EQUAL(h.purges->count, PURGES_BATCH / 2);
	CU_ASSERT_FALSE(purges_are_owed(h.purges, 0)); /* nothing was sent yet */
	for (unsigned i = 0; i <= PURGES_BATCH; i++) {
		const int n = snprintf(text, sizeof text, "more-%u", i);
		const struct slice tag = { text, (size_t)n };

		purges_add(h.purges, &tag, 0);
	}
	CU_ASSERT_TRUE(h.purges->count < PURGES_BATCH); /* some went by themselves */
	CU_ASSERT_TRUE(purges_are_owed(h.purges, 0));
	l2_house_close(&h, false);
}

static void
everything_is_more_than_any_tags(void)
{
	const struct slice a = SLICE("a");

	open_in_step();
	purges_add(h.purges, &a, 0);
	purges_add(h.purges, NULL, 0);
	purges_add(h.purges, &a, 0);
	CU_ASSERT_EQUAL(purges_send(h.purges), ERR_UNAVAILABLE);
	check_left(false, false, false);
	l2_house_close(&h, false);
}

static uint64_t
position_of(const char *tag)
{
	const uint64_t hash = hash64(L2_SEED, tag, strlen(tag));

	return positions_of(h.positions, &hash, 1);
}

static void
a_message_tells_how_far_the_database_was(void)
{
	open_in_step();
	say("2 100 200 7 1:a,1:c,");
	CU_ASSERT_EQUAL(position_of("a"), 7);
	CU_ASSERT_EQUAL(position_of("b"), 0);
	say("2 200 300 5 1:a,"); /* two hosts purge; the earlier commit is told later */
	CU_ASSERT_EQUAL(position_of("a"), 7);
	say("2 300 400 9 !");
	CU_ASSERT_EQUAL(position_of("a"), 9);
	CU_ASSERT_EQUAL(position_of("b"), 9);
	l2_house_close(&h, false);
}

UNIT_SUITE(purges, TEST(a_message_purges_its_tags_and_no_others),
    TEST(a_message_tells_how_far_the_database_was), TEST(a_gap_before_a_message_purges_everything),
    TEST(what_is_known_already_is_not_heard_twice),
    TEST(a_message_that_says_all_or_that_nobody_understands_purges_everything),
    TEST(a_purge_that_no_shard_hears_counts_here_and_is_owed),
    TEST(what_is_owed_belongs_to_the_shard_whatever_its_place),
    TEST(many_tags_are_gathered_and_each_is_told_once), TEST(everything_is_more_than_any_tags));
