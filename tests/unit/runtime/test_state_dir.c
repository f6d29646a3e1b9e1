/* Goal: nothing is kept in a folder that others can read, own, or have on another machine. */
#include "runtime/state_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "tests/support/unit.h"

static char dir[4300];
static struct fault_list faults;

static void
fresh_path(void)
{
	static unsigned n;
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	(void)snprintf(dir, sizeof dir, "%s/state-%u", unit_dir(), n++);
	fault_init(&faults);
}

static mode_t
mode_of(const char *path)
{
	struct stat st = { 0 };

	CU_ASSERT_EQUAL(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void
it_is_made_for_us_alone(void)
{
	int fd;

	fresh_path();
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK);
	CU_ASSERT_EQUAL(mode_of(dir), 0700);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	(void)close(fd);
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK); /* and again */
	(void)close(fd);
	CU_ASSERT_EQUAL(faults.count, 0);
	fault_free(&faults);
}

static void
should_it_lie_in_a_web_root_apache_denies_it(void)
{
	char path[4400], text[200] = "";
	FILE *f;
	int fd;

	fresh_path();
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK);
	(void)close(fd);
	(void)snprintf(path, sizeof path, "%s/.htaccess", dir);
	CU_ASSERT_EQUAL(mode_of(path), 0600);
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_TRUE(fread(text, 1, sizeof text - 1, f) > 0);
	(void)fclose(f);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nRequire all denied\n"));
	CU_ASSERT_EQUAL(truncate(path, 0), 0); /* the user's own is left alone */
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK);
	(void)close(fd);
	f = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fgetc(f), EOF);
	(void)fclose(f);
	fault_free(&faults);
}

static void
one_of_ours_is_closed_to_others(void)
{
	int fd;

	fresh_path();
	CU_ASSERT_EQUAL(mkdir(dir, 0700), 0);
	CU_ASSERT_EQUAL(chmod(dir, 0755), 0);
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK);
	CU_ASSERT_EQUAL(mode_of(dir), 0700);
	(void)close(fd);
	fault_free(&faults);
}

static void
make_file(const char *name)
{
	char path[4400];
	int fd;

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
}

/* Somebody who sets it to /srv, as root, must not find /srv closed to everybody. */
static void
one_that_others_use_is_refused_and_left_open(void)
{
	int fd;

	fresh_path();
	CU_ASSERT_EQUAL(mkdir(dir, 0700), 0);
	CU_ASSERT_EQUAL(chmod(dir, 0755), 0);
	make_file("somebody's");
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_INVALID);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL_FATAL(faults.errors, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(faults.items[0].text, "other things"));
	CU_ASSERT_EQUAL(mode_of(dir), 0755);
	make_file("weir.db"); /* made beforehand, for us */
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_OK);
	CU_ASSERT_EQUAL(mode_of(dir), 0700);
	(void)close(fd);
	fault_free(&faults);
}

static void
another_users_is_refused_and_named(void)
{
	const char *theirs = geteuid() == 0 ? dir : "/"; /* only root can give a folder away */
	int fd;

	fresh_path();
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL(mkdir(dir, 0755), 0);
		CU_ASSERT_EQUAL(chown(dir, 12345, 12345), 0);
	}
	CU_ASSERT_EQUAL(state_dir_open(theirs, &faults, &fd), ERR_DENIED);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL_FATAL(faults.errors, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(faults.items[0].text, theirs));
	fault_free(&faults);
}

static void
what_is_no_folder_is_a_fault(void)
{
	int fd;

	fresh_path();
	fd = open(dir, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
	CU_ASSERT_EQUAL(state_dir_open(dir, &faults, &fd), ERR_INVALID);
	CU_ASSERT_EQUAL(faults.errors, 1);
	fault_free(&faults);
}

static void
memory_is_told_from_a_disk(void)
{
	const int fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *fs;

	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	fs = state_dir_fleeting(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(fs);
	CU_ASSERT_STRING_EQUAL(fs, "tmpfs");
	(void)close(fd);
}

UNIT_SUITE(state_dir, TEST(it_is_made_for_us_alone),
    TEST(should_it_lie_in_a_web_root_apache_denies_it), TEST(one_of_ours_is_closed_to_others),
    TEST(one_that_others_use_is_refused_and_left_open), TEST(another_users_is_refused_and_named),
    TEST(what_is_no_folder_is_a_fault), TEST(memory_is_told_from_a_disk));
