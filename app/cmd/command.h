#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/exit_code.h"

struct strbuf;

/*
 * One command of the command line: what it is called, what it takes, and what it does.  The table of all is
 * in app/main.c; parsing, `--help` and usage errors come from here.  `--help` and `--env-file F` belong to all.
 */
enum { COMMAND_OPTIONS_MAX = 5, COMMAND_VALUES_MAX = 16 };

struct command_option {
	const char *name;  /* "--once" */
	const char *value; /* what its value is called in the help; NULL: a switch */
	const char *help;  /* NULL: between our own processes, and not shown */
	bool repeatable;
};

/* What was given for one option, by its place in the command's table. */
struct command_given {
	size_t count;
	const char *values[COMMAND_VALUES_MAX];
};

struct command_line {
	const struct command *command;
	const char *env_file; /* NULL: not given */
	struct command_given given[COMMAND_OPTIONS_MAX];
	const char *const *operands;
	size_t operand_count;
};

struct command {
	const char *name, *operands, *summary; /* operands as in the help: "TAG..." */
	const char *help;		       /* paragraphs, each line ending in a newline */
	struct command_option options[COMMAND_OPTIONS_MAX];
	size_t operands_min, operands_max;
	enum exit_code (*run)(const struct command_line *line);
};

/* ${argv} begins with the command's own name; it is reordered, so that operands stand together. */
enum exit_code command_run(const struct command *c, int argc, char *argv[]);

/* Prints what was built, which may be nothing, to stdout.  Done, or failed: it is not whole, or nobody takes it. */
enum exit_code command_print(const struct strbuf *b);

/* Says on stderr what is wrong with the line, and how to learn more. */
enum exit_code command_usage_error(const struct command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* What `weir` does when a front server starts it as a CGI program (client/cgi.h). */
enum exit_code command_answer_cgi(void);

extern const struct command command_serve, command_worker, command_consume, command_check,
    command_config, command_migrate, command_status, command_top, command_purge, command_dlq,
    command_breaker, command_key, command_limit, command_doctor;

#endif
