#ifndef POLICY_LIMITER_H
#define POLICY_LIMITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Rate limits over memory shared by all processes of the host.
 *
 * Pure: no lock, no clock, no allocation.  Token bucket is GCRA (ITU-T I.371): never more than
 * burst + rate x time.  Sliding window is the two-counter estimate.  A slot is 32 bytes, its owner and
 * state are changed together by one 16-byte compare-and-swap, and it belongs to one key, compared on
 * every access.  It may be reused only when its bucket is full again or its window has passed, for then
 * its absence means the same; so a flood of one-request clients can give nobody an extra token.  When
 * all slots of a key's neighbourhood are in use, the request is counted in one shared overflow slot of
 * its rule.
 *
 * Safe when a process is killed at any instruction: at most the token of its own call is lost, none is
 * ever added.  Cost: under 0.2 us, about twice that for a key's first request.
 */
struct limiter;

struct limiter_rule {
	uint64_t seed;	   /* which rule: key of its overflow slot */
	uint64_t quota;	   /* admitted per window, 1..10^9; sliding at most LIMITER_WINDOW_MAX */
	int64_t window_ns; /* at least 10^6 */
	uint64_t burst;	   /* token bucket: its size, 1..10^9 */
	bool sliding;
};

enum { LIMITER_WINDOW_MAX = 1048575 };

struct limiter_state {
	uint64_t remaining;	/* after this request */
	int64_t reset_ns;	/* until the bucket is full, or the window ends */
	int64_t retry_after_ns; /* refused: until a token is there, if nobody else takes it */
	bool overflow;		/* counted in the shared slot */
};

size_t limiter_size(uint32_t slots);	      /* a power of two, 1024..2^24; 0 otherwise */
void limiter_init(void *mem, uint32_t slots); /* ${mem} aligned to 64 bytes, of limiter_size() */

/*
 * Takes one token for ${key}, which names rule and client together (a hash under the segment's
 * random seed, so that nobody can choose whose slot he shares); states of different rules are
 * different numbers, so a key must never serve two of them.  ${now_ns} is monotonic and may lie up to
 * a minute behind that of other callers.
 * ERR_OK, or ERR_LIMITED with nothing taken.
 */
enum err limiter_take(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns,
    struct limiter_state *out);

/*
 * Gives back what a limiter_take() of the same request took: same rule, key and now, and ${taken} as it
 * was filled.  Never more than was taken.  A token that time alone has brought back since may be there
 * once more: at most one for each request in hand.
 */
void limiter_give_back(struct limiter *l, const struct limiter_rule *r, uint64_t key,
    int64_t now_ns, const struct limiter_state *taken);

/* What is left, without taking; retry_after_ns as if a request came now. */
void limiter_look(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns,
    struct limiter_state *out);

/* How many of the slots are somebody's whose bucket is not full; an estimate, for one of 16 lines is looked at.  Returns
 * how many there are. */
uint32_t limiter_usage(const struct limiter *l, int64_t now_ns, uint32_t *used_out);

#endif
