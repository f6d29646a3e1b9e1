/*
 * Prints the tables of the manual pages from the tables of the code, as man(7) source: gen_man
 * commands|settings|directives.
 */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "cmd/command.h"
#include "runtime/config.h"
#include "service/front_matter.h"

enum { ARENA_BYTES = 1 << 20 };

static const struct command *const commands[] = {
#include "cmd/commands.inc"
};

/* Text in which nothing is a request of roff; what stands between backquotes is bold. */
static void
put(const char *text)
{
	bool bold = false;

	if (*text == '.' || *text == '\'')
		(void)fputs("\\&", stdout);
	for (; *text != '\0'; text++)
		if (*text == '`') {
			(void)fputs(bold ? "\\fR" : "\\fB", stdout);
			bold = !bold;
		} else if (*text == '\\')
			(void)fputs("\\e", stdout);
		else if (*text == '-')
			(void)fputs("\\-", stdout);
		else if (*text == '\'')
			(void)fputs("\\(aq", stdout);
		else if (strncmp(text, "…", strlen("…")) == 0) {
			(void)fputs("...", stdout);
			text += strlen("…") - 1;
		} else
			(void)putchar(*text);
}

static void
put_line(const char *text)
{
	put(text);
	(void)putchar('\n');
}

static void
put_bold(const char *text)
{
	(void)fputs("\\fB", stdout);
	put(text);
	(void)fputs("\\fR", stdout);
}

/* The paragraphs of a command's help, each line of which ends in a newline.  roff breaks a line that begins with a
 * space, so what is indented there stays as it is. */
static void
put_help(const char *help)
{
	while (*help != '\0') {
		const char *end = strchr(help, '\n');
		char line[512];

		(void)snprintf(line, sizeof line, "%.*s", (int)(end - help), help);
		if (*line == '\0')
			(void)puts(".PP");
		else
			put_line(line);
		help = end + 1;
	}
}

static void
put_option(const char *name, const char *value, const char *help, bool repeatable)
{
	(void)puts(".TP");
	put_bold(name);
	if (value != NULL) {
		(void)fputs(" \\fI", stdout);
		put(value);
		(void)fputs("\\fR", stdout);
	}
	(void)putchar('\n');
	put(help);
	(void)puts(repeatable ? " (may be repeated)." : ".");
}

static void
put_command(const struct command *c)
{
	(void)fputs(".SS ", stdout);
	(void)printf("\"weir %s", c->name);
	if (*c->operands != '\0') {
		(void)putchar(' ');
		put(c->operands);
	}
	(void)puts("\"");
	put(c->summary);
	(void)puts(".");
	if (*c->help != '\0') {
		(void)puts(".PP");
		put_help(c->help);
	}
	for (size_t i = 0; i < COMMAND_OPTIONS_MAX && c->options[i].name != NULL; i++)
		if (c->options[i].help != NULL)
			put_option(c->options[i].name, c->options[i].value, c->options[i].help,
			    c->options[i].repeatable);
}

static int
print_commands(void)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		put_command(commands[i]);
	return 0;
}

static int
print_settings(void)
{
	struct arena a;

	arena_init(&a, ARENA_BYTES);
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const struct config_info *info = &config_infos[i];

		(void)puts(".TP");
		put_bold(info->name);
		(void)putchar('\n');
		put_line(info->help);
		(void)fputs("Takes ", stdout);
		put(config_expected(info, &a));
		(void)fputs(*info->fallback == '\0' ? "" : ".\nDefault: ", stdout);
		put(info->fallback);
		(void)puts(".");
	}
	arena_free(&a);
	return 0;
}

static int
print_directives(void)
{
	size_t count;
	const struct directive_doc *docs = front_matter_docs(&count);

	for (size_t i = 0; i < count; i++) {
		(void)puts(".TP");
		put_bold(docs[i].name);
		(void)fputs(": \\fI", stdout);
		put(docs[i].form);
		(void)puts("\\fR");
		put_line(docs[i].help);
		if (docs[i].later || *docs[i].fallback != '\0') {
			(void)fputs("Default: ", stdout);
			put(docs[i].later ? "comes with a later version" : docs[i].fallback);
			(void)puts(".");
		}
	}
	return 0;
}

int
main(int argc, char *argv[])
{
	const char *what = argc == 2 ? argv[1] : "";

	if (strcmp(what, "commands") == 0)
		return print_commands();
	if (strcmp(what, "settings") == 0)
		return print_settings();
	if (strcmp(what, "directives") == 0)
		return print_directives();
	(void)fprintf(stderr, "usage: gen_man commands|settings|directives\n");
	return 2;
}
