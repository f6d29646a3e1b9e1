/*
 * Goal: whoever dies or stops with a shard in his hands, and whatever he leaves
 * there, the others go on, and no value is ever torn.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "policy/l1.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/l1_house.h"
#include "tests/unit/policy/step.h"

/* A value that cannot be read, for its file is empty: who stores it gets SIGBUS inside the lock. */
static void
put_unreadable(struct l1 *l)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memfd_create("empty", 0), 0);

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
	(void)signal(SIGBUS, handler);
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

UNIT_SUITE(l1_crash, TEST(a_holder_that_dies_inside_costs_its_shard_and_nothing_else),
    TEST(a_holder_that_is_stopped_inside_makes_its_shard_busy),
    TEST(killed_at_any_instruction_of_a_store_the_others_go_on),
    TEST(an_index_that_runs_in_circles_is_emptied_when_it_is_met),
    TEST(no_damage_in_a_shard_can_crash_or_hang_it),
    TEST(among_processes_killed_at_random_no_value_is_ever_torn), TEST(threads_share_it));
