/*
 * weir dlq: the dead letters of the write database.
 *
 * Looking needs nothing; retry and drop write, so they take the consumer's place meanwhile.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "handlers/handlers.h"
#include "runtime/runtime.h"
#include "service/catalog.h"
#include "service/dead_letters.h"

enum { OPTION_ALL, OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 64 << 20, PROGRESS_MS = 1000, URL_BYTES_MAX = 64 * 1024 };

struct call {
	const struct command_line *line;
	const struct config *config;
	struct database database;
	struct slice id; /* absent: all */
};

struct action {
	const char *name;
	bool needs_id;	   /* show: one, and not all */
	bool needs_choice; /* drop: an id or --all, never by default */
	bool writes;
	enum exit_code (*run)(const struct call *call);
};

/* The write database as it may be shown. */
static const char *
database_shown(const struct config *c, struct arena *a)
{
	return config_shown(&config_infos[CONFIG_KEY_db_write_url], c->db_write_url, a);
}

static void
say_failure(enum err rc, const struct config *c)
{
	struct arena a;

	arena_init(&a, URL_BYTES_MAX);
	(void)fprintf(stderr, "weir dlq: %s: failed (%s)\n", database_shown(c, &a), err_name(rc));
	arena_free(&a);
}

static enum exit_code
failed(enum err rc, const struct call *call)
{
	const struct slice id = call->id;

	if (id.ptr != NULL && rc == ERR_INVALID)
		return command_usage_error(
		    call->line->command, "%.*s is not the id of an event", (int)id.len, id.ptr);
	if (id.ptr != NULL && rc == ERR_NOT_FOUND)
		(void)fprintf(
		    stderr, "weir dlq: there is no dead letter %.*s\n", (int)id.len, id.ptr);
	else
		say_failure(rc, call->config);
	return EXIT_CODE_FAILED;
}

static enum exit_code
print(enum err rc, struct strbuf *out, const struct call *call)
{
	enum exit_code code;

	if (rc == ERR_OK && out->failed)
		rc = ERR_TOO_LARGE;
	if (rc != ERR_OK)
		code = failed(rc, call);
	else
		code = command_print(out);
	strbuf_free(out);
	return code;
}

static void
add_nothing_there(struct strbuf *out, const struct config *c)
{
	struct arena a;

	arena_init(&a, URL_BYTES_MAX);
	strbuf_addf(out, "no dead letters in %s\n", database_shown(c, &a));
	arena_free(&a);
}

/* As JSON, nothing is no line. */
static enum exit_code
list(const struct call *call)
{
	struct strbuf out = STRBUF_INIT(OUTPUT_BYTES_MAX);
	const bool json = call->line->given[OPTION_JSON].count > 0;
	const enum err rc = dead_letters_list(&call->database.options, json, &out);

	if (rc == ERR_OK && out.len == 0 && !out.failed && !json)
		add_nothing_there(&out, call->config);
	return print(rc, &out, call);
}

static enum exit_code
show(const struct call *call)
{
	struct strbuf out = STRBUF_INIT(OUTPUT_BYTES_MAX);

	return print(dead_letters_show(&call->database.options, call->id, &out), &out, call);
}

static void
progress(void *ctx, uint64_t done, uint64_t total, uint64_t failures)
{
	int64_t *next_ms = ctx;
	const int64_t now_ms = clock_mono_ms();

	if (now_ms < *next_ms)
		return;
	*next_ms = now_ms + PROGRESS_MS;
	(void)fprintf(stderr, "%" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " failed\n", done, total,
	    failures);
}

static enum exit_code
retry_with(const struct call *call, const struct catalog *catalog, struct cache *cache)
{
	int64_t next_ms = clock_mono_ms() + PROGRESS_MS;
	uint64_t done = 0, failures = 0;
	const enum err rc = dead_letters_retry(&call->database.options, catalog, cache, call->id,
	    progress, &next_ms, &done, &failures);

	if (rc != ERR_OK)
		return failed(rc, call);
	(void)printf("%" PRIu64 " applied, %" PRIu64 " failed again\n", done, failures);
	return failures == 0 ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

/* The cache is purged where there is one; without a running server nothing is cached. */
static enum exit_code
retry(const struct call *call)
{
	const struct catalog *catalog = NULL;
	struct fault_list faults;
	struct runtime rt;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_catalog(call->config, &handlers, NULL, &faults, &catalog);
	if (rc != ERR_OK)
		return begin_failed(rc, &faults);
	rc = runtime_open(
	    call->config, NULL, RUNTIME_SEGMENT | RUNTIME_REDIS | RUNTIME_JOIN, 0, &faults, &rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND) {
		catalog_release(&catalog);
		return begin_failed(rc, &faults);
	}
	fault_free(&faults);
	code = retry_with(call, catalog, rc == ERR_OK ? &rt.cache : NULL);
	if (rc == ERR_OK)
		runtime_close(&rt);
	catalog_release(&catalog);
	return code;
}

static enum exit_code
drop(const struct call *call)
{
	uint64_t dropped = 0;
	const enum err rc = dead_letters_drop(&call->database.options, call->id, &dropped);

	if (rc != ERR_OK)
		return failed(rc, call);
	(void)printf("%" PRIu64 " dropped\n", dropped);
	return EXIT_CODE_DONE;
}

static const struct action actions[] = {
	{ "list", false, false, false, list },
	{ "show", true, false, false, show },
	{ "retry", false, false, true, retry },
	{ "drop", false, true, true, drop },
};

static enum exit_code
act(const struct action *a, const struct call *call)
{
	struct place place;
	enum exit_code rc;

	if (!a->writes)
		return a->run(call);
	rc = place_take(call->config, &place);
	if (rc == EXIT_CODE_DONE)
		rc = a->run(call);
	place_give(&place);
	return rc;
}

static enum exit_code
open_and_act(const struct action *a, struct call *call)
{
	const enum err rc = runtime_database_open(call->config, NULL, &call->database);
	enum exit_code code;

	if (rc != ERR_OK) {
		say_failure(rc, call->config);
		return EXIT_CODE_FAILED;
	}
	code = act(a, call);
	runtime_database_close(&call->database);
	return code;
}

static enum exit_code
check_line(const struct command_line *line, const struct action *a)
{
	const bool id = line->operand_count > 1, all = line->given[OPTION_ALL].count > 0;

	if (a == NULL)
		return command_usage_error(
		    line->command, "%s: expected list, show, retry or drop", line->operands[0]);
	if (id && all)
		return command_usage_error(line->command, "expected an ID or --all, not both");
	if (a->needs_id && !id)
		return command_usage_error(line->command, "%s: expected an ID", a->name);
	if (a->needs_choice && !id && !all)
		return command_usage_error(line->command, "%s: expected an ID or --all", a->name);
	if (a->run == list && (id || all))
		return command_usage_error(line->command, "list takes neither an ID nor --all");
	return EXIT_CODE_DONE;
}

static const struct action *
find(const char *name)
{
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return NULL;
}

static enum exit_code
run(const struct command_line *line)
{
	const struct action *a = find(line->operands[0]);
	struct call call = { .line = line };
	struct config *c = NULL;
	enum exit_code rc = check_line(line, a);

	if (rc == EXIT_CODE_DONE)
		rc = begin_command(line, NULL, 0, &c);
	if (rc == EXIT_CODE_DONE) {
		call.config = c;
		call.id = slice_of(line->operand_count > 1 ? line->operands[1] : NULL);
		rc = open_and_act(a, &call);
	}
	config_free(&c);
	return rc;
}

const struct command command_dlq = {
	.name = "dlq",
	.operands = "list|show|retry|drop [ID]",
	.summary = "Looks at, retries and drops dead letters",
	.help = "list        every dead letter, with its reason\n"
		"show ID     one of them, with its parameters\n"
		"retry [ID]  applies it, or all, again\n"
		"drop ID     removes it for good; --all removes all\n",
	.options = {
		[OPTION_ALL] = { "--all", NULL, "retry, drop: every dead letter", false },
		[OPTION_JSON] = { "--json", NULL, "list: as JSON, one a line", false },
	},
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
