/*
 * weir key: the API keys of tenants, in the write database.
 *
 * Looking needs nothing; add and revoke write, so they take the consumer's place meanwhile.  A new key goes to
 * stdout alone on its line, for scripts; what is said about it goes to stderr.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "runtime/runtime.h"
#include "service/api_key.h"
#include "service/key_table.h"
#include "service/writer.h"

enum { OPTION_PLAN, OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 64 << 20, DEADLINE_MS = 10000, URL_BYTES_MAX = 64 * 1024 };

struct call {
	const struct command_line *line;
	const struct config *config;
	struct slice operand; /* a tenant or an id */
	struct slice plan;    /* absent: none */
	struct key_table *table;
};

struct action {
	const char *name;
	const char *operand; /* what it expects, NULL: nothing */
	bool writes;
	enum exit_code (*run)(struct call *call);
};

static int64_t
deadline_ms(void)
{
	return clock_mono_ms() + DEADLINE_MS;
}

static enum exit_code
failed(const struct call *call, const char *why)
{
	struct arena a;

	arena_init(&a, URL_BYTES_MAX);
	(void)fprintf(stderr, "weir key: %s: failed (%s)\n",
	    config_shown(&config_infos[CONFIG_KEY_db_write_url], call->config->db_write_url, &a),
	    why);
	arena_free(&a);
	return EXIT_CODE_FAILED;
}

/* The first key may be made before anything else has run. */
static enum exit_code
migrate(const struct call *call)
{
	struct writer_failure why = { .message = "" };
	const struct writer_options database = runtime_database(call->config);
	struct writer *w = NULL;
	enum err rc = writer_open(&database, &w, &why);

	if (rc == ERR_OK)
		rc = writer_migrate(w, &why);
	writer_close(&w);
	return rc == ERR_OK ? EXIT_CODE_DONE : failed(call, why.message);
}

static enum exit_code
add(struct call *call)
{
	char key[API_KEY_TEXT], id[API_KEY_ID_TEXT], now[CLOCK_RFC3339_BYTES];
	uint8_t digest[DIGEST_BYTES];
	struct key_row row = { .tenant = call->operand, .plan = call->plan };
	enum err rc;

	if (migrate(call) != EXIT_CODE_DONE)
		return EXIT_CODE_FAILED;
	api_key_make(key, id);
	api_key_digest(slice_of(key), digest);
	row.id = slice_of(id);
	row.created_at = slice_of(clock_rfc3339(clock_wall_us(), now));
	rc = key_table_add(call->table, &row, digest, deadline_ms());
	if (rc != ERR_OK)
		return failed(call, err_name(rc));
	if (printf("%s\n", key) < 0 || fflush(stdout) != 0)
		return failed(call, "it is made, but could not be printed: revoke it");
	(void)fprintf(stderr, "key %s of tenant %.*s: it is shown this once, and stored hashed\n",
	    id, (int)row.tenant.len, row.tenant.ptr);
	return EXIT_CODE_DONE;
}

static void
add_value(struct strbuf *out, const char *before, struct slice value)
{
	strbuf_add_cstr(out, before);
	if (value.ptr == NULL)
		strbuf_add_cstr(out, "null");
	else
		strbuf_add_json(out, utf8_valid(value, NULL) ? value : SLICE("?"));
}

static void
list_json(void *ctx, const struct key_row *row)
{
	struct strbuf *out = ctx;

	add_value(out, "{\"id\":", row->id);
	add_value(out, ",\"tenant\":", row->tenant);
	add_value(out, ",\"plan\":", row->plan);
	add_value(out, ",\"createdAt\":", row->created_at);
	add_value(out, ",\"revokedAt\":", row->revoked_at);
	strbuf_add_cstr(out, "}\n");
}

static void
list_text(void *ctx, const struct key_row *row)
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
list(struct call *call)
{
	struct strbuf out = STRBUF_INIT(OUTPUT_BYTES_MAX);
	const bool json = call->line->given[OPTION_JSON].count > 0;
	enum err rc =
	    key_table_list(call->table, deadline_ms(), json ? list_json : list_text, &out);
	enum exit_code code = EXIT_CODE_DONE;

	if (rc == ERR_OK && out.failed)
		rc = ERR_TOO_LARGE;
	if (rc != ERR_OK)
		code = failed(call, err_name(rc));
	else if (fwrite(out.ptr, 1, out.len, stdout) != out.len)
		code = EXIT_CODE_FAILED;
	strbuf_free(&out);
	return code;
}

static enum exit_code
revoke(struct call *call)
{
	char now[CLOCK_RFC3339_BYTES];
	const enum err rc = key_table_revoke(call->table, call->operand,
	    slice_of(clock_rfc3339(clock_wall_us(), now)), deadline_ms());
	const char *id = call->line->operands[1];

	if (rc == ERR_NOT_FOUND) {
		(void)fprintf(stderr, "weir key: there is no key %s\n", id);
		return EXIT_CODE_FAILED;
	}
	if (rc != ERR_OK && rc != ERR_CONFLICT)
		return failed(call, err_name(rc));
	(void)printf("%s %s\n", id, rc == ERR_OK ? "revoked" : "was revoked before");
	return EXIT_CODE_DONE;
}

static const struct action actions[] = {
	{ "add", "a TENANT", true, add },
	{ "list", NULL, false, list },
	{ "revoke", "the ID of a key", true, revoke },
};

static enum exit_code
act(const struct action *a, struct call *call)
{
	const struct key_table_options o = { .url = call->config->db_write_url,
		.max_connections = 1 };
	struct place place;
	enum exit_code code;
	enum err rc = key_table_open(&o, &call->table);

	if (rc != ERR_OK)
		return failed(call, err_name(rc));
	if (!a->writes) {
		code = a->run(call);
	} else {
		code = place_take(call->config, &place);
		if (code == EXIT_CODE_DONE)
			code = a->run(call);
		place_give(&place);
	}
	key_table_close(&call->table);
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
	if (a->run == add && !is_name(call->operand, KEY_TENANT_MAX))
		return command_usage_error(c,
		    "add: expected a TENANT of 1 to %d bytes of UTF-8 without control characters",
		    KEY_TENANT_MAX);
	if (a->run == revoke && !api_key_is_id(call->operand))
		return command_usage_error(
		    c, "revoke: expected an ID of 16 hexadecimal digits, as list shows it");
	if (call->plan.ptr != NULL && (a->run != add || !is_name(call->plan, KEY_PLAN_MAX)))
		return command_usage_error(
		    c, "--plan: expected with add, 1 to %d bytes of UTF-8", KEY_PLAN_MAX);
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
	if (rc == EXIT_CODE_DONE) {
		call.config = c;
		rc = act(a, &call);
	}
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
