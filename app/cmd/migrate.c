/*
 * weir migrate: creates and upgrades weir's own tables, in the consumer's place.
 */
#include <stdio.h>

#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "runtime/runtime.h"
#include "service/writer.h"

static enum exit_code
migrate(const struct config *c)
{
	struct writer_failure why = { 0 };
	struct database database;
	struct writer *w = NULL;
	enum err rc = runtime_database_open(c, NULL, &database);

	if (rc == ERR_OK)
		rc = writer_open(&database.options, &w, &why);
	if (rc == ERR_OK)
		rc = writer_migrate(w, &why);
	writer_close(&w);
	runtime_database_close(&database);
	if (rc != ERR_OK) {
		(void)fprintf(stderr, "weir migrate: %s: %s\n", why.sqlstate, why.message);
		return EXIT_CODE_FAILED;
	}
	(void)printf("the tables of weir are up to date\n");
	return EXIT_CODE_DONE;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	struct place place;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	if (rc == EXIT_CODE_DONE) {
		rc = place_take(c, &place);
		if (rc == EXIT_CODE_DONE)
			rc = migrate(c);
		place_give(&place);
	}
	config_free(&c);
	return rc;
}

const struct command command_migrate = {
	.name = "migrate",
	.operands = "",
	.summary = "Creates and upgrades weir's own tables",
	.help = "The consumer does the same when it starts, unless WEIR_MIGRATE is off; a running "
		"one steps\n"
		"aside meanwhile.\n",
	.run = run,
};
