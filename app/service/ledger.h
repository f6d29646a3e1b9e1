#ifndef SERVICE_LEDGER_H
#define SERVICE_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/api_key.h"

struct arena;
struct writer_options; /* service/writer.h */

/*
 * weir's own tables in the write database, for those who only look: what became of an event, dead letters, and API
 * keys.
 *
 * A few connections that cannot write, opened when first needed and kept; a driver behind one door.  Any thread
 * may call; a call blocks at most until its deadline.  Failures are logged by client/.
 *
 * ERR_UNAVAILABLE, ERR_TIMEOUT: the database cannot be asked; the connection is closed, the next call makes a new
 * one.
 */
struct ledger;

/* Connects to nothing yet.  ${o} is lent for the ledger's life.  ERR_INVALID: not the URL of a database. */
enum err ledger_open(const struct writer_options *o, size_t max_connections, struct ledger **out);
void ledger_close(struct ledger **lp);
/* Closes connections that nobody has used since ${before_ms}; monotonic. */
void ledger_expire(struct ledger *l, int64_t before_ms);

/* A dead letter, in the arena.  Texts are fit for a terminal and for JSON: control characters and broken UTF-8
 * are '?'.  event_id (16 bytes) and record are as they were stored. */
struct letter {
	int64_t id;
	struct slice event_id, record;
	struct slice tenant, endpoint, key, sqlstate, message, accepted_at, at;
};

/* The first letter whose id is above ${after}; of one event when ${event_id} is not absent.  ERR_NOT_FOUND: there
 * is none. */
enum err ledger_letter(struct ledger *l, int64_t after, struct slice event_id, int64_t deadline_ms,
    struct arena *a, struct letter *out);

/* What the key table knows of an event, in the arena.  ERR_NOT_FOUND: nothing. */
struct operation {
	struct slice tenant;	    /* as it was stored, to be compared */
	struct slice state, reason; /* state: applied or failed; cleaned as a letter's texts */
	int64_t rows, at_us;
	uint64_t position; /* who has come as far shows it (service/store.h); 0: everybody does */
};
enum err operation_find(struct ledger *l, const uint8_t *event_id, int64_t deadline_ms,
    struct arena *a, struct operation *out);

/* The row of an API key.  ERR_NOT_FOUND: there is none that can be used. */
enum err ledger_key(
    struct ledger *l, struct slice id, int64_t deadline_ms, struct api_key_found *out);
/* All keys, in the order in which they were made. */
enum err ledger_keys(struct ledger *l, int64_t deadline_ms, api_key_row_fn *fn, void *ctx);

#endif
