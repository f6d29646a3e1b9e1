/*
 * weir check: everything that is wrong with settings and endpoint files, all at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/engines.h"
#include "base/fault.h"
#include "client/redis.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/reach.h"
#include "handlers/handlers.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/catalog.h"
#include "service/shards.h"
#include "service/store.h"

enum { OPTION_CONNECT };

enum { MAX_RESPONSE_BYTES = 1 << 20, RESOLVE_WAIT_MS = 5000 };

/* Prepares those of the endpoints that read, or those that write, on the one database at ${url}. */
static void
check_server(const struct config *c, const struct catalog *catalog, enum config_key key,
    const char *url, bool writes, struct fault_list *faults)
{
	const struct store_options o = {
		.url = url,
		.timeout_ms = c->db_timeout_ms,
		.max_connections = 1,
		.max_response_bytes = MAX_RESPONSE_BYTES,
	};
	const struct config_info *info = &config_infos[key];
	struct store *s = NULL;
	enum err rc = store_open(&o, &s);

	if (rc == ERR_OK) {
		store_wait(s, clock_mono_ms() + RESOLVE_WAIT_MS);
		rc = store_ping(s, clock_mono_ms() + c->db_timeout_ms);
	}
	if (rc != ERR_OK)
		fault_add(faults, info->name, 0, "%s does not answer (%s), expected a database",
		    config_shown(info, url, &faults->arena), err_name(rc));
	for (size_t i = 0; i < catalog->count && rc == ERR_OK; i++)
		if (catalog->endpoints[i]->sql.ptr != NULL &&
		    http_method_writes(catalog->endpoints[i]->method) == writes)
			store_check(s, catalog->endpoints[i], faults);
	store_close(&s);
}

/* Several are replicas, and each is asked. */
static void
check_database(const struct config *c, const struct catalog *catalog, enum config_key key,
    const char *urls, bool writes, struct fault_list *faults)
{
	struct slice rest = slice_of(urls);

	if (!config_on_postgresql(c)) { /* the name of a file may hold a comma */
		check_server(c, catalog, key, urls, writes, faults);
		return;
	}
	while (rest.ptr != NULL) {
		const char *url = arena_copy(&faults->arena, slice_trim(slice_cut(&rest, ',')));

		if (url != NULL)
			check_server(c, catalog, key, url, writes, faults);
	}
}

static void
check_redis(const struct config *c, struct fault_list *faults)
{
	const struct slice ping = SLICE("PING");
	struct redis_reply *reply;
	struct reach_redis redis;
	const enum err rc = reach_redis_open(c, &redis);

	if (rc != ERR_OK)
		fault_add(faults, "REDIS_URL", 0, "cannot be tried (%s)", err_name(rc));
	for (size_t i = 0; rc == ERR_OK && i < shards_count(redis.shards); i++) {
		const enum err pinged =
		    shards_call(redis.shards, i, &ping, 1, clock_mono_ms(), &reply);

		if (pinged != ERR_OK)
			fault_add(faults, "REDIS_URL", 0,
			    "%s does not answer (%s), expected a Redis within REDIS_TIMEOUT",
			    shards_url(redis.shards, i), err_name(pinged));
		redis_reply_free(&reply);
	}
	reach_redis_close(&redis);
}

/* Whether the brokers answer, and know the topics or may make them. */
static void
check_kafka(const struct config *c, const struct catalog *catalog, struct fault_list *faults)
{
	struct kafka_place *places;
	size_t count, members;
	const enum err rc = reach_kafka(c, catalog, &places, &count, &members);

	if (rc != ERR_OK)
		fault_add(faults, "KAFKA_BROKERS", 0, "%s does not answer (%s), expected a Kafka",
		    c->kafka_brokers, err_name(rc));
	free(places);
}

/* Nothing is made: who checks may be somebody else than who serves. */
static bool
can_be_written(const char *path, struct arena *a)
{
	const char *slash = strrchr(path, '/'), *folder;

	if (access(path, W_OK) == 0)
		return true;
	if (errno != ENOENT)
		return false;
	folder =
	    slash == path ? "/" : arena_copy(a, (struct slice){ path, (size_t)(slash - path) });
	return folder != NULL && access(folder, W_OK) == 0;
}

/* A setting that was refused already has no text. */
static void
check_places(const struct config *c, struct fault_list *faults)
{
	const char *state_dir = c->texts[CONFIG_KEY_state_dir].value,
		   *log_file = c->texts[CONFIG_KEY_log_file].value,
		   *slow_log = c->texts[CONFIG_KEY_slow_log].value;

	if (*state_dir != '\0' && !can_be_written(state_dir, &faults->arena))
		fault_add(faults, "WEIR_STATE_DIR", 0,
		    "%s cannot be made or opened (%s), expected a folder on a local disk",
		    state_dir, strerror(errno));
	if (*log_file != '\0' && !can_be_written(log_file, &faults->arena))
		fault_add(faults, "LOG_FILE", 0, "%s cannot be opened for writing (%s)", log_file,
		    strerror(errno));
	if (*slow_log != '\0' && !can_be_written(slow_log, &faults->arena))
		fault_add(faults, "WEIR_SLOW_LOG", 0, "%s cannot be opened for writing (%s)",
		    slow_log, strerror(errno));
}

static void
check_endpoints(const struct command_line *line, const struct config *c, struct fault_list *faults,
    size_t *count_out)
{
	const struct catalog *catalog = NULL;

	*count_out = 0;
	if (c->handlers == NULL || runtime_catalog(c, &handlers, NULL, faults, &catalog) != ERR_OK)
		return;
	*count_out = catalog->count;
	if (line->given[OPTION_CONNECT].count > 0 && faults->errors == 0) {
		check_database(c, catalog, CONFIG_KEY_db_read_url, c->db_read_url, false, faults);
		check_database(c, catalog, CONFIG_KEY_db_write_url, c->db_write_url, true, faults);
		if (c->redis_url != NULL)
			check_redis(c, faults);
		if (ENGINE_KAFKA && c->kafka_brokers != NULL)
			check_kafka(c, catalog, faults);
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
	if (c != NULL) {
		check_places(c, &faults);
		check_endpoints(line, c, &faults, &endpoints);
	}
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
		    "also prepare every statement on the databases, and ask every Redis and Kafka", false },
	},
	.run = run,
};
