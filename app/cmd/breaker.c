/*
 * weir breaker: the breakers of this host's downstreams, looked at and overridden.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "runtime/breakers.h"
#include "runtime/runtime.h"
#include "service/guard.h"

enum { OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 1 << 16 };

static const struct order {
	const char *name;
	enum breaker_force force;
} orders[] = {
	{ "open", BREAKER_FORCED_OPEN },
	{ "close", BREAKER_FORCED_CLOSED },
	{ "auto", BREAKER_AUTO },
};

/* NULL: it is to list them. */
static const struct order *
find_order(const char *name)
{
	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
		if (strcmp(orders[i].name, name) == 0)
			return &orders[i];
	return NULL;
}

static enum exit_code
list(const struct command_line *line, const struct guards *g)
{
	const int64_t now_ms = clock_mono_ms();
	struct guard_view all[GUARDS_MAX];
	const size_t count = guards_look(g, now_ms, all);
	struct strbuf b = STRBUF_INIT(OUTPUT_BYTES_MAX);
	enum exit_code rc;

	if (line->given[OPTION_JSON].count > 0) {
		breakers_json(all, count, now_ms, &b);
		strbuf_add_char(&b, '\n');
	} else if (count > 0) {
		breakers_text(all, count, now_ms, &b);
	} else {
		strbuf_add_cstr(&b, "no breakers: no other server is called\n");
	}
	rc = command_print(&b);
	strbuf_free(&b);
	return rc;
}

static enum exit_code
unknown(const struct command_line *line, const struct guards *g)
{
	struct guard_view all[GUARDS_MAX];
	const char *names[GUARDS_MAX + 1] = { NULL };
	const size_t count = guards_look(g, clock_mono_ms(), all);
	const char *near;

	for (size_t i = 0; i < count; i++)
		names[i] = all[i].name;
	near = fault_nearest(line->operands[1], names);
	(void)fprintf(stderr, "weir breaker: there is no breaker %s%s%s%s\n", line->operands[1],
	    near == NULL ? "" : ", did you mean ", near == NULL ? "" : near,
	    near == NULL ? "" : "?");
	return EXIT_CODE_FAILED;
}

static enum exit_code
act(const struct command_line *line, struct guards *g)
{
	const struct order *o = find_order(line->operands[0]);

	if (o == NULL)
		return list(line, g);
	if (guards_force(g, line->operands[1], o->force, clock_mono_ms()) == ERR_NOT_FOUND)
		return unknown(line, g);
	return EXIT_CODE_DONE;
}

static enum exit_code
join_and_act(const struct command_line *line, const struct config *c)
{
	struct fault_list faults;
	struct runtime rt;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_open(c, NULL, RUNTIME_SEGMENT | RUNTIME_JOIN, 0, &faults, &rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	if (rc == ERR_NOT_FOUND)
		return begin_nothing_runs(c);
	code = act(line, rt.guards);
	runtime_close(&rt);
	return code;
}

static enum exit_code
check_line(const struct command_line *line)
{
	const char *what = line->operands[0];
	const bool listing = strcmp(what, "list") == 0;

	if (!listing && find_order(what) == NULL)
		return command_usage_error(
		    line->command, "%s: expected list, open, close or auto", what);
	if (listing && line->operand_count > 1)
		return command_usage_error(line->command, "list takes no NAME");
	if (!listing && line->operand_count < 2)
		return command_usage_error(line->command, "%s: expected a NAME", what);
	if (!listing && line->given[OPTION_JSON].count > 0)
		return command_usage_error(line->command, "--json belongs to list");
	return EXIT_CODE_DONE;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc = check_line(line);

	if (rc == EXIT_CODE_DONE)
		rc = begin_command(line, NULL, 0, &c);
	if (rc == EXIT_CODE_DONE)
		rc = join_and_act(line, c);
	config_free(&c);
	return rc;
}

const struct command command_breaker = {
	.name = "breaker",
	.operands = "list|open|close|auto [NAME]",
	.summary = "Looks at and overrides the breakers of this host",
	.help = "list        every breaker, with its calls of the last 10 s and the share of calls "
		"that it\n"
		"            admits: after it was open, that grows from 10 % to all\n"
		"open NAME   no call passes, until it is given back\n"
		"close NAME  every call passes, until it is given back\n"
		"auto NAME   gives it back: failures open it, and probes close it\n",
	.options = { [OPTION_JSON] = { "--json", NULL, "list: as JSON", false } },
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
