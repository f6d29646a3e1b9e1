/* Goal: workers are replaced one for one, and not at all when the first new one is worse than the others. */
#include "runtime/roll.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum { WORKERS = 3, ALIGN = 64 };

/* Nobody runs: places say that they are up when a test wants it.  Slot i of the scoreboard is place i's. */
struct stage {
	struct pool pool;
	struct pool_board board;
	struct generation old, new;
	struct roll roll;
	int64_t now_ms;
};

static struct stage
stage_open(void)
{
	struct stage s = { .pool = POOL_CLOSED, .now_ms = 1000 };
	const size_t bytes = (scoreboard_size() + ALIGN - 1) / ALIGN * ALIGN;

	s.pool.children = calloc(POOL_PLACES, sizeof *s.pool.children);
	s.board.scoreboard = aligned_alloc(ALIGN, bytes);
	CU_ASSERT_FATAL(s.pool.children != NULL && s.board.scoreboard != NULL);
	scoreboard_init(s.board.scoreboard);
	return s;
}

static void
begin(struct stage *s)
{
	for (int i = 0; i < WORKERS; i++)
		(void)pool_add(&s->pool, MEMBER_WORKER, &s->old);
	(void)pool_add(&s->pool, MEMBER_CONSUMER, &s->old);
	roll_begin(&s->roll, &s->pool, &s->old, &s->new, WORKERS, s->now_ms);
}

static void
stage_close(struct stage *s)
{
	free(s->pool.children);
	free(s->board.scoreboard);
}

static size_t
places(const struct stage *s, enum member_kind kind, const struct generation *g)
{
	size_t up;

	return pool_places(&s->pool, kind, g, &up);
}

/* All new workers are up, as processes that nobody can signal. */
static void
come_up(struct stage *s)
{
	for (unsigned i = 0; i < POOL_PLACES; i++)
		if (s->pool.children[i].kind == MEMBER_WORKER &&
		    s->pool.children[i].generation == &s->new) {
			s->pool.children[i].up = true;
			s->pool.children[i].pid = INT32_MAX;
			s->pool.children[i].member = i;
		}
}

static void
answer(struct stage *s, unsigned member, uint64_t requests, uint64_t failed)
{
	scoreboard_count(s->board.scoreboard, member, METRIC_REQUESTS, requests);
	scoreboard_count(s->board.scoreboard, member, METRIC_RESPONSES_5XX, failed);
}

static enum roll_result
step(struct stage *s, int64_t ms)
{
	s->now_ms += ms;
	return roll_step(&s->roll, &s->pool, &s->board, s->now_ms);
}

static void
the_canary_comes_first_and_nobody_leaves_for_it(void)
{
	struct stage s = stage_open();

	begin(&s);
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(places(&s, MEMBER_WORKER, &s.new), 1);
	CU_ASSERT_EQUAL(places(&s, MEMBER_WORKER, &s.old), WORKERS);
	come_up(&s);
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(s.roll.state, ROLL_WATCHED);
	CU_ASSERT_EQUAL(step(&s, 2900), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(s.roll.state, ROLL_WATCHED);
	CU_ASSERT_EQUAL(places(&s, MEMBER_WORKER, &s.old), WORKERS);
	stage_close(&s);
}

static void
each_old_one_leaves_when_its_successor_is_up_and_the_consumer_is_last(void)
{
	struct stage s = stage_open();
	enum roll_result result = ROLL_GOES_ON;

	begin(&s);
	come_up(&s);
	(void)step(&s, 100);
	(void)step(&s, 3000);
	CU_ASSERT_EQUAL(s.roll.state, ROLL_REPLACING);
	for (int i = 0; i < 20 && result == ROLL_GOES_ON; i++) {
		const size_t all =
		    places(&s, MEMBER_WORKER, &s.old) + places(&s, MEMBER_WORKER, &s.new);

		CU_ASSERT_TRUE(all >= WORKERS && all <= WORKERS + 1);
		CU_ASSERT_EQUAL(places(&s, MEMBER_CONSUMER, &s.old), 1);
		come_up(&s);
		result = step(&s, 100);
	}
	CU_ASSERT_EQUAL(result, ROLL_DONE);
	CU_ASSERT_EQUAL(places(&s, MEMBER_WORKER, &s.old), 0);
	CU_ASSERT_EQUAL(places(&s, MEMBER_WORKER, &s.new), WORKERS);
	CU_ASSERT_EQUAL(places(&s, MEMBER_CONSUMER, &s.old), 0);
	CU_ASSERT_EQUAL(places(&s, MEMBER_CONSUMER, &s.new), 1);
	stage_close(&s);
}

static void
check_back(struct stage *s)
{
	CU_ASSERT_EQUAL(s->roll.state, ROLL_IDLE);
	CU_ASSERT_EQUAL(places(s, MEMBER_WORKER, &s->new), 0);
	CU_ASSERT_EQUAL(places(s, MEMBER_WORKER, &s->old), WORKERS);
	CU_ASSERT_EQUAL(places(s, MEMBER_CONSUMER, &s->old), 1);
	CU_ASSERT_TRUE(s->roll.why[0] != '\0');
	CU_ASSERT_EQUAL(step(s, 100), ROLL_GOES_ON); /* it is over */
	stage_close(s);
}

static void
a_canary_that_dies_or_never_comes_up_is_taken_back(void)
{
	struct stage s = stage_open();

	begin(&s);
	child_ended(s.roll.canary, s.now_ms);
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_BACK);
	check_back(&s);
	s = stage_open();
	begin(&s);
	CU_ASSERT_EQUAL(step(&s, 20000), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(step(&s, 1), ROLL_BACK);
	check_back(&s);
	s = stage_open();
	begin(&s);
	come_up(&s);
	(void)step(&s, 100);
	child_ended(s.roll.canary, s.now_ms);
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_BACK);
	check_back(&s);
}

static void
a_canary_that_errs_more_than_the_others_is_taken_back(void)
{
	struct stage s = stage_open();

	begin(&s);
	answer(&s, 0, 1000, 10);
	come_up(&s);
	(void)step(&s, 100);
	answer(&s, 0, 1000, 10);
	answer(&s, s.roll.canary->member, 9, 9); /* too few to judge */
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_GOES_ON);
	answer(&s, s.roll.canary->member, 1, 0);
	CU_ASSERT_EQUAL(step(&s, 100), ROLL_BACK);
	check_back(&s);
}

static void
it_is_watched_longer_while_the_others_get_all_the_requests(void)
{
	struct stage s = stage_open();

	begin(&s);
	come_up(&s);
	(void)step(&s, 100);
	answer(&s, 0, 1000, 0);
	CU_ASSERT_EQUAL(step(&s, 5000), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(s.roll.state, ROLL_WATCHED);
	CU_ASSERT_EQUAL(step(&s, 5000), ROLL_GOES_ON);
	CU_ASSERT_EQUAL(s.roll.state, ROLL_REPLACING); /* there is nothing more to learn */
	stage_close(&s);
}

static void
to_err_more_is_to_be_clearly_worse(void)
{
	static const struct {
		struct roll_counts canary, others;
		bool more;
	} cases[] = {
		{ { 0, 0 }, { 0, 0 }, false },
		{ { 100, 0 }, { 100, 100 }, false },
		{ { 100, 5 }, { 100, 0 }, false },
		{ { 100, 6 }, { 100, 0 }, true },
		{ { 100, 25 }, { 100, 10 }, false }, /* all are in trouble */
		{ { 100, 26 }, { 100, 10 }, true },
		{ { 10, 10 }, { 0, 0 }, true },
		{ { 9, 9 }, { 1000, 0 }, false },
		{ { UINT32_MAX, 0 }, { UINT32_MAX, UINT32_MAX }, false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		CU_ASSERT_EQUAL(roll_errs_more(&cases[i].canary, &cases[i].others), cases[i].more);
}

UNIT_SUITE(roll, TEST(the_canary_comes_first_and_nobody_leaves_for_it),
    TEST(each_old_one_leaves_when_its_successor_is_up_and_the_consumer_is_last),
    TEST(a_canary_that_dies_or_never_comes_up_is_taken_back),
    TEST(a_canary_that_errs_more_than_the_others_is_taken_back),
    TEST(it_is_watched_longer_while_the_others_get_all_the_requests),
    TEST(to_err_more_is_to_be_clearly_worse));
