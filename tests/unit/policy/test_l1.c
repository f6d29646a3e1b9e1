/*
 * Goal: a copy is found whole or not at all, never after its time or a purge,
 * whoever dies with a shard in his hands and whatever he leaves there.
 */
#include "policy/l1.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { MIB = 1 << 20, SEED = 4711, NOW_MS = 1000, TEXT_MAX = 64 };

static struct l1 *
cache_of(size_t bytes)
{
	void *mem =
	    mmap(NULL, l1_size(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	l1_init(mem, bytes, SEED);
	return mem;
}

static void
cache_end(struct l1 *l, size_t bytes)
{
	(void)munmap(l, l1_size(bytes));
}

static struct slice
key_of(unsigned n, char text[TEXT_MAX])
{
	return (struct slice){ text, (size_t)snprintf(text, TEXT_MAX, "key number %u", n) };
}

static const struct l1_times an_hour = { NOW_MS, 3600000, 3600000, 3600000 };

static enum err
put_tagged(struct l1 *l, struct slice key, struct slice value, const uint64_t *tags, size_t count)
{
	struct l1_tags read;
	uint32_t evicted;

	l1_tags_read(l, tags, count, &read);
	return l1_put(l, key, value, &read, &an_hour, 0, &evicted);
}

static enum err
put(struct l1 *l, struct slice key, struct slice value)
{
	return put_tagged(l, key, value, NULL, 0);
}

static enum l1_answer
answer_at(struct l1 *l, struct slice key, int64_t now_ms)
{
	struct arena a;
	struct slice value;
	struct l1_times times;
	enum l1_answer answer;

	arena_init(&a, 64 * MIB);
	answer = l1_get(l, key, now_ms, 0, &a, &value, &times);
	arena_free(&a);
	return answer;
}

static bool
holds(struct l1 *l, struct slice key, struct slice want)
{
	struct arena a;
	struct slice value;
	struct l1_times times;
	bool same;

	arena_init(&a, 64 * MIB);
	same = l1_get(l, key, NOW_MS, 0, &a, &value, &times) == L1_FRESH && slice_eq(value, want);
	arena_free(&a);
	return same;
}

static struct l1_stats
stats(const struct l1 *l)
{
	struct l1_stats s;

	l1_stats_read(l, &s);
	return s;
}

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
	const struct l1_times times = { .stored = 900, .fresh_until = 2000, .stale_until = 3000 };
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
	CU_ASSERT_EQUAL(l1_get(l, SLICE("other"), NOW_MS, 0, &a, &value, &found), L1_MISS);
	CU_ASSERT_PTR_NULL(value.ptr);
	arena_free(&a);
	cache_end(l, MIB);
}

static void
time_makes_it_stale_then_error_only_then_gone(void)
{
	struct l1 *l = cache_of(MIB);
	const struct l1_times times = { 1000, 2000, 3000, 4000 };
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

/* A value that cannot be read: who stores it stops inside the lock. */
static void
put_unreadable(struct l1 *l)
{
	void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)put(l, SLICE("unreadable"), (struct slice){ page, 4096 });
	_exit(1);
}

static void
die_here(int sig)
{
	(void)sig;
	(void)kill(getpid(), SIGKILL);
}

static void
stop_here(int sig)
{
	(void)sig;
	(void)raise(SIGSTOP);
	_exit(1);
}

static pid_t
holder_that(void (*handler)(int), struct l1 *l)
{
	const pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)signal(SIGSEGV, handler);
	put_unreadable(l);
	_exit(1);
}

static void
a_holder_that_dies_inside_costs_its_shard_and_nothing_else(void)
{
	struct l1 *l = cache_of(MIB); /* one shard */
	const pid_t pid = holder_that(die_here, l);
	int status;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CU_ASSERT_EQUAL(stats(l).emptied, 0);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("unreadable"), NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(stats(l).emptied, 1);
	CU_ASSERT_EQUAL(stats(l).entries, 0);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("v")));
	CU_ASSERT_EQUAL(stats(l).emptied, 1);
	cache_end(l, MIB);
}

static void
a_holder_that_is_stopped_inside_makes_its_shard_busy(void)
{
	struct l1 *l = cache_of(MIB);
	struct l1_tags tags;
	uint32_t evicted;
	pid_t pid;

	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	pid = holder_that(stop_here, l);
	CU_ASSERT_EQUAL(waitpid(pid, NULL, WUNTRACED), pid);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), NOW_MS), L1_BUSY);
	l1_tags_read(l, NULL, 0, &tags);
	CU_ASSERT_EQUAL(
	    l1_put(l, SLICE("k"), SLICE("w"), &tags, &an_hour, 0, &evicted), ERR_TIMEOUT);
	CU_ASSERT_EQUAL(
	    l1_put(l, SLICE("k"), SLICE("w"), &tags, &an_hour, 1, &evicted), ERR_TIMEOUT);

	(void)kill(pid, SIGKILL); /* as the supervisor does */
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
	CU_ASSERT_EQUAL(answer_at(l, SLICE("k"), NOW_MS), L1_MISS);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("v")));
	cache_end(l, MIB);
}

static void
store_in_steps(void *arg)
{
	static char bytes[1500];
	char text[TEXT_MAX];
	struct l1 *l = arg;

	(void)put(l, key_of(0, text), (struct slice){ bytes, sizeof bytes });
	(void)put(l, SLICE("new"), SLICE("v"));
}

/* A shard full of copies, one is being replaced and one added, evicting others, when it comes. */
static bool
others_go_on_after_a_kill_at(unsigned steps)
{
	struct l1 *l = cache_of(MIB);
	unsigned wrong = 0;
	char text[TEXT_MAX];
	struct step s;

	for (unsigned i = 0; i < MIB / 512; i++)
		(void)put(l, key_of(i, text), SLICE("v"));
	s = step_start(store_in_steps, l);
	(void)step_on(&s, steps);
	step_kill(&s);
	for (unsigned i = 1; i < MIB / 512; i += 50)
		wrong += answer_at(l, key_of(i, text), NOW_MS) != L1_MISS &&
			 !holds(l, key_of(i, text), SLICE("v"));
	wrong +=
	    put(l, SLICE("after"), SLICE("w")) != ERR_OK || !holds(l, SLICE("after"), SLICE("w"));
	cache_end(l, MIB);
	return wrong == 0;
}

static void
killed_at_any_instruction_of_a_store_the_others_go_on(void)
{
	struct l1 *l = cache_of(MIB);
	const unsigned count = step_count(store_in_steps, l);
	const unsigned stops =
	    count < 3000 ? 60 : 180000 / count + 1; /* under a sanitizer: fewer */
	unsigned bad = 0;

	for (unsigned i = 0; i < stops; i++)
		bad += !others_go_on_after_a_kill_at(i * (count / stops) + i % 7);
	CU_ASSERT_TRUE(count > 500);
	CU_ASSERT_EQUAL(bad, 0);
	cache_end(l, MIB);
}

static uint32_t
next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	return *state ^= *state << 5;
}

/* A shard ends with its index, chains and entries (5/64 of the blocks) and then its blocks. */
enum { INDEX_BYTES = MIB / 64 * 5 };

static void
fill_index(struct l1 *l, uint32_t word)
{
	char *index = (char *)l + l1_size(MIB) - MIB - INDEX_BYTES;

	for (size_t at = 0; at < INDEX_BYTES; at += sizeof word)
		memcpy(index + at, &word, sizeof word);
}

static void
an_index_that_runs_in_circles_is_emptied_when_it_is_met(void)
{
	struct l1 *l = cache_of(MIB);
	unsigned bad = 0;
	char text[TEXT_MAX];

	for (uint32_t word = 1; word <= 300; word++) {
		for (unsigned i = 0; i < 10; i++)
			(void)put(l, key_of(i, text), SLICE("v"));
		fill_index(l, word);
		bad += answer_at(l, key_of(3, text), NOW_MS) != L1_MISS ||
		       stats(l).emptied != word || stats(l).entries != 0;
	}
	CU_ASSERT_EQUAL(bad, 0);
	cache_end(l, MIB);
}

static void
no_damage_in_a_shard_can_crash_or_hang_it(void)
{
	struct l1 *l = cache_of(MIB);
	char *end = (char *)l + l1_size(MIB), text[TEXT_MAX];
	static char bytes[3000];
	uint32_t random = 1, where;
	unsigned bad = 0;

	/* Any word of it may become anything. */
	for (unsigned round = 0; round < 30000; round++) {
		const uint32_t word = next_random(&random) % 3 == 0 ? next_random(&random)
								    : next_random(&random) % 4096;

		/* mostly the chains and entries: blocks hold mere bytes */
		where = next_random(&random) % 8 == 0 ? next_random(&random) % MIB
						      : MIB + next_random(&random) % INDEX_BYTES;
		memcpy(end - 4 - (where & ~3u), &word, sizeof word);
		bad += put(l, key_of(next_random(&random) % 3000, text),
			   (struct slice){ bytes, next_random(&random) % sizeof bytes }) != ERR_OK;
		(void)answer_at(l, key_of(next_random(&random) % 3000, text), NOW_MS);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(stats(l).emptied > 0);
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("v")));
	cache_end(l, MIB);
}

/* Values that tell whether they are whole: hash of the rest, then bytes. */
enum { KEYS = 40, VALUE_MAX = 20000 };

struct yard {
	struct l1 *l;
	_Atomic unsigned torn, found, stored;
};

static void
put_checked(struct yard *y, uint32_t *random)
{
	static _Thread_local char bytes[VALUE_MAX];
	const size_t len = 8 + next_random(random) % (VALUE_MAX - 8);
	char text[TEXT_MAX];
	const struct slice key = key_of(next_random(random) % KEYS, text);
	uint64_t sum;

	for (size_t i = 8; i < len; i++)
		bytes[i] = (char)(*random >> i % 24);
	sum = hash64(hash64(1, key.ptr, key.len), bytes + 8, len - 8);
	memcpy(bytes, &sum, 8);
	y->stored += put(y->l, key, (struct slice){ bytes, len }) == ERR_OK;
}

static void
get_checked(struct yard *y, uint32_t *random)
{
	char text[TEXT_MAX];
	const struct slice key = key_of(next_random(random) % KEYS, text);
	struct l1_times times;
	struct slice value;
	struct arena a;
	uint64_t sum;

	arena_init(&a, MIB);
	if (l1_get(y->l, key, NOW_MS, 0, &a, &value, &times) == L1_FRESH) {
		memcpy(&sum, value.ptr, 8);
		y->torn += sum != hash64(hash64(1, key.ptr, key.len), value.ptr + 8, value.len - 8);
		y->found++;
	}
	arena_free(&a);
}

static void
play(struct yard *y, uint32_t seed, unsigned rounds)
{
	uint32_t random = seed;

	for (unsigned i = 0; i < rounds; i++) {
		if (i % 64 == 0)
			l1_purge(y->l, 5);
		put_checked(y, &random);
		for (unsigned k = 0; k < 3; k++)
			get_checked(y, &random);
	}
}

static struct yard *
yard_of(struct l1 *l)
{
	struct yard *y =
	    mmap(NULL, sizeof *y, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (y == MAP_FAILED)
		abort();
	y->l = l;
	return y;
}

static pid_t
player(struct yard *y, uint32_t seed)
{
	const pid_t pid = fork();

	if (pid != 0)
		return pid;
	play(y, seed, UINT32_MAX);
	_exit(0);
}

static void
among_processes_killed_at_random_no_value_is_ever_torn(void)
{
	enum { PLAYERS = 4, KILLS = 120 };
	struct l1 *l = cache_of(MIB);
	struct yard *y = yard_of(l);
	uint32_t random = 7;
	unsigned before;
	pid_t pids[PLAYERS];

	for (unsigned i = 0; i < PLAYERS; i++)
		pids[i] = player(y, i + 1);
	for (unsigned k = 0; k < KILLS; k++) {
		pid_t *victim = &pids[next_random(&random) % PLAYERS];

		(void)usleep(1000 + next_random(&random) % 4000);
		(void)kill(*victim, SIGKILL);
		(void)waitpid(*victim, NULL, 0);
		*victim = player(y, 100 + k);
	}
	before = y->found;
	while (y->found < before + 1000) /* the rest goes on */
		(void)sched_yield();
	for (unsigned i = 0; i < PLAYERS; i++) {
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], NULL, 0);
	}
	CU_ASSERT_EQUAL(y->torn, 0);
	CU_ASSERT_TRUE(y->stored > KILLS);
	CU_ASSERT_TRUE(stats(l).emptied > 0); /* some died inside */
	CU_ASSERT_EQUAL(put(l, SLICE("k"), SLICE("v")), ERR_OK);
	CU_ASSERT_TRUE(holds(l, SLICE("k"), SLICE("v")));
	(void)munmap(y, sizeof *y);
	cache_end(l, MIB);
}

static void *
play_in_a_thread(void *arg)
{
	struct yard *y = arg;

	play(y, 1 + atomic_fetch_add(&y->stored, 1), 500);
	return NULL;
}

static void
threads_share_it(void)
{
	struct l1 *l = cache_of(MIB);
	struct yard *y = yard_of(l);
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, play_in_a_thread, y) != 0)
			abort();
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(y->torn, 0);
	CU_ASSERT_TRUE(y->found > 0);
	CU_ASSERT_EQUAL(stats(l).emptied, 0);
	(void)munmap(y, sizeof *y);
	cache_end(l, MIB);
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
    TEST(a_full_arena_is_a_miss_and_costs_nothing), TEST(many_shards_hold_what_one_would),
    TEST(a_holder_that_dies_inside_costs_its_shard_and_nothing_else),
    TEST(a_holder_that_is_stopped_inside_makes_its_shard_busy),
    TEST(killed_at_any_instruction_of_a_store_the_others_go_on),
    TEST(an_index_that_runs_in_circles_is_emptied_when_it_is_met),
    TEST(no_damage_in_a_shard_can_crash_or_hang_it),
    TEST(among_processes_killed_at_random_no_value_is_ever_torn), TEST(threads_share_it));
