/*
 * The command line of one command: options, operands, help.
 */
#include "cmd/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const struct command_option common[] = {
	{ "--env-file", "F", "read settings from F instead of ./.env", false },
	{ "--help", NULL, "show this help", false },
};

struct parsing {
	struct command_line line;
	char **operands; /* where the next one goes in argv */
	bool help;
};

static void
print_option(const struct command_option *o)
{
	char left[40];

	(void)snprintf(left, sizeof left, "%s%s%s", o->name, o->value == NULL ? "" : " ",
	    o->value == NULL ? "" : o->value);
	(void)printf("  %-18s  %s%s\n", left, o->help, o->repeatable ? " (may be repeated)" : "");
}

static void
print_help(const struct command *c)
{
	(void)printf("usage: weir %s [options]%s%s\n\n%s.\n", c->name,
	    *c->operands == '\0' ? "" : " ", c->operands, c->summary);
	if (*c->help != '\0')
		(void)printf("\n%s", c->help);
	(void)printf("\noptions:\n");
	for (size_t i = 0; i < COMMAND_OPTIONS_MAX && c->options[i].name != NULL; i++)
		if (c->options[i].help != NULL)
			print_option(&c->options[i]);
	for (size_t i = 0; i < sizeof common / sizeof *common; i++)
		print_option(&common[i]);
}

enum exit_code
command_print(const struct strbuf *b)
{
	if (b->failed || (b->len > 0 && fwrite(b->ptr, 1, b->len, stdout) != b->len))
		return EXIT_CODE_FAILED;
	return EXIT_CODE_DONE;
}

enum exit_code
command_usage_error(const struct command *c, const char *fmt, ...)
{
	va_list ap;

	(void)fprintf(stderr, "weir %s: ", c->name);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\ntry: weir %s --help\n", c->name);
	return EXIT_CODE_USAGE;
}

/* ${arg} is "--name" or "--name=value". */
static bool
is_named(const char *arg, const char *name, const char **value_out)
{
	const size_t n = strlen(name);

	*value_out = NULL;
	if (strncmp(arg, name, n) != 0 || (arg[n] != '\0' && arg[n] != '='))
		return false;
	if (arg[n] == '=')
		*value_out = arg + n + 1;
	return true;
}

static enum exit_code
give(struct parsing *p, const struct command_option *o, const char *value, struct command_given *g)
{
	const struct command *c = p->line.command;

	if (o->value != NULL && value == NULL)
		return command_usage_error(
		    c, "%s needs a value: %s %s", o->name, o->name, o->value);
	if (o->value == NULL && value != NULL)
		return command_usage_error(c, "%s takes no value", o->name);
	if (g->count > 0 && !o->repeatable)
		return command_usage_error(c, "%s is given twice", o->name);
	if (g->count == COMMAND_VALUES_MAX)
		return command_usage_error(c, "%s is given too often", o->name);
	g->values[g->count++] = value;
	return EXIT_CODE_DONE;
}

static const struct command_option *
find_option(const struct command *c, const char *arg, const char **value_out, size_t *place_out)
{
	for (size_t i = 0; i < COMMAND_OPTIONS_MAX && c->options[i].name != NULL; i++) {
		*place_out = i;
		if (is_named(arg, c->options[i].name, value_out))
			return &c->options[i];
	}
	*place_out = COMMAND_OPTIONS_MAX;
	return is_named(arg, common[0].name, value_out) ? &common[0] : NULL;
}

/* Takes the option at *${ap} and, if it needs one, the value behind it. */
static enum exit_code
take_option(struct parsing *p, char ***ap)
{
	struct command_given env_file = { .count = p->line.env_file != NULL };
	const struct command_option *o;
	const char *value;
	size_t place;
	enum exit_code rc;

	if (strcmp(**ap, "--help") == 0 || strcmp(**ap, "-h") == 0) {
		p->help = true;
		return EXIT_CODE_DONE;
	}
	o = find_option(p->line.command, **ap, &value, &place);
	if (o == NULL)
		return command_usage_error(p->line.command, "unknown option %s", **ap);
	if (o->value != NULL && value == NULL && (*ap)[1] != NULL)
		value = *++*ap;
	rc = give(p, o, value, place == COMMAND_OPTIONS_MAX ? &env_file : &p->line.given[place]);
	if (place == COMMAND_OPTIONS_MAX && rc == EXIT_CODE_DONE)
		p->line.env_file = value;
	return rc;
}

static enum exit_code
parse(struct parsing *p, char **argv)
{
	bool options = true;

	for (char **a = argv + 1; *a != NULL && !p->help; a++) {
		enum exit_code rc = EXIT_CODE_DONE;

		if (options && strcmp(*a, "--") == 0)
			options = false;
		else if (options && **a == '-' && (*a)[1] != '\0')
			rc = take_option(p, &a);
		else
			*p->operands++ = *a;
		if (rc != EXIT_CODE_DONE)
			return rc;
	}
	p->line.operands = (const char *const *)(argv + 1);
	p->line.operand_count = (size_t)(p->operands - (argv + 1));
	return EXIT_CODE_DONE;
}

enum exit_code
command_run(const struct command *c, int argc, char *argv[])
{
	struct parsing p = { .line.command = c, .operands = argv + 1 };
	enum exit_code rc = argc < 1 ? EXIT_CODE_USAGE : parse(&p, argv);

	if (rc != EXIT_CODE_DONE)
		return rc;
	if (p.help) {
		print_help(c);
		return EXIT_CODE_DONE;
	}
	if (p.line.operand_count < c->operands_min)
		return command_usage_error(c, "expected %s", c->operands);
	if (p.line.operand_count > c->operands_max)
		return command_usage_error(c, "unexpected %s", p.line.operands[c->operands_max]);
	return c->run(&p.line);
}
