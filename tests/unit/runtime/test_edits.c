/* Goal: what somebody edits counts when it is good, and what is broken counts as it was, also for who comes later. */
#include "runtime/edits.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "pipeline/handler.h"
#include "runtime/config.h"
#include "service/catalog.h"
#include "tests/support/unit.h"

enum { PATH_BYTES = 4300 };

static enum handler_result
answer(struct handler_call *call)
{
	(void)call;
	return HANDLER_RESPONSE;
}

static const struct handler handler = { "fake", HANDLER_INLINE, answer };
static const struct handler_set set = { .sql_read = &handler, .sql_write = &handler };

static char dir[PATH_BYTES];
static struct config *config;
static struct fault_list faults;
static struct edits edits;

static const char *
path_of(const char *name)
{
	static char path[PATH_BYTES + 64];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
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

#define ONE    "-- GET /t/one\nSELECT 1 AS a;\n"
#define UNO    "-- GET /t/uno\nSELECT 1 AS a;\n"
#define TWO    "-- GET /t/two\nSELECT 2 AS a;\n"
#define BROKEN "-- GET /t/one\n-- cahce: 1h\nSELECT 1 AS a;\n"

/* A house with one.sql of this text. */
static void
fresh_house(const char *one)
{
	static unsigned n;
	static char state[PATH_BYTES + 96], folder[PATH_BYTES + 96];
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };
	const char *const env[] = { state, folder, NULL };
	const struct config_input in = { .environment = env };

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	(void)snprintf(dir, sizeof dir, "%s/edits-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	CU_ASSERT_EQUAL_FATAL(mkdir(path_of("h"), 0700), 0);
	CU_ASSERT_EQUAL_FATAL(mkdir(path_of("s"), 0700), 0);
	(void)snprintf(state, sizeof state, "WEIR_STATE_DIR=%s", path_of("s"));
	(void)snprintf(folder, sizeof folder, "WEIR_HANDLERS=%s", path_of("h"));
	put("h/one.sql", one);
	fault_init(&faults);
	CU_ASSERT_EQUAL_FATAL(config_load(&in, &faults, &config), ERR_OK);
}

static void
drop_house(void)
{
	edits_close(&edits);
	config_free(&config);
	fault_free(&faults);
}

static enum err
open_edits(void)
{
	return edits_open(config, &set, &faults, &edits);
}

/* Whether the last look found a catalog with exactly these routes. */
static bool
finds(const char *a, const char *b)
{
	const struct catalog *c = edits_look(&edits);
	const size_t want = (size_t)(a != NULL) + (size_t)(b != NULL);
	size_t found = 0;

	if (c == NULL)
		return false;
	for (size_t i = 0; i < c->count; i++) {
		const struct slice route = c->endpoints[i]->route;

		found += (a != NULL && slice_eq_cstr(route, a)) ||
			 (b != NULL && slice_eq_cstr(route, b));
	}
	found = found == want && c->count == want ? 1 : 0;
	catalog_release(&c);
	return found == 1;
}

static void
what_did_not_change_is_not_read_again(void)
{
	fresh_house(ONE);
	CU_ASSERT_EQUAL_FATAL(open_edits(), ERR_OK);
	CU_ASSERT_PTR_NULL(edits_look(&edits));
	put("h/two.sql", TWO);
	CU_ASSERT_TRUE(finds("/t/one", "/t/two"));
	CU_ASSERT_PTR_NULL(edits_look(&edits));
	CU_ASSERT_EQUAL(unlink(path_of("h/one.sql")), 0);
	CU_ASSERT_TRUE(finds("/t/two", NULL));
	drop_house();
}

static void
a_broken_file_stays_as_it_was_and_the_others_go_on(void)
{
	fresh_house(ONE);
	CU_ASSERT_EQUAL_FATAL(open_edits(), ERR_OK);
	put("h/one.sql", BROKEN);
	put("h/two.sql", TWO);
	CU_ASSERT_TRUE(finds("/t/one", "/t/two"));
	put("h/three.sql", BROKEN); /* never good: left out */
	CU_ASSERT_TRUE(finds("/t/one", "/t/two"));
	put("h/one.sql", UNO);
	CU_ASSERT_TRUE(finds("/t/uno", "/t/two"));
	drop_house();
}

static void
a_file_that_takes_anothers_route_stays_as_it_was(void)
{
	fresh_house(ONE);
	put("h/two.sql", TWO);
	CU_ASSERT_EQUAL_FATAL(open_edits(), ERR_OK);
	put("h/two.sql", ONE "-- the second\n");
	CU_ASSERT_TRUE(finds("/t/one", "/t/two"));
	drop_house();
}

static void
who_comes_later_has_what_was_good(void)
{
	fresh_house(ONE);
	CU_ASSERT_EQUAL_FATAL(open_edits(), ERR_OK);
	edits_keep_at(&edits, path_of("s"));
	edits_close(&edits);
	put("h/one.sql", BROKEN);
	put("h/two.sql", BROKEN);
	CU_ASSERT_EQUAL(open_edits(), ERR_OK);
	CU_ASSERT_EQUAL(faults.errors, 0);
	CU_ASSERT_EQUAL_FATAL(edits.good.count, 1);
	CU_ASSERT_TRUE(slice_eq_cstr(edits.good.list[0].text, ONE));
	drop_house();
}

static void
where_nothing_ever_worked_every_fault_counts(void)
{
	fresh_house(ONE);
	put("h/two.sql", BROKEN);
	CU_ASSERT_EQUAL(open_edits(), ERR_INVALID);
	CU_ASSERT_TRUE(faults.errors > 0);
	put("s/endpoints.good", "torn"); /* what is not whole is nothing */
	CU_ASSERT_EQUAL(open_edits(), ERR_INVALID);
	drop_house();
}

static void
a_folder_that_is_away_changes_nothing(void)
{
	fresh_house(ONE);
	CU_ASSERT_EQUAL_FATAL(open_edits(), ERR_OK);
	CU_ASSERT_EQUAL(unlink(path_of("h/one.sql")), 0);
	CU_ASSERT_EQUAL(rmdir(path_of("h")), 0);
	CU_ASSERT_PTR_NULL(edits_look(&edits));
	CU_ASSERT_EQUAL(edits.good.count, 1);
	drop_house();
}

UNIT_SUITE(edits, TEST(what_did_not_change_is_not_read_again),
    TEST(a_broken_file_stays_as_it_was_and_the_others_go_on),
    TEST(a_file_that_takes_anothers_route_stays_as_it_was), TEST(who_comes_later_has_what_was_good),
    TEST(where_nothing_ever_worked_every_fault_counts),
    TEST(a_folder_that_is_away_changes_nothing));
