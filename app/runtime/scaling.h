#ifndef RUNTIME_SCALING_H
#define RUNTIME_SCALING_H

#include <stdint.h>

struct snapshot;

/*
 * What a snapshot means for who scales: the signals of policy/capacity.h, and what they come to.
 *
 * The state goes through the history: this moment's is reckoned from the newest row's, and is kept with the next.  So it
 * outlives a supervisor, and where none lives it is that of the moment alone.
 */
void scaling_reckon(struct snapshot *s); /* fills ${s}'s capacity, and its row */

/* How old the first event is that no consumer has applied, in milliseconds; negative: not known. */
int64_t scaling_lag_ms(const struct snapshot *s);

#endif
