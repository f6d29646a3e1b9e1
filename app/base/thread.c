/*
 * A thread's start, and its waits.  The signal mask is set around the start and not inside it: else the first signal could
 * come in between.
 */
#include "base/thread.h"

#include <signal.h>
#include <time.h>

bool
thread_start(size_t stack_bytes, void *(*run)(void *arg), void *arg, pthread_t *thread_out)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int error;

	(void)sigfillset(&all);
	(void)pthread_attr_init(&attr);
	if (stack_bytes > 0)
		(void)pthread_attr_setstacksize(&attr, stack_bytes);
	if (thread_out == NULL)
		(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread_out == NULL ? &thread : thread_out, &attr, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return error == 0;
}

/* glibc's attributes and conditions hold nothing that could be missing. */
void
thread_lock_init(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	pthread_condattr_t attr;

	(void)pthread_mutex_init(lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(changed, &attr);
	(void)pthread_condattr_destroy(&attr);
}

bool
thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, int64_t until_ms)
{
	const struct timespec until = { .tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000 };

	return pthread_cond_timedwait(changed, lock, &until) == 0;
}
