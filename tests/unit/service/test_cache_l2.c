/* Goal: every host gives a copy the same name in the same place, and without Redis there is simply no second level. */
#include "service/cache_l2.h"

#include <stdio.h>

#include "base/hash.h"
#include "tests/unit/service/l2_house.h"

static struct template_part all[] = { { { "things", 6 }, -1 } };
static struct template_part one[] = { { { "thing-", 6 }, -1 }, { { NULL, 0 }, 0 } };
static struct template tags[] = { { all, 1 }, { one, 2 } };
static struct param params[] = { { .name = { "id", 2 }, .type = VALUE_TEXT, .place = PARAM_PATH } };

static struct l2_house h;

static struct endpoint
thing(bool by_tenant)
{
	return (struct endpoint){ .name = SLICE("thing"),
		.method = HTTP_GET,
		.params = params,
		.param_count = 1,
		.cache = { .on = true, .fresh_ms = 1000 },
		.tags = tags,
		.tag_count = 2,
		.uses_tenant = by_tenant };
}

static struct l2_fill
begin(const struct l2_house *at, const struct endpoint *e, const char *key, const char *tenant)
{
	const struct value value = { .type = VALUE_TEXT, .text = SLICE("7") };
	struct l2_fill f;

	CU_ASSERT_EQUAL_FATAL(
	    l2_begin(&at->l2, e, &value, slice_of(key), slice_of(tenant), &h.a, &f), ERR_OK);
	return f;
}

static void
a_copy_is_named_after_its_endpoint_and_its_key(void)
{
	const struct endpoint e = thing(false);
	struct l2_fill a, b, c;

	l2_house_open(&h, "unix:/none/1", NULL);
	a = begin(&h, &e, "key", "");
	b = begin(&h, &e, "key", "acme"); /* the tenant is in the key where it counts */
	c = begin(&h, &e, "another", "");
	CU_ASSERT_TRUE(slice_starts(a.keys[0], "weir:copy:thing:"));
	CU_ASSERT_EQUAL(a.keys[0].len, sizeof "weir:copy:thing:" - 1 + 2 * DIGEST_BYTES);
	CU_ASSERT_TRUE(slice_starts(a.keys[1], "weir:lock:thing:"));
	CU_ASSERT_TRUE(slice_eq(a.keys[0], b.keys[0]));
	CU_ASSERT_FALSE(slice_eq(a.keys[0], c.keys[0]));
	l2_house_close(&h, false);
}

static void
all_hosts_agree_on_names_slots_and_shards(void)
{
	const struct endpoint e = thing(false);
	struct l2_house other;
	struct l2_fill a, b;

	l2_house_open(&h, "unix:/none/1,unix:/none/2,unix:/none/3", NULL);
	l2_house_open(&other, "unix:/none/3,unix:/none/1,unix:/none/2", NULL);
	for (unsigned i = 0; i < 50; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key-%u", i);
		a = begin(&h, &e, key, "");
		b = begin(&other, &e, key, "");
		CU_ASSERT_TRUE(slice_eq(a.keys[0], b.keys[0]));
		CU_ASSERT_STRING_EQUAL(
		    shards_url(h.shards, a.shard), shards_url(other.shards, b.shard));
		CU_ASSERT_EQUAL_FATAL(a.slot_count, 3); /* its path, and two tags */
		CU_ASSERT_EQUAL_FATAL(b.slot_count, 3);
		for (size_t n = 0; n < 3; n++)
			CU_ASSERT_TRUE(slice_eq(a.slots[n], b.slots[n]));
	}
	l2_house_close(&other, false);
	l2_house_close(&h, false);
}

static void
a_tenants_copies_lie_on_one_shard(void)
{
	const struct endpoint e = thing(true);
	size_t shard;
	char key[16];

	l2_house_open(&h, "unix:/none/1,unix:/none/2,unix:/none/3", NULL);
	shard = begin(&h, &e, "key", "acme").shard;
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(key, sizeof key, "key-%u", i);
		CU_ASSERT_EQUAL(begin(&h, &e, key, "acme").shard, shard);
	}
	l2_house_close(&h, false);
}

static void
a_slot_is_one_of_4096_and_follows_the_tag(void)
{
	CU_ASSERT_TRUE(purges_slot(SLICE("things")) < PURGES_SLOTS);
	CU_ASSERT_EQUAL(purges_slot(SLICE("things")), purges_slot(SLICE("things")));
	CU_ASSERT_NOT_EQUAL(purges_slot(SLICE("things")), purges_slot(SLICE("thing-7")));
}

static void
without_redis_there_is_no_second_level(void)
{
	const struct endpoint e = thing(false);
	struct l2_fill f;
	struct l2_hit hit;

	l2_house_open(&h, "unix:/none/1", NULL);
	f = begin(&h, &e, "key", "");
	CU_ASSERT_EQUAL(l2_get(&h.l2, &f, L2_STALE_DOES, 1000, L2_NOW_MS, &h.a, &hit), L2_OFF);
	CU_ASSERT_PTR_NULL(hit.block.ptr);
	CU_ASSERT_FALSE(f.leading);
	l2_release(&h.l2, &f, L2_NOW_MS); /* nothing to give back */
	l2_house_close(&h, false);
}

UNIT_SUITE(cache_l2, TEST(a_copy_is_named_after_its_endpoint_and_its_key),
    TEST(all_hosts_agree_on_names_slots_and_shards), TEST(a_tenants_copies_lie_on_one_shard),
    TEST(a_slot_is_one_of_4096_and_follows_the_tag), TEST(without_redis_there_is_no_second_level));
