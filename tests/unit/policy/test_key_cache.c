/*
 * Goal: an answer on an API key is found whole or not at all, wherever a process is killed or stopped; the
 * latest counts; invented keys drive out no good one.
 */
#include "policy/key_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { SLOTS = 64, SEED = 99, LOOKS = 3000 };

static struct key_cache *cache;

static void
open_cache(void)
{
	const size_t bytes = key_cache_size(SLOTS);

	cache = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_NOT_EQUAL_FATAL((void *)cache, MAP_FAILED);
	key_cache_init(cache, SLOTS, SEED);
}

static void
close_cache(void)
{
	(void)munmap(cache, key_cache_size(SLOTS));
}

static const uint8_t *
digest(unsigned n)
{
	static uint8_t bytes[4][KEY_CACHE_DIGEST_BYTES];
	static unsigned turn;
	uint8_t *d = bytes[turn++ % 4];

	memset(d, 0xd1, KEY_CACHE_DIGEST_BYTES);
	memcpy(d + 8, &n, sizeof n); /* the first word is everybody's: found by all of it */
	return d;
}

static struct key_entry
good(const char *tenant, int64_t asked_ms)
{
	struct key_entry e = {
		.state = KEY_GOOD, .asked_ms = asked_ms, .tenant_len = strlen(tenant)
	};

	memcpy(e.tenant, tenant, e.tenant_len);
	return e;
}

static struct key_entry
bad(int64_t asked_ms)
{
	return (struct key_entry){ .state = KEY_BAD, .asked_ms = asked_ms };
}

static void
keep(unsigned n, struct key_entry e)
{
	key_cache_keep(cache, digest(n), &e);
}

static struct key_entry
find(unsigned n)
{
	struct key_entry e;

	key_cache_find(cache, digest(n), &e);
	return e;
}

static bool
belongs_to(unsigned n, const char *tenant)
{
	const struct key_entry e = find(n);

	return e.state == KEY_GOOD && e.tenant_len == strlen(tenant) &&
	       memcmp(e.tenant, tenant, e.tenant_len) == 0;
}

static void
sizes_are_powers_of_two(void)
{
	CU_ASSERT_EQUAL(key_cache_size(0), 0);
	CU_ASSERT_EQUAL(key_cache_size(4), 0);
	CU_ASSERT_EQUAL(key_cache_size(48), 0);
	CU_ASSERT_EQUAL(key_cache_size(1u << 21), 0);
	CU_ASSERT_EQUAL(key_cache_size(64) % 64, 0);
}

static void
what_was_kept_is_found_and_nothing_else_is(void)
{
	char longest[KEY_CACHE_TENANT_MAX + 1] = { 0 };

	memset(longest, 'x', KEY_CACHE_TENANT_MAX);
	open_cache();
	CU_ASSERT_EQUAL(find(1).state, KEY_UNSEEN);
	keep(1, good("acme", 500));
	keep(2, bad(600));
	keep(3, good(longest, 700));
	CU_ASSERT_TRUE(belongs_to(1, "acme"));
	CU_ASSERT_EQUAL(find(1).asked_ms, 500);
	CU_ASSERT_EQUAL(find(2).state, KEY_BAD);
	CU_ASSERT_EQUAL(find(2).asked_ms, 600);
	CU_ASSERT_TRUE(belongs_to(3, longest));
	CU_ASSERT_EQUAL(find(4).state, KEY_UNSEEN);
	close_cache();
}

static void
a_later_answer_replaces_an_earlier_one_and_never_the_other_way(void)
{
	open_cache();
	keep(1, good("acme", 500));
	keep(1, bad(900));
	CU_ASSERT_EQUAL(find(1).state, KEY_BAD);
	keep(1, good("acme", 800)); /* from a process that was stopped before it could say so */
	CU_ASSERT_EQUAL(find(1).state, KEY_BAD);
	keep(1, good("zeta", 1000));
	CU_ASSERT_TRUE(belongs_to(1, "zeta"));
	close_cache();
}

static void
a_flood_of_invented_keys_drives_out_no_good_one(void)
{
	open_cache();
	keep(1, good("acme", 500));
	for (unsigned n = 1000; n < 20000; n++)
		keep(n, bad(600 + n));
	CU_ASSERT_TRUE(belongs_to(1, "acme"));
	CU_ASSERT_EQUAL(find(19999).state, KEY_BAD);
	close_cache();
}

static void
what_was_asked_longest_ago_makes_room(void)
{
	unsigned there = 0;

	open_cache();
	for (unsigned n = 0; n < 10 * SLOTS; n++)
		keep(n, good("acme", 1 + n));
	CU_ASSERT_TRUE(belongs_to(10 * SLOTS - 1, "acme"));
	for (unsigned n = 0; n < 10 * SLOTS; n++)
		there += find(n).state == KEY_GOOD;
	CU_ASSERT_TRUE(there > SLOTS / 2);
	CU_ASSERT_TRUE(there <= SLOTS);
	close_cache();
}

static void
one_asks_again_until_the_answer_is_there_or_the_lease_is_over(void)
{
	open_cache();
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 1000, 250));
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 1000, 250)); /* nothing there to lease */
	keep(1, good("acme", 500));
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 1000, 250));
	CU_ASSERT_FALSE(key_cache_claim(cache, digest(1), 1000, 250));
	CU_ASSERT_FALSE(key_cache_claim(cache, digest(1), 1249, 250));
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 1250, 250)); /* he is dead */
	keep(1, good("acme", 1260));
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 1270, 250));
	CU_ASSERT_TRUE(key_cache_claim(cache, digest(1), 5, 250)); /* the clock began again */
	close_cache();
}

static const char other_name[] = "a tenant with quite another name than the one before";

static void
change_owner(void *arg)
{
	(void)arg;
	keep(1, good(other_name, 900));
}

static void
open_with_an_owner(void)
{
	open_cache();
	keep(1, good("acme", 500));
}

/* What others would find, were the writer killed where he stands; looked at in a copy. */
static enum key_state
after_his_death(unsigned *wrong)
{
	struct key_cache *const real = cache;
	enum key_state state;

	cache = malloc(key_cache_size(SLOTS));
	memcpy(cache, real, key_cache_size(SLOTS));
	state = find(1).state;
	if (state != KEY_UNSEEN)
		*wrong += !belongs_to(1, "acme") && !belongs_to(1, other_name);
	keep(1, good("zeta", 1000)); /* he is in nobody's way */
	*wrong += !belongs_to(1, "zeta");
	free(cache);
	cache = real;
	return state;
}

static void
killed_at_any_instruction_a_writer_leaves_the_old_the_new_or_nothing(void)
{
	unsigned wrong = 0, nothing = 0, count, stride;
	struct step s;

	open_with_an_owner();
	count = step_count(change_owner, NULL);
	close_cache();
	open_with_an_owner();
	stride = count / LOOKS + 1;
	s = step_start(change_owner, NULL);
	do
		nothing += after_his_death(&wrong) == KEY_UNSEEN;
	while (step_on(&s, stride));
	CU_ASSERT_TRUE(s.well);
	CU_ASSERT_TRUE(belongs_to(1, other_name));
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(nothing > 0); /* the walk has met him inside */
	close_cache();
}

static void
take_turns(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3000; i++)
		keep(i % 5,
		    i % 2 ? good("a", 1000 + i) : good("a much longer name of a tenant", 1000 + i));
}

static void
of_many_writers_at_once_nobody_ever_reads_a_mixture(void)
{
	pid_t pids[3];
	unsigned mixed = 0;

	open_cache();
	for (size_t i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			take_turns(NULL);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 20000; i++) {
		const struct key_entry e = find(i % 5);

		if (e.state == KEY_UNSEEN)
			continue;
		mixed += e.state != KEY_GOOD ||
			 !((e.tenant_len == 1 && *e.tenant == 'a') ||
			     (e.tenant_len == 30 &&
				 memcmp(e.tenant, "a much longer name of a tenant", 30) == 0));
	}
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(waitpid(pids[i], NULL, 0), pids[i]);
	CU_ASSERT_EQUAL(mixed, 0);
	close_cache();
}

static void
usage_counts_good_keys_and_others(void)
{
	uint32_t used = 1;

	open_cache();
	CU_ASSERT_EQUAL(key_cache_usage(cache, &used), 2 * SLOTS);
	CU_ASSERT_EQUAL(used, 0);
	keep(1, good("acme", 100));
	keep(2, bad(100));
	keep(2, bad(200));
	(void)key_cache_usage(cache, &used);
	CU_ASSERT_EQUAL(used, 2);
	close_cache();
}

UNIT_SUITE(key_cache, TEST(sizes_are_powers_of_two), TEST(usage_counts_good_keys_and_others),
    TEST(what_was_kept_is_found_and_nothing_else_is),
    TEST(a_later_answer_replaces_an_earlier_one_and_never_the_other_way),
    TEST(a_flood_of_invented_keys_drives_out_no_good_one),
    TEST(what_was_asked_longest_ago_makes_room),
    TEST(one_asks_again_until_the_answer_is_there_or_the_lease_is_over),
    TEST(of_many_writers_at_once_nobody_ever_reads_a_mixture));

UNIT_SUITE(
    key_cache_walk, TEST(killed_at_any_instruction_a_writer_leaves_the_old_the_new_or_nothing));
