#ifndef SERVICE_DEAD_LETTERS_H
#define SERVICE_DEAD_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Dead letters of the write database, for `weir dlq list|show|retry|drop`.  retry applies them again at once, each in a transaction
 * of its own, under consumer.lock; and the operations endpoint's look at a finished event.
 */
struct catalog;

/* Appends human text (or JSON lines) to ${out}. */
enum err dead_letters_list(const char *url, bool json, struct strbuf *out);
enum err dead_letters_show(const char *url, struct slice event_id, struct strbuf *out);
typedef void dead_letters_progress_fn(void *ctx, uint64_t done, uint64_t total, uint64_t failed);
/* ${event_id} absent: all.  Purges tags of what was applied through ${cache} when not NULL. */
struct cache;
enum err dead_letters_retry(const char *url, const struct catalog *c, struct cache *cache, struct slice event_id,
    dead_letters_progress_fn *progress, void *ctx, uint64_t *done_out, uint64_t *failed_out);
enum err dead_letters_drop(const char *url, struct slice event_id, uint64_t *dropped_out);

/* What the key table knows of an event; ERR_NOT_FOUND, or ERR_UNAVAILABLE when it cannot be asked. */
struct operation {
	struct slice tenant, state, reason; /* state: applied or failed; in the arena */
	int64_t rows, at_us;
};
struct arena;
enum err operation_find(const char *url, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out);

#endif
