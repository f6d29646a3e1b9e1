#ifndef SERVICE_LEDGER_DRIVER_H
#define SERVICE_LEDGER_DRIVER_H

#include "service/ledger.h"

/*
 * What one kind of database must do for a ledger.  A connection is used by one thread at a time; the functions mean
 * what those of ledger.h mean, but give texts as they are stored.
 */
struct ledger_driver {
	const char *schemes[2]; /* of the URL, with the colon; the second may be NULL */
	enum err (*open)(
	    const struct writer_options *o, int64_t deadline_ms, void **connection_out);
	void (*close)(void *connection);
	enum err (*letter)(void *connection, int64_t after, struct slice event_id,
	    int64_t deadline_ms, struct arena *a, struct letter *out);
	enum err (*operation)(void *connection, const uint8_t *event_id, int64_t deadline_ms,
	    struct arena *a, struct operation *out);
	enum err (*key)(
	    void *connection, struct slice id, int64_t deadline_ms, struct api_key_found *out);
	enum err (*keys)(void *connection, int64_t deadline_ms, api_key_row_fn *fn, void *ctx);
};

extern const struct ledger_driver ledger_driver_sqlite, ledger_driver_postgresql;

/* ledger_open() with a driver that is in no table. */
enum err ledger_open_driver(const struct ledger_driver *driver, const struct writer_options *o,
    size_t max_connections, struct ledger **out);

#endif
