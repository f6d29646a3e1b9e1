#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Locks that outlive their holder's death.
 *
 * File locks (flock): given back by the kernel when the process ends; the
 * descriptor is close-on-exec.  Robust mutexes live in shared memory.
 */
enum lock_mode { LOCK_SHARED, LOCK_EXCLUSIVE };

/* Opens (makes, mode 0600, no symlink) ${name} in ${dir_fd} and locks it, waiting at most
 * ${wait_ms}: 0 tries once, -1 waits for ever.  ERR_CONFLICT: somebody else holds it. */
enum err lock_file(int dir_fd, const char *name, enum lock_mode mode, int64_t wait_ms, int *fd_out);
void lock_file_release(int *fdp);

enum err robust_init(pthread_mutex_t *m); /* process-shared, robust */

/* ERR_OK held; ERR_MISMATCH held, but its last holder died inside: repair what it guards (the
 * mutex is already consistent); ERR_CONFLICT not held. */
enum err robust_try(pthread_mutex_t *m);
enum err robust_lock(pthread_mutex_t *m, int64_t wait_ms);
void robust_unlock(pthread_mutex_t *m);

/* One step of a short spin: tells the processor that another holds what we look at. */
static inline void
lock_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
