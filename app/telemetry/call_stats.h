#ifndef TELEMETRY_CALL_STATS_H
#define TELEMETRY_CALL_STATS_H

#include "base/str.h"
#include "telemetry/histogram.h"
#include "telemetry/names.h"

/*
 * What calls to one other server came to, and what they took: words in shared memory that only grow.  Not sharded,
 * for a call costs a thousand times what counting it does.  All zero is empty.
 */
enum call_result {
	CALL_ANSWERED,
	CALL_SLOW,    /* answered, but later than its breaker's bound */
	CALL_TIMEOUT, /* missed its deadline */
	CALL_FAILED,  /* refused, or broken off */
	CALL_REFUSED, /* not made: the breaker was open */
	CALL_RESULT__COUNT
};
extern const char *const call_result_names[CALL_RESULT__COUNT];

struct call_stats {
	_Atomic uint64_t results[CALL_RESULT__COUNT];
	struct histogram took; /* of those that were made */
};

void call_stats_count(struct call_stats *c, enum call_result r, int64_t took_ns);

/*
 * The same by the name of an operation: a region of the segment, of rows claimed by names of the code.
 */
struct call_table {
	struct names names;
	struct call_stats rows[NAMES_ROWS + 1]; /* the last: no row was left */
};

void call_table_init(struct call_table *t);
void call_table_count(
    struct call_table *t, struct slice operation, enum call_result r, int64_t took_ns);

/* What was counted.  False: the row is free. */
struct call_view {
	char name[NAME_BYTES];
	uint64_t results[CALL_RESULT__COUNT];
	struct histogram_view took;
};
void call_stats_view(const struct call_stats *c, struct call_view *out); /* all but the name */
bool call_table_view(const struct call_table *t, uint32_t row, struct call_view *out);

#endif
