/*
 * How commands begin.
 */
#include "cmd/begin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "runtime/worker_env.h"

enum err
begin_load(const struct command_line *line, const struct config_override *overrides,
    size_t override_count, struct fault_list *faults, struct config **out)
{
	const struct config_input in = {
		.environment = (const char *const *)environ,
		.env_file = line->env_file,
		.overrides = overrides,
		.override_count = override_count,
	};

	return config_load(&in, faults, out);
}

enum err
begin_log(const struct config *c, struct fault_list *faults)
{
	const struct log_options o = {
		.level = (enum log_level)c->log_level,
		.text = c->log_format == 1,
		.file = c->log_file,
	};
	const enum err rc = log_open(&o);

	if (rc != ERR_OK)
		fault_add(faults, "LOG_FILE", 0, "%s cannot be opened for writing (%s)",
		    c->log_file, strerror(errno));
	return rc == ERR_OK ? ERR_OK : ERR_INVALID;
}

/* Only whether it can be: the workers open it themselves. */
static enum err
try_slow_log(const struct config *c, struct fault_list *faults)
{
	struct log_file *f = NULL;
	enum err rc = ERR_OK;

	if (c->slow_log != NULL && c->slow_ms > 0)
		rc = log_file_open(c->slow_log, &f);
	if (rc != ERR_OK)
		fault_add(faults, "WEIR_SLOW_LOG", 0, "%s cannot be opened for writing (%s)",
		    c->slow_log, strerror(errno));
	log_file_close(&f);
	return rc == ERR_OK ? ERR_OK : ERR_INVALID;
}

enum exit_code
begin_command(const struct command_line *line, const struct config_override *overrides,
    size_t override_count, struct config **out)
{
	struct fault_list faults;
	enum err rc;

	fault_init(&faults);
	rc = begin_load(line, overrides, override_count, &faults, out);
	if (rc == ERR_OK)
		rc = begin_log(*out, &faults);
	if (rc == ERR_OK)
		rc = try_slow_log(*out, &faults);
	if (rc == ERR_OK) {
		fault_print(&faults, STDERR_FILENO); /* warnings */
		fault_free(&faults);
		return EXIT_CODE_DONE;
	}
	config_free(out);
	return begin_failed(rc, &faults);
}

enum exit_code
begin_failed(enum err rc, struct fault_list *faults)
{
	fault_print(faults, STDERR_FILENO);
	if (faults->errors == 0)
		(void)fprintf(stderr, "weir: failed (%s)\n", err_name(rc));
	fault_free(faults);
	return rc == ERR_INVALID || rc == ERR_DENIED ? EXIT_CODE_CONFIG : EXIT_CODE_FAILED;
}

enum exit_code
begin_nothing_runs(const struct config *c)
{
	(void)fprintf(stderr, "weir: nothing is running on the state folder %s\n", c->state_dir);
	return EXIT_CODE_FAILED;
}

int
begin_lifeline(void)
{
	const char *number = getenv(WORKER_ENV_LIFELINE);
	struct stat st;

	if (number == NULL)
		return -1;
	(void)unsetenv(WORKER_ENV_LIFELINE);
	return fstat(WORKER_LIFELINE_FD, &st) == 0 && S_ISFIFO(st.st_mode) ? WORKER_LIFELINE_FD
									   : -1;
}
