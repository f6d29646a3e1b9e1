/*
 * weir as a CGI program: one request, and then for a second what waits to be applied.
 *
 * The applying is another process: a front waits for the one that it has started, and ends it.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "client/cgi.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/config.h"
#include "runtime/edits.h"
#include "runtime/errand.h"
#include "runtime/exposure.h"
#include "runtime/signals.h"
#include "service/web_root.h"

/* Only what tells a CGI request from a command line; settings stay. */
static void
forget_request(void)
{
	(void)unsetenv("GATEWAY_INTERFACE");
	(void)unsetenv("REQUEST_METHOD");
}

static void
apply_behind(void)
{
	static char program[] = "weir", consume[] = "consume", behind[] = "--behind";
	char *argv[] = { program, consume, behind, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid;

	(void)sigemptyset(&none);
	if (posix_spawn_file_actions_init(&files) != 0 || posix_spawnattr_init(&attributes) != 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	forget_request();
	(void)posix_spawn(&pid, "/proc/self/exe", &files, &attributes, argv, environ);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&files);
}

static enum err
answer(struct config *c, struct cgi *cgi, struct fault_list *faults, bool *waiting_out)
{
	struct errand_options o = { .config = c,
		.handlers = &handlers,
		.cgi = cgi,
		.environment = (const char *const *)environ,
		.faults = faults };
	struct edits edits;
	enum err rc = edits_open(c, &handlers, faults, &edits);

	if (rc == ERR_OK)
		rc = handler_files_store(&edits.good, &c->files_fd);
	if (rc == ERR_OK)
		rc = exposure_open(c, NULL, &o.web_root);
	if (rc == ERR_OK)
		rc = errand_run(&o, waiting_out);
	if (rc == ERR_OK)
		edits_keep_at(&edits, c->state_dir);
	web_root_close(&o.web_root);
	if (c->files_fd != -1)
		(void)close(c->files_fd);
	edits_close(&edits);
	return rc;
}

static void
say(const struct fault_list *faults)
{
	for (size_t i = 0; i < faults->count; i++)
		if (!faults->items[i].warning)
			log_error("cannot_work", LOG_STR("file", faults->items[i].file),
			    LOG_INT("line", faults->items[i].line),
			    LOG_STR("reason", faults->items[i].text));
}

enum exit_code
command_answer_cgi(void)
{
	const struct command_line line = { .command = NULL };
	const char *const *environment = (const char *const *)environ;
	struct config *c = NULL;
	struct fault_list faults;
	bool waiting = false;
	struct cgi cgi;
	int signal_fd;
	enum err rc;

	/* A front that has its answer ends us; what is to be done after it is short. */
	if (signals_open(&signal_fd) == ERR_OK)
		(void)close(signal_fd);
	fault_init(&faults);
	cgi_open(&cgi, environment, STDIN_FILENO, STDOUT_FILENO);
	rc = begin_load(&line, NULL, 0, &faults, &c);
	if (rc == ERR_OK)
		rc = begin_log(c, &faults);
	if (rc == ERR_OK)
		rc = answer(c, &cgi, &faults, &waiting);
	if (rc != ERR_OK) {
		say(&faults);
		errand_apologise(&cgi, environment);
	}
	if (waiting)
		apply_behind();
	config_free(&c);
	fault_free(&faults);
	return EXIT_CODE_DONE; /* what else could it tell whom? */
}
