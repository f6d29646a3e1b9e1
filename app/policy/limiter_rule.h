#ifndef POLICY_LIMITER_RULE_H
#define POLICY_LIMITER_RULE_H

#include <stdint.h>

#include "base/wide.h"
#include "policy/limiter.h"

/*
 * The arithmetic of a rate limit: what one request does to one client's state, as a function of its
 * arguments.  Only limiter.c comes in; it knows where states lie, this room knows what they mean.
 *
 * A state has LIMITER_STATE_BITS bits and means something only to the rule that made it; zero is a
 * client never seen.  Every rounding is against the client.  Times come from limiter_clock().
 */

enum { LIMITER_STATE_BITS = 80 };

/*
 * A clock that lies further behind a state than this has started again (a segment kept over a
 * reboot); less far, it is the `now` of a process that was stopped for a while.
 */
#define LIMITER_STALE_NS UINT64_C(60000000000)

/* Monotonic time as states can hold it: 0 to 18 years of uptime. */
uint64_t limiter_clock(int64_t now_ns);

struct limiter_step {
	bool admitted;
	wide next;		/* admitted: the state after it, else the state as it was */
	uint64_t busy_until_ns; /* from then on ${next} means the same as no state at all */
	uint64_t reach_ns;	/* the furthest that may ever lie ahead of `now` */
	struct limiter_state told;
};

void limiter_rule_take(
    const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_step *out);

/* What is left in ${state}; retry_after_ns as if a request came now. */
void limiter_rule_look(
    const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_state *out);

/* The state without one token that was taken at ${taken_ns}. */
wide limiter_rule_give_back(const struct limiter_rule *r, wide state, uint64_t taken_ns);

#endif
