#ifndef POLICY_REFRESH_H
#define POLICY_REFRESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * When a copy that is still good is made anew, and whether there is room for that.  Pure.
 *
 * XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015): each hit
 * refreshes with the probability exp(-left / cost).  Far from its end that is nothing, within a few times of what the
 * copy costs it is nearly certain: what is asked for often is made anew before it ends and nobody waits, what is asked for
 * seldom is not made for nobody.
 */

/* Whether refresh_is_due() could say yes: one comparison, for the way of every hit. */
static inline bool
refresh_is_near(int64_t left_ms, uint32_t cost_us)
{
	enum { DRAW_MAX = 23 }; /* more than -ln(2^-32) */

	return left_ms * 1000 < (int64_t)cost_us * DRAW_MAX;
}

/* ${left_ms}: how long the copy is fresh; ${cost_us}: what making it has taken, 0 is unknown and never due; ${random32}:
 * any random word, another for each hit. */
bool refresh_is_due(int64_t left_ms, uint32_t cost_us, uint32_t random32);

/*
 * Whether one more refresh may be begun behind a reply, be it early or of what was stale: at most a quarter of the
 * lane's ${threads} (one, where there are few), and none while anybody who was asked for waits for a thread.  What is
 * not begun is asked for again by the next hit, and is live traffic once it is no longer stale.
 */
size_t refresh_limit(size_t threads);
bool refresh_has_room(size_t running, size_t threads, size_t waiting);

#endif
