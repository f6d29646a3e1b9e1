/* Goal: what nginx and Apache were told is read as they read it, and what is cut off is refused. */
#include "cmd/front_config.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { ARENA_BYTES = 8 << 20 };

static struct arena a;
static struct front_config front;

static const char *
write_file(const char *name, const char *text)
{
	static char path[300];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/%s", unit_dir(), name);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void)fputs(text, f);
	(void)fclose(f);
	return path;
}

static enum err
read_text(enum front_syntax syntax, const char *text)
{
	const char *where;

	arena_free(&a);
	arena_init(&a, ARENA_BYTES);
	return front_config_read(
	    syntax, write_file("front.conf", text), unit_dir(), &a, &front, &where);
}

static const struct front_directive *
found(const char *name)
{
	return front_config_find(&front.root, NULL, name, front.syntax == FRONT_APACHE);
}

static void
nginx_is_words_sections_and_comments(void)
{
	const struct front_directive *d;

	CU_ASSERT_EQUAL_FATAL(
	    read_text(FRONT_NGINX,
		"user www; # who\nhttp {\n\tlog_format a 'b;c' \"d}e\";\n"
		"\tserver { listen 80; location ~ \\.php$ { root /x\\ y; } }\n}\n"),
	    ERR_OK);
	d = found("log_format");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_EQUAL(d->line, 3);
	CU_ASSERT_EQUAL_FATAL(d->count, 4);
	CU_ASSERT_STRING_EQUAL(d->words[2], "b;c");
	CU_ASSERT_STRING_EQUAL(d->words[3], "d}e");
	CU_ASSERT_STRING_EQUAL(d->parent->words[0], "http");
	d = found("root");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_STRING_EQUAL(d->words[1], "/x y");
	CU_ASSERT_STRING_EQUAL(d->parent->words[2], ".php$");
	CU_ASSERT_PTR_NULL(found("who"));
}

static void
nginx_that_is_cut_off_or_closed_too_often_is_refused(void)
{
	static const char *const texts[] = { "http {", "http { server {", "listen 80", "}", "{ }",
		"http { } }", "a \"b", "http { a; " };

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		CU_ASSERT_EQUAL(read_text(FRONT_NGINX, texts[i]), ERR_INVALID);
	CU_ASSERT_EQUAL(read_text(FRONT_NGINX, ""), ERR_OK);
}

static void
included_files_stand_where_they_are_included(void)
{
	const struct front_directive *d;

	(void)write_file("one.inc", "gzip on;\n");
	(void)write_file("two.inc", "include one.inc;\nbrotli on;\n");
	(void)write_file("cut.inc", "server {\n");
	(void)write_file("self.inc", "include self.inc; deep yes;\n");
	CU_ASSERT_EQUAL_FATAL(
	    read_text(FRONT_NGINX, "http { include t*.inc; include nothing.inc; "
				   "include cut.inc; sendfile on; include self.inc; }"),
	    ERR_OK);
	d = found("gzip");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_STRING_EQUAL(d->parent->words[0], "http");
	CU_ASSERT_TRUE(strstr(d->file, "one.inc") != NULL);
	CU_ASSERT_STRING_EQUAL(d->next->words[0], "brotli");
	CU_ASSERT_PTR_NOT_NULL(found("sendfile"));
	CU_ASSERT_PTR_NOT_NULL(found("deep")); /* and it ends */
}

static void
what_is_in_force_is_the_nearest(void)
{
	const struct front_directive *d;

	CU_ASSERT_EQUAL_FATAL(
	    read_text(FRONT_NGINX, "http { size 1; keep off; server { size 2; size 3; location / { "
				   "pass x; keep on; } location /y { size 9; pass y; } } }"),
	    ERR_OK);
	d = found("pass");
	CU_ASSERT_STRING_EQUAL(front_config_in_force(d, "size", false)->words[1], "3");
	CU_ASSERT_STRING_EQUAL(front_config_in_force(d, "keep", false)->words[1], "on");
	CU_ASSERT_PTR_NULL(front_config_in_force(d, "nothing", false));
	d = front_config_find(&front.root, d, "pass", false);
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_STRING_EQUAL(front_config_in_force(d, "size", false)->words[1], "9");
	CU_ASSERT_PTR_NULL(front_config_find(&front.root, d, "pass", false));
}

static void
apache_is_lines_and_sections_whatever_the_case(void)
{
	const struct front_directive *d;

	CU_ASSERT_EQUAL_FATAL(
	    read_text(FRONT_APACHE,
		"# <VirtualHost>\nServerName x\n<VirtualHost *:80 *:81>\n"
		"  ProxyPass \"/a b/\" \\\n    \"fcgi://weir/\" enablereuse=on\n"
		"  <IfModule mod_x.c>\n  </IfModule>\n</VirtualHost>\nLimit{Odd} ;\n"),
	    ERR_OK);
	d = found("proxypass");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_EQUAL(d->line, 4);
	CU_ASSERT_EQUAL_FATAL(d->count, 4);
	CU_ASSERT_STRING_EQUAL(d->words[1], "/a b/");
	CU_ASSERT_STRING_EQUAL(d->words[2], "fcgi://weir/");
	CU_ASSERT_EQUAL(d->parent->count, 3);
	CU_ASSERT_PTR_NOT_NULL(found("limit{odd}"));
	CU_ASSERT_EQUAL(read_text(FRONT_APACHE, "<Directory /x>\n"), ERR_INVALID);
	CU_ASSERT_EQUAL(read_text(FRONT_APACHE, "</Directory>\n"), ERR_INVALID);
}

static void
a_file_that_is_not_there_is_told(void)
{
	const char *where;

	arena_free(&a);
	arena_init(&a, ARENA_BYTES);
	CU_ASSERT_EQUAL(
	    front_config_read(FRONT_NGINX, "/nowhere/nginx.conf", "/", &a, &front, &where),
	    ERR_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(where, "/nowhere/nginx.conf");
	arena_free(&a);
}

UNIT_SUITE(front_config, TEST(nginx_is_words_sections_and_comments),
    TEST(nginx_that_is_cut_off_or_closed_too_often_is_refused),
    TEST(included_files_stand_where_they_are_included), TEST(what_is_in_force_is_the_nearest),
    TEST(apache_is_lines_and_sections_whatever_the_case), TEST(a_file_that_is_not_there_is_told));
