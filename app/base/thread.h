#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Starts a thread that never gets a signal: they are for the process's main thread.
 *
 * ${stack_bytes} 0: the system's size, which is for code of other people's libraries.  ${thread_out} NULL: nobody
 * will join it.  False: the process may have no more threads, or no memory.
 */
bool thread_start(size_t stack_bytes, void *(*run)(void *arg), void *arg, pthread_t *thread_out);

enum { THREAD_SMALL_STACK_BYTES = 256 * 1024 }; /* for what we have written ourselves */

/* A lock, and what is waited for under it by the monotonic clock.  Cannot fail. */
void thread_lock_init(pthread_mutex_t *lock, pthread_cond_t *changed);
/* With the lock held; false: ${until_ms} has come and nobody has signalled. */
bool thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, int64_t until_ms);

#endif
