/*
 * The read database, whatever it is: the URL chooses the driver, and every
 * statement gets its deadline.
 */
#include "service/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/endpoint.h"
#include "service/store_driver.h"

enum { PLAN_BYTES_MAX = 64 * 1024 };

struct store {
	const struct store_driver *driver;
	void *state;
};

static const struct store_driver *const drivers[] = { &store_driver_sqlite,
	&store_driver_postgresql };

enum err
store_open_driver(const struct store_driver *driver, const char *address,
    const struct store_options *o, struct store **out)
{
	struct store *s = calloc(1, sizeof *s);
	enum err rc;

	if (s == NULL)
		return ERR_NOMEM;
	s->driver = driver;
	rc = driver->open(address, o, &s->state);
	if (rc == ERR_OK)
		*out = s;
	else
		free(s);
	return rc;
}

enum err
store_open(const struct store_options *o, struct store **out)
{
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		for (size_t k = 0; k < 2 && drivers[i]->schemes[k] != NULL; k++) {
			const size_t n = strlen(drivers[i]->schemes[k]);

			if (strncmp(o->url, drivers[i]->schemes[k], n) == 0)
				return store_open_driver(drivers[i], o->url + n, o, out);
		}
	return ERR_INVALID;
}

void
store_close(struct store **sp)
{
	struct store *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	s->driver->close(s->state);
	free(s);
}

enum err
store_read(struct store *s, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out,
    uint64_t *seen_out)
{
	const int64_t own_ms = clock_mono_ms() + e->timeout_ms;
	uint64_t seen = STORE_SEES_ALL;
	const enum err rc = s->driver->read(s->state, e, values, ambient,
	    e->timeout_ms > 0 && own_ms < deadline_ms ? own_ms : deadline_ms, block_out, &seen);

	if (seen_out != NULL)
		*seen_out = seen;
	return rc;
}

size_t
store_room(struct store *s)
{
	return s->driver->room == NULL ? SIZE_MAX : s->driver->room(s->state);
}

void
store_check(struct store *s, const struct endpoint *e, struct fault_list *faults)
{
	if (s == NULL)
		store_driver_sqlite.check(NULL, e, faults);
	else
		s->driver->check(s->state, e, faults);
}

enum err
store_ping(struct store *s, int64_t deadline_ms)
{
	return s->driver->ping(s->state, deadline_ms);
}

enum err
store_explain(struct store *s, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *plan_out)
{
	*plan_out = STRBUF_INIT(PLAN_BYTES_MAX);
	if (s->driver->explain == NULL)
		return ERR_NOT_FOUND;
	return s->driver->explain(s->state, e, values, ambient, deadline_ms, plan_out);
}

void
store_expire(struct store *s, int64_t now_ms)
{
	if (s->driver->expire != NULL)
		s->driver->expire(s->state, now_ms);
}

void
store_wait(struct store *s, int64_t deadline_ms)
{
	if (s->driver->wait != NULL)
		s->driver->wait(s->state, deadline_ms);
}
