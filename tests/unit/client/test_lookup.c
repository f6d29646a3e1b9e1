/* Goal: names are looked up under a deadline, whoever asks and however often, and what comes late is not lost. */
#include "client/lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tests/support/unit.h"

enum { PATIENCE_MS = 20000, CROWD = 16 };

static const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };

static bool
is_found(const char *node, int64_t timeout_ms)
{
	struct addrinfo *found;
	const int rc = lookup_address(node, "9092", &hints, timeout_ms, &found);

	CU_ASSERT_EQUAL(rc == 0, found != NULL);
	if (found != NULL)
		freeaddrinfo(found);
	return rc == 0;
}

static void
what_is_numeric_needs_no_time(void)
{
	CU_ASSERT_TRUE(is_found("127.0.0.1", 0));
	CU_ASSERT_FALSE(is_found("127.0.0.1.5.6", 0));
}

static void
a_name_is_looked_up_and_an_unknown_one_is_an_error(void)
{
	CU_ASSERT_TRUE(is_found("localhost", PATIENCE_MS));
	CU_ASSERT_TRUE(is_found("localhost", PATIENCE_MS));
	CU_ASSERT_FALSE(is_found("nobody.invalid", PATIENCE_MS));
}

static void
who_has_no_time_leaves_the_answer_for_the_next(void)
{
	const int64_t until_ms = clock_mono_ms() + PATIENCE_MS;
	bool found = false;

	while (!found && clock_mono_ms() < until_ms)
		found = is_found("localhost", 0);
	CU_ASSERT_TRUE(found);
}

static void *
ask(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++)
		CU_ASSERT_TRUE(is_found("localhost", PATIENCE_MS));
	return NULL;
}

static void
a_crowd_that_asks_for_one_name_is_answered(void)
{
	pthread_t threads[CROWD];

	for (int i = 0; i < CROWD; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ask, NULL), 0);
	for (int i = 0; i < CROWD; i++)
		(void)pthread_join(threads[i], NULL);
}

UNIT_SUITE(lookup, TEST(what_is_numeric_needs_no_time),
    TEST(a_name_is_looked_up_and_an_unknown_one_is_an_error),
    TEST(who_has_no_time_leaves_the_answer_for_the_next),
    TEST(a_crowd_that_asks_for_one_name_is_answered));
