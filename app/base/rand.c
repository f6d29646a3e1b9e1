/*
 * Randomness: the kernel's, and a fast generator seeded from it.
 *
 * The fast one is xoshiro256** (Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", 2021), one per thread.  A forked child
 * seeds anew, else it would give out its parent's ids a second time.
 */
#include "base/rand.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

static _Thread_local struct {
	uint64_t s[4];
	bool seeded;
} gen;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

void
rand_bytes(void *out, size_t len)
{
	char *p = out;

	while (len > 0) {
		const ssize_t n = getrandom(p, len, 0);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n == -1 && errno != EINTR) {
			abort(); /* going on with guessable keys would be worse */
		}
	}
}

static void
forget(void)
{
	gen.seeded = false;
}

static void
watch_forks(void)
{
	if (pthread_atfork(NULL, NULL, forget) != 0)
		abort();
}

static void
seed(void)
{
	(void)pthread_once(&fork_once, watch_forks);
	do
		rand_bytes(gen.s, sizeof gen.s);
	while ((gen.s[0] | gen.s[1] | gen.s[2] | gen.s[3]) == 0); /* all zero stays all zero */
	gen.seeded = true;
}

static uint64_t
rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

uint64_t
rand_u64(void)
{
	uint64_t *s = gen.s;
	uint64_t result, t;

	if (!gen.seeded)
		seed();
	result = rotate(s[1] * 5, 7) * 9;
	t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}
