#ifndef CMD_BEGIN_H
#define CMD_BEGIN_H

#include <stddef.h>

#include "base/err.h"
#include "cmd/command.h"
#include "runtime/config.h"

struct fault_list;

/*
 * How commands begin: settings, log, and the words for what went wrong.
 */

/* Loads the settings and opens the log.  All faults are printed; freed by config_free(). */
enum exit_code begin_command(const struct command_line *line,
    const struct config_override *overrides, size_t override_count, struct config **out);

/* The same without a word: faults and a config that may be incomplete are the caller's. */
enum err begin_load(const struct command_line *line, const struct config_override *overrides,
    size_t override_count, struct fault_list *faults, struct config **out);

/* Opens the log that the settings name. */
enum err begin_log(const struct config *c, struct fault_list *faults);

/* Prints and frees ${faults}; the exit code for ${rc}. */
enum exit_code begin_failed(enum err rc, struct fault_list *faults);

/* "nothing is running ..." on stderr. */
enum exit_code begin_nothing_runs(const struct config *c);

/* The descriptor on which the supervisor's death shows, -1 when somebody else started us.  Once a process. */
int begin_lifeline(void);

#endif
