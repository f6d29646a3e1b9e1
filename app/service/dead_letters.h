#ifndef SERVICE_DEAD_LETTERS_H
#define SERVICE_DEAD_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct cache;
struct catalog;
struct writer_options;

/*
 * Dead letters of the write database, for `weir dlq list|show|retry|drop`.
 *
 * ${event_id} is a UUID as text; absent: all.  ERR_INVALID: no UUID; ERR_NOT_FOUND: no letter of that event;
 * ERR_UNAVAILABLE: the database cannot be asked (logged by client/).
 */

/* Appends human text, or JSON lines, to ${out}.  Control characters and broken UTF-8 come out as '?'. */
enum err dead_letters_list(const struct writer_options *db, bool json, struct strbuf *out);
enum err dead_letters_show(
    const struct writer_options *db, struct slice event_id, struct strbuf *out);

typedef void dead_letters_progress_fn(void *ctx, uint64_t tried, uint64_t total, uint64_t failed);

/*
 * Applies letters again at once, each in a transaction of its own, and purges the tags of those that went well
 * through ${cache} when not NULL.  A letter that fails again stays as it was, with one log line.  The caller
 * holds consumer.lock, as for dead_letters_drop().
 */
enum err dead_letters_retry(const struct writer_options *db, const struct catalog *c,
    struct cache *cache, struct slice event_id, dead_letters_progress_fn *progress, void *ctx,
    uint64_t *done_out, uint64_t *failed_out);
enum err dead_letters_drop(
    const struct writer_options *db, struct slice event_id, uint64_t *dropped_out);

#endif
