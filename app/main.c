/*
 * weir: one binary.  The commands are one table, cmd/commands.inc; what each does is in app/cmd/.
 */
#include <nss.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "client/cgi.h"
#include "client/fcgi.h"
#include "cmd/command.h"
#include "cmd/version.h"

static const struct command *const commands[] = {
#include "cmd/commands.inc"
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static enum exit_code
usage(FILE *out)
{
	(void)fprintf(out, "usage: weir COMMAND [options]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		(void)fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	(void)fprintf(out, "\n`weir COMMAND --help` explains each, `weir --version` what this weir "
			   "is built with.\n");
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

/* A static glibc has these lookups built in.  For any other it would load the modules of this host, which fit another
 * glibc: what comes of that is a crash. */
static void
keep_to_built_in_lookups(void)
{
	(void)__nss_configure_lookup("hosts", "files dns");
	(void)__nss_configure_lookup("group", "files");
	(void)__nss_configure_lookup("services", "files");
}

int
main(int argc, char *argv[])
{
	static char worker[] = "worker";
	char *alone[] = { worker, NULL };

	if (WEIR_STATIC)
		keep_to_built_in_lookups();
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
	if (strcmp(argv[1], "--version") == 0)
		return (int)version_print();
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i]->name) == 0)
			return (int)command_run(commands[i], argc - 1, argv + 1);
	return (int)unknown(argv[1]);
}
