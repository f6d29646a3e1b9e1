/*
 * Locks that outlive their holder's death: flock for files, robust mutexes
 * for shared memory.
 *
 * flock has no deadline of its own, and an alarm signal would be the whole
 * process's; so a bounded wait asks again every few milliseconds.
 */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* ThreadSanitizer does not know pthread_mutex_clocklock() and has to be told what it did. */
#if defined(__SANITIZE_THREAD__)
#define TELL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TELL_TSAN 1
#endif
#endif
#ifdef TELL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

enum { POLL_MS = 10 };

static enum err
err_of_open(int error)
{
	return error == EACCES || error == EPERM || error == ELOOP ? ERR_DENIED : ERR_IO;
}

static enum err
flock_retry(int fd, int operation)
{
	while (flock(fd, operation) == -1) {
		if (errno == EWOULDBLOCK)
			return ERR_CONFLICT;
		if (errno != EINTR)
			return ERR_IO;
	}
	return ERR_OK;
}

static enum err
flock_until(int fd, int operation, int64_t wait_ms)
{
	const int64_t start_ms = clock_mono_ms();
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000L };
	enum err rc;

	if (wait_ms < 0)
		return flock_retry(fd, operation);
	for (;;) {
		rc = flock_retry(fd, operation | LOCK_NB);
		if (rc != ERR_CONFLICT || clock_mono_ms() - start_ms >= wait_ms)
			return rc;
		(void)nanosleep(&step, NULL);
	}
}

enum err
lock_file(int dir_fd, const char *name, enum lock_mode mode, int64_t wait_ms, int *fd_out)
{
	const int fd =
	    openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
	enum err rc;
	int saved;

	*fd_out = -1;
	if (fd == -1)
		return err_of_open(errno);
	rc = flock_until(fd, mode == LOCK_SHARED ? LOCK_SH : LOCK_EX, wait_ms);
	if (rc != ERR_OK) {
		saved = errno;
		(void)close(fd);
		errno = saved;
		return rc;
	}
	*fd_out = fd;
	return ERR_OK;
}

void
lock_file_release(int *fdp)
{
	if (*fdp == -1)
		return;
	/* Unlock by name: a child between fork and exec still has a copy of the descriptor. */
	(void)flock(*fdp, LOCK_UN);
	(void)close(*fdp);
	*fdp = -1;
}

enum err
robust_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;
	bool ok;

	if (pthread_mutexattr_init(&attr) != 0)
		return ERR_NOMEM;
	ok = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
	     pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
	     pthread_mutex_init(m, &attr) == 0;
	(void)pthread_mutexattr_destroy(&attr);
	return ok ? ERR_OK : ERR_IO;
}

/*
 * Consistent at once, and not after the repair: whoever dies repairing dies
 * holding, so the next holder is told again.
 */
static enum err
taken(pthread_mutex_t *m, int error)
{
	if (error == 0)
		return ERR_OK;
	if (error != EOWNERDEAD)
		return ERR_CONFLICT;
	(void)pthread_mutex_consistent(m);
	return ERR_MISMATCH;
}

enum err
robust_try(pthread_mutex_t *m)
{
	return taken(m, pthread_mutex_trylock(m));
}

static int
lock_until(pthread_mutex_t *m, const struct timespec *until)
{
	int error;

#ifdef TELL_TSAN
	__tsan_mutex_pre_lock(m, __tsan_mutex_try_lock);
#endif
	error = pthread_mutex_clocklock(m, CLOCK_MONOTONIC, until);
#ifdef TELL_TSAN
	__tsan_mutex_post_lock(m,
	    error == 0 || error == EOWNERDEAD ? __tsan_mutex_try_lock
					      : __tsan_mutex_try_lock_failed,
	    0);
#endif
	return error;
}

enum err
robust_lock(pthread_mutex_t *m, int64_t wait_ms)
{
	struct timespec until;
	int64_t ns;

	if (wait_ms == 0)
		return robust_try(m);
	if (wait_ms < 0)
		return taken(m, pthread_mutex_lock(m));
	if (__builtin_mul_overflow(wait_ms, 1000000, &ns) ||
	    __builtin_add_overflow(ns, clock_mono_ns(), &ns))
		ns = INT64_MAX;
	until = (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	return taken(m, lock_until(m, &until));
}

void
robust_unlock(pthread_mutex_t *m)
{
	(void)pthread_mutex_unlock(m);
}
