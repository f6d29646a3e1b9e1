#ifndef SERVICE_KEY_TABLE_DRIVER_H
#define SERVICE_KEY_TABLE_DRIVER_H

#include "service/key_table.h"

/*
 * What a database must be able to do to hold API keys.  ${state} is the driver's own.  Only key_table.c,
 * drivers and tests come in.  Each call as its namesake in key_table.h says.
 */
struct key_table_driver {
	const char *scheme; /* of the URL, without its colon */
	enum err (*open)(const struct key_table_options *o, void **state_out);
	void (*close)(void *state);
	void (*expire)(void *state, int64_t now_ms);
	enum err (*find)(void *state, struct slice id, int64_t deadline_ms, struct key_found *out);
	enum err (*list)(void *state, int64_t deadline_ms, key_row_fn *fn, void *ctx);
	enum err (*add)(void *state, const struct key_row *row, const uint8_t digest[DIGEST_BYTES],
	    int64_t deadline_ms);
	enum err (*revoke)(void *state, struct slice id, struct slice now, int64_t deadline_ms);
};

extern const struct key_table_driver key_table_sqlite;

/* key_table_open() with a driver that is in no table. */
enum err key_table_open_driver(const struct key_table_driver *driver,
    const struct key_table_options *o, struct key_table **out);

/* Fills the tenant of ${out}.  ERR_NOT_FOUND: not one that can be used. */
enum err key_found_tenant(struct key_found *out, struct slice tenant);

#endif
