/* Goal: no signal is ever delivered to a thread of ours, and who started it is as it was. */
#include "base/thread.h"

#include <signal.h>

#include "tests/support/unit.h"

static void *
note_mask(void *arg)
{
	(void)pthread_sigmask(SIG_SETMASK, NULL, arg);
	return NULL;
}

static void
a_thread_blocks_every_signal_and_its_starter_none(void)
{
	sigset_t inside, before, after;
	pthread_t thread;

	(void)sigemptyset(&inside);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	CU_ASSERT_TRUE_FATAL(thread_start(THREAD_SMALL_STACK_BYTES, note_mask, &inside, &thread));
	(void)pthread_join(thread, NULL);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &after);
	CU_ASSERT_EQUAL(sigismember(&inside, SIGTERM), 1);
	CU_ASSERT_EQUAL(sigismember(&inside, SIGUSR1), 1);
	for (int s = 1; s < SIGRTMIN; s++)
		CU_ASSERT_EQUAL(sigismember(&after, s), sigismember(&before, s));
}

UNIT_SUITE(thread, TEST(a_thread_blocks_every_signal_and_its_starter_none));
