#ifndef TELEMETRY_HISTORY_H
#define TELEMETRY_HISTORY_H

#include <stddef.h>
#include <stdint.h>

/*
 * The last ten minutes of this host, a row a second, in shared memory: so that whoever begins to look has a
 * curve at once.  Counters are kept as they stood, so a rate is the difference of two rows, over any time.
 *
 * One process writes (the supervisor), any may read at the same time; no lock, and no row is ever read by half.
 */
enum history_kind { HISTORY_COUNTER, HISTORY_GAUGE };

enum history_column { /* HISTORY_REQUESTS ... */
#define HISTORY(id, ...) HISTORY_##id,
#include "telemetry/history_columns.inc"
#undef HISTORY
	HISTORY__COUNT
};

struct history_info { /* one line of the table */
	const char *name;
	enum history_kind kind;
	const char *help;
};
extern const struct history_info history_infos[HISTORY__COUNT];

enum { HISTORY_ROWS = 600, HISTORY_STEP_MS = 1000, HISTORY_UNKNOWN = -1 };

struct history_row {
	int64_t at_ms; /* monotonic */
	int64_t values[HISTORY__COUNT];
};

struct history;

size_t history_size(void);
/* Once, by who makes the segment; ${mem} is zeroed, and stays an empty history when it is. */
void history_init(void *mem);

/* By the one writer.  Nothing happens when the newest row is younger than HISTORY_STEP_MS. */
void history_add(struct history *h, const struct history_row *row);

/* The newest rows, at most ${max} and HISTORY_ROWS, oldest first; returns how many. */
size_t history_read(const struct history *h, struct history_row *out, size_t max);

#endif
