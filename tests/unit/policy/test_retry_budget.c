/* Goal: no more calls are repeated than a fifth of those that are made, however they come and whoever dies. */
#include "policy/retry_budget.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { START_MS = 5000000, CROWD = 8, ASKS = 2000, FLOOR = 10 };

static const struct retry_rules rules = { .pct = 20, .floor = FLOOR };

static struct retry_budget *
budget_make(void)
{
	void *mem = mmap(
	    NULL, retry_budget_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	retry_budget_init(mem);
	return mem;
}

static void
budget_end(struct retry_budget *b)
{
	(void)munmap(b, retry_budget_size());
}

static void
calls(struct retry_budget *b, unsigned n, int64_t now_ms)
{
	for (unsigned i = 0; i < n; i++)
		retry_budget_call(b, now_ms);
}

/* How many of ${n} are granted. */
static unsigned
takes(struct retry_budget *b, unsigned n, int64_t now_ms)
{
	unsigned granted = 0;

	for (unsigned i = 0; i < n; i++)
		granted += retry_budget_take(b, &rules, now_ms);
	return granted;
}

static struct retry_view
view(const struct retry_budget *b, int64_t now_ms)
{
	struct retry_view v;

	retry_budget_look(b, now_ms, &v);
	return v;
}

static void
the_limit_that_is_told_is_the_one_that_holds(void)
{
	struct retry_budget *b = budget_make();
	struct retry_view v = view(b, START_MS);

	CU_ASSERT_EQUAL(retry_budget_limit(&v, &rules), FLOOR);
	calls(b, 1000, START_MS);
	v = view(b, START_MS);
	CU_ASSERT_EQUAL(retry_budget_limit(&v, &rules), 200);
	CU_ASSERT_EQUAL(takes(b, 1000, START_MS), 200);
	budget_end(b);
}

static void
a_fifth_of_the_calls_may_be_repeated(void)
{
	struct retry_budget *b = budget_make();

	calls(b, 1000, START_MS);
	CU_ASSERT_EQUAL(takes(b, 1000, START_MS), 200);
	calls(b, 100, START_MS + 3000);
	CU_ASSERT_EQUAL(takes(b, 1000, START_MS + 3000), 20);
	CU_ASSERT_EQUAL(view(b, START_MS + 3000).retries, 220); /* who was refused is not counted */
	CU_ASSERT_EQUAL(view(b, START_MS + 3000).calls, 1100);
	budget_end(b);
}

static void
a_few_are_granted_to_who_makes_few_calls(void)
{
	struct retry_budget *b = budget_make();

	CU_ASSERT_EQUAL(takes(b, 100, START_MS), FLOOR);
	calls(b, 3, START_MS + 1000);
	CU_ASSERT_EQUAL(takes(b, 100, START_MS + 1000), 0);
	CU_ASSERT_EQUAL(takes(b, 100, START_MS + RETRY_WINDOW_MS), FLOOR);
	budget_end(b);
}

static void
what_was_granted_comes_back_when_its_second_leaves_the_window(void)
{
	struct retry_budget *b = budget_make();

	for (int i = 0; i < 10; i++)
		calls(b, 100, START_MS + i * 1000);
	CU_ASSERT_EQUAL(takes(b, 1000, START_MS + 9000), 200);
	for (int i = 10; i < 19; i++) { /* the calls roll on, the retries are still in the window */
		calls(b, 100, START_MS + i * 1000);
		CU_ASSERT_EQUAL(takes(b, 10, START_MS + i * 1000), 0);
	}
	calls(b, 100, START_MS + 19000);
	CU_ASSERT_EQUAL(takes(b, 1000, START_MS + 19000), 200);
	budget_end(b);
}

static void
a_retry_that_waits_out_its_pause_counts_from_the_moment_it_was_decided(void)
{
	struct retry_budget *b = budget_make();
	unsigned decided = 0;

	/* A burst: all fail at once, and none of them has been sent again yet. */
	calls(b, 500, START_MS);
	for (int i = 0; i < 500; i++)
		decided += retry_budget_take(b, &rules, START_MS + i % 50);
	CU_ASSERT_EQUAL(decided, 100);
	budget_end(b);
}

static void
a_process_that_was_stopped_for_a_window_is_granted_nothing(void)
{
	struct retry_budget *b = budget_make();

	calls(b, 100, START_MS + RETRY_WINDOW_MS);
	CU_ASSERT_EQUAL(takes(b, 5, START_MS), 0);
	calls(b, 100, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS + RETRY_WINDOW_MS).calls, 100);
	CU_ASSERT_EQUAL(takes(b, 100, START_MS + RETRY_WINDOW_MS), 20);
	/* And one whose clock is only a moment behind sees what was granted since. */
	CU_ASSERT_EQUAL(takes(b, 100, START_MS + RETRY_WINDOW_MS - 10), 0);
	budget_end(b);
}

static void
more_than_a_second_counts_is_neither_granted_nor_spills_over(void)
{
	struct retry_budget *b = budget_make();

	calls(b, 1200000, START_MS);
	CU_ASSERT_EQUAL(view(b, START_MS).calls, (1 << 20) - 1);
	CU_ASSERT_EQUAL(takes(b, 10000, START_MS), 4095);
	CU_ASSERT_EQUAL(view(b, START_MS).calls, (1 << 20) - 1);
	CU_ASSERT_EQUAL(view(b, START_MS).retries, 4095);
	budget_end(b);
}

/* All ask at once, over the end of a second; each writes how many it was granted. */
static unsigned
crowd_takes(struct retry_budget *b)
{
	pid_t pids[CROWD];
	unsigned granted = 0;
	int status;

	for (unsigned i = 0; i < CROWD; i++) {
		pids[i] = fork();
		if (pids[i] == -1)
			abort();
		if (pids[i] == 0) {
			unsigned n = 0;

			for (int k = 0; k < ASKS; k++)
				n += retry_budget_take(b, &rules, START_MS + 999 + (k & 1));
			_exit((int)n);
		}
	}
	for (unsigned i = 0; i < CROWD; i++) {
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_TRUE(WIFEXITED(status));
		granted += (unsigned)WEXITSTATUS(status);
	}
	return granted;
}

static void
of_many_that_ask_at_once_no_more_are_granted_than_there_is_room_for(void)
{
	for (int round = 0; round < 20; round++) {
		struct retry_budget *b = budget_make();

		calls(b, 600, START_MS);
		CU_ASSERT_TRUE(crowd_takes(b) <= 120);
		CU_ASSERT_TRUE(view(b, START_MS).retries <= 120);
		/* Those that were refused have taken themselves out again. */
		(void)takes(b, 200, START_MS + 1000);
		CU_ASSERT_EQUAL(view(b, START_MS + 1000).retries, 120);
		budget_end(b);
	}
}

static void
call_and_take(void *arg)
{
	struct retry_budget *b = arg;

	retry_budget_call(b, START_MS);
	for (int i = 0; i < FLOOR + 2; i++)
		(void)retry_budget_take(b, &rules, START_MS);
}

static void
killed_at_any_instruction_a_caller_leaves_at_most_one_retry_that_nobody_makes(void)
{
	struct retry_budget *measured = budget_make(), *b = budget_make(), *copy = budget_make();
	const unsigned stride = step_count(call_and_take, measured) / 2000 + 1;
	struct step s = step_start(call_and_take, b);
	unsigned looks = 0, bad = 0;

	for (; step_on(&s, stride); looks++) {
		memcpy(copy, b, retry_budget_size());
		bad += view(copy, START_MS).retries > FLOOR + 1;
		bad += takes(copy, 100, START_MS + RETRY_WINDOW_MS) != FLOOR;
	}
	CU_ASSERT_TRUE(s.well);
	CU_ASSERT_TRUE(looks > 100);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(view(b, START_MS).retries, FLOOR);
	budget_end(copy);
	budget_end(b);
	budget_end(measured);
}

UNIT_SUITE(retry_budget, TEST(a_fifth_of_the_calls_may_be_repeated),
    TEST(the_limit_that_is_told_is_the_one_that_holds),
    TEST(a_few_are_granted_to_who_makes_few_calls),
    TEST(what_was_granted_comes_back_when_its_second_leaves_the_window),
    TEST(a_retry_that_waits_out_its_pause_counts_from_the_moment_it_was_decided),
    TEST(a_process_that_was_stopped_for_a_window_is_granted_nothing),
    TEST(more_than_a_second_counts_is_neither_granted_nor_spills_over),
    TEST(of_many_that_ask_at_once_no_more_are_granted_than_there_is_room_for));
UNIT_SUITE(retry_budget_walk,
    TEST(killed_at_any_instruction_a_caller_leaves_at_most_one_retry_that_nobody_makes));
