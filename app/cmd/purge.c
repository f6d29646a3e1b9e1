/*
 * weir purge: drops cached copies of every host by tag, by path, or all.
 */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "runtime/runtime.h"

enum { OPTION_PATH, OPTION_ALL };

enum { ARENA_BYTES = 64 * 1024 };

/* Absent where ${path} does not lie below ${base}. */
static struct slice
behind(struct slice base, struct slice path)
{
	if (base.len == 0 || path.len <= base.len || memcmp(path.ptr, base.ptr, base.len) != 0 ||
	    path.ptr[base.len] != '/')
		return (struct slice){ NULL, 0 };
	return (struct slice){ path.ptr + base.len, path.len - base.len };
}

/* Copies know their path as endpoint files have it, people as clients do; one that could be either is both, for a
 * purge may take too much and never too little. */
static enum exit_code
purge_path(
    const struct command_line *line, const struct cache *cache, struct slice base, const char *path)
{
	const struct slice inner = behind(base, slice_of(path));
	const char *why = "no memory";
	struct arena a;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	rc = cache_purge_path(cache, slice_of(path), &a, &why);
	if (rc == ERR_OK && inner.ptr != NULL)
		rc = cache_purge_path(cache, inner, &a, &why);
	if (rc != ERR_OK)
		(void)fprintf(stderr, "weir %s: %s: %s\n", line->command->name, path, why);
	arena_free(&a);
	return rc == ERR_OK ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

static enum exit_code
purge(const struct command_line *line, const struct cache *cache, struct slice base)
{
	const struct command_given *paths = &line->given[OPTION_PATH];
	enum exit_code rc = EXIT_CODE_DONE;

	if (line->given[OPTION_ALL].count > 0)
		cache_purge_all(cache, 0);
	for (size_t i = 0; i < line->operand_count; i++)
		cache_purge_tag(cache, slice_of(line->operands[i]));
	for (size_t i = 0; i < paths->count; i++)
		if (purge_path(line, cache, base, paths->values[i]) != EXIT_CODE_DONE)
			rc = EXIT_CODE_FAILED;
	if (cache_purge_send(cache) != ERR_OK) {
		(void)fprintf(stderr,
		    "weir %s: a Redis of REDIS_URL does not answer; the other hosts are told when "
		    "it does\n",
		    line->command->name);
		rc = EXIT_CODE_FAILED;
	}
	return rc;
}

static enum exit_code
join_and_purge(const struct command_line *line, const struct config *c)
{
	struct fault_list faults;
	struct runtime rt;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_open(c, NULL, RUNTIME_SEGMENT | RUNTIME_REDIS | RUNTIME_JOIN, 0, &faults, &rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	if (rc == ERR_NOT_FOUND)
		return begin_nothing_runs(c);
	code = purge(line, &rt.cache, slice_of(c->base_path));
	runtime_close(&rt);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc;

	if (line->operand_count + line->given[OPTION_PATH].count + line->given[OPTION_ALL].count ==
	    0)
		return command_usage_error(line->command, "expected TAG..., --path P or --all");
	rc = begin_command(line, NULL, 0, &c);
	if (rc == EXIT_CODE_DONE)
		rc = join_and_purge(line, c);
	config_free(&c);
	return rc;
}

const struct command command_purge = {
	.name = "purge",
	.operands = "TAG...",
	.summary = "Drops cached copies",
	.help = "Takes effect at once; what is being queried at this moment is not kept either.\n",
	.options = {
		[OPTION_PATH] = { "--path", "P", "all copies of this path, with or without WEIR_BASE_PATH", true },
		[OPTION_ALL] = { "--all", NULL, "everything", false },
	},
	.operands_max = 1000,
	.run = run,
};
