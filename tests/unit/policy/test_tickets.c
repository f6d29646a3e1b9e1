/* Goal: never more tickets than the limit over all processes, and those of the dead come back. */
#include "policy/tickets.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { LIMIT = 4, ME = 7, OTHER = 9 };

static struct tickets *
fresh(void)
{
	void *mem =
	    mmap(NULL, tickets_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	tickets_init(mem);
	return mem;
}

static void
drop(struct tickets *t)
{
	(void)munmap(t, tickets_size());
}

static unsigned asked;

static bool
only_me_lives(uint64_t owner)
{
	asked++;
	return owner == ME;
}

static void
there_are_as_many_as_the_limit_says(void)
{
	struct tickets *t = fresh();
	size_t at[LIMIT + 1];

	for (size_t i = 0; i < LIMIT; i++)
		CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, NULL, &at[i]), ERR_OK);
	CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, NULL, &at[LIMIT]), ERR_FULL);
	CU_ASSERT_EQUAL(tickets_held(t, LIMIT, ME), LIMIT);
	tickets_give(t, at[2]);
	CU_ASSERT_EQUAL(tickets_held(t, LIMIT, 0), LIMIT - 1);
	CU_ASSERT_EQUAL(tickets_take(t, LIMIT, OTHER, NULL, &at[LIMIT]), ERR_OK);
	CU_ASSERT_EQUAL(at[LIMIT], at[2]);
	drop(t);
}

static void
tickets_of_the_dead_are_taken_when_asked_for(void)
{
	struct tickets *t = fresh();
	size_t at;

	for (size_t i = 0; i < LIMIT; i++)
		CU_ASSERT_EQUAL(tickets_take(t, LIMIT, i == 0 ? ME : OTHER, NULL, &at), ERR_OK);
	CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, NULL, &at), ERR_FULL);
	asked = 0;
	for (size_t i = 1; i < LIMIT; i++)
		CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, only_me_lives, &at), ERR_OK);
	CU_ASSERT_EQUAL(asked, LIMIT - 1); /* nobody asks whether he himself lives */
	CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, only_me_lives, &at), ERR_FULL);
	drop(t);
}

static void
a_lower_limit_looks_only_at_its_own(void)
{
	struct tickets *t = fresh();
	size_t at;

	for (size_t i = 0; i < LIMIT; i++)
		CU_ASSERT_EQUAL(tickets_take(t, LIMIT, ME, NULL, &at), ERR_OK);
	tickets_give(t, LIMIT - 1);
	CU_ASSERT_EQUAL(tickets_take(t, LIMIT - 1, ME, NULL, &at), ERR_FULL);
	CU_ASSERT_EQUAL(tickets_held(t, LIMIT - 1, ME), LIMIT - 1);
	drop(t);
}

static void
a_wish_holds_for_a_moment_only(void)
{
	struct tickets *t = fresh();

	CU_ASSERT_FALSE(tickets_wanted(t, 1000));
	tickets_want(t, 1000);
	CU_ASSERT_TRUE(tickets_wanted(t, 1000 + TICKETS_WANTED_MS - 1));
	CU_ASSERT_FALSE(tickets_wanted(t, 1000 + TICKETS_WANTED_MS));
	drop(t);
}

static void
take_and_give(void *arg)
{
	struct tickets *t = arg;
	size_t at = 0;

	if (tickets_take(t, LIMIT, OTHER, NULL, &at) == ERR_OK)
		tickets_give(t, at);
}

/* What was taken by a process that dies anywhere is a ticket of the dead, or none at all. */
static void
a_process_that_is_killed_at_any_instruction_loses_no_ticket_for_the_others(void)
{
	struct tickets *t = fresh();
	const unsigned all = step_count(take_and_give, t);

	drop(t);
	for (unsigned at = 0; at <= all; at++) {
		struct step s = step_start(take_and_give, t = fresh());
		size_t index, got = 0;

		(void)step_on(&s, at);
		step_kill(&s);
		while (tickets_take(t, LIMIT, ME, only_me_lives, &index) == ERR_OK)
			got++;
		CU_ASSERT_EQUAL(got, LIMIT);
		drop(t);
	}
}

/* Eight processes, each taking and giving as fast as it can, never see more than the limit. */
static void
a_crowd_never_holds_more_than_the_limit(void)
{
	enum { CROWD = 8, ROUNDS = 20000 };
	struct tickets *t = fresh();
	pid_t pids[CROWD];
	size_t at = 0;

	for (unsigned i = 0; i < CROWD; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		for (unsigned n = 0; n < ROUNDS; n++)
			if (tickets_take(t, LIMIT, 100 + i, NULL, &at) == ERR_OK) {
				if (tickets_held(t, TICKETS_MAX, 100 + i) != 1)
					_exit(1);
				tickets_give(t, at);
			}
		_exit(0);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		int status = -1;

		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	CU_ASSERT_EQUAL(tickets_held(t, TICKETS_MAX, 0), 0);
	drop(t);
}

static void
an_owner_is_its_process_and_when_that_began(void)
{
	CU_ASSERT_NOT_EQUAL(tickets_owner(5, 100), tickets_owner(5, 101));
	CU_ASSERT_NOT_EQUAL(tickets_owner(5, 100), tickets_owner(6, 100));
	CU_ASSERT_NOT_EQUAL(tickets_owner(1, 0), 0);
}

UNIT_SUITE(tickets, TEST(there_are_as_many_as_the_limit_says),
    TEST(tickets_of_the_dead_are_taken_when_asked_for), TEST(a_lower_limit_looks_only_at_its_own),
    TEST(a_wish_holds_for_a_moment_only), TEST(a_crowd_never_holds_more_than_the_limit),
    TEST(an_owner_is_its_process_and_when_that_began));

UNIT_SUITE(tickets_steps,
    TEST(a_process_that_is_killed_at_any_instruction_loses_no_ticket_for_the_others));
