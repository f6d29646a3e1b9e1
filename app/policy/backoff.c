/*
 * Exponential back-off with jitter, and the schedule of worker restarts.
 */
#include "policy/backoff.h"

enum { RESPAWN_STEP_MS = 1000, RESPAWN_MAX_MS = 60000, RESPAWN_DOUBLINGS = 6 };

uint32_t
backoff_next_ms(uint32_t failures, uint32_t base_ms, uint32_t cap_ms, uint32_t random32)
{
	const uint32_t doublings = failures < 33 ? failures - 1 : 32;
	uint64_t most, least;

	if (failures == 0)
		return 0;
	most = (uint64_t)base_ms << doublings;
	if (most > cap_ms)
		most = cap_ms;
	if (most == 0)
		return 1;
	least = most - most / 2;
	return (uint32_t)(least + ((most - least + 1) * random32 >> 32));
}

uint32_t
backoff_respawn_ms(uint32_t failures)
{
	if (failures == 0)
		return 0;
	return failures >= RESPAWN_DOUBLINGS ? RESPAWN_MAX_MS
					     : (uint32_t)RESPAWN_STEP_MS << failures;
}
