/*
 * When a copy that is still good is made anew.
 */
#include "policy/refresh.h"

#include <math.h>

enum { SHARE = 4 }; /* of the lane: one in so many */

bool
refresh_is_due(int64_t left_ms, uint32_t cost_us, uint32_t random32)
{
	/* In (0, 1]: a logarithm for each. */
	const double u = ((double)random32 + 1) / 4294967296.0;

	return cost_us > 0 && -log(u) * (double)cost_us >= (double)left_ms * 1000;
}

size_t
refresh_limit(size_t threads)
{
	return threads / SHARE > 0 ? threads / SHARE : 1;
}

bool
refresh_has_room(size_t running, size_t threads, size_t waiting)
{
	return waiting == 0 && running < refresh_limit(threads);
}
