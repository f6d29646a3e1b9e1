/*
 * weir: one binary.  The commands are one table; what each does is in app/cmd/.
 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "client/cgi.h"
#include "client/fcgi.h"
#include "cmd/command.h"

static const struct command *const commands[] = {
	&command_serve,
	&command_worker,
	&command_consume,
	&command_check,
	&command_config,
	&command_migrate,
	&command_status,
	&command_top,
	&command_purge,
	&command_dlq,
	&command_breaker,
	&command_key,
	&command_limit,
	&command_doctor,
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static enum exit_code
usage(FILE *out)
{
	(void)fprintf(out, "usage: weir COMMAND [options]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		(void)fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	(void)fprintf(out, "\n`weir COMMAND --help` explains each.\n");
	return out == stdout ? EXIT_CODE_DONE : EXIT_CODE_USAGE;
}

static enum exit_code
unknown(const char *name)
{
	const char *names[COMMANDS + 1] = { NULL };
	const char *near;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i]->name;
	near = fault_nearest(name, names);
	(void)fprintf(stderr, "weir: unknown command %s%s%s%s\n", name,
	    near == NULL ? "" : ", did you mean ", near == NULL ? "" : near,
	    near == NULL ? "" : "?");
	return usage(stderr);
}

int
main(int argc, char *argv[])
{
	static char worker[] = "worker";
	char *alone[] = { worker, NULL };

	(void)prctl(PR_SET_NAME, "weir"); /* children are started as /proc/self/exe */
	if (argc < 2 && fcgi_is_listening(STDIN_FILENO))
		return (int)command_run(&command_worker, 1, alone);
	/* Whatever the arguments: a front makes them of the client's query string (RFC 3875, section 4.4). */
	if (cgi_is_asked((const char *const *)environ) && !fcgi_is_listening(STDIN_FILENO))
		return (int)command_answer_cgi();
	if (argc < 2)
		return (int)usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return (int)usage(stdout);
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i]->name) == 0)
			return (int)command_run(commands[i], argc - 1, argv + 1);
	return (int)unknown(argv[1]);
}
