/*
 * weir worker: one worker on the FastCGI socket at descriptor 0, whoever put it there.
 */
#include "runtime/worker.h"

#include <unistd.h>

#include "base/fault.h"
#include "client/fcgi.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/config.h"
#include "runtime/unattended.h"

/* With a supervisor, which says what is wrong and starts another one. */
static enum exit_code
run_supervised(const struct command_line *line, int supervisor_fd)
{
	struct config *c = NULL;
	struct fault_list faults;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	fault_init(&faults);
	if (rc == EXIT_CODE_DONE) {
		const struct worker_options o = {
			.config = c,
			.handlers = &handlers,
			.listen_fd = STDIN_FILENO,
			.supervisor_fd = supervisor_fd,
			.faults = &faults,
		};
		const enum worker_end end = worker_run(&o);

		rc = end == WORKER_MISCONFIGURED ? EXIT_CODE_CONFIG
		     : end == WORKER_FAILED	 ? EXIT_CODE_FAILED
						 : EXIT_CODE_DONE;
		fault_print(&faults, STDERR_FILENO);
	}
	fault_free(&faults);
	config_free(&c);
	return rc;
}

static enum err
load(void *ctx, struct fault_list *faults, struct config **out)
{
	enum err rc = begin_load(ctx, NULL, 0, faults, out);

	if (rc == ERR_OK)
		rc = begin_log(*out, faults);
	return rc;
}

static enum exit_code
run(const struct command_line *line)
{
	struct command_line settings = *line;
	const struct unattended_options o = { .load = load,
		.ctx = &settings,
		.env_file = line->env_file,
		.handlers = &handlers,
		.listen_fd = STDIN_FILENO };
	int supervisor_fd;

	if (!fcgi_is_listening(STDIN_FILENO))
		return command_usage_error(
		    line->command, "descriptor 0 is not a listening socket (spawn-fcgi makes one)");
	supervisor_fd = begin_lifeline();
	if (supervisor_fd != -1)
		return run_supervised(line, supervisor_fd);
	unattended_run(&o);
	return EXIT_CODE_DONE;
}

const struct command command_worker = {
	.name = "worker",
	.operands = "",
	.summary = "Runs one worker on the FastCGI socket at descriptor 0",
	.help = "This is also what `weir` does without arguments when descriptor 0 is a listening\n"
		"socket, as spawn-fcgi, mod_fcgid, lighttpd and systemd start it.  Without a "
		"supervisor it\n"
		"ends only when it is told to: while something is wrong it answers 503, and looks "
		"again.\n",
	.run = run,
};
