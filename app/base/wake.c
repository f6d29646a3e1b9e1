/*
 * Sleeping on a word of shared memory: futex(2), in its form for several
 * processes.
 *
 * The kernel compares the word again before it lets anybody sleep, so a
 * change between the caller's look and the call is not missed.
 */
#include "base/wake.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void
wake_wait(const _Atomic uint32_t *word, uint32_t seen, int64_t timeout_ms)
{
	const int saved = errno; /* waking early is no failure */
	const int64_t ms = timeout_ms < 0 ? 0 : timeout_ms;
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	(void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0);
	errno = saved;
}

void
wake_all(_Atomic uint32_t *word)
{
	const int saved = errno;

	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}
