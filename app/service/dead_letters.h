#ifndef SERVICE_DEAD_LETTERS_H
#define SERVICE_DEAD_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct arena;
struct cache;
struct catalog;

/*
 * Dead letters of the write database, for `weir dlq list|show|retry|drop`; and the operations endpoint's look at
 * a finished event.
 *
 * ${event_id} is a UUID as text; absent: all.  ERR_INVALID: no UUID; ERR_NOT_FOUND: no letter of that event;
 * ERR_UNAVAILABLE: the database cannot be asked (logged by client/).
 */

/* Appends human text, or JSON lines, to ${out}.  Control characters and broken UTF-8 come out as '?'. */
enum err dead_letters_list(const char *url, bool json, struct strbuf *out);
enum err dead_letters_show(const char *url, struct slice event_id, struct strbuf *out);

typedef void dead_letters_progress_fn(void *ctx, uint64_t tried, uint64_t total, uint64_t failed);

/*
 * Applies letters again at once, each in a transaction of its own, and purges the tags of those that went well
 * through ${cache} when not NULL.  A letter that fails again stays as it was, with one log line.  The caller
 * holds consumer.lock, as for dead_letters_drop().
 */
enum err dead_letters_retry(const char *url, const struct catalog *c, struct cache *cache,
    struct slice event_id, dead_letters_progress_fn *progress, void *ctx, uint64_t *done_out,
    uint64_t *failed_out);
enum err dead_letters_drop(const char *url, struct slice event_id, uint64_t *dropped_out);

/* What the key table knows of an event, by a read-only connection of this call.  ERR_NOT_FOUND, or
 * ERR_UNAVAILABLE when it cannot be asked. */
struct operation {
	struct slice tenant, state, reason; /* state: applied or failed; in the arena */
	int64_t rows, at_us;
};
enum err operation_find(const char *url, const uint8_t *event_id, int64_t deadline_ms,
    struct arena *a, struct operation *out);

#endif
