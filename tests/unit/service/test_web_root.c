/* Goal: weir knows when a front server would hand out what is ours, and is silent when it would not. */
#include "service/web_root.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/support/unit.h"

#define APACHE SLICE("Apache/2.4.57 (Debian)")

static char root[PATH_MAX];
static struct web_root *w;
static int64_t now_ms;

static const char *
path_of(const char *name)
{
	static char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof path, "%s/%s", root, name);
	return path;
}

static void
put(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_TRUE(fputs(text, f) >= 0);
	CU_ASSERT_EQUAL(fclose(f), 0);
}

/* A web root with a folder sub/state in it, which is ours. */
static void
fresh(void)
{
	static unsigned n;
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };
	char dir[PATH_MAX], state[PATH_MAX + 64];
	struct web_root_part part = { .what = "the state folder" };

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	(void)snprintf(dir, sizeof dir, "%s/web-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(realpath(dir, root));
	CU_ASSERT_EQUAL(mkdir(path_of("sub"), 0700), 0);
	CU_ASSERT_EQUAL(mkdir(path_of("sub/state"), 0700), 0);
	(void)snprintf(state, sizeof state, "%s", path_of("sub/state"));
	part.path = state;
	CU_ASSERT_EQUAL_FATAL(web_root_open(&part, 1, &w), ERR_OK);
	now_ms = 1000;
}

static bool
is_open(struct slice software)
{
	now_ms += 1000;
	return web_root_fault(w, slice_of(root), software, now_ms) != NULL;
}

static void
what_nothing_denies_is_open(void)
{
	fresh();
	CU_ASSERT_TRUE(is_open(APACHE));
	CU_ASSERT_PTR_NOT_NULL(strstr(
	    web_root_fault(w, slice_of(root), APACHE, now_ms), "the state folder can be read"));
	put("sub/state/.htaccess", "# a comment\n  require all DENIED \n");
	CU_ASSERT_FALSE(is_open(APACHE));
	CU_ASSERT_FALSE(is_open(SLICE("LiteSpeed")));
	CU_ASSERT_TRUE(is_open(SLICE("nginx/1.22.1"))); /* reads no .htaccess */
	CU_ASSERT_TRUE(is_open(SLICE("")));
	web_root_close(&w);
}

static void
a_folder_above_denies_for_those_in_it_and_the_nearest_decides(void)
{
	fresh();
	put(".htaccess", "Options -Indexes\nRequire expr \"! -e %{REQUEST_FILENAME} || "
			 "%{REQUEST_FILENAME} =~ m#/weir\\.fcgi$#\"\n");
	CU_ASSERT_FALSE(is_open(APACHE));
	put("sub/.htaccess", "Require all granted\n");
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess", "Options -Indexes\n"); /* says nothing of it */
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess", "Require all denied\n");
	CU_ASSERT_FALSE(is_open(APACHE));
	web_root_close(&w);
}

static void
what_only_some_are_denied_is_open(void)
{
	fresh();
	put("sub/state/.htaccess", "<Files x>\nRequire all denied\n</Files>\n");
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess", "Require all denied\nRequire ip 10.0.0.0/8\n");
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess", "Require ip 10.0.0.0/8\nRequire all denied\n");
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess",
	    "<Files x>\nRequire all granted\n</Files>\nRequire all denied\n");
	CU_ASSERT_FALSE(is_open(APACHE));
	web_root_close(&w);
}

static void
what_lies_elsewhere_is_nobodys_business(void)
{
	fresh();
	now_ms += 1000;
	CU_ASSERT_PTR_NULL(web_root_fault(w, SLICE("/nowhere"), APACHE, now_ms));
	CU_ASSERT_PTR_NULL(web_root_fault(w, SLICE(""), APACHE, now_ms));
	CU_ASSERT_EQUAL(mkdir(path_of("su"), 0700), 0); /* a name that ours begins with */
	CU_ASSERT_PTR_NULL(web_root_fault(w, slice_of(path_of("su")), APACHE, now_ms));
	CU_ASSERT_PTR_NOT_NULL(web_root_fault(w, slice_of(path_of("sub/")), APACHE, now_ms));
	CU_ASSERT_PTR_NOT_NULL(web_root_fault(w, SLICE("/"), APACHE, now_ms));
	web_root_close(&w);
}

static void
a_link_into_the_root_is_followed(void)
{
	char link[PATH_MAX + 64];

	fresh();
	(void)snprintf(link, sizeof link, "%s.link", root);
	CU_ASSERT_EQUAL(symlink(root, link), 0);
	CU_ASSERT_PTR_NOT_NULL(web_root_fault(w, slice_of(link), APACHE, now_ms));
	web_root_close(&w);
}

static void
the_disk_is_looked_at_once_a_second(void)
{
	fresh();
	CU_ASSERT_TRUE(is_open(APACHE));
	put("sub/state/.htaccess", "Require all denied\n");
	CU_ASSERT_PTR_NOT_NULL(web_root_fault(w, slice_of(root), APACHE, now_ms + 999));
	CU_ASSERT_PTR_NULL(web_root_fault(w, slice_of(root), APACHE, now_ms + 1000));
	web_root_close(&w);
}

UNIT_SUITE(web_root, TEST(what_nothing_denies_is_open),
    TEST(a_folder_above_denies_for_those_in_it_and_the_nearest_decides),
    TEST(what_only_some_are_denied_is_open), TEST(what_lies_elsewhere_is_nobodys_business),
    TEST(a_link_into_the_root_is_followed), TEST(the_disk_is_looked_at_once_a_second));
