/*
 * The ledger's door: which driver, a handful of kept connections, and texts made fit to be shown.
 *
 * The lock guards only the list of idle connections: opening, asking and closing are done without it.  What failed
 * is closed and not lent again.
 */
#include "service/ledger.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/engines.h"
#include "base/thread.h"
#include "service/ledger_driver.h"
#include "service/writer_driver.h"

enum { CONNECTIONS_MAX = 16 };

struct idle {
	void *connection;
	int64_t since_ms;
};

struct ledger {
	const struct ledger_driver *driver;
	const struct writer_options *o;
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	struct idle idle[CONNECTIONS_MAX]; /* the last one given back is lent first */
	size_t idle_count, open_count, max;
};

static const struct ledger_driver *const drivers[] = {
	&ledger_driver_sqlite,
#if ENGINE_POSTGRESQL
	&ledger_driver_postgresql,
#endif
};

enum err
ledger_open_driver(const struct ledger_driver *driver, const struct writer_options *o,
    size_t max_connections, struct ledger **out)
{
	struct ledger *l = calloc(1, sizeof *l);

	*out = l;
	if (l == NULL)
		return ERR_NOMEM;
	thread_lock_init(&l->lock, &l->given_back);
	l->driver = driver;
	l->o = o;
	l->max = max_connections < 1		     ? 1
		 : max_connections > CONNECTIONS_MAX ? CONNECTIONS_MAX
						     : max_connections;
	return ERR_OK;
}

enum err
ledger_open(const struct writer_options *o, size_t max_connections, struct ledger **out)
{
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		if (writer_scheme_fits(drivers[i]->schemes, o->url))
			return ledger_open_driver(drivers[i], o, max_connections, out);
	return ERR_INVALID;
}

void
ledger_close(struct ledger **lp)
{
	struct ledger *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	for (size_t i = 0; i < l->idle_count; i++)
		l->driver->close(l->idle[i].connection);
	(void)pthread_cond_destroy(&l->given_back);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/*
 * Connections.
 */

/* An idle one, or the right to open one (*${out} is then NULL); waits for one to be given back. */
static enum err
claim(struct ledger *l, int64_t deadline_ms, void **out)
{
	enum err rc = ERR_OK;

	*out = NULL;
	(void)pthread_mutex_lock(&l->lock);
	while (rc == ERR_OK && l->idle_count == 0 && l->open_count == l->max)
		if (!thread_wait(&l->given_back, &l->lock, deadline_ms))
			rc = ERR_TIMEOUT;
	if (rc == ERR_OK && l->idle_count > 0)
		*out = l->idle[--l->idle_count].connection;
	else if (rc == ERR_OK)
		l->open_count++;
	(void)pthread_mutex_unlock(&l->lock);
	return rc;
}

/* A connection to keep, or NULL: one of those that may be open is open no more. */
static void
give_back(struct ledger *l, void *connection)
{
	(void)pthread_mutex_lock(&l->lock);
	if (connection != NULL)
		l->idle[l->idle_count++] = (struct idle){ connection, clock_mono_ms() };
	else
		l->open_count--;
	(void)pthread_cond_signal(&l->given_back);
	(void)pthread_mutex_unlock(&l->lock);
}

static enum err
borrow(struct ledger *l, int64_t deadline_ms, void **out)
{
	enum err rc = claim(l, deadline_ms, out);

	if (rc != ERR_OK || *out != NULL)
		return rc;
	rc = l->driver->open(l->o, deadline_ms, out);
	if (rc != ERR_OK)
		give_back(l, NULL);
	return rc;
}

static void
return_one(struct ledger *l, void *connection, enum err rc)
{
	if (rc != ERR_OK && rc != ERR_NOT_FOUND) {
		l->driver->close(connection);
		connection = NULL;
	}
	give_back(l, connection);
}

static void *
take_expired(struct ledger *l, int64_t before_ms)
{
	void *connection = NULL;

	(void)pthread_mutex_lock(&l->lock);
	if (l->idle_count > 0 && l->idle[0].since_ms < before_ms) {
		connection = l->idle[0].connection;
		memmove(&l->idle[0], &l->idle[1], --l->idle_count * sizeof *l->idle);
	}
	(void)pthread_mutex_unlock(&l->lock);
	return connection;
}

void
ledger_expire(struct ledger *l, int64_t before_ms)
{
	void *connection;

	while ((connection = take_expired(l, before_ms)) != NULL) {
		l->driver->close(connection);
		give_back(l, NULL);
	}
}

/*
 * Questions.
 */

/* A message may quote what a client sent, and is cut at 255 bytes. */
static struct slice
shown(struct slice left, struct arena *a)
{
	char *text = arena_copy(a, left);
	const struct slice all = { text, text == NULL ? 0 : left.len };

	while (text != NULL && left.len > 0) {
		const size_t n = utf8_first(left);
		const bool good = n > 1 || (n == 1 && *left.ptr >= ' ' && *left.ptr != 0x7f);
		const size_t step = n > 0 ? n : 1;

		if (!good)
			memset(text, '?', step);
		text += step;
		left.ptr += step;
		left.len -= step;
	}
	return all;
}

enum err
ledger_letter(struct ledger *l, int64_t after, struct slice event_id, int64_t deadline_ms,
    struct arena *a, struct letter *out)
{
	struct slice *const texts[] = { &out->tenant, &out->endpoint, &out->key, &out->sqlstate,
		&out->message, &out->accepted_at, &out->at };
	void *connection;
	enum err rc = borrow(l, deadline_ms, &connection);

	if (rc != ERR_OK)
		return rc;
	rc = l->driver->letter(connection, after, event_id, deadline_ms, a, out);
	return_one(l, connection, rc);
	for (size_t i = 0; i < sizeof texts / sizeof *texts && rc == ERR_OK; i++)
		*texts[i] = shown(*texts[i], a);
	return rc == ERR_OK && a->overflowed ? ERR_NOMEM : rc;
}

enum err
operation_find(struct ledger *l, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out)
{
	void *connection;
	enum err rc = borrow(l, deadline_ms, &connection);

	if (rc != ERR_OK)
		return rc;
	rc = l->driver->operation(connection, event_id, deadline_ms, a, out);
	return_one(l, connection, rc);
	if (rc != ERR_OK)
		return rc;
	out->state = shown(out->state, a);
	out->reason = shown(out->reason, a);
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}

enum err
ledger_key(struct ledger *l, struct slice id, int64_t deadline_ms, struct api_key_found *out)
{
	void *connection;
	enum err rc = borrow(l, deadline_ms, &connection);

	if (rc != ERR_OK)
		return rc;
	rc = l->driver->key(connection, id, deadline_ms, out);
	return_one(l, connection, rc);
	return rc;
}

enum err
ledger_keys(struct ledger *l, int64_t deadline_ms, api_key_row_fn *fn, void *ctx)
{
	void *connection;
	enum err rc = borrow(l, deadline_ms, &connection);

	if (rc != ERR_OK)
		return rc;
	rc = l->driver->keys(connection, deadline_ms, fn, ctx);
	return_one(l, connection, rc);
	return rc;
}
