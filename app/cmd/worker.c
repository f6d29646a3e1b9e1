/*
 * weir worker: one worker on the FastCGI socket at descriptor 0, whoever put it there.
 */
#include "runtime/worker.h"

#include <unistd.h>

#include "client/fcgi.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/config.h"

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc;

	if (!fcgi_is_listening(STDIN_FILENO))
		return command_usage_error(
		    line->command, "descriptor 0 is not a listening socket (spawn-fcgi makes one)");
	rc = begin_command(line, NULL, 0, &c);
	if (rc == EXIT_CODE_DONE) {
		const struct worker_options o = {
			.config = c,
			.handlers = &handlers,
			.listen_fd = STDIN_FILENO,
			.supervisor_fd = begin_lifeline(),
		};

		rc = (enum exit_code)worker_run(&o);
	}
	config_free(&c);
	return rc;
}

const struct command command_worker = {
	.name = "worker",
	.operands = "",
	.summary = "Runs one worker on the FastCGI socket at descriptor 0",
	.help = "This is also what `weir` does without arguments when descriptor 0 is a listening\n"
		"socket, as spawn-fcgi, mod_fcgid, lighttpd and systemd start it.\n",
	.run = run,
};
