/*
 * Names to addresses under a deadline: each look-up is a detached thread's, for one that hangs cannot be ended.
 *
 *   nobody asks --> a thread asks --> answered --> taken by whoever asks first
 *                        ^                           |
 *                        +-- who waited in vain, or comes later, waits on
 *
 * All look-ups of the process are one list, behind one lock that is never held while a resolver is asked.
 */
#include "client/lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "base/wake.h"

enum { KEPT_MS = 30000 }; /* an older answer is asked for again */

struct lookup {
	struct lookup *next;
	char *node, *service;
	struct addrinfo hints;
	bool answered;
	int64_t answered_ms;
	int rc;
	struct addrinfo *found;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lookup *lookups;
static _Atomic uint32_t changes; /* an answer has come */

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* With the lock.  The place where it hangs, or the list's end. */
static struct lookup **
find(const char *node, const char *service)
{
	struct lookup **at = &lookups;

	while (*at != NULL && !(is_same((*at)->node, node) && is_same((*at)->service, service)))
		at = &(*at)->next;
	return at;
}

static void
lookup_free(struct lookup *l)
{
	if (l == NULL)
		return;
	if (l->found != NULL)
		freeaddrinfo(l->found);
	free(l->node);
	free(l->service);
	free(l);
}

/* It stays in the list until it is answered, so nobody frees it meanwhile. */
static void *
run(void *arg)
{
	struct lookup *l = arg;
	struct addrinfo *found = NULL;
	const int rc = getaddrinfo(l->node, l->service, &l->hints, &found);

	(void)pthread_mutex_lock(&lock);
	l->rc = rc;
	l->found = rc == 0 ? found : NULL;
	l->answered_ms = clock_mono_ms();
	l->answered = true;
	(void)atomic_fetch_add(&changes, 1);
	(void)pthread_mutex_unlock(&lock);
	wake_all(&changes);
	return NULL;
}

/* With the lock. */
static bool
start(const char *node, const char *service, const struct addrinfo *hints)
{
	struct lookup *l = calloc(1, sizeof *l);

	if (l == NULL)
		return false;
	l->node = node == NULL ? NULL : strdup(node);
	l->service = service == NULL ? NULL : strdup(service);
	l->hints.ai_flags = hints->ai_flags;
	l->hints.ai_family = hints->ai_family;
	l->hints.ai_socktype = hints->ai_socktype;
	l->hints.ai_protocol = hints->ai_protocol;
	if ((node != NULL && l->node == NULL) || (service != NULL && l->service == NULL) ||
	    !thread_start(THREAD_SMALL_STACK_BYTES, run, l, NULL)) {
		lookup_free(l);
		return false;
	}
	l->next = lookups;
	lookups = l;
	return true;
}

/* With the lock.  True: *${rc} and *${out} are the answer. */
static bool
take(const char *node, const char *service, int64_t now_ms, int *rc, struct addrinfo **out)
{
	struct lookup **at = find(node, service), *l = *at;
	const bool good = l != NULL && l->answered && now_ms - l->answered_ms < KEPT_MS;

	if (l == NULL || !l->answered)
		return false;
	*at = l->next;
	if (good) {
		*rc = l->rc;
		*out = l->found;
		l->found = NULL;
	}
	lookup_free(l);
	return good;
}

static int
wait_for_answer(const char *node, const char *service, const struct addrinfo *hints,
    int64_t until_ms, struct addrinfo **out)
{
	int rc = EAI_AGAIN;

	for (;;) {
		const int64_t now_ms = clock_mono_ms();
		uint32_t seen;
		bool asked = true, taken;

		(void)pthread_mutex_lock(&lock);
		seen = atomic_load(&changes);
		taken = take(node, service, now_ms, &rc, out);
		if (!taken && *find(node, service) == NULL)
			asked = start(node, service, hints);
		(void)pthread_mutex_unlock(&lock);
		if (taken || !asked || now_ms >= until_ms)
			return asked ? rc : EAI_MEMORY;
		wake_wait(&changes, seen, until_ms - now_ms);
	}
}

int
lookup_address(const char *node, const char *service, const struct addrinfo *hints,
    int64_t timeout_ms, struct addrinfo **out)
{
	const struct addrinfo none = { .ai_family = AF_UNSPEC };
	struct addrinfo numeric = hints == NULL ? none : *hints;
	int rc;

	*out = NULL;
	numeric.ai_flags |= AI_NUMERICHOST;
	rc = getaddrinfo(node, service, &numeric, out); /* which asks nobody */
	if (rc != EAI_NONAME)
		return rc;
	return wait_for_answer(
	    node, service, hints == NULL ? &none : hints, clock_mono_ms() + timeout_ms, out);
}
