#ifndef SERVICE_RETRIES_H
#define SERVICE_RETRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retry_budget; /* policy/retry_budget.h */
struct scoreboard;   /* telemetry/scoreboard.h */

/*
 * Calls that are made a second time: within the host's budget and the caller's deadline, after a pause.
 *
 * Only what may safely run twice is retried: reads, and scripts that say so.  Writes are repeated by the consumer
 * alone, whose key table drops what was applied; that is its own loop, and not counted here.  OTLP is never retried.
 *
 * One budget for each kind of server, not one for all and not one for each server.  One for all would let the many calls of
 * Redis pay for a flood of retries on the database.  One for each server would not know whom to charge: a read that
 * failed at one replica is repeated at another, and what has to be bounded is what the living get on top.
 */
enum retry_kind { RETRY_DATABASE, RETRY_REDIS, RETRY__COUNT };

enum {
	RETRIES_PCT = 20,
	/* Of ten seconds, for who has few calls: a restarted server costs each kept connection one, and where little is
	 * asked no breaker ever opens. */
	RETRIES_FLOOR = 100,
};

size_t retries_size(void); /* of the region in the segment: a budget for each kind */
void retries_init(void *mem);
struct retry_budget *retries_budget(void *mem, enum retry_kind kind);

extern const char *const retry_kind_names[RETRY__COUNT]; /* for labels */

/* Calls and retries of the last ten seconds; returns how many retries they allow. */
struct retry_view; /* policy/retry_budget.h */
uint64_t retries_look(void *mem, enum retry_kind kind, int64_t now_ms, struct retry_view *out);

struct retries {
	struct retry_budget *budget;   /* NULL: no segment is joined, and nothing is bounded */
	struct scoreboard *scoreboard; /* NULL: nothing is counted */
	unsigned member;
};

/* Once for each request's first call. */
void retries_call(const struct retries *r, int64_t now_ms);

/* The ${failures}th call has failed, and another would be safe.  True, after a jittered pause of up to ${base_ms} << (failures -
 * 1): make it.  False: the budget is used up, or ${deadline_ms} (monotonic) leaves no time. */
bool retries_again(
    const struct retries *r, uint32_t failures, uint32_t base_ms, int64_t deadline_ms);

#endif
