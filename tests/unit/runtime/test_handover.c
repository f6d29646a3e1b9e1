/* Goal: what one binary leaves to the next is taken whole, or not at all. */
#include "runtime/handover.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/unit.h"

static void
the_text_says_which_is_which(void)
{
	struct handover h;

	CU_ASSERT_EQUAL_FATAL(
	    handover_parse("1 5 6 7 10 11 0 100:w:0 101:w:1 4194304:c:0", &h), ERR_OK);
	CU_ASSERT_EQUAL(h.listen_fd, 5);
	CU_ASSERT_EQUAL(h.admin_fd, 6);
	CU_ASSERT_EQUAL(h.lock_fd, 7);
	CU_ASSERT_EQUAL(h.lifeline[0], 10);
	CU_ASSERT_EQUAL(h.lifeline[1], 11);
	CU_ASSERT_EQUAL(h.given, 0);
	CU_ASSERT_EQUAL_FATAL(h.child_count, 3);
	CU_ASSERT_EQUAL(h.children[1].pid, 101);
	CU_ASSERT_EQUAL(h.children[1].kind, MEMBER_WORKER);
	CU_ASSERT_TRUE(h.children[1].leaving);
	CU_ASSERT_EQUAL(h.children[2].kind, MEMBER_CONSUMER);
	CU_ASSERT_FALSE(h.children[2].leaving);
	handover_free(&h);
	CU_ASSERT_EQUAL(handover_parse("1 5 6 7 10 11 0", &h), ERR_OK); /* none was running */
	CU_ASSERT_EQUAL(h.child_count, 0);
	handover_free(&h);
}

static void
anything_else_is_refused(void)
{
	static const char *const texts[] = { "", "1", "2 5 6 7 10 11", "1 5 6 7 10",
		"1 5 6 7 10 11", "1 5 6 7 10 x", "1 5 6 7 10 -1", "1 5 6 7 10 11 0 ",
		"1 5 6 7 10 11 0 100", "1 5 6 7 10 11 0 100:w", "1 5 6 7 10 11 0 100:x:0",
		"1 5 6 7 10 11 0 100:w:2", "1 5 6 7 10 11 0 1:w:0", "1 5 6 7 10 11 0 -5:w:0",
		"1 5 6 7 10 11 0 99999999999:w:0" };
	struct handover h;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		CU_ASSERT_EQUAL(handover_parse(texts[i], &h), ERR_INVALID);
}

static void
more_children_than_places_are_refused(void)
{
	char *text = malloc(64 * 1024);
	struct handover h;
	int n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	n = sprintf(text, "1 5 6 7 10 11 0");
	for (int i = 0; i <= POOL_PLACES; i++)
		n += sprintf(text + n, " %d:w:0", 100 + i);
	CU_ASSERT_EQUAL(handover_parse(text, &h), ERR_INVALID);
	free(text);
}

static void
what_is_taken_is_gone_from_the_environment_and_kept_from_children(void)
{
	struct handover h;
	char text[64];
	int fds[2];

	CU_ASSERT_EQUAL(handover_take(&h), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
	(void)snprintf(
	    text, sizeof text, "1 %d %d %d %d %d 2", fds[0], fds[1], fds[0], fds[0], fds[1]);
	CU_ASSERT_EQUAL(setenv(HANDOVER_NAME, text, 1), 0);
	CU_ASSERT_EQUAL_FATAL(handover_take(&h), ERR_OK);
	CU_ASSERT_PTR_NULL(getenv(HANDOVER_NAME));
	CU_ASSERT_EQUAL(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	handover_free(&h);
	(void)close(fds[0]);
	(void)close(fds[1]);
	CU_ASSERT_EQUAL(setenv(HANDOVER_NAME, text, 1), 0);
	CU_ASSERT_EQUAL(handover_take(&h), ERR_INVALID); /* nothing is open there */
	CU_ASSERT_PTR_NULL(getenv(HANDOVER_NAME));
}

UNIT_SUITE(handover, TEST(the_text_says_which_is_which), TEST(anything_else_is_refused),
    TEST(more_children_than_places_are_refused),
    TEST(what_is_taken_is_gone_from_the_environment_and_kept_from_children));
