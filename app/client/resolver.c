/*
 * Names to addresses by one detached thread.
 *
 * The thread cannot be joined while getaddrinfo() hangs, so what it writes to is owned by both sides and freed by
 * the last to leave.
 */
#include "client/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

enum { AGAIN_MS = 30000, FAILED_AGAIN_MS = 1000, TICK_MS = 500 };

struct name {
	char text[RESOLVER_NAME_BYTES];
	bool numeric, asked, failing;
	int64_t next_ms;
	struct resolver_addresses found;
};

struct resolver {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned owners;
	bool closing;
	size_t count;
	struct name names[];
};

static void
leave(struct resolver *r)
{
	bool last;

	(void)pthread_mutex_lock(&r->lock);
	last = --r->owners == 0;
	(void)pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	(void)pthread_cond_destroy(&r->changed);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

static void
add_address(struct resolver_addresses *out, const struct sockaddr *address)
{
	const void *bytes;

	if (out->count == RESOLVER_ADDRESSES_MAX)
		return;
	if (address->sa_family == AF_INET)
		bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
	else if (address->sa_family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	else
		return;
	if (inet_ntop(address->sa_family, bytes, out->text[out->count], INET6_ADDRSTRLEN) != NULL)
		out->count++;
}

/* Without the lock: this is what may hang. */
static const char *
look_up(const char *name, struct resolver_addresses *out)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *list = NULL;
	const int rc = getaddrinfo(name, NULL, &hints, &list);

	out->count = 0;
	if (rc != 0)
		return gai_strerror(rc);
	for (const struct addrinfo *i = list; i != NULL; i = i->ai_next)
		add_address(out, i->ai_addr);
	freeaddrinfo(list);
	return out->count > 0 ? NULL : "no address of a kind that can be used";
}

static void
say(const struct name *n, const char *why)
{
	if (why != NULL && !n->failing)
		log_warn("resolve_failed", LOG_STR("name", n->text), LOG_STR("reason", why));
	else if (why == NULL && n->failing)
		log_info("resolved", LOG_STR("name", n->text));
}

/* With the lock, which it gives up while it asks. */
static void
ask(struct resolver *r, struct name *n)
{
	struct resolver_addresses found;
	const char *why;

	(void)pthread_mutex_unlock(&r->lock);
	why = look_up(n->text, &found);
	say(n, why);
	(void)pthread_mutex_lock(&r->lock);
	if (why == NULL)
		n->found = found;
	n->failing = why != NULL;
	n->asked = true;
	n->next_ms = clock_mono_ms() + (why == NULL ? AGAIN_MS : FAILED_AGAIN_MS);
	(void)pthread_cond_broadcast(&r->changed);
}

static void *
run(void *arg)
{
	struct resolver *r = arg;

	(void)pthread_mutex_lock(&r->lock);
	while (!r->closing) {
		for (size_t i = 0; i < r->count && !r->closing; i++)
			if (!r->names[i].numeric && r->names[i].next_ms <= clock_mono_ms())
				ask(r, &r->names[i]);
		if (!r->closing)
			(void)thread_wait(&r->changed, &r->lock, clock_mono_ms() + TICK_MS);
	}
	(void)pthread_mutex_unlock(&r->lock);
	leave(r);
	return NULL;
}

static enum err
start_thread(struct resolver *r)
{
	r->owners++;
	if (thread_start(THREAD_SMALL_STACK_BYTES, run, r, NULL))
		return ERR_OK;
	r->owners--;
	return ERR_NOMEM;
}

static bool
take_name(struct name *n, const char *text)
{
	struct in6_addr address;
	const size_t len = strlen(text);

	if (len == 0 || len >= sizeof n->text)
		return false;
	memcpy(n->text, text, len + 1);
	n->numeric =
	    inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
	if (n->numeric && len < INET6_ADDRSTRLEN) {
		memcpy(n->found.text[0], text, len + 1);
		n->found.count = 1;
		n->asked = true;
	}
	return true;
}

enum err
resolver_open(const char *const *names, size_t count, struct resolver **out)
{
	struct resolver *r;
	bool threaded = false;
	enum err rc = ERR_OK;

	*out = NULL;
	if (count > RESOLVER_NAMES_MAX)
		return ERR_INVALID;
	r = calloc(1, sizeof *r + count * sizeof *r->names);
	if (r == NULL)
		return ERR_NOMEM;
	r->owners = 1;
	r->count = count;
	thread_lock_init(&r->lock, &r->changed);
	for (size_t i = 0; i < count && rc == ERR_OK; i++) {
		rc = take_name(&r->names[i], names[i]) ? ERR_OK : ERR_INVALID;
		threaded = threaded || !r->names[i].numeric;
	}
	if (rc == ERR_OK && threaded)
		rc = start_thread(r);
	if (rc != ERR_OK)
		leave(r);
	else
		*out = r;
	return rc;
}

void
resolver_close(struct resolver **rp)
{
	struct resolver *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	(void)pthread_mutex_lock(&r->lock);
	r->closing = true;
	(void)pthread_cond_broadcast(&r->changed);
	(void)pthread_mutex_unlock(&r->lock);
	leave(r);
}

void
resolver_look(struct resolver *r, size_t name, struct resolver_addresses *out)
{
	(void)pthread_mutex_lock(&r->lock);
	*out = r->names[name].found;
	(void)pthread_mutex_unlock(&r->lock);
}

static bool
all_asked(const struct resolver *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!r->names[i].asked)
			return false;
	return true;
}

enum err
resolver_wait(struct resolver *r, int64_t deadline_ms)
{
	enum err rc;

	(void)pthread_mutex_lock(&r->lock);
	while (!all_asked(r) && clock_mono_ms() < deadline_ms)
		(void)thread_wait(&r->changed, &r->lock, deadline_ms);
	rc = all_asked(r) ? ERR_OK : ERR_TIMEOUT;
	(void)pthread_mutex_unlock(&r->lock);
	return rc;
}
