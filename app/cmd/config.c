/*
 * weir config: every setting, its value, where that came from, its default and meaning.
 */
#include "runtime/config.h"

#include <stdio.h>

#include "base/str.h"
#include "client/kafka.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "service/otel_settings.h"

enum { OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 1 << 20 };

static void
add_text(struct strbuf *b, const struct config_info *info, const struct config_text *text,
    const char *shown, struct arena *a)
{
	strbuf_addf(
	    b, "%s = %s  (%s)\n", info->name, *shown == '\0' ? "(not set)" : shown, text->origin);
	strbuf_addf(b, "    %s\n    expected %s; default %s\n", info->help,
	    config_expected(info, a), *info->fallback == '\0' ? "none" : info->fallback);
}

static void
add_member(struct strbuf *b, const char *name, const char *value)
{
	strbuf_add_json(b, slice_of(name));
	strbuf_add_char(b, ':');
	strbuf_add_json(b, slice_of(value));
}

/* A setting of somebody else's, whose default and meaning that one tells. */
static void
add_foreign(struct strbuf *b, const char *name, const char *shown, const char *origin,
    const char *fallback, const char *help, bool json)
{
	if (!json) {
		strbuf_addf(b, "%s = %s  (%s)\n    %s\n", name, shown, origin, help);
		return;
	}
	strbuf_add_cstr(b, ",\n {");
	add_member(b, "name", name);
	strbuf_add_char(b, ',');
	add_member(b, "value", shown);
	strbuf_add_char(b, ',');
	add_member(b, "origin", origin);
	strbuf_add_char(b, ',');
	add_member(b, "default", fallback);
	strbuf_add_char(b, ',');
	add_member(b, "meaning", help);
	strbuf_add_char(b, '}');
}

/* KAFKA_CONFIG_*, those that are set. */
static void
add_kafka(struct strbuf *b, const struct config *c, size_t i, bool json, struct arena *a)
{
	const struct config_kafka_text *t = &c->kafka_texts[i];

	add_foreign(b, t->name, t->shown, t->origin, "",
	    arena_printf(a, "Passed to librdkafka as %s.", c->kafka_settings[i].name), json);
}

static void
add_json(struct strbuf *b, const struct config_info *info, const struct config_text *text,
    const char *shown, struct arena *a)
{
	strbuf_add_cstr(b, b->len == 0 ? "[{" : ",\n {");
	add_member(b, "name", info->name);
	strbuf_add_char(b, ',');
	add_member(b, "value", shown);
	strbuf_add_char(b, ',');
	add_member(b, "origin", text->origin);
	strbuf_add_char(b, ',');
	add_member(b, "default", info->fallback);
	strbuf_add_char(b, ',');
	add_member(b, "expected", config_expected(info, a));
	strbuf_add_char(b, ',');
	add_member(b, "meaning", info->help);
	strbuf_add_char(b, '}');
}

/* OpenTelemetry's variables, those that are set. */
static void
add_otel(struct strbuf *b, const struct otel_variable *v, bool json, struct arena *a)
{
	const struct slice name = slice_of(v->name);
	const struct otel_doc *doc = otel_doc_of(name);
	const char *help = doc == NULL ? "weir does not know it." : doc->help;
	const char *shown = otel_is_secret(name) ? "***" : v->value;
	const char *origin = v->line == 0 ? v->where : arena_printf(a, "%s:%u", v->where, v->line);

	add_foreign(b, v->name, shown, origin, doc == NULL ? "" : doc->fallback, help, json);
}

static enum exit_code
print(const struct config *c, bool json)
{
	struct strbuf b = STRBUF_INIT(OUTPUT_BYTES_MAX);
	struct arena a;
	enum exit_code rc = EXIT_CODE_FAILED;

	arena_init(&a, OUTPUT_BYTES_MAX);
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		(json ? add_json : add_text)(&b, &config_infos[i], &c->texts[i],
		    config_shown(&config_infos[i], c->texts[i].value, &a), &a);
	for (size_t i = 0; i < c->kafka_setting_count; i++)
		add_kafka(&b, c, i, json, &a);
	for (size_t i = 0; i < c->otel_variable_count; i++)
		add_otel(&b, &c->otel_variables[i], json, &a);
	strbuf_add_cstr(&b, json ? "]\n" : "");
	if (!a.overflowed)
		rc = command_print(&b);
	arena_free(&a);
	strbuf_free(&b);
	return rc;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	if (rc == EXIT_CODE_DONE)
		rc = print(c, line->given[OPTION_JSON].count > 0);
	config_free(&c);
	return rc;
}

const struct command command_config = {
	.name = "config",
	.operands = "",
	.summary = "Prints every setting: value, where it came from, default, meaning",
	.help = "",
	.options = { [OPTION_JSON] = { "--json", NULL, "as JSON", false } },
	.run = run,
};
