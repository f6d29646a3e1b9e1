/*
 * weir status: what runs on this host, read from the segment and the spool; nothing is asked of the processes
 * that it tells about, and no supervisor has to live.
 */
#include "base/fault.h"
#include "base/str.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "runtime/exposition.h"
#include "runtime/runtime.h"
#include "runtime/snapshot.h"

enum { OPTION_JSON, OPTION_FULL, OPTION_METRICS };

enum { OUTPUT_BYTES_MAX = 4 << 20 };

static enum exit_code
print(const struct command_line *line, const struct runtime *rt, const struct snapshot *s)
{
	const bool full = line->given[OPTION_FULL].count > 0;
	struct strbuf b = STRBUF_INIT(OUTPUT_BYTES_MAX);
	enum exit_code rc;

	if (line->given[OPTION_METRICS].count > 0)
		exposition_write(rt, s, PROMETHEUS_TEXT, &b);
	else if (line->given[OPTION_JSON].count > 0)
		snapshot_json(s, full, &b);
	else
		snapshot_text(s, full, &b);
	rc = command_print(&b);
	strbuf_free(&b);
	return rc;
}

static enum exit_code
look(const struct command_line *line, const struct runtime *rt)
{
	struct snapshot *s = snapshot_new();
	enum exit_code code = EXIT_CODE_FAILED;

	if (s == NULL)
		return code;
	snapshot_gather(rt, s);
	if (s->member_count == 0)
		code = begin_nothing_runs(rt->config);
	else
		code = print(line, rt, s);
	snapshot_free(&s);
	return code;
}

static enum exit_code
status(const struct command_line *line, const struct config *c)
{
	struct fault_list faults;
	struct runtime rt;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_open(c, NULL, RUNTIME_SEGMENT | RUNTIME_QUEUE | RUNTIME_JOIN, 0, &faults, &rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	if (rc == ERR_NOT_FOUND)
		return begin_nothing_runs(c);
	code = look(line, &rt);
	runtime_close(&rt);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	if (rc == EXIT_CODE_DONE)
		rc = status(line, c);
	config_free(&c);
	return rc;
}

const struct command command_status = {
	.name = "status",
	.operands = "",
	.summary = "Prints the state of everything that runs on this state folder",
	.help = "",
	.options = { [OPTION_JSON] = { "--json", NULL, "as JSON", false },
	    [OPTION_FULL] = { "--full", NULL,
		"also each busy thread, counters, settings and, as JSON, the last ten minutes",
		false },
	    [OPTION_METRICS] = { "--metrics", NULL, "what /metrics shows: text for Prometheus",
		false } },
	.run = run,
};
