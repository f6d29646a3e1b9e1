/*
 * main() of every unit test program: runs the suites that registered
 * themselves, or those named in argv.
 *
 * A test without any check counts as failed: it could not have failed.
 * Scratch files live in one folder that ends with the process that made it.
 */
#include "tests/support/unit.h"

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct unit_suite *suites;
static char dir[4096];
static pid_t dir_owner;
static unsigned asserts_before, passed, failed;

void
unit_register(struct unit_suite *suite)
{
	struct unit_suite **at = &suites;

	while (*at != NULL)
		at = &(*at)->next;
	*at = suite;
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void
remove_dir(void)
{
	if (dir_owner == getpid()) /* not a forked child that ends by exit() */
		(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

const char *
unit_dir(void)
{
	char cwd[3072];

	if (dir_owner != 0)
		return dir;
	if (mkdir("build", 0755) == -1 && errno != EEXIST)
		die("build");
	if (getcwd(cwd, sizeof cwd) == NULL)
		die("getcwd");
	(void)snprintf(dir, sizeof dir, "%s/build/unit-XXXXXX", cwd);
	if (mkdtemp(dir) == NULL)
		die(dir);
	dir_owner = getpid();
	(void)atexit(remove_dir);
	return dir;
}

static void
test_starts(const CU_pTest test, const CU_pSuite suite)
{
	(void)test;
	(void)suite;
	asserts_before = CU_get_number_of_asserts();
}

static void
test_ends(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord first)
{
	const bool unchecked = CU_get_number_of_asserts() == asserts_before;

	if (first == NULL && !unchecked) {
		passed++;
		return;
	}
	failed++;
	(void)printf("FAILED %s: %s\n", suite->pName, test->pName);
	if (unchecked)
		(void)printf("    checks nothing\n");
	for (CU_pFailureRecord f = first; f != NULL; f = f->pNext)
		if (f->pTest == test)
			(void)printf(
			    "    %s:%u: %s\n", f->strFileName, f->uiLineNumber, f->strCondition);
}

static bool
is_wanted(const char *name, int argc, char *argv[])
{
	bool chosen = false;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && strcmp(argv[i] + 1, name) == 0)
			return false;
		if (strcmp(argv[i], name) == 0)
			return true;
		chosen = chosen || argv[i][0] != '-';
	}
	return !chosen;
}

static bool
exists(const char *name)
{
	for (const struct unit_suite *s = suites; s != NULL; s = s->next)
		if (strcmp(s->name, name) == 0)
			return true;
	return false;
}

static void
add_suite(const struct unit_suite *s)
{
	CU_pSuite suite = CU_add_suite(s->name, NULL, NULL);

	if (suite == NULL)
		die(s->name);
	for (const CU_TestInfo *t = s->tests; t->pName != NULL; t++)
		if (CU_add_test(suite, t->pName, t->pTestFunc) == NULL)
			die(t->pName);
}

/* Arguments: NAME, only these suites; -NAME, all but these, which need not be in this program. */
static void
add_wanted(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++)
		if (argv[i][0] != '-' && !exists(argv[i])) {
			(void)fprintf(stderr, "there is no suite %s\n", argv[i]);
			exit(2);
		}
	for (const struct unit_suite *s = suites; s != NULL; s = s->next)
		if (is_wanted(s->name, argc, argv))
			add_suite(s);
}

int
main(int argc, char *argv[])
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		die("CUnit");
	add_wanted(argc, argv);
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* a child that dies repeats nothing */
	CU_set_test_start_handler(test_starts);
	CU_set_test_complete_handler(test_ends);
	(void)CU_run_all_tests();
	CU_cleanup_registry();
	(void)printf("%u passed, %u failed\n", passed, failed);
	return failed == 0 ? 0 : 1;
}
