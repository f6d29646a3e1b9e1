/* Goal: whoever sleeps on a word is woken by its change, from another process too. */
#include "base/wake.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

enum { ROUNDS = 500, FOR_EVER_MS = 600000, GIVE_UP_S = 120 };

static void
nobody_sleeps_on_a_word_that_has_changed(void)
{
	_Atomic uint32_t word = 2;

	errno = 0;
	wake_wait(&word, 1, FOR_EVER_MS);
	CU_ASSERT_EQUAL(errno, 0);
	wake_all(&word);
	CU_ASSERT_EQUAL(atomic_load(&word), 2);
}

static void
a_wait_ends_by_itself(void)
{
	_Atomic uint32_t word = 1;

	errno = 0;
	wake_wait(&word, 1, 1);
	wake_wait(&word, 1, 0);
	wake_wait(&word, 1, -1);
	CU_ASSERT_EQUAL(errno, 0);
}

/* Sleeps while ${word} is ${seen}; then sets ${mine} to ${next} and wakes. */
static void
answer(_Atomic uint32_t *word, uint32_t seen, _Atomic uint32_t *mine, uint32_t next)
{
	while (atomic_load(word) == seen)
		wake_wait(word, seen, FOR_EVER_MS);
	atomic_store(mine, next);
	wake_all(mine);
}

static void
two_processes_wake_each_other(void)
{
	_Atomic uint32_t *words = mmap(
	    NULL, 2 * sizeof *words, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	CU_ASSERT_PTR_NOT_EQUAL_FATAL(words, MAP_FAILED);
	pid = fork();
	if (pid == 0) {
		(void)alarm(GIVE_UP_S); /* a lost waking fails, and does not hang */
		for (uint32_t i = 0; i < ROUNDS; i++)
			answer(&words[0], i, &words[1], i + 1);
		_exit(0);
	}
	for (uint32_t i = 0; i < ROUNDS; i++) {
		atomic_store(&words[0], i + 1);
		wake_all(&words[0]);
		while (atomic_load(&words[1]) == i && waitpid(pid, &status, WNOHANG) == 0)
			wake_wait(&words[1], i, 1000);
	}
	if (status == -1)
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(atomic_load(&words[1]), ROUNDS);
	(void)munmap(words, 2 * sizeof *words);
}

UNIT_SUITE(wake, TEST(nobody_sleeps_on_a_word_that_has_changed), TEST(a_wait_ends_by_itself),
    TEST(two_processes_wake_each_other));
