/* Goal: a process gets all that it needs or nothing, and whoever writes to the database is alone in that. */
#include "runtime/runtime.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "pipeline/handler.h"
#include "runtime/config.h"
#include "runtime/consumer.h"
#include "service/catalog.h"
#include "service/queue.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum {
	PATH_BYTES = 4300,
	ALL = RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_CATALOG | RUNTIME_STORE |
	      RUNTIME_DATABASE | RUNTIME_QUEUE,
	PATIENCE_MS = 60000
};

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

static const char *
path_of(const char *name)
{
	static char path[PATH_BYTES + 64];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

/* A house with one endpoint, not yet opened. */
static void
fresh_house(const char *endpoint)
{
	static unsigned n;
	static char state[PATH_BYTES + 96], handlers[PATH_BYTES + 96];
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };
	const char *const env[] = { state, handlers, "WEIR_CACHE_BYTES=1m", "WEIR_SPOOL_BYTES=16m",
		"WEIR_WORKERS=4", "DB_READ_POOL_MAX=2", NULL };
	const struct config_input in = { .environment = env };
	FILE *f;

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	(void)snprintf(dir, sizeof dir, "%s/runtime-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	(void)snprintf(state, sizeof state, "WEIR_STATE_DIR=%s", path_of("state"));
	(void)snprintf(handlers, sizeof handlers, "WEIR_HANDLERS=%s", path_of("h"));
	CU_ASSERT_EQUAL_FATAL(mkdir(path_of("h"), 0700), 0);
	f = fopen(path_of("h/one.sql"), "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_TRUE(fputs(endpoint, f) >= 0);
	CU_ASSERT_EQUAL(fclose(f), 0);
	fault_init(&faults);
	CU_ASSERT_EQUAL_FATAL(config_load(&in, &faults, &config), ERR_OK);
}

static void
drop_house(void)
{
	config_free(&config);
	fault_free(&faults);
}

#define GOOD "-- GET /t/one\nSELECT 1 AS a;\n"

static void
all_is_opened_and_nothing_is_left_behind(void)
{
	struct runtime rt;
	struct member_view us;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL_FATAL(runtime_open(config, &set, ALL, MEMBER_WORKER, &faults, &rt), ERR_OK);
	CU_ASSERT_EQUAL(rt.catalog->count, 1);
	scoreboard_view(rt.scoreboard, rt.member, &us);
	CU_ASSERT_EQUAL(us.pid, getpid());
	CU_ASSERT_EQUAL(us.kind, MEMBER_WORKER);
	CU_ASSERT_EQUAL(rt.cache.member, rt.member);
	CU_ASSERT_EQUAL(access(path_of("state/bell.0"), F_OK), 0);
	CU_ASSERT_EQUAL(access(path_of("state/segment"), F_OK), 0);
	runtime_close(&rt);
	CU_ASSERT_EQUAL(access(path_of("state/bell.0"), F_OK), -1);
	CU_ASSERT_EQUAL(access(path_of("state/segment"), F_OK), -1);
	drop_house();
}

static void
what_cannot_be_opened_is_said_and_the_rest_given_back(void)
{
	struct runtime rt;

	fresh_house("-- GET /t/one\n-- cahce: 1h\nSELECT 1 AS a;\n");
	CU_ASSERT_EQUAL(runtime_open(config, &set, ALL, MEMBER_WORKER, &faults, &rt), ERR_INVALID);
	CU_ASSERT_EQUAL(faults.errors, 1);
	CU_ASSERT_EQUAL(access(path_of("state/segment"), F_OK), -1);
	CU_ASSERT_EQUAL(access(path_of("state/bell.0"), F_OK), -1);
	drop_house();
	fresh_house(GOOD);
	CU_ASSERT_EQUAL(mkdir(path_of("state"), 0700), 0);
	CU_ASSERT_EQUAL(symlink("/nowhere", path_of("state/spool")), 0);
	CU_ASSERT_NOT_EQUAL(runtime_open(config, &set, ALL, MEMBER_WORKER, &faults, &rt), ERR_OK);
	CU_ASSERT_EQUAL(faults.errors, 1);
	drop_house();
}

static void
who_only_looks_makes_nothing(void)
{
	struct runtime rt;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL(runtime_open(config, NULL, RUNTIME_SEGMENT | RUNTIME_JOIN, 0, &faults, &rt),
	    ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(access(path_of("state"), F_OK), -1);
	CU_ASSERT_EQUAL(mkdir(path_of("state"), 0700), 0);
	CU_ASSERT_EQUAL(runtime_open(config, NULL, RUNTIME_SEGMENT | RUNTIME_JOIN, 0, &faults, &rt),
	    ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(faults.count, 0);
	drop_house();
}

static void
a_folder_of_handlers_that_is_not_there_is_a_fault_of_its_setting(void)
{
	const struct catalog *catalog = NULL;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL(unlink(path_of("h/one.sql")), 0);
	CU_ASSERT_EQUAL(rmdir(path_of("h")), 0);
	CU_ASSERT_NOT_EQUAL(runtime_catalog(config, &set, NULL, &faults, &catalog), ERR_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(faults.items[faults.count - 1].text, "WEIR_HANDLERS is"));
	drop_house();
}

/*
 * The consumer's place.
 */
enum {
	CONSUMER =
	    RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_CATALOG | RUNTIME_DATABASE | RUNTIME_QUEUE
};

static bool
is_held(const struct runtime *rt)
{
	int fd;
	const bool held =
	    lock_file(rt->state_dir_fd, "consumer.lock", LOCK_EXCLUSIVE, 0, &fd) != ERR_OK;

	lock_file_release(&fd);
	return held;
}

/* Until the consumer's thread has got its place: it looks for it several times a second. */
static void
wait_until_held(const struct runtime *rt)
{
	const int64_t until_ms = clock_mono_ms() + PATIENCE_MS;

	while (!is_held(rt) && clock_mono_ms() < until_ms)
		(void)usleep(1000);
	CU_ASSERT_TRUE(is_held(rt));
}

static void
a_consumer_steps_aside_for_who_wants_its_place_and_comes_back(void)
{
	struct consumer *consumer;
	struct consumer_place place;
	struct runtime rt;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL_FATAL(
	    runtime_open(config, &set, CONSUMER, MEMBER_CONSUMER, &faults, &rt), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(consumer_start(&rt, &consumer), ERR_OK);
	wait_until_held(&rt);
	CU_ASSERT_EQUAL(consumer_drain(&rt, INT64_MAX), ERR_CONFLICT);
	CU_ASSERT_EQUAL_FATAL(consumer_place_take(rt.state_dir_fd, PATIENCE_MS, &place), ERR_OK);
	CU_ASSERT_TRUE(is_held(&rt));
	consumer_place_give(&place);
	wait_until_held(&rt);
	consumer_stop(&consumer);
	CU_ASSERT_PTR_NULL(consumer);
	CU_ASSERT_FALSE(is_held(&rt));
	consumer_stop(&consumer);
	runtime_close(&rt);
	drop_house();
}

static void
a_place_that_is_not_given_up_is_not_taken(void)
{
	struct consumer_place place, other;
	int fd;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL(mkdir(path_of("state"), 0700), 0);
	fd = open(path_of("state"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(consumer_place_take(fd, 0, &place), ERR_OK);
	CU_ASSERT_EQUAL(consumer_place_take(fd, 0, &other), ERR_CONFLICT);
	consumer_place_give(&place);
	CU_ASSERT_EQUAL(consumer_place_take(fd, 0, &other), ERR_OK);
	consumer_place_give(&other);
	consumer_place_give(&other);
	(void)close(fd);
	drop_house();
}

static void
draining_an_empty_spool_is_done_at_once(void)
{
	struct runtime rt;

	fresh_house(GOOD);
	CU_ASSERT_EQUAL_FATAL(
	    runtime_open(config, &set, CONSUMER, MEMBER_CONSUMER, &faults, &rt), ERR_OK);
	CU_ASSERT_EQUAL(consumer_drain(&rt, INT64_MAX), ERR_OK);
	CU_ASSERT_FALSE(is_held(&rt));
	runtime_close(&rt);
	drop_house();
}

UNIT_SUITE(runtime, TEST(all_is_opened_and_nothing_is_left_behind),
    TEST(what_cannot_be_opened_is_said_and_the_rest_given_back), TEST(who_only_looks_makes_nothing),
    TEST(a_folder_of_handlers_that_is_not_there_is_a_fault_of_its_setting),
    TEST(a_consumer_steps_aside_for_who_wants_its_place_and_comes_back),
    TEST(a_place_that_is_not_given_up_is_not_taken), TEST(draining_an_empty_spool_is_done_at_once));
