/*
 * A thread's start.  The mask is set around it and not inside it: else the first signal could come in between.
 */
#include "base/thread.h"

#include <signal.h>

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
