#ifndef TELEMETRY_LIMIT_STATS_H
#define TELEMETRY_LIMIT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "telemetry/names.h"

/*
 * What each limit decided, by the name of its policy: a region of the segment, over all workers.
 *
 * Rows as in endpoint_stats.h: the first 128 names, the rest is `other`; sharded, and never going back.
 */
struct limit_stats;

enum limit_result {
	LIMIT_ALLOWED,
	LIMIT_REFUSED,
	LIMIT_OBSERVED, /* would have been refused */
	LIMIT_RESULT__COUNT
};
extern const char *const limit_result_names[LIMIT_RESULT__COUNT];

enum { LIMIT_ROWS = NAMES_ROWS + 1 }; /* the last is `other` */

size_t limit_stats_size(void);
void limit_stats_init(void *mem); /* aligned to 64 bytes */

void limit_stats_count(
    struct limit_stats *l, unsigned member, struct slice policy, enum limit_result r);

/* False: the row is free. */
bool limit_stats_view(const struct limit_stats *l, uint32_t row, char name[NAME_BYTES],
    uint64_t counts_out[LIMIT_RESULT__COUNT]);

#endif
