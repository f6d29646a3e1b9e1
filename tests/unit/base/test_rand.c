/* Goal: no two threads and no two processes give out the same numbers. */
#include "base/rand.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

static void
bytes_fill_the_whole_buffer(void)
{
	unsigned char buf[1024], seen[sizeof buf] = { 0 };

	/* Eight rounds: a byte that stays zero in all of them was never written. */
	for (int round = 0; round < 8; round++) {
		rand_bytes(buf, sizeof buf);
		for (size_t i = 0; i < sizeof buf; i++)
			seen[i] |= buf[i];
	}
	CU_ASSERT_PTR_NULL(memchr(seen, 0, sizeof seen));
	rand_bytes(NULL, 0);
}

static void
numbers_use_all_64_bits(void)
{
	uint64_t ones = 0, zeros = 0;

	for (int i = 0; i < 200; i++) {
		const uint64_t n = rand_u64();

		ones |= n;
		zeros |= ~n;
	}
	CU_ASSERT_EQUAL(ones, UINT64_MAX);
	CU_ASSERT_EQUAL(zeros, UINT64_MAX);
}

static void
a_forked_child_does_not_repeat_its_parent(void)
{
	uint64_t child = 0;
	int ends[2];
	pid_t pid;

	(void)rand_u64(); /* seeded before the fork: this is the state a child would copy */
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		child = rand_u64();
		_exit(write(ends[1], &child, sizeof child) == sizeof child ? 0 : 1);
	}
	CU_ASSERT_EQUAL(read(ends[0], &child, sizeof child), sizeof child);
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
	CU_ASSERT_NOT_EQUAL(child, rand_u64());
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void *
first_number(void *out)
{
	*(uint64_t *)out = rand_u64();
	return NULL;
}

static void
threads_do_not_repeat_each_other(void)
{
	uint64_t a = 0, b = 0;
	pthread_t one, two;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&one, NULL, first_number, &a), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&two, NULL, first_number, &b), 0);
	(void)pthread_join(one, NULL);
	(void)pthread_join(two, NULL);
	CU_ASSERT_NOT_EQUAL(a, b);
}

UNIT_SUITE(rand, TEST(bytes_fill_the_whole_buffer), TEST(numbers_use_all_64_bits),
    TEST(a_forked_child_does_not_repeat_its_parent), TEST(threads_do_not_repeat_each_other));
