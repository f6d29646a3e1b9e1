/*
 * weir key: the API keys of tenants, in the write database.
 *
 * Looking needs nothing; add and revoke write, so they take the consumer's place meanwhile.  A new key goes to
 * stdout alone on its line, for scripts; what is said about it goes to stderr.
 */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/json_write.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "runtime/runtime.h"
#include "service/api_key.h"
#include "service/ledger.h"
#include "service/writer.h"

enum { OPTION_PLAN, OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 64 << 20, DEADLINE_MS = 10000, URL_BYTES_MAX = 64 * 1024 };

struct call {
	const struct command_line *line;
	const struct config *config;
	const struct writer_options *database;
	struct slice operand; /* a tenant or an id */
	struct slice plan;    /* absent: none */
};

struct action {
	const char *name;
	const char *operand; /* what it expects, NULL: nothing */
	bool writes;
	enum exit_code (*run)(const struct call *call);
};

static enum exit_code
failed(const char *why)
{
	(void)fprintf(stderr, "weir key: %s\n", why);
	return EXIT_CODE_FAILED;
}

/* Nothing need run for it, so what is named is where the keys are, as DB_WRITE_URL is shown. */
static enum exit_code
failed_at_database(const struct config *c, enum err rc)
{
	struct arena a;

	arena_init(&a, URL_BYTES_MAX);
	(void)fprintf(stderr, "weir key: %s: failed (%s)\n",
	    config_shown(&config_infos[CONFIG_KEY_db_write_url], c->db_write_url, &a),
	    err_name(rc));
	arena_free(&a);
	return EXIT_CODE_FAILED;
}

/* The table may not be there yet: the first key may be made before anything else has run. */
static enum err
open_writer(const struct call *call, struct writer **out, struct writer_failure *why)
{
	const enum err rc = writer_open(call->database, out, why);

	return rc == ERR_OK ? writer_migrate(*out, why) : rc;
}

static enum exit_code
show(const struct api_key_row *row, const char *key)
{
	if (printf("%s\n", key) < 0 || fflush(stdout) != 0)
		return failed("the key is made, and cannot be printed: revoke it");
	(void)fprintf(stderr,
	    "key %.*s of tenant %.*s: shown this once, for only its hash is stored\n",
	    (int)row->id.len, row->id.ptr, (int)row->tenant.len, row->tenant.ptr);
	return EXIT_CODE_DONE;
}

static enum exit_code
add(const struct call *call)
{
	char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];
	uint8_t digest[DIGEST_BYTES];
	struct api_key_row row = { .tenant = call->operand, .plan = call->plan };
	struct writer_failure why = { .message = "" };
	struct writer *w = NULL;
	enum err rc = open_writer(call, &w, &why);

	api_key_make(key, id);
	api_key_digest(slice_of(key), digest);
	row.id = slice_of(id);
	if (rc == ERR_OK)
		rc = writer_add_api_key(w, &row, digest, clock_wall_us(), &why);
	writer_close(&w);
	return rc == ERR_OK ? show(&row, key) : failed(why.message);
}

static enum exit_code
revoke(const struct call *call)
{
	struct writer_failure why = { .message = "" };
	struct writer *w = NULL;
	enum err rc = open_writer(call, &w, &why);

	if (rc == ERR_OK)
		rc = writer_revoke_api_key(w, call->operand, clock_wall_us(), &why);
	writer_close(&w);
	if (rc != ERR_OK && rc != ERR_CONFLICT)
		return failed(why.message);
	(void)printf("%.*s %s\n", (int)call->operand.len, call->operand.ptr,
	    rc == ERR_OK ? "revoked" : "was revoked before");
	return EXIT_CODE_DONE;
}

/* What another program wrote into the table may be no UTF-8. */
static void
add_text(struct strbuf *out, const char *name, struct slice value)
{
	json_write_text(out, name, utf8_valid(value, NULL) ? value : SLICE("?"));
}

static void
list_json(void *ctx, const struct api_key_row *row)
{
	struct strbuf *out = ctx;

	json_write_open(out, NULL, '{');
	add_text(out, "id", row->id);
	add_text(out, "tenant", row->tenant);
	add_text(out, "plan", row->plan);
	add_text(out, "createdAt", row->created_at);
	add_text(out, "revokedAt", row->revoked_at);
	strbuf_add_cstr(out, "}\n");
}

static void
list_text(void *ctx, const struct api_key_row *row)
{
	struct strbuf *out = ctx;
	const struct slice plan = row->plan.ptr != NULL ? row->plan : SLICE("-");
	const struct slice end = row->revoked_at.ptr != NULL ? row->revoked_at : SLICE("-");

	if (out->len == 0)
		strbuf_addf(out, "%-16s  %-27s  %-27s  %-12s  %s\n", "ID", "CREATED AT",
		    "REVOKED AT", "PLAN", "TENANT");
	strbuf_addf(out, "%-16.*s  %-27.*s  %-27.*s  %-12.*s  %.*s\n", (int)row->id.len,
	    row->id.ptr, (int)row->created_at.len, row->created_at.ptr, (int)end.len, end.ptr,
	    (int)plan.len, plan.ptr, (int)row->tenant.len, row->tenant.ptr);
}

static enum exit_code
list(const struct call *call)
{
	struct strbuf out = STRBUF_INIT(OUTPUT_BYTES_MAX);
	const bool json = call->line->given[OPTION_JSON].count > 0;
	enum exit_code code;
	struct ledger *ledger = NULL;
	enum err rc = ledger_open(call->database, 1, &ledger);

	if (rc == ERR_OK)
		rc = ledger_keys(
		    ledger, clock_mono_ms() + DEADLINE_MS, json ? list_json : list_text, &out);
	ledger_close(&ledger);
	if (rc == ERR_OK && out.failed)
		rc = ERR_TOO_LARGE;
	if (rc != ERR_OK)
		code = failed_at_database(call->config, rc);
	else
		code = command_print(&out);
	strbuf_free(&out);
	return code;
}

static const struct action actions[] = {
	{ "add", "a TENANT", true, add },
	{ "list", NULL, false, list },
	{ "revoke", "the ID of a key", true, revoke },
};

static enum exit_code
act(const struct action *a, struct call *call, const struct config *c)
{
	struct place place;
	enum exit_code code;

	if (!a->writes)
		return a->run(call);
	code = place_take(c, &place);
	if (code == EXIT_CODE_DONE)
		code = a->run(call);
	place_give(&place);
	return code;
}

static enum exit_code
act_on(const struct action *a, struct call *call, const struct config *c)
{
	struct database database;
	enum exit_code code;
	const enum err rc = runtime_database_open(c, NULL, &database);

	call->config = c;
	call->database = &database.options;
	code = rc == ERR_OK ? act(a, call, c) : failed_at_database(c, rc);
	runtime_database_close(&database);
	return code;
}

static bool
is_name(struct slice s, size_t max)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
			return false;
	return s.len >= 1 && s.len <= max && utf8_valid(s, NULL);
}

/* A whole key may stand where an id should: what was typed is not repeated. */
static enum exit_code
check_line(const struct action *a, const struct call *call)
{
	const struct command *c = call->line->command;

	if (a == NULL)
		return command_usage_error(
		    c, "%s: expected add, list or revoke", call->line->operands[0]);
	if (a->operand == NULL && call->operand.ptr != NULL)
		return command_usage_error(c, "%s takes no operand", a->name);
	if (a->operand != NULL && call->operand.ptr == NULL)
		return command_usage_error(c, "%s: expected %s", a->name, a->operand);
	if (a->run == add && !is_name(call->operand, API_KEY_TENANT_MAX))
		return command_usage_error(c,
		    "add: expected a TENANT of 1 to %d bytes of UTF-8 without control characters",
		    API_KEY_TENANT_MAX);
	if (a->run == revoke && !api_key_is_id(call->operand))
		return command_usage_error(
		    c, "revoke: expected an ID of 16 hexadecimal digits, as list shows it");
	if (call->plan.ptr != NULL && (a->run != add || !is_name(call->plan, API_KEY_PLAN_MAX)))
		return command_usage_error(
		    c, "--plan: expected with add, 1 to %d bytes of UTF-8", API_KEY_PLAN_MAX);
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
	struct call call = { .line = line,
		.operand = slice_of(line->operand_count > 1 ? line->operands[1] : NULL),
		.plan =
		    slice_of(line->given[OPTION_PLAN].count > 0 ? line->given[OPTION_PLAN].values[0]
								: NULL) };
	struct config *c = NULL;
	enum exit_code rc = check_line(a, &call);

	if (rc == EXIT_CODE_DONE)
		rc = begin_command(line, NULL, 0, &c);
	if (rc == EXIT_CODE_DONE)
		rc = act_on(a, &call, c);
	config_free(&c);
	return rc;
}

const struct command command_key = {
	.name = "key",
	.operands = "add|list|revoke [TENANT|ID]",
	.summary = "Makes, lists and revokes the API keys of tenants",
	.help = "add TENANT  makes a key and prints it, this once: only its hash is stored\n"
		"list        every key, without its secret\n"
		"revoke ID   ends it; within a second no host takes it any more\n",
	.options = {
		[OPTION_PLAN] = { "--plan", "P", "add: a word to remember with it", false },
		[OPTION_JSON] = { "--json", NULL, "list: as JSON, one a line", false },
	},
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
