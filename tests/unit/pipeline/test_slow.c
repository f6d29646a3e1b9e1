/* Goal: what is slow is said once, with its plan where one may be asked for, and never with a value. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/pace.h"
#include "service/slow_log.h"
#include "service/store_driver.h"
#include "tests/support/unit.h"
#include "tests/unit/pipeline/house.h"

#define SECRET "hush-4711"

static const char *const files[] = {
	"-- GET /plain/:id\n-- param id: text\n-- param page: integer, optional\n"
	"-- limit: 1000000/s\nSELECT :id AS v, :page AS page;\n",
	"-- GET /cached/:id\n-- param id: text\n-- cache: 1h\n-- limit: 1000000/s\nSELECT :id AS "
	"v;\n",
};

static struct house h;
static struct visit v;
static struct pace plans;
static char path[4200];
static unsigned explained;
static enum err explain_rc;

static enum err
no_open(const char *address, const struct store_options *o, void **state_out)
{
	(void)address;
	(void)o;
	*state_out = NULL;
	return ERR_OK;
}

static void
no_close(void *state)
{
	(void)state;
}

static enum err
fake_explain(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *plan_out)
{
	(void)state;
	(void)ambient;
	(void)deadline_ms;
	explained++;
	CU_ASSERT_TRUE(slice_eq_cstr(e->params[0].name, "id"));
	CU_ASSERT_TRUE(slice_eq_cstr(values[0].text, SECRET));
	strbuf_add_cstr(plan_out, "SCAN it");
	return explain_rc;
}

static const struct store_driver driver = {
	.schemes = { "fake:" }, .open = no_open, .close = no_close, .explain = fake_explain
};

/* Every request is slow. */
static void
open_house(void)
{
	static const struct store_options options = { 0 };

	house_open(&h, files, sizeof files / sizeof *files);
	plans = (struct pace){ 0 };
	explained = 0;
	explain_rc = ERR_OK;
	(void)snprintf(path, sizeof path, "%s/slow.log", unit_dir());
	(void)unlink(path);
	CU_ASSERT_EQUAL_FATAL(store_open_driver(&driver, "", &options, &h.env.store), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(slow_log_open(path, &plans, &h.env.slow_log), ERR_OK);
}

static void
close_house(void)
{
	slow_log_close(&h.env.slow_log);
	store_close(&h.env.store);
	house_close(&h);
}

static void
go(const char *uri)
{
	visit_begin(&v, &h, "GET", uri);
	visit_run(&v);
	pipeline_finish(&v.x);
}

/* As the desk does behind the reply. */
static bool
ask_for_plan(void)
{
	struct exchange behind;
	bool made;

	exchange_init(&behind, &h.env);
	made = v.x.explain && pipeline_explain(&v.x, &behind);
	visit_end(&v); /* it must not need what it was made from */
	if (made) {
		CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_REACTOR), PIPELINE_BLOCKING);
		CU_ASSERT_EQUAL(pipeline_run(&behind, PIPELINE_ON_LANE), PIPELINE_DONE);
	}
	exchange_clear(&behind);
	return made;
}

/* The lines there are; the last one is in ${out}. */
static unsigned
lines(char out[8192])
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(out, 8192, f) != NULL)
		n++;
	(void)fclose(f);
	return n;
}

static void
test_a_slow_read_waits_for_its_plan_and_is_then_one_line(void)
{
	char line[8192] = "";

	open_house();
	go("/plain/" SECRET "?page=7");
	CU_ASSERT_TRUE(v.x.explain);
	CU_ASSERT_EQUAL(lines(line), 0);
	CU_ASSERT_TRUE(ask_for_plan());
	CU_ASSERT_EQUAL(lines(line), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"event\":\"slow_request\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"route\":\"/plain/:id\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"status\":200"));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"params\":\"id:text(9) page:integer(1)\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"plan\":\"SCAN it\""));
	CU_ASSERT_PTR_NULL(strstr(line, SECRET));
	close_house();
}

static void
test_another_of_the_same_minute_has_no_plan_and_is_said_all_the_same(void)
{
	char line[8192] = "";

	open_house();
	go("/plain/" SECRET);
	CU_ASSERT_TRUE(ask_for_plan());
	go("/plain/" SECRET);
	pipeline_slow(&v.x); /* which is what the desk does when it is refused */
	CU_ASSERT_FALSE(ask_for_plan());
	CU_ASSERT_EQUAL(explained, 1);
	CU_ASSERT_EQUAL(lines(line), 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"plan\":null"));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "page:null"));
	close_house();
}

static void
test_a_plan_that_does_not_come_costs_no_line(void)
{
	char line[8192] = "";

	open_house();
	explain_rc = ERR_TIMEOUT;
	go("/plain/" SECRET);
	CU_ASSERT_TRUE(ask_for_plan());
	CU_ASSERT_EQUAL(lines(line), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "\"plan\":null"));
	close_house();
}

static void
test_a_lane_that_has_no_room_any_more_costs_no_line_either(void)
{
	struct exchange behind;
	char line[8192] = "";

	open_house();
	go("/plain/" SECRET);
	exchange_init(&behind, &h.env);
	CU_ASSERT_TRUE_FATAL(pipeline_explain(&v.x, &behind));
	visit_end(&v);
	pipeline_shed(&behind, SHED_QUEUE_FULL);
	exchange_clear(&behind);
	CU_ASSERT_EQUAL(explained, 0);
	CU_ASSERT_EQUAL(lines(line), 1);
	close_house();
}

static void
test_what_is_answered_from_memory_is_not_even_looked_at(void)
{
	char line[8192] = "";

	open_house();
	go("/cached/" SECRET);
	CU_ASSERT_TRUE(ask_for_plan());
	CU_ASSERT_EQUAL(lines(line), 1);
	go("/cached/" SECRET);
	CU_ASSERT_EQUAL(v.x.spans.count, 0);
	CU_ASSERT_FALSE(v.x.explain);
	visit_end(&v);
	CU_ASSERT_EQUAL(lines(line), 1);
	close_house();
}

static void
test_what_is_not_slow_is_not_said(void)
{
	char line[8192] = "";

	open_house();
	h.env.slow_ns = INT64_MAX;
	go("/plain/" SECRET);
	CU_ASSERT_FALSE(v.x.explain);
	visit_end(&v);
	CU_ASSERT_EQUAL(lines(line), 0);
	close_house();
}

UNIT_SUITE(slow, TEST(test_a_slow_read_waits_for_its_plan_and_is_then_one_line),
    TEST(test_another_of_the_same_minute_has_no_plan_and_is_said_all_the_same),
    TEST(test_a_plan_that_does_not_come_costs_no_line),
    TEST(test_a_lane_that_has_no_room_any_more_costs_no_line_either),
    TEST(test_what_is_answered_from_memory_is_not_even_looked_at),
    TEST(test_what_is_not_slow_is_not_said));
