#ifndef POLICY_FAIR_SHARE_H
#define POLICY_FAIR_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Who asks for how much of the host, over memory shared by all its processes: tenants, or addresses where nobody is
 * authenticated.
 *
 * What each client asked for is kept in a count-min sketch whose cells fade (half of it is forgotten each second): it may
 * tell too much of somebody who shares all his cells with a greater one, never too little.  A client is heavy when it
 * asks for half as much as the greatest does; so among equals all are, and beside one who asks for twenty times his part
 * only he is.  Of another who asks for more than the equal part of what the host gets done, as many requests are
 * heavy, at random, as are more than that: the rest is within his share, whatever the others ask for.
 *
 * Pure; no lock; each cell is one word, changed by compare-and-swap, so a process may be killed anywhere.  Cost: four
 * swaps to charge.  Times are monotonic ms; costs are microseconds of a lane.
 */
struct fair_share;

size_t fair_share_size(void);
void fair_share_init(void *mem); /* ${mem} aligned to 64 bytes */

/* ${client} (a hash under the segment's seed) asks for a call, which costs *${asked_us_out} as calls go; true when this
 * request is heavy. */
bool fair_share_ask(
    struct fair_share *f, uint64_t client, int64_t now_ms, uint64_t random, int64_t *asked_us_out);
/* It was served, and what it cost was ${cost_us} in place of the ${asked_us} that were thought. */
void fair_share_served(
    struct fair_share *f, uint64_t client, int64_t cost_us, int64_t asked_us, int64_t now_ms);

struct fair_share_view {
	uint32_t clients;     /* that asked lately, about */
	uint64_t served_us;   /* a second */
	uint64_t greatest_us; /* a second, asked by one client */
};
void fair_share_look(const struct fair_share *f, int64_t now_ms, struct fair_share_view *out);

#endif
