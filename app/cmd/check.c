/*
 * weir check: everything that is wrong with settings and endpoint files, all at once.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/catalog.h"
#include "service/store.h"

enum { OPTION_CONNECT };

enum { MAX_RESPONSE_BYTES = 1 << 20 };

/* Prepares ${which} of the endpoints, those that read or those that write, on the database at ${url}. */
static void
check_database(const struct config *c, const struct catalog *catalog, const char *setting,
    const char *url, bool writes, struct fault_list *faults)
{
	const struct store_options o = {
		.url = url,
		.timeout_ms = c->db_timeout_ms,
		.max_connections = 1,
		.max_response_bytes = MAX_RESPONSE_BYTES,
	};
	struct store *s = NULL;
	enum err rc = store_open(&o, &s);

	if (rc == ERR_OK)
		rc = store_ping(s, clock_mono_ms() + c->db_timeout_ms);
	if (rc != ERR_OK)
		fault_add(faults, setting, 0, "the database does not answer (%s)", err_name(rc));
	for (size_t i = 0; i < catalog->count && rc == ERR_OK; i++)
		if (catalog->endpoints[i]->sql.ptr != NULL &&
		    http_method_writes(catalog->endpoints[i]->method) == writes)
			store_check(s, catalog->endpoints[i], faults);
	store_close(&s);
}

static void
check_endpoints(const struct command_line *line, const struct config *c, struct fault_list *faults,
    size_t *count_out)
{
	const struct catalog *catalog = NULL;

	*count_out = 0;
	if (c->handlers == NULL || runtime_catalog(c, &handlers, faults, &catalog) != ERR_OK)
		return;
	*count_out = catalog->count;
	if (line->given[OPTION_CONNECT].count > 0 && faults->errors == 0) {
		check_database(c, catalog, "DB_READ_URL", c->db_read_url, false, faults);
		check_database(c, catalog, "DB_WRITE_URL", c->db_write_url, true, faults);
	}
	catalog_release(&catalog);
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	struct fault_list faults;
	size_t endpoints = 0;
	enum exit_code rc = EXIT_CODE_CONFIG;

	fault_init(&faults);
	(void)begin_load(line, NULL, 0, &faults, &c);
	if (c != NULL)
		check_endpoints(line, c, &faults, &endpoints);
	fault_print(&faults, STDOUT_FILENO);
	if (faults.errors == 0 && c != NULL) {
		(void)printf("%zu endpoints, no faults\n", endpoints);
		rc = EXIT_CODE_DONE;
	}
	fault_free(&faults);
	config_free(&c);
	return rc;
}

const struct command command_check = {
	.name = "check",
	.operands = "",
	.summary = "Validates settings and every endpoint file",
	.help = "All faults at once, one a line: `file:line: what, and what was expected`.  Exit code 78\n"
		"when there is one.\n",
	.options = {
		[OPTION_CONNECT] = { "--connect", NULL,
		    "also prepare every statement on the databases", false },
	},
	.run = run,
};
