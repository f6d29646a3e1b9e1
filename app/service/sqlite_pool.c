/*
 * Read-only connections, lent to any thread.
 *
 * The lock guards only the list: opening, running and closing are done without
 * it.  Who waits is woken whenever one is returned or closed.
 */
#include "service/sqlite_pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "client/sqlite.h"
#include "policy/concurrency.h"
#include "service/store.h"
#include "telemetry/span.h"

/* Of one value inside a statement: what a function may build. */
enum { MAX_VALUE_BYTES = 64 << 20 };

struct idle {
	struct sqlite *db;
	int64_t since_ms;
};

struct sqlite_pool {
	char *path;
	int64_t timeout_ms, idle_timeout_ms;
	size_t max_response_bytes;
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	struct idle *idle; /* room for ${max}; the last one given back is lent first */
	size_t idle_count, open_count, max;
	struct concurrency *calls; /* NULL: nobody counts them */
	unsigned member;
};

static void
pool_free(struct sqlite_pool *p)
{
	free(p->idle);
	free(p->path);
	free(p);
}

enum err
sqlite_pool_open(const char *path, const struct store_options *o, struct sqlite_pool **out)
{
	struct sqlite_pool *p = calloc(1, sizeof *p);

	if (p == NULL)
		return ERR_NOMEM;
	p->max = o->max_connections > 0 ? o->max_connections : 1;
	p->timeout_ms = o->timeout_ms;
	p->idle_timeout_ms = o->idle_timeout_ms;
	p->max_response_bytes = o->max_response_bytes;
	p->member = o->member;
	p->path = strdup(path);
	p->idle = calloc(p->max, sizeof *p->idle);
	if (p->path == NULL || p->idle == NULL || *path == '\0') {
		pool_free(p);
		return *path == '\0' ? ERR_INVALID : ERR_NOMEM;
	}
	/* Without a row it goes on without a bound. */
	if (o->concurrencies != NULL &&
	    concurrency_open(o->concurrencies, "sqlite", o->most_calls, &p->calls) != ERR_OK)
		p->calls = NULL;
	thread_lock_init(&p->lock, &p->given_back);
	*out = p;
	return ERR_OK;
}

void
sqlite_pool_close(struct sqlite_pool **pp)
{
	struct sqlite_pool *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	for (size_t i = 0; i < p->idle_count; i++)
		sqlite_close(&p->idle[i].db);
	(void)pthread_cond_destroy(&p->given_back);
	(void)pthread_mutex_destroy(&p->lock);
	pool_free(p);
}

size_t
sqlite_pool_max_response(const struct sqlite_pool *p)
{
	return p->max_response_bytes;
}

/*
 * An idle connection, or the right to open one (*${out} is then NULL); waits for one to be given back.
 */
static enum err
claim(struct sqlite_pool *p, int64_t deadline_ms, struct sqlite **out)
{
	struct span *wait = NULL;
	enum err rc = ERR_OK;

	*out = NULL;
	(void)pthread_mutex_lock(&p->lock);
	while (rc == ERR_OK && p->idle_count == 0 && p->open_count == p->max) {
		if (wait == NULL)
			wait = span_begin(SPAN_INTERNAL, "pool.wait");
		if (!thread_wait(&p->given_back, &p->lock, deadline_ms))
			rc = ERR_TIMEOUT;
	}
	if (rc == ERR_OK && p->idle_count > 0)
		*out = p->idle[--p->idle_count].db;
	else if (rc == ERR_OK)
		p->open_count++;
	(void)pthread_mutex_unlock(&p->lock);
	span_end(wait, rc);
	return rc;
}

/* A connection to keep, or NULL: one of those that may be open is open no more. */
static void
give_back(struct sqlite_pool *p, struct sqlite *db)
{
	(void)pthread_mutex_lock(&p->lock);
	if (db != NULL)
		p->idle[p->idle_count++] = (struct idle){ db, clock_mono_ms() };
	else
		p->open_count--;
	(void)pthread_cond_signal(&p->given_back);
	(void)pthread_mutex_unlock(&p->lock);
}

static enum err
open_reader(const struct sqlite_pool *p, bool quiet, int64_t deadline_ms, struct sqlite **out,
    struct sqlite_fault *why_out)
{
	const int64_t response_bytes = (int64_t)p->max_response_bytes;
	const struct sqlite_options o = {
		.path = p->path,
		.mode = SQLITE_FOR_READS,
		.quiet = quiet,
		.deadline_ms = deadline_ms,
		.max_value_bytes =
		    response_bytes > MAX_VALUE_BYTES ? response_bytes : MAX_VALUE_BYTES,
	};

	return sqlite_open(&o, out, why_out);
}

enum err
sqlite_pool_borrow(struct sqlite_pool *p, int64_t deadline_ms, struct sqlite **out)
{
	enum err rc = claim(p, deadline_ms, out);

	if (rc != ERR_OK)
		return rc;
	if (*out != NULL) {
		sqlite_deadline(*out, deadline_ms);
		return ERR_OK;
	}
	rc = open_reader(p, false, deadline_ms, out, NULL);
	if (rc != ERR_OK)
		give_back(p, NULL);
	return rc;
}

void
sqlite_pool_return(struct sqlite_pool *p, struct sqlite **dbp, enum err rc)
{
	struct sqlite *db = *dbp;
	const enum sqlite_fault_kind kind = sqlite_last_fault(db)->kind;

	*dbp = NULL;
	if (rc == ERR_UNAVAILABLE && (kind == SQLITE_FAULT_MOMENT || kind == SQLITE_FAULT_BROKEN))
		sqlite_close(&db);
	give_back(p, db);
}

/* The one that has been idle longest, when that is too long; NULL otherwise. */
static struct sqlite *
take_expired(struct sqlite_pool *p, int64_t now_ms)
{
	struct sqlite *db = NULL;

	(void)pthread_mutex_lock(&p->lock);
	if (p->idle_count > 0 && now_ms - p->idle[0].since_ms >= p->idle_timeout_ms) {
		db = p->idle[0].db;
		memmove(&p->idle[0], &p->idle[1], --p->idle_count * sizeof *p->idle);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return db;
}

void
sqlite_pool_expire(struct sqlite_pool *p, int64_t now_ms)
{
	struct sqlite *db;

	while (p->idle_timeout_ms > 0 && (db = take_expired(p, now_ms)) != NULL) {
		sqlite_close(&db);
		give_back(p, NULL);
	}
}

size_t
sqlite_pool_room(const struct sqlite_pool *p)
{
	return p->calls == NULL ? SIZE_MAX : concurrency_room(p->calls, p->member);
}

int64_t
sqlite_pool_begin(struct sqlite_pool *p)
{
	if (p->calls != NULL)
		concurrency_begin(p->calls, p->member);
	return clock_mono_ns();
}

void
sqlite_pool_end(struct sqlite_pool *p, int64_t begun_ns, enum err rc)
{
	const int64_t now_ns = clock_mono_ns();

	if (p->calls != NULL)
		concurrency_end(p->calls, p->member, rc == ERR_OK || rc == ERR_NOT_FOUND,
		    (now_ns - begun_ns) / 1000, now_ns / 1000000);
}

enum err
sqlite_pool_open_one(const struct sqlite_pool *p, struct sqlite **out, struct sqlite_fault *why_out)
{
	return open_reader(p, true, clock_mono_ms() + p->timeout_ms, out, why_out);
}
