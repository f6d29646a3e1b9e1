/* Goal: endpoint files reach every process as they were read. */
#include "service/handler_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "tests/support/unit.h"

static char dir[300];

static void
fresh_dir(void)
{
	static unsigned n;

	(void)snprintf(dir, sizeof dir, "%s/files%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
}

static void
put(const char *name, const char *text)
{
	char path[400];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void
read_dir(struct handler_files *f, size_t want_errors)
{
	struct fault_list faults;

	fault_init(&faults);
	CU_ASSERT_EQUAL_FATAL(handler_files_read(dir, &faults, f), ERR_OK);
	CU_ASSERT_EQUAL(faults.errors, want_errors);
	fault_free(&faults);
}

static bool
ends_with(const char *path, const char *name)
{
	const size_t n = strlen(path), m = strlen(name);

	return n > m && path[n - m - 1] == '/' && strcmp(path + n - m, name) == 0;
}

static void
check_two(const struct handler_files *f)
{
	CU_ASSERT_EQUAL_FATAL(f->count, 2);
	CU_ASSERT_TRUE(ends_with(f->list[0].path, "a.sql"));
	CU_ASSERT_TRUE(slice_eq_cstr(f->list[0].text, "first"));
	CU_ASSERT_TRUE(ends_with(f->list[1].path, "b.sql"));
	CU_ASSERT_TRUE(slice_eq_cstr(f->list[1].text, ""));
}

static void
files_are_read_by_name_and_nothing_else_is(void)
{
	struct handler_files f;
	char path[400];

	fresh_dir();
	put("b.sql", "");
	put("a.sql", "first");
	put(".hidden.sql", "x");
	put("note.txt", "x");
	(void)snprintf(path, sizeof path, "%s/schema", dir);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	read_dir(&f, 0);
	check_two(&f);
	handler_files_free(&f);
	CU_ASSERT_EQUAL(symlink("/nowhere", strcat(path, ".sql")), 0);
	read_dir(&f, 1); /* and the others are read all the same */
	CU_ASSERT_EQUAL(f.count, 2);
	handler_files_free(&f);
}

static void
what_was_stored_stays_whatever_becomes_of_the_folder(void)
{
	struct handler_files f, again;
	int fd;

	fresh_dir();
	put("a.sql", "first");
	put("b.sql", "");
	read_dir(&f, 0);
	CU_ASSERT_EQUAL_FATAL(handler_files_store(&f, &fd), ERR_OK);
	handler_files_free(&f);
	put("a.sql", "changed");
	CU_ASSERT_EQUAL(write(fd, "x", 1), -1); /* sealed */
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL_FATAL(handler_files_load(fd, &again), ERR_OK);
		check_two(&again);
		handler_files_free(&again);
	}
	(void)close(fd);
}

static void
no_files_are_stored_as_well(void)
{
	struct fault_list faults;
	struct handler_files none, again;
	int fd;

	fault_init(&faults);
	CU_ASSERT_EQUAL(handler_files_read(NULL, &faults, &none), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(handler_files_store(&none, &fd), ERR_OK);
	CU_ASSERT_EQUAL(handler_files_load(fd, &again), ERR_OK);
	CU_ASSERT_EQUAL(again.count, 0);
	handler_files_free(&again);
	handler_files_free(&none);
	fault_free(&faults);
	(void)close(fd);
}

static void
bytes_that_are_none_of_ours_are_refused(void)
{
	static const struct slice texts[] = { { "x", 1 }, { "\1\0\0\0\0\0\0\0", 8 },
		{ "\1\0\0\0\5\0\0\0pabcd", 13 }, { "\377\377\377\377\377\377\377\377p", 9 } };
	struct handler_files f;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		const int fd = memfd_create("x", MFD_CLOEXEC);

		CU_ASSERT_EQUAL(write(fd, texts[i].ptr, texts[i].len), (ssize_t)texts[i].len);
		CU_ASSERT_EQUAL(handler_files_load(fd, &f), ERR_INVALID);
		(void)close(fd);
	}
	CU_ASSERT_EQUAL(handler_files_load(-1, &f), ERR_INVALID);
}

UNIT_SUITE(handler_files, TEST(files_are_read_by_name_and_nothing_else_is),
    TEST(what_was_stored_stays_whatever_becomes_of_the_folder), TEST(no_files_are_stored_as_well),
    TEST(bytes_that_are_none_of_ours_are_refused));
