#ifndef POLICY_LEASE_H
#define POLICY_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Tokens that this host holds ahead of need, out of buckets that are kept elsewhere (Redis), in memory
 * shared by all its processes.
 *
 * Pure: no lock, no clock, no allocation.  A slot belongs to one key and says either "N tokens, until T" or
 * "over the limit, until T"; who owns it and what it says are changed together by one 16-byte compare-and-swap.  So
 * a process may be killed at any instruction: what it held is lost, and no token is ever there twice.  Two slots of
 * one key only share its tokens; a slot that is lost loses tokens, or the memory of a refusal, and adds none.
 * All else in a slot (sizes, what the bucket said) are hints: wrong, they cost a call or a header.
 *
 * Times are monotonic milliseconds.
 */
struct leases;

enum {
	LEASE_TOKENS_MAX = 1000000, /* in one slot */
	LEASE_MS_MAX = 60000,	    /* no token and no refusal is kept longer */
	LEASE_GRACE_MS = 3000, /* after its end an unused lease waits so long for lease_reclaim() */
	LEASE_TARGET_MS =
	    250, /* how long the next lease ought to last, by the rate of the last one */
};

size_t leases_size(uint32_t slots);	     /* a power of two, 64..2^22; 0 otherwise */
void leases_init(void *mem, uint32_t slots); /* ${mem} aligned to 64 bytes */

struct lease_view {
	uint64_t left;	  /* here */
	int64_t until_ms; /* the lease ends, or the refusal */
	uint64_t told;	  /* what the bucket had left when it was asked last, a hint */
	int64_t reset_ms; /* when it is full again, or its window ends, a hint; monotonic */
	bool known;	  /* the bucket has been asked */
	bool refill;	  /* taken: it is time to ask for more, ahead of need */
};

/*
 * Takes one token of ${key} (a hash under the segment's random seed that names rule and client).
 * ERR_OK; ERR_LIMITED: over the limit until out->until_ms, for all that is known; ERR_NOT_FOUND: nothing is
 * known, ask the bucket.  While one asks, ${recent_ms} after the end of a refusal all others are still refused: so
 * a crowd that waits for the next token costs one call.  Cost: that of limiter_take().
 */
enum err lease_take(
    struct leases *l, uint64_t key, int64_t now_ms, int64_t recent_ms, struct lease_view *out);
void lease_look(const struct leases *l, uint64_t key, int64_t now_ms, struct lease_view *out);

/* How many tokens to ask for, 1..${max}: enough for LEASE_TARGET_MS at the rate seen, growing at most fourfold. */
uint64_t lease_want(struct leases *l, uint64_t key, int64_t now_ms, uint64_t max);

/* One process at a time asks for more than it needs itself; a lease of ${hold_ms} on that. */
bool lease_begin_asking(struct leases *l, uint64_t key, int64_t now_ms, int64_t hold_ms);
void lease_end_asking(struct leases *l, uint64_t key);

struct lease_grant {
	uint64_t tokens;
	int64_t
	    until_ms; /* of the tokens: never beyond the end of the window in which they count */
	int64_t
	    pause_ms; /* more than that there was not: once they are used up, over the limit for so long */
};

/* Adds tokens that the bucket gave, or that a request gives back.  What finds no room is lost. */
void lease_put(struct leases *l, uint64_t key, int64_t now_ms, const struct lease_grant *g);
/* Over the limit until then, unless there are tokens. */
void lease_refuse(struct leases *l, uint64_t key, int64_t now_ms, int64_t until_ms);
/* Hints for headers. */
void lease_tell(struct leases *l, uint64_t key, uint64_t remaining, int64_t reset_ms);

/* How many slots hold tokens or a refusal; an estimate, for one of 16 is looked at.  Returns how many there are. */
uint32_t leases_usage(const struct leases *l, int64_t now_ms, uint32_t *used_out);

/* Takes what is left of a lease that has ended, to be given back to its bucket; once. */
uint64_t lease_reclaim(struct leases *l, uint64_t key, int64_t now_ms);
/* As lease_reclaim(), also of a lease that goes on: nothing is known of ${key} then, and who comes next asks. */
uint64_t lease_reclaim_early(struct leases *l, uint64_t key);

#endif
