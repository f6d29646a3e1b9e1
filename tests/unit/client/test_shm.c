/* Goal: one segment for all of a host's processes, made once, trusted only when it is ours, gone with the last. */
#include "client/shm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "tests/support/unit.h"

enum {
	SIZE = 64 * 1024,
	LAYOUT = 7,
	BOOT_AT = 24, /* of the header */
	COMERS = 8
};

struct content { /* behind the header */
	_Atomic uint32_t filled;
	_Atomic uint32_t visitors;
};

static char dir[4200];
static int dir_fd = -1;
static enum err fill_rc;

static enum err
fill(void *ctx, void *mem)
{
	struct content *c = mem;

	(void)ctx;
	atomic_fetch_add(&c->filled, 1);
	return fill_rc;
}

static void
fresh_dir(void)
{
	static unsigned n;
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	if (dir_fd != -1)
		(void)close(dir_fd);
	(void)snprintf(dir, sizeof dir, "%s/shm-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fill_rc = ERR_OK;
}

static struct shm_options
options(void)
{
	return (struct shm_options){ .state_dir_fd = dir_fd,
		.state_dir = dir,
		.layout_hash = LAYOUT,
		.size_bytes = SIZE,
		.wait_ms = -1,
		.fill = fill };
}

static struct shm *
join(void)
{
	const struct shm_options o = options();
	struct shm *s = NULL;

	CU_ASSERT_EQUAL_FATAL(shm_open_segment(&o, &s), ERR_OK);
	return s;
}

static struct content *
content(const struct shm *s)
{
	return shm_memory(s);
}

/* A path of our own in the state folder, so that a test may put something else there. */
static const char *
own_path(void)
{
	static char path[4300];

	(void)snprintf(path, sizeof path, "%s/own", dir);
	return path;
}

static enum err
open_at(const char *path, uint64_t layout_hash, struct shm **out)
{
	struct shm_options o = options();

	o.path = path;
	o.layout_hash = layout_hash;
	return shm_open_segment(&o, out);
}

/* A process that has joined and is killed without leaving. */
static void
member_is_killed(const char *path, uint64_t layout_hash)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct shm *s;

		_exit(open_at(path, layout_hash, &s) == ERR_OK ? 0 : 1);
	}
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL_FATAL(status, 0);
}

static void
the_second_comer_joins_what_the_first_has_made(void)
{
	struct shm *a, *b;

	fresh_dir();
	a = join();
	b = join();
	CU_ASSERT_TRUE(shm_made(a));
	CU_ASSERT_FALSE(shm_made(b));
	CU_ASSERT_EQUAL(content(b)->filled, 1);
	atomic_store(&content(a)->visitors, 41);
	CU_ASSERT_EQUAL(content(b)->visitors, 41);
	shm_close(&a);
	shm_close(&b);
	CU_ASSERT_PTR_NULL(a);
}

static void
its_name_holds_our_uid_and_its_path_stands_in_the_state_folder(void)
{
	char record[4300] = "", start[64], name[4300];
	struct stat st;
	struct shm *s;
	FILE *f;

	fresh_dir();
	s = join();
	(void)snprintf(start, sizeof start, "/dev/shm/weir-%u-", (unsigned)geteuid());
	CU_ASSERT_EQUAL(strncmp(shm_path(s), start, strlen(start)), 0);
	CU_ASSERT_EQUAL(stat(shm_path(s), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(st.st_size, SIZE);
	CU_ASSERT_TRUE(st.st_blocks * 512 >= SIZE); /* no hole that could be SIGBUS later */
	(void)snprintf(name, sizeof name, "%s/segment", dir);
	f = fopen(name, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL(fgets(record, sizeof record, f));
	(void)fclose(f);
	record[strcspn(record, "\n")] = '\0';
	CU_ASSERT_STRING_EQUAL(record, shm_path(s));
	shm_close(&s);
}

static void
the_last_one_out_removes_it(void)
{
	char path[4300];
	struct shm *a, *b;

	fresh_dir();
	a = join();
	b = join();
	(void)snprintf(path, sizeof path, "%s", shm_path(a));
	shm_close(&a);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	shm_close(&b);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "segment", F_OK, 0), -1);
}

static void
it_is_joined_as_it_stands_when_all_its_members_were_killed(void)
{
	struct shm *s;

	fresh_dir();
	member_is_killed(own_path(), LAYOUT);
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &s), ERR_OK);
	CU_ASSERT_FALSE(shm_made(s));
	CU_ASSERT_EQUAL(content(s)->filled, 1);
	shm_close(&s);
}

static void
comers_at_the_same_moment_make_one(void)
{
	struct shm *s;
	int ends[2];
	char go;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	for (int i = 0; i < COMERS; i++) {
		if (fork() != 0)
			continue;
		(void)close(ends[1]);
		(void)!read(ends[0], &go, 1); /* returns for all when the parent closes its end */
		if (open_at(NULL, LAYOUT, &s) != ERR_OK)
			_exit(1);
		atomic_fetch_add(&content(s)->visitors, 1);
		_exit(0);
	}
	(void)close(ends[0]);
	(void)close(ends[1]);
	for (int i = 0; i < COMERS; i++) {
		int status = -1;

		CU_ASSERT_TRUE(wait(&status) > 0);
		CU_ASSERT_EQUAL(status, 0);
	}
	s = join();
	CU_ASSERT_EQUAL(content(s)->visitors, COMERS);
	CU_ASSERT_EQUAL(content(s)->filled, 1);
	shm_close(&s);
}

/* Whatever lies there is neither joined nor touched. */
static void
assert_refused(void)
{
	struct shm *s;
	struct stat before, after;

	CU_ASSERT_EQUAL(lstat(own_path(), &before), 0);
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT, &s), ERR_DENIED);
	CU_ASSERT_PTR_NULL(s);
	CU_ASSERT_EQUAL(lstat(own_path(), &after), 0);
	CU_ASSERT_EQUAL(before.st_ino, after.st_ino);
	CU_ASSERT_EQUAL(unlink(own_path()) == 0 || rmdir(own_path()) == 0, 1);
}

static void
anything_but_a_plain_private_file_is_refused(void)
{
	char other[4300];

	fresh_dir();
	(void)snprintf(other, sizeof other, "%s/other", dir);
	member_is_killed(other, LAYOUT); /* a good segment under another name ... */
	CU_ASSERT_EQUAL(unlinkat(dir_fd, "segment", 0), 0); /* ... that nobody is sent to */
	CU_ASSERT_EQUAL(symlink(other, own_path()), 0);
	assert_refused();
	CU_ASSERT_EQUAL(link(other, own_path()), 0);
	assert_refused();
	CU_ASSERT_EQUAL(mkdir(own_path(), 0700), 0);
	assert_refused();
	CU_ASSERT_EQUAL(mkfifo(own_path(), 0600), 0);
	assert_refused();
	CU_ASSERT_EQUAL(rename(other, own_path()), 0);
	CU_ASSERT_EQUAL(chmod(own_path(), 0640), 0);
	assert_refused();
}

static void
another_users_file_is_refused(void)
{
	fresh_dir();
	member_is_killed(own_path(), LAYOUT);
	/* Only root can give a file away; anybody can let others write to it. */
	CU_ASSERT_EQUAL(
	    geteuid() == 0 ? chown(own_path(), 12345, 12345) : chmod(own_path(), 0666), 0);
	assert_refused();
}

static void
a_binary_with_another_layout_makes_its_own_beside_it(void)
{
	struct shm *old, *new;

	fresh_dir();
	old = join();
	CU_ASSERT_EQUAL_FATAL(open_at(NULL, LAYOUT + 1, &new), ERR_OK);
	CU_ASSERT_TRUE(shm_made(new));
	CU_ASSERT_STRING_NOT_EQUAL(shm_path(old), shm_path(new));
	CU_ASSERT_TRUE(shm_check(old));
	shm_close(&new);
	new = join(); /* the record is gone with the other one, the name is not */
	CU_ASSERT_FALSE(shm_made(new));
	shm_close(&new);
	shm_close(&old);
}

static void
what_a_dead_binary_left_is_swept_up_by_the_next_maker(void)
{
	char path[4300];
	struct shm *s;
	int fd;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(open_at(NULL, LAYOUT + 1, &s), ERR_OK);
	(void)snprintf(path, sizeof path, "%s", shm_path(s));
	shm_close(&s);
	member_is_killed(NULL, LAYOUT + 1);
	fd = openat(dir_fd, "weir-0123456789abcdef.shm", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL(close(fd), 0);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	s = join();
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "weir-0123456789abcdef.shm", F_OK, 0), -1);
	shm_close(&s);
}

static void
under_a_configured_path_another_layout_is_refused_while_it_lives(void)
{
	struct shm *old, *new;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &old), ERR_OK);
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT + 1, &new), ERR_MISMATCH);
	shm_close(&old);
	member_is_killed(own_path(), LAYOUT);
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT + 1, &new), ERR_OK);
	CU_ASSERT_TRUE(shm_made(new));
	shm_close(&new);
}

static void
one_of_another_boot_is_made_anew(void)
{
	const uint64_t yesterday = 1;
	struct shm *s;
	int fd;

	fresh_dir();
	member_is_killed(own_path(), LAYOUT);
	fd = open(own_path(), O_WRONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(pwrite(fd, &yesterday, sizeof yesterday, BOOT_AT), sizeof yesterday);
	(void)close(fd);
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &s), ERR_OK);
	CU_ASSERT_TRUE(shm_made(s));
	shm_close(&s);
}

static void
what_a_killed_maker_left_is_no_obstacle(void)
{
	char temp[4400];
	struct shm *s;
	int fd;

	fresh_dir();
	(void)snprintf(temp, sizeof temp, "%s.new", own_path());
	fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &s), ERR_OK);
	CU_ASSERT_EQUAL(access(temp, F_OK), -1);
	shm_close(&s);
}

static void
a_segment_that_cannot_be_filled_is_never_seen(void)
{
	struct shm *s;

	fresh_dir();
	fill_rc = ERR_IO;
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT, &s), ERR_IO);
	CU_ASSERT_EQUAL(access(own_path(), F_OK), -1);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "own.new", F_OK, 0), -1);
}

static void
without_room_it_is_a_file_in_the_state_folder(void)
{
	struct shm *a, *b;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(open_at("/no/such/folder/weir", LAYOUT, &a), ERR_OK);
	CU_ASSERT_EQUAL(strncmp(shm_path(a), dir, strlen(dir)), 0);
	CU_ASSERT_EQUAL_FATAL(open_at("/no/such/folder/weir", LAYOUT, &b), ERR_OK);
	CU_ASSERT_FALSE(shm_made(b));
	shm_close(&a);
	shm_close(&b);
}

/* A file size limit stands for a full disk: both places say that there is no room. */
static void
without_room_anywhere_it_says_so_and_leaves_nothing(void)
{
	struct rlimit before, small;
	struct shm *s;

	fresh_dir();
	(void)signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = SIZE / 2;
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT, &s), ERR_FULL);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "own.new", F_OK, 0), -1);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "own", F_OK, 0), -1);
	CU_ASSERT_EQUAL(open_at(own_path(), LAYOUT, &s), ERR_OK);
	shm_close(&s);
}

static void
a_member_notices_that_its_path_is_another_file_now(void)
{
	struct shm *old, *new;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &old), ERR_OK);
	CU_ASSERT_TRUE(shm_check(old));
	CU_ASSERT_EQUAL(unlink(own_path()), 0);
	CU_ASSERT_FALSE(shm_check(old));
	CU_ASSERT_EQUAL_FATAL(open_at(own_path(), LAYOUT, &new), ERR_OK);
	CU_ASSERT_TRUE(shm_made(new));
	CU_ASSERT_FALSE(shm_check(old));
	shm_close(&old); /* the last of the old one must not remove the new one */
	CU_ASSERT_TRUE(shm_check(new));
	shm_close(&new);
}

static void
who_only_looks_never_makes_one_and_never_removes_it(void)
{
	struct shm_options o;
	struct shm *s;

	fresh_dir();
	o = options();
	o.join_only = true;
	o.path = own_path();
	CU_ASSERT_EQUAL(shm_open_segment(&o, &s), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "segment", F_OK, 0), -1);
	member_is_killed(own_path(), LAYOUT); /* its successor will want what is in there */
	CU_ASSERT_EQUAL_FATAL(shm_open_segment(&o, &s), ERR_OK);
	shm_close(&s);
	CU_ASSERT_EQUAL(access(own_path(), F_OK), 0);
}

static void
a_stopped_maker_is_waited_for_only_so_long(void)
{
	struct shm_options o;
	struct shm *s;
	int ends[2];
	char ready = 0;
	pid_t pid;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		int fd;

		if (lock_file(dir_fd, "lock", LOCK_EXCLUSIVE, -1, &fd) != ERR_OK ||
		    write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	CU_ASSERT_EQUAL_FATAL(read(ends[0], &ready, 1), 1);
	o = options();
	o.wait_ms = 0;
	CU_ASSERT_EQUAL(shm_open_segment(&o, &s), ERR_CONFLICT);
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
	CU_ASSERT_EQUAL(shm_open_segment(&o, &s), ERR_OK);
	shm_close(&s);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

UNIT_SUITE(shm, TEST(the_second_comer_joins_what_the_first_has_made),
    TEST(its_name_holds_our_uid_and_its_path_stands_in_the_state_folder),
    TEST(the_last_one_out_removes_it),
    TEST(it_is_joined_as_it_stands_when_all_its_members_were_killed),
    TEST(comers_at_the_same_moment_make_one), TEST(anything_but_a_plain_private_file_is_refused),
    TEST(another_users_file_is_refused), TEST(a_binary_with_another_layout_makes_its_own_beside_it),
    TEST(what_a_dead_binary_left_is_swept_up_by_the_next_maker),
    TEST(under_a_configured_path_another_layout_is_refused_while_it_lives),
    TEST(one_of_another_boot_is_made_anew), TEST(what_a_killed_maker_left_is_no_obstacle),
    TEST(a_segment_that_cannot_be_filled_is_never_seen),
    TEST(without_room_it_is_a_file_in_the_state_folder),
    TEST(without_room_anywhere_it_says_so_and_leaves_nothing),
    TEST(a_member_notices_that_its_path_is_another_file_now),
    TEST(who_only_looks_never_makes_one_and_never_removes_it),
    TEST(a_stopped_maker_is_waited_for_only_so_long));
