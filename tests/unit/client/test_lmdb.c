/* Goal: tables grow at the tail and shrink at the head, and no failure or death leaves anything half done. */
#include "client/lmdb.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

enum { LOG, KEYS };

static const char *const names[] = { "log", "keys" };
static char dir[4200];
static int dir_fd = -1;

static void
fresh_dir(void)
{
	static unsigned n;

	if (dir_fd != -1)
		(void)close(dir_fd);
	(void)snprintf(dir, sizeof dir, "%s/lmdb-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct lmdb *
open_sized(size_t map_bytes)
{
	const struct lmdb_options o = { .dir = dir,
		.dir_fd = dir_fd,
		.map_bytes = map_bytes,
		.table_count = 2,
		.table_names = names };
	struct lmdb *l;

	return lmdb_open(&o, &l) == ERR_OK ? l : NULL;
}

static struct lmdb *
open_fresh(void)
{
	struct lmdb *l;

	fresh_dir();
	l = open_sized(16 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	return l;
}

static enum err
append_run(struct lmdb *l, uint64_t first, uint64_t last, size_t bytes)
{
	char *value = calloc(1, bytes + 1);
	struct lmdb_txn *t;
	enum err rc = lmdb_begin_write(l, &t);

	for (uint64_t seq = first; seq <= last && rc == ERR_OK; seq++)
		rc = lmdb_append(t, LOG, seq, (struct slice){ value, bytes });
	if (rc == ERR_OK)
		rc = lmdb_commit(&t);
	lmdb_abort(&t);
	free(value);
	return rc;
}

/* First and last number of a table, 0 when it is empty. */
static void
edges(struct lmdb *l, unsigned table, uint64_t *first, uint64_t *last)
{
	struct lmdb_txn *t;
	struct slice v;

	*first = *last = 0;
	CU_ASSERT_EQUAL_FATAL(lmdb_begin_read(l, &t), ERR_OK);
	(void)lmdb_seek(t, table, 0, first, &v);
	(void)lmdb_last(t, table, last, &v);
	lmdb_abort(&t);
}

static void
rows_come_back_in_order_and_from_any_place(void)
{
	struct lmdb *l = open_fresh();
	struct lmdb_txn *t;
	struct slice v;
	uint64_t seq;

	CU_ASSERT_EQUAL(append_run(l, 10, 500, 5), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(lmdb_begin_read(l, &t), ERR_OK);
	CU_ASSERT_EQUAL(lmdb_get(t, LOG, 9, &v), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(lmdb_get(t, LOG, 10, &v), ERR_OK);
	CU_ASSERT_EQUAL(v.len, 5);
	CU_ASSERT_EQUAL(lmdb_seek(t, LOG, 0, &seq, &v), ERR_OK);
	CU_ASSERT_EQUAL(seq, 10);
	for (uint64_t want = 11; want <= 500; want++) {
		CU_ASSERT_EQUAL_FATAL(lmdb_next(t, LOG, &seq, &v), ERR_OK);
		CU_ASSERT_EQUAL(seq, want);
	}
	CU_ASSERT_EQUAL(lmdb_next(t, LOG, &seq, &v), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(lmdb_seek(t, LOG, 501, &seq, &v), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(lmdb_last(t, KEYS, &seq, &v), ERR_NOT_FOUND);
	lmdb_abort(&t);
	lmdb_close(&l);
	CU_ASSERT_PTR_NULL(l);
}

static void
only_numbers_above_the_last_are_appended(void)
{
	struct lmdb *l = open_fresh();

	CU_ASSERT_EQUAL(append_run(l, 5, 5, 1), ERR_OK);
	CU_ASSERT_EQUAL(append_run(l, 5, 5, 1), ERR_CONFLICT);
	CU_ASSERT_EQUAL(append_run(l, 4, 4, 1), ERR_CONFLICT);
	CU_ASSERT_EQUAL(append_run(l, 1ull << 40, 1ull << 40, 1), ERR_OK);
	lmdb_close(&l);
}

static void
the_head_is_dropped_up_to_a_number_and_a_count(void)
{
	struct lmdb *l = open_fresh();
	struct lmdb_table_size size;
	struct lmdb_txn *t;
	uint64_t first, last;
	size_t n;

	CU_ASSERT_EQUAL(append_run(l, 1, 1000, 100), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(lmdb_begin_write(l, &t), ERR_OK);
	CU_ASSERT_EQUAL(lmdb_drop_head(t, LOG, 300, 1000, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 300);
	CU_ASSERT_EQUAL(lmdb_drop_head(t, LOG, 300, 1000, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(lmdb_drop_head(t, LOG, UINT64_MAX, 200, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 200);
	CU_ASSERT_EQUAL(lmdb_table_size(t, LOG, &size), ERR_OK);
	CU_ASSERT_EQUAL(size.rows, 500);
	CU_ASSERT_EQUAL(lmdb_drop_head(t, KEYS, UINT64_MAX, 10, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(lmdb_commit(&t), ERR_OK);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(first, 501);
	CU_ASSERT_EQUAL(last, 1000);
	lmdb_close(&l);
}

static void
what_is_aborted_never_was(void)
{
	struct lmdb *l = open_fresh();
	struct lmdb_txn *t;
	uint64_t first, last;

	CU_ASSERT_EQUAL_FATAL(lmdb_begin_write(l, &t), ERR_OK);
	CU_ASSERT_EQUAL(lmdb_append(t, LOG, 1, SLICE("x")), ERR_OK);
	lmdb_abort(&t);
	CU_ASSERT_PTR_NULL(t);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 0);
	lmdb_close(&l);
}

static void
files_are_private_and_survive_a_close(void)
{
	struct lmdb *l = open_fresh();
	uint64_t first, last;
	struct stat st;

	CU_ASSERT_EQUAL(append_run(l, 1, 3, 10), ERR_OK);
	lmdb_close(&l);
	CU_ASSERT_EQUAL(fstatat(dir_fd, "data.mdb", &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	CU_ASSERT_EQUAL(fstatat(dir_fd, "lock.mdb", &st, 0), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	/* No hole that a full disk would turn into a SIGBUS. */
	CU_ASSERT_TRUE(st.st_blocks * 512 >= st.st_size);
	l = open_sized(16 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 3);
	lmdb_close(&l);
}

static void
a_full_map_keeps_what_was_there_and_nothing_more(void)
{
	struct lmdb *l;
	uint64_t first, last;

	fresh_dir();
	l = open_sized(1 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT_EQUAL(append_run(l, 1, 100, 1000), ERR_OK);
	CU_ASSERT_EQUAL(append_run(l, 101, 3000, 1000), ERR_FULL);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 100);
	CU_ASSERT_EQUAL(append_run(l, 101, 110, 1000), ERR_OK);
	lmdb_close(&l);
}

static void
a_file_size_limit_is_full_too(void)
{
	struct lmdb *l = open_fresh();
	struct rlimit before, small;
	uint64_t first, last;
	struct stat st;

	CU_ASSERT_EQUAL(append_run(l, 1, 10, 1000), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(fstatat(dir_fd, "data.mdb", &st, 0), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = (rlim_t)st.st_size;
	(void)setrlimit(RLIMIT_FSIZE, &small);
	CU_ASSERT_EQUAL(append_run(l, 11, 500, 1000), ERR_FULL);
	(void)setrlimit(RLIMIT_FSIZE, &before);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 10);
	CU_ASSERT_EQUAL(append_run(l, 11, 500, 1000), ERR_OK);
	lmdb_close(&l);
}

static void
a_row_needs_no_more_pages_than_announced(void)
{
	static const size_t sizes[] = { 0, 100, 1900, 2000, 2100, 4080, 4096, 5000, 100000 };
	struct lmdb *l = open_fresh();
	struct lmdb_table_size before, after;
	struct lmdb_txn *t;
	uint64_t seq = 1;

	CU_ASSERT_EQUAL_FATAL(lmdb_begin_write(l, &t), ERR_OK);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int n = 0; n < 20; n++) {
			char *value = calloc(1, sizes[i] + 1);

			CU_ASSERT_EQUAL(lmdb_table_size(t, LOG, &before), ERR_OK);
			CU_ASSERT_EQUAL(
			    lmdb_append(t, LOG, seq++, (struct slice){ value, sizes[i] }), ERR_OK);
			CU_ASSERT_EQUAL(lmdb_table_size(t, LOG, &after), ERR_OK);
			CU_ASSERT_TRUE(after.bytes - before.bytes <= lmdb_row_bytes(l, sizes[i]));
			free(value);
		}
	lmdb_abort(&t);
	lmdb_close(&l);
}

/* Waits for a byte, or for everybody else to close the other end. */
static bool
wait_for(int fd)
{
	char c;

	return read(fd, &c, 1) == 1;
}

static void
say_so(int fd)
{
	if (write(fd, "", 1) != 1)
		_exit(1);
}

/* Runs ${child} in a process of its own and returns how it ended. */
static int
in_child(void (*child)(void))
{
	const pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		child();
		_exit(0);
	}
	(void)waitpid(pid, &status, 0);
	return status;
}

static void
die_inside_a_write(void)
{
	struct lmdb *l = open_sized(16 << 20);
	struct lmdb_txn *t;

	if (lmdb_begin_write(l, &t) == ERR_OK && lmdb_append(t, LOG, 1, SLICE("x")) == ERR_OK)
		(void)kill(getpid(), SIGKILL);
}

static void
a_writer_killed_inside_its_transaction_blocks_nobody(void)
{
	struct lmdb *l;
	uint64_t first, last;
	int status;

	fresh_dir();
	status = in_child(die_inside_a_write);
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	l = open_sized(16 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 0);
	CU_ASSERT_EQUAL(append_run(l, 1, 2, 1), ERR_OK);
	lmdb_close(&l);
}

/* The same while others have it open, whose lock file is not made anew. */
static void
a_writer_killed_beside_living_ones_blocks_nobody(void)
{
	struct lmdb *l;
	int ready[2], status;
	pid_t pid;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(ready[1]);
		(void)wait_for(ready[0]); /* until the parent has opened it */
		die_inside_a_write();
		_exit(0);
	}
	(void)close(ready[0]);
	l = open_sized(16 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	(void)close(ready[1]);
	(void)waitpid(pid, &status, 0);
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	CU_ASSERT_EQUAL(append_run(l, 1, 2, 1), ERR_OK);
	lmdb_close(&l);
}

/* Takes ${n} reader slots once ${go} closes, says so on ${said}, and sleeps until it is killed. */
static pid_t
reader_process(size_t n, int go[2], int said)
{
	const pid_t pid = fork();
	struct lmdb_txn *t;
	struct lmdb *l;

	if (pid != 0)
		return pid;
	(void)close(go[1]);
	(void)wait_for(go[0]);
	l = open_sized(16 << 20);
	for (size_t i = 0; i < n; i++)
		if (lmdb_begin_read(l, &t) != ERR_OK)
			_exit(1);
	say_so(said);
	for (;;)
		(void)pause();
}

#ifdef __SANITIZE_THREAD__ /* which follows 64 locks of a thread: nothing runs out here */
enum { CHILDREN = 2, EACH = 20, MINE = 20 };
#else
enum { CHILDREN = 2, EACH = 2000, MINE = 300 };
#endif

static void
slots_of_killed_readers_come_back_when_they_run_out(void)
{
	struct lmdb *l;
	struct lmdb_txn *t[MINE];
	int go[2], said[2], refused = 0;
	pid_t pids[CHILDREN];

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(pipe(go) + pipe(said), 0);
	for (int i = 0; i < CHILDREN; i++)
		pids[i] = reader_process(EACH, go, said[1]);
	(void)close(go[0]);
	(void)close(said[1]);
	l = open_sized(16 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	(void)close(go[1]);
	for (int i = 0; i < CHILDREN; i++)
		CU_ASSERT_TRUE(wait_for(said[0]));
	for (int i = 0; i < CHILDREN; i++) {
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], NULL, 0);
	}
	for (size_t i = 0; i < MINE; i++)
		refused += lmdb_begin_read(l, &t[i]) != ERR_OK;
	CU_ASSERT_EQUAL(refused, 0);
	for (size_t i = 0; i < MINE; i++)
		lmdb_abort(&t[i]);
	(void)close(said[0]);
	lmdb_close(&l);
}

static void
write_beyond_a_small_map(void)
{
	struct lmdb *l = open_sized(32 << 20);

	if (append_run(l, 2, 2000, 3000) != ERR_OK)
		_exit(1);
	lmdb_close(&l);
}

static void
a_map_that_another_process_made_larger_is_adopted(void)
{
	struct lmdb *l;
	uint64_t first, last;
	int go[2], status;
	pid_t pid;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(go[1]);
		(void)wait_for(go[0]);
		write_beyond_a_small_map();
		_exit(0);
	}
	(void)close(go[0]);
	l = open_sized(1 << 20);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT_EQUAL(append_run(l, 1, 1, 10), ERR_OK);
	(void)close(go[1]);
	(void)waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 2000);
	CU_ASSERT_EQUAL(append_run(l, 2001, 2002, 3000), ERR_OK);
	lmdb_close(&l);
}

/* The descriptor through which the library writes its meta pages: data.mdb, opened with O_DSYNC. */
static int
meta_fd(void)
{
	char path[64], target[4300];
	ssize_t n;

	for (int fd = 3; fd < 1024; fd++) {
		const int flags = fcntl(fd, F_GETFL);

		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		n = flags == -1 ? -1 : readlink(path, target, sizeof target - 1);
		if (n <= 0 || (flags & O_DSYNC) == 0)
			continue;
		target[n] = '\0';
		if (strstr(target, "data.mdb") != NULL)
			return fd;
	}
	return -1;
}

static void
a_failed_meta_page_is_cured_by_opening_again(void)
{
	struct lmdb *l = open_fresh();
	uint64_t first, last;
	int fd, broken;

	CU_ASSERT_EQUAL(append_run(l, 1, 1, 10), ERR_OK);
	fd = meta_fd();
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	broken = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(dup3(broken, fd, O_CLOEXEC), fd);
	(void)close(broken);
	CU_ASSERT_NOT_EQUAL(append_run(l, 2, 2, 10), ERR_OK);
	CU_ASSERT_EQUAL(append_run(l, 2, 2, 10), ERR_OK);
	edges(l, LOG, &first, &last);
	CU_ASSERT_EQUAL(last, 2);
	lmdb_close(&l);
}

static void
a_folder_that_is_not_there_is_an_error(void)
{
	fresh_dir();
	CU_ASSERT_EQUAL(rmdir(dir), 0);
	CU_ASSERT_PTR_NULL(open_sized(1 << 20));
}

static void
a_file_that_is_not_of_this_library_is_an_error(void)
{
	char junk[16384];
	int fd;

	fresh_dir();
	memset(junk, 'x', sizeof junk);
	fd = openat(dir_fd, "data.mdb", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_EQUAL(write(fd, junk, sizeof junk), (ssize_t)sizeof junk);
	(void)close(fd);
	CU_ASSERT_PTR_NULL(open_sized(1 << 20));
}

UNIT_SUITE(lmdb, TEST(rows_come_back_in_order_and_from_any_place),
    TEST(only_numbers_above_the_last_are_appended),
    TEST(the_head_is_dropped_up_to_a_number_and_a_count), TEST(what_is_aborted_never_was),
    TEST(files_are_private_and_survive_a_close),
    TEST(a_full_map_keeps_what_was_there_and_nothing_more), TEST(a_file_size_limit_is_full_too),
    TEST(a_row_needs_no_more_pages_than_announced),
    TEST(a_writer_killed_inside_its_transaction_blocks_nobody),
    TEST(a_writer_killed_beside_living_ones_blocks_nobody),
    TEST(slots_of_killed_readers_come_back_when_they_run_out),
    TEST(a_map_that_another_process_made_larger_is_adopted),
    TEST(a_failed_meta_page_is_cured_by_opening_again),
    TEST(a_folder_that_is_not_there_is_an_error),
    TEST(a_file_that_is_not_of_this_library_is_an_error));
