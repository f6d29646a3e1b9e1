#ifndef SERVICE_STORE_DRIVER_H
#define SERVICE_STORE_DRIVER_H

#include "service/store.h"

/*
 * What one kind of database must do.  The functions mean what those of store.h mean; a test's fake is a
 * driver too.
 */
struct store_driver {
	const char *schemes[2]; /* of the URL, with the colon; the second may be NULL */
	/* ${address} is the URL behind the first colon, lent (o->url is whole); nothing is connected yet. */
	enum err (*open)(const char *address, const struct store_options *o, void **state_out);
	void (*close)(void *state);
	enum err (*read)(void *state, const struct endpoint *e, const struct value *values,
	    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out,
	    uint64_t *seen_out);     /* set to STORE_SEES_ALL by the caller, never NULL */
	size_t (*room)(void *state); /* NULL: no bound is known */
	enum err (*explain)(void *state, const struct endpoint *e, const struct value *values,
	    const struct store_ambient *ambient, int64_t deadline_ms,
	    struct strbuf *plan_out); /* NULL: it cannot tell; ${plan_out} is empty */
	/* ${state} NULL: without a database. */
	void (*check)(void *state, const struct endpoint *e, struct fault_list *faults);
	enum err (*ping)(void *state, int64_t deadline_ms);
	void (*expire)(void *state, int64_t now_ms);	/* NULL: it keeps no connections */
	void (*wait)(void *state, int64_t deadline_ms); /* NULL: it has no names */
};

extern const struct store_driver store_driver_sqlite, store_driver_postgresql;

/* store_open() with a driver that is in no table. */
enum err store_open_driver(const struct store_driver *driver, const char *address,
    const struct store_options *o, struct store **out);

#endif
