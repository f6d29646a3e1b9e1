/* Goal: a command line is understood whole or refused with exit code 2, never half. */
#include "cmd/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/unit.h"

enum { OPTION_DIR, OPTION_ONCE, ARGS_MAX = 40, TEXT_MAX = 256 };

static struct command_line seen;
static int runs;

static enum exit_code
run(const struct command_line *line)
{
	seen = *line;
	runs++;
	return EXIT_CODE_FAILED; /* so that a test can tell it from a parser that returned */
}

static const struct command command = {
	.name = "try",
	.operands = "NAME",
	.summary = "Tries",
	.help = "",
	.options = {
		[OPTION_DIR] = { "--dir", "D", "a folder", true },
		[OPTION_ONCE] = { "--once", NULL, "once", false },
	},
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};

/* Runs `try ${words}`, split at spaces, without what it prints. */
static enum exit_code
call(const char *words)
{
	static char text[TEXT_MAX];
	static char *argv[ARGS_MAX]; /* what was seen points into both */
	char *rest = text;
	const int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
	const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	enum exit_code rc;
	int argc = 0;

	(void)snprintf(text, sizeof text, "try %s", words);
	while (argc < ARGS_MAX - 1 && (argv[argc] = strsep(&rest, " ")) != NULL)
		argc += *argv[argc] != '\0';
	argv[argc] = NULL;
	(void)fflush(stdout);
	(void)dup2(null, STDOUT_FILENO);
	(void)dup2(null, STDERR_FILENO);
	runs = 0;
	rc = command_run(&command, argc, argv);
	(void)fflush(stdout);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(err, STDERR_FILENO);
	(void)close(out);
	(void)close(err);
	(void)close(null);
	return rc;
}

static void
options_and_operands_come_in_any_order(void)
{
	CU_ASSERT_EQUAL(call("a --dir x --once b --dir=y --env-file=e"), EXIT_CODE_FAILED);
	CU_ASSERT_EQUAL(runs, 1);
	CU_ASSERT_EQUAL_FATAL(seen.operand_count, 2);
	CU_ASSERT_STRING_EQUAL(seen.operands[0], "a");
	CU_ASSERT_STRING_EQUAL(seen.operands[1], "b");
	CU_ASSERT_EQUAL_FATAL(seen.given[OPTION_DIR].count, 2);
	CU_ASSERT_STRING_EQUAL(seen.given[OPTION_DIR].values[0], "x");
	CU_ASSERT_STRING_EQUAL(seen.given[OPTION_DIR].values[1], "y");
	CU_ASSERT_EQUAL(seen.given[OPTION_ONCE].count, 1);
	CU_ASSERT_STRING_EQUAL(seen.env_file, "e");
}

static void
what_follows_two_dashes_is_an_operand(void)
{
	CU_ASSERT_EQUAL(call("-- --once"), EXIT_CODE_FAILED);
	CU_ASSERT_EQUAL(seen.given[OPTION_ONCE].count, 0);
	CU_ASSERT_STRING_EQUAL(seen.operands[0], "--once");
	CU_ASSERT_EQUAL(call("-"), EXIT_CODE_FAILED); /* a dash alone is one too */
	CU_ASSERT_STRING_EQUAL(seen.operands[0], "-");
}

static void
what_is_not_understood_is_wrong_usage_and_runs_nothing(void)
{
	static const char *const lines[] = { "", "a b c", "a --frob", "a --dir", "a --once=1",
		"a --once --once", "a --on", "a -x", "a --env-file", "a --env-file x --env-file y",
		"a --dirx y" };

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		CU_ASSERT_EQUAL(call(lines[i]), EXIT_CODE_USAGE);
		CU_ASSERT_EQUAL(runs, 0);
	}
}

static void
what_may_be_repeated_may_not_be_repeated_for_ever(void)
{
	char words[TEXT_MAX] = "a";

	for (int i = 0; i < COMMAND_VALUES_MAX; i++)
		(void)strcat(words, " --dir x");
	CU_ASSERT_EQUAL(call(words), EXIT_CODE_FAILED);
	CU_ASSERT_EQUAL(seen.given[OPTION_DIR].count, COMMAND_VALUES_MAX);
	(void)strcat(words, " --dir x");
	CU_ASSERT_EQUAL(call(words), EXIT_CODE_USAGE);
}

static void
help_is_given_whatever_else_is_there(void)
{
	CU_ASSERT_EQUAL(call("--help"), EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(call("a b c -h"), EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(runs, 0);
}

UNIT_SUITE(command, TEST(options_and_operands_come_in_any_order),
    TEST(what_follows_two_dashes_is_an_operand),
    TEST(what_is_not_understood_is_wrong_usage_and_runs_nothing),
    TEST(what_may_be_repeated_may_not_be_repeated_for_ever),
    TEST(help_is_given_whatever_else_is_there));
