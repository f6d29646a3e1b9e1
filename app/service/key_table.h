#ifndef SERVICE_KEY_TABLE_H
#define SERVICE_KEY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/*
 * The table of API keys in the write database, whatever that is: a driver behind one door.
 *
 *   weir_api_keys(id, tenant, plan, hash, created_at, revoked_at)      made by writer_migrate()
 *
 * Asked by workers (key_table_find(), from any thread) and written by `weir key`, in the consumer's place.  A call blocks at
 * most until its deadline; failures of the database are ERR_UNAVAILABLE or ERR_TIMEOUT and logged by client/.
 */
struct key_table;

enum { KEY_TENANT_MAX = 255, KEY_PLAN_MAX = 64 };

struct key_table_options {
	const char *url; /* lent until the table is closed */
	int64_t idle_timeout_ms;
	size_t max_connections;
};

/* Connects to nothing yet.  ERR_INVALID: no URL of a database. */
enum err key_table_open(const struct key_table_options *o, struct key_table **out);
void key_table_close(struct key_table **tp);
/* Closes connections that nobody has used for idle_timeout_ms; monotonic.  Called now and then. */
void key_table_expire(struct key_table *t, int64_t now_ms);

/* What a row says of a key that was sent. */
struct key_found {
	uint8_t digest[DIGEST_BYTES];
	bool revoked;
	size_t tenant_len;
	char tenant[KEY_TENANT_MAX];
};
/* ERR_NOT_FOUND: no such row, or one that nobody can use (made by hand). */
enum err key_table_find(
    struct key_table *t, struct slice id, int64_t deadline_ms, struct key_found *out);

/* As people see it: without its hash.  Slices are lent for the length of a call. */
struct key_row {
	struct slice id, tenant;
	struct slice plan;	 /* absent: none */
	struct slice created_at; /* RFC 3339 */
	struct slice revoked_at; /* absent: it is good */
};
typedef void key_row_fn(void *ctx, const struct key_row *row);
/* All, in the order in which they were made. */
enum err key_table_list(struct key_table *t, int64_t deadline_ms, key_row_fn *fn, void *ctx);

/* These two: only by who holds consumer.lock. */
/* ERR_INVALID: there is one of this id. */
enum err key_table_add(struct key_table *t, const struct key_row *row,
    const uint8_t digest[DIGEST_BYTES], int64_t deadline_ms);
/* ERR_NOT_FOUND; ERR_CONFLICT: it was revoked before. */
enum err key_table_revoke(
    struct key_table *t, struct slice id, struct slice now, int64_t deadline_ms);

#endif
