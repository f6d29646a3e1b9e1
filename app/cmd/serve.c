/*
 * weir serve: settings and endpoint files are checked whole, then the supervisor takes over.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/str.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/handover.h"
#include "runtime/runtime.h"
#include "runtime/supervisor.h"
#include "service/catalog.h"
#include "service/handler_files.h"

enum { OPTION_LISTEN, OPTION_HANDLERS, OPTION_NO_CONSUMER, OPTION_NO_MIGRATE };

enum { OVERRIDES_MAX = 3, FOLDERS_BYTES_MAX = 64 * 1024 };

/* What the settings are read from, now and again. */
struct source {
	const struct command_line *line;
	const struct config_override *overrides;
	size_t count;
	const struct handover *inherited; /* NULL: a first start */
};

/* A worker would find what is wrong too, but a person wants it now, and all; and all workers are to have the same files. */
static enum err
check_endpoints(const struct config *c, struct fault_list *faults, int *files_fd_out)
{
	const struct catalog *catalog = NULL;
	struct handler_files files;
	enum err rc = runtime_files(c, faults, &files);

	if (rc == ERR_OK)
		rc = runtime_catalog(c, &handlers, &files, faults, &catalog);
	if (rc == ERR_OK && faults->errors > 0)
		rc = ERR_INVALID;
	if (rc == ERR_OK)
		rc = handler_files_store(&files, files_fd_out);
	catalog_release(&catalog);
	handler_files_free(&files);
	return rc;
}

static enum err
load_again(void *ctx, struct fault_list *faults, struct config **out, int *files_fd_out)
{
	const struct source *s = ctx;
	enum err rc = begin_load(s->line, s->overrides, s->count, faults, out);

	if (rc == ERR_OK)
		rc = check_endpoints(*out, faults, files_fd_out);
	return rc;
}

static enum exit_code
supervise(struct source *source, const struct config *c)
{
	struct supervisor_options o = {
		.config = c,
		.inherited = source->inherited,
		.load = load_again,
		.load_ctx = source,
		.consumer = source->line->given[OPTION_NO_CONSUMER].count == 0,
		.files_fd = -1,
	};
	struct fault_list faults;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = check_endpoints(c, &faults, &o.files_fd);
	if (rc != ERR_OK)
		return begin_failed(rc, &faults);
	fault_print(&faults, STDERR_FILENO); /* warnings */
	fault_free(&faults);
	code = (enum exit_code)supervisor_run(&o);
	(void)close(o.files_fd);
	return code;
}

static enum exit_code
serve(const struct command_line *line, const struct config_override *overrides, size_t count)
{
	struct source source = { line, overrides, count, NULL };
	struct handover inherited = { .children = NULL };
	struct config *c = NULL;
	const enum err taken =
	    handover_take(&inherited); /* before anybody asks what that name is */
	enum exit_code rc;

	if (taken == ERR_OK)
		source.inherited = &inherited;
	else if (taken != ERR_NOT_FOUND)
		return command_usage_error(line->command, "%s: not from a weir", HANDOVER_NAME);
	rc = begin_command(line, overrides, count, &c);
	if (rc == EXIT_CODE_DONE)
		rc = supervise(&source, c);
	config_free(&c);
	handover_free(&inherited);
	return rc;
}

static void
join_folders(const struct command_given *g, struct strbuf *out)
{
	for (size_t i = 0; i < g->count; i++) {
		if (i > 0)
			strbuf_add_char(out, ':');
		strbuf_add_cstr(out, g->values[i]);
	}
	strbuf_add_char(out, '\0');
}

static enum exit_code
run(const struct command_line *line)
{
	const struct command_given *listen = &line->given[OPTION_LISTEN],
				   *folders = &line->given[OPTION_HANDLERS];
	struct strbuf joined = STRBUF_INIT(FOLDERS_BYTES_MAX);
	struct config_override overrides[OVERRIDES_MAX];
	size_t count = 0;
	enum exit_code rc;

	join_folders(folders, &joined);
	if (listen->count > 0)
		overrides[count++] = (struct config_override){ "WEIR_LISTEN", listen->values[0] };
	if (folders->count > 0)
		overrides[count++] = (struct config_override){ "WEIR_HANDLERS", joined.ptr };
	if (line->given[OPTION_NO_MIGRATE].count > 0)
		overrides[count++] = (struct config_override){ "WEIR_MIGRATE", "off" };
	rc = joined.failed ? command_usage_error(line->command, "the folders are too long")
			   : serve(line, overrides, count);
	strbuf_free(&joined);
	return rc;
}

const struct command command_serve = {
	.name = "serve",
	.operands = "",
	.summary = "Runs the supervisor, its workers and the consumer",
	.help = "Settings come from the environment and .env; `weir config` lists them.  Signals:\n"
		"TERM and INT stop fast (requests in hand are finished), QUIT stops gracefully, HUP\n"
		"reloads settings and endpoint files (what is wrong is refused, and the old ones go\n"
		"on), USR1 reopens the log, USR2 goes over to the binary that was put in our place.\n",
	.options = {
		[OPTION_LISTEN] = { "--listen", "A", "unix:PATH or HOST:PORT, as WEIR_LISTEN", false },
		[OPTION_HANDLERS] = { "--handlers", "DIR", "a folder of endpoint files", true },
		[OPTION_NO_CONSUMER] = { "--no-consumer", NULL,
		    "do not apply queued writes: `weir consume` does it elsewhere", false },
		[OPTION_NO_MIGRATE] = { "--no-migrate", NULL,
		    "do not make weir's own tables, as WEIR_MIGRATE=off", false },
	},
	.run = run,
};
