#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Starts a thread that never gets a signal: they are for the process's main thread.
 *
 * ${stack_bytes} 0: the system's size, which is for code of other people's libraries.  ${thread_out} NULL: nobody
 * will join it.  False: the process may have no more threads, or no memory.
 */
bool thread_start(size_t stack_bytes, void *(*run)(void *arg), void *arg, pthread_t *thread_out);

enum { THREAD_SMALL_STACK_BYTES = 256 * 1024 }; /* for what we have written ourselves */

#endif
