/* Goal: a ring always wakes the living, never blocks, and harms nobody when the other is dead. */
#include "runtime/doorbell.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum { US = 3, OTHER = 4, MANY = 100000 };

static char dir[4300];
static int dir_fd = -1;

static void
fresh_dir(void)
{
	static unsigned n;

	(void)signal(SIGPIPE, SIG_IGN); /* as signals_open() does */
	if (dir_fd != -1)
		(void)close(dir_fd);
	(void)snprintf(dir, sizeof dir, "%s/bell-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct doorbell *
bell(unsigned member)
{
	struct doorbell *d = NULL;

	CU_ASSERT_EQUAL_FATAL(doorbell_open(dir_fd, member, &d), ERR_OK);
	return d;
}

static bool
is_rung(const struct doorbell *d)
{
	struct pollfd p = { .fd = doorbell_fd(d), .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

static size_t
descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

static void
a_ring_is_seen_until_it_is_drained(void)
{
	struct doorbell *us, *other;

	fresh_dir();
	us = bell(US);
	other = bell(OTHER);
	CU_ASSERT_FALSE(is_rung(us));
	doorbell_ring(other, US);
	CU_ASSERT_TRUE(is_rung(us));
	CU_ASSERT_FALSE(is_rung(other));
	doorbell_drain(us);
	CU_ASSERT_FALSE(is_rung(us));
	doorbell_ring(us, US); /* oneself, too */
	CU_ASSERT_TRUE(is_rung(us));
	doorbell_close(&us);
	doorbell_close(&other);
	CU_ASSERT_PTR_NULL(us);
}

static void
a_bell_that_nobody_drains_never_blocks(void)
{
	struct doorbell *us, *other;

	fresh_dir();
	us = bell(US);
	other = bell(OTHER);
	for (int i = 0; i < MANY; i++)
		doorbell_ring(other, US);
	CU_ASSERT_TRUE(is_rung(us));
	doorbell_drain(us);
	CU_ASSERT_FALSE(is_rung(us));
	doorbell_close(&us);
	doorbell_close(&other);
}

static void
a_thousand_rings_keep_one_descriptor(void)
{
	struct doorbell *us, *other;
	size_t before;

	fresh_dir();
	us = bell(US);
	other = bell(OTHER);
	before = descriptors();
	for (int i = 0; i < 1000; i++)
		doorbell_ring(other, US);
	CU_ASSERT_EQUAL(descriptors(), before + 1);
	doorbell_close(&other);
	doorbell_close(&us);
	CU_ASSERT_EQUAL(descriptors(), before - 2);
}

static void
the_last_ringer_to_go_does_not_look_like_a_ring(void)
{
	struct doorbell *us, *other;

	fresh_dir();
	us = bell(US);
	other = bell(OTHER);
	doorbell_ring(other, US);
	doorbell_drain(us);
	doorbell_close(&other);
	CU_ASSERT_FALSE(is_rung(us)); /* a hang-up here would spin the reactor */
	doorbell_close(&us);
}

static void
nobody_at_home_is_no_fault(void)
{
	struct doorbell *us;
	const char *name;

	fresh_dir();
	us = bell(US);
	doorbell_ring(us, OTHER);
	doorbell_ring(us, SCOREBOARD_MEMBERS);
	name = "bell.4";
	CU_ASSERT_EQUAL(faccessat(dir_fd, name, F_OK, 0), -1); /* and makes none */
	doorbell_close(&us);
}

/* A member that opens its bell and is killed. */
static void
member_is_killed(unsigned member)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct doorbell *d;

		_exit(doorbell_open(dir_fd, member, &d) == ERR_OK ? 0 : 1);
	}
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL_FATAL(status, 0);
}

static void
who_takes_over_a_dead_members_slot_is_rung_in_its_place(void)
{
	struct doorbell *us, *heir;

	fresh_dir();
	us = bell(US);
	member_is_killed(OTHER);
	doorbell_ring(us, OTHER);
	heir = bell(OTHER);
	doorbell_ring(us, OTHER);
	CU_ASSERT_TRUE(is_rung(heir));
	doorbell_close(&heir);
	doorbell_ring(us, OTHER); /* our descriptor is of a FIFO without a reader now */
	heir = bell(OTHER);
	CU_ASSERT_FALSE(is_rung(heir));
	doorbell_ring(us, OTHER);
	CU_ASSERT_TRUE(is_rung(heir));
	doorbell_close(&heir);
	doorbell_close(&us);
}

static void
another_thing_under_its_name_is_replaced(void)
{
	struct doorbell *us;
	struct stat st;
	int fd;

	fresh_dir();
	fd = openat(dir_fd, "bell.3", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
	us = bell(US);
	CU_ASSERT_EQUAL(fstatat(dir_fd, "bell.3", &st, AT_SYMLINK_NOFOLLOW), 0);
	CU_ASSERT_TRUE(S_ISFIFO(st.st_mode));
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	doorbell_close(&us);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "bell.3", F_OK, 0), -1);
}

UNIT_SUITE(doorbell, TEST(a_ring_is_seen_until_it_is_drained),
    TEST(a_bell_that_nobody_drains_never_blocks), TEST(a_thousand_rings_keep_one_descriptor),
    TEST(the_last_ringer_to_go_does_not_look_like_a_ring), TEST(nobody_at_home_is_no_fault),
    TEST(who_takes_over_a_dead_members_slot_is_rung_in_its_place),
    TEST(another_thing_under_its_name_is_replaced));
