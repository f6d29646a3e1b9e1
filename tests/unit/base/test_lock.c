/* Goal: a lock is free again as soon as its holder is gone, however it went. */
#include "base/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

static int
open_dir(void)
{
	const int fd = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	return fd;
}

/* A child that holds ${name} until it is killed. */
static pid_t
child_holding(int dir, const char *name, enum lock_mode mode)
{
	int ends[2];
	char ready = 0;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		int fd;

		if (lock_file(dir, name, mode, -1, &fd) != ERR_OK || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ends[1]);
	CU_ASSERT_EQUAL_FATAL(read(ends[0], &ready, 1), 1);
	(void)close(ends[0]);
	return pid;
}

static void
kill_and_bury(pid_t pid)
{
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
}

static void
a_lock_is_held_once_and_given_back(void)
{
	const int dir = open_dir();
	int a, b;

	CU_ASSERT_EQUAL(lock_file(dir, "once", LOCK_EXCLUSIVE, 0, &a), ERR_OK);
	CU_ASSERT_EQUAL(lock_file(dir, "once", LOCK_EXCLUSIVE, 0, &b), ERR_CONFLICT);
	CU_ASSERT_EQUAL(b, -1);
	lock_file_release(&a);
	CU_ASSERT_EQUAL(a, -1);
	lock_file_release(&a);
	CU_ASSERT_EQUAL(lock_file(dir, "once", LOCK_EXCLUSIVE, 0, &b), ERR_OK);
	lock_file_release(&b);
	(void)close(dir);
}

static void
shared_holders_stand_together_and_keep_an_exclusive_one_out(void)
{
	const int dir = open_dir();
	int a, b, c;

	CU_ASSERT_EQUAL(lock_file(dir, "shared", LOCK_SHARED, 0, &a), ERR_OK);
	CU_ASSERT_EQUAL(lock_file(dir, "shared", LOCK_SHARED, 0, &b), ERR_OK);
	lock_file_release(&a);
	CU_ASSERT_EQUAL(lock_file(dir, "shared", LOCK_EXCLUSIVE, 0, &c), ERR_CONFLICT);
	lock_file_release(&b);
	CU_ASSERT_EQUAL(lock_file(dir, "shared", LOCK_EXCLUSIVE, 0, &c), ERR_OK);
	lock_file_release(&c);
	(void)close(dir);
}

static void
a_lock_file_is_private_and_does_not_reach_exec(void)
{
	const int dir = open_dir();
	const mode_t mask = umask(0);
	struct stat st;
	int fd;

	CU_ASSERT_EQUAL_FATAL(lock_file(dir, "private", LOCK_EXCLUSIVE, 0, &fd), ERR_OK);
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	lock_file_release(&fd);
	(void)umask(mask);
	(void)close(dir);
}

static void
a_symlink_under_the_locks_name_is_refused(void)
{
	const int dir = open_dir();
	int fd;

	CU_ASSERT_EQUAL(symlinkat("elsewhere", dir, "link"), 0);
	CU_ASSERT_EQUAL(lock_file(dir, "link", LOCK_EXCLUSIVE, 0, &fd), ERR_DENIED);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL(faccessat(dir, "elsewhere", F_OK, 0), -1);
	CU_ASSERT_EQUAL(lock_file(dir, "no/such", LOCK_EXCLUSIVE, 0, &fd), ERR_IO);
	(void)close(dir);
}

static void
a_killed_holder_frees_its_file_lock(void)
{
	const int dir = open_dir();
	const pid_t pid = child_holding(dir, "killed", LOCK_EXCLUSIVE);
	int fd;

	CU_ASSERT_EQUAL(lock_file(dir, "killed", LOCK_EXCLUSIVE, 0, &fd), ERR_CONFLICT);
	CU_ASSERT_EQUAL(lock_file(dir, "killed", LOCK_SHARED, 1, &fd), ERR_CONFLICT);
	kill_and_bury(pid);
	CU_ASSERT_EQUAL(lock_file(dir, "killed", LOCK_EXCLUSIVE, 0, &fd), ERR_OK);
	lock_file_release(&fd);
	(void)close(dir);
}

static void
whoever_waits_gets_the_lock_when_its_holder_dies(void)
{
	static const int64_t waits_ms[] = { -1, 60000 };
	const int dir = open_dir();

	for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
		const pid_t holder = child_holding(dir, "waited", LOCK_EXCLUSIVE);
		const pid_t waiter = fork();
		int status = -1, fd;

		if (waiter == 0)
			_exit(lock_file(dir, "waited", LOCK_EXCLUSIVE, waits_ms[i], &fd) == ERR_OK
				  ? 0
				  : 1);
		kill_and_bury(holder);
		CU_ASSERT_EQUAL(waitpid(waiter, &status, 0), waiter);
		CU_ASSERT_EQUAL(status, 0);
	}
	(void)close(dir);
}

static pthread_mutex_t *
shared_mutex(void)
{
	void *mem = mmap(NULL, sizeof(pthread_mutex_t), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_PTR_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	CU_ASSERT_EQUAL_FATAL(robust_init(mem), ERR_OK);
	return mem;
}

/* A child that takes ${m}, expecting ${want}, and is killed while it holds it. */
static void
die_holding(pthread_mutex_t *m, enum err want)
{
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		if (robust_lock(m, -1) != want)
			_exit(1);
		(void)raise(SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
a_robust_mutex_is_held_by_one_at_a_time(void)
{
	pthread_mutex_t *m = shared_mutex();
	int status = -1;
	pid_t pid;

	CU_ASSERT_EQUAL(robust_lock(m, -1), ERR_OK);
	pid = fork();
	if (pid == 0)
		_exit(robust_try(m) == ERR_CONFLICT && robust_lock(m, 0) == ERR_CONFLICT &&
			      robust_lock(m, 1) == ERR_CONFLICT
			  ? 0
			  : 1);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	robust_unlock(m);
	CU_ASSERT_EQUAL(robust_lock(m, INT64_MAX), ERR_OK); /* the deadline does not wrap */
	robust_unlock(m);
	(void)munmap(m, sizeof *m);
}

static void
the_next_holder_is_told_that_the_last_one_died(void)
{
	pthread_mutex_t *m = shared_mutex();

	die_holding(m, ERR_OK);
	CU_ASSERT_EQUAL(robust_try(m), ERR_MISMATCH);
	robust_unlock(m);
	CU_ASSERT_EQUAL(robust_try(m), ERR_OK);
	robust_unlock(m);

	die_holding(m, ERR_OK);
	CU_ASSERT_EQUAL(robust_lock(m, 60000), ERR_MISMATCH);
	robust_unlock(m);
	(void)munmap(m, sizeof *m);
}

static void
whoever_dies_repairing_leaves_the_repair_to_the_next(void)
{
	pthread_mutex_t *m = shared_mutex();

	die_holding(m, ERR_OK);
	die_holding(m, ERR_MISMATCH);
	CU_ASSERT_EQUAL(robust_lock(m, -1), ERR_MISMATCH);
	robust_unlock(m);
	CU_ASSERT_EQUAL(robust_lock(m, -1), ERR_OK);
	robust_unlock(m);
	(void)munmap(m, sizeof *m);
}

UNIT_SUITE(lock, TEST(a_lock_is_held_once_and_given_back),
    TEST(shared_holders_stand_together_and_keep_an_exclusive_one_out),
    TEST(a_lock_file_is_private_and_does_not_reach_exec),
    TEST(a_symlink_under_the_locks_name_is_refused), TEST(a_killed_holder_frees_its_file_lock),
    TEST(whoever_waits_gets_the_lock_when_its_holder_dies),
    TEST(a_robust_mutex_is_held_by_one_at_a_time),
    TEST(the_next_holder_is_told_that_the_last_one_died),
    TEST(whoever_dies_repairing_leaves_the_repair_to_the_next));
