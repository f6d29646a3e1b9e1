/*
 * Prints the tables of the README from the tables of the code: gen_docs settings|directives|metrics|otel.
 */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "runtime/config.h"
#include "service/front_matter.h"
#include "service/otel_settings.h"
#include "telemetry/metrics.h"

enum { ARENA_BYTES = 1 << 20 };

/* A pipe would end the cell. */
static void
put(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|')
			(void)putchar('\\');
		(void)putchar(*text);
	}
}

static void
put_code(const char *text)
{
	if (*text == '\0') {
		put("none");
		return;
	}
	(void)putchar('`');
	put(text);
	(void)putchar('`');
}

/* What is in words is not code. */
static void
put_default(const struct config_info *info)
{
	if (strchr(info->fallback, ' ') != NULL)
		put(info->fallback);
	else
		put_code(info->fallback);
}

static int
settings(void)
{
	struct arena a;

	arena_init(&a, ARENA_BYTES);
	(void)puts("| setting | default | takes | meaning |\n| --- | --- | --- | --- |");
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const struct config_info *info = &config_infos[i];

		(void)fputs("| ", stdout);
		put_code(info->name);
		(void)fputs(" | ", stdout);
		put_default(info);
		(void)fputs(" | ", stdout);
		put(config_expected(info, &a));
		(void)fputs(" | ", stdout);
		put(info->help);
		(void)puts(" |");
	}
	arena_free(&a);
	return 0;
}

static void
put_directive(const struct directive_doc *d)
{
	(void)fputs("| ", stdout);
	put_code(d->name);
	(void)fputs(" | ", stdout);
	put_code(d->form);
	(void)fputs(" | ", stdout);
	put(d->later ? "comes with a later version" : d->fallback);
	(void)fputs(" | ", stdout);
	put(d->help);
	(void)puts(" |");
}

static int
directives(void)
{
	size_t count;
	const struct directive_doc *docs = front_matter_docs(&count);

	(void)puts("| directive | form | default | meaning |\n| --- | --- | --- | --- |");
	for (size_t i = 0; i < count; i++)
		put_directive(&docs[i]);
	return 0;
}

static int
otel(void)
{
	size_t count;
	const struct otel_doc *docs = otel_docs(&count);

	(void)puts("| variable | default | meaning |\n| --- | --- | --- |");
	for (size_t i = 0; i < count; i++) {
		(void)fputs("| ", stdout);
		put_code(docs[i].name);
		(void)fputs(docs[i].signals ? " * | " : " | ", stdout);
		put_code(docs[i].fallback);
		(void)fputs(
		    docs[i].honoured ? " | " : " | No effect, said at start when it is set. ",
		    stdout);
		put(docs[i].help);
		(void)puts(" |");
	}
	return 0;
}

static int
metrics(void)
{
	static const char *const types[] = {
		[METRIC_TYPE_COUNTER] = "counter",
		[METRIC_TYPE_GAUGE] = "gauge",
		[METRIC_TYPE_HISTOGRAM] = "histogram",
		[METRIC_TYPE_INFO] = "info",
	};

	(void)puts("| metric | labels | type | unit | meaning |\n| --- | --- | --- | --- | --- |");
	for (size_t i = 0; i < FAMILY__COUNT; i++) {
		const struct family_info *f = &family_infos[i];

		(void)fputs("| ", stdout);
		put_code(f->name);
		(void)printf(" | %s | %s | %s | ", f->labels, types[f->type], f->unit);
		put(f->help);
		(void)puts(" |");
	}
	return 0;
}

int
main(int argc, char *argv[])
{
	const char *what = argc == 2 ? argv[1] : "";

	if (strcmp(what, "settings") == 0)
		return settings();
	if (strcmp(what, "directives") == 0)
		return directives();
	if (strcmp(what, "metrics") == 0)
		return metrics();
	if (strcmp(what, "otel") == 0)
		return otel();
	(void)fprintf(stderr, "usage: gen_docs settings|directives|metrics|otel\n");
	return 2;
}
