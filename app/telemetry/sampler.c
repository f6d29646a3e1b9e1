/*
 * A trace is taken when the last seven bytes of its id, the ones that W3C says are random, are below the ratio.
 */
#include "telemetry/sampler.h"

#include "telemetry/trace.h"

enum { RANDOM_BYTES = 7, RANDOM_BITS = 8 * RANDOM_BYTES };

uint64_t
sampler_threshold(double ratio)
{
	const uint64_t all = UINT64_C(1) << RANDOM_BITS;

	if (!(ratio > 0))
		return 0;
	return ratio >= 1 ? all : (uint64_t)(ratio * (double)all);
}

static uint64_t
random_part(const struct trace_context *t)
{
	uint64_t n = 0;

	for (int i = TRACE_ID_BYTES - RANDOM_BYTES; i < TRACE_ID_BYTES; i++)
		n = n << 8 | t->trace_id[i];
	return n;
}

bool
sampler_takes(const struct sampler *s, const struct trace_context *t)
{
	if (s->parent_based && t->has_parent)
		return t->sampled;
	switch (s->kind) {
	case SAMPLER_ALWAYS_ON:
		return true;
	case SAMPLER_ALWAYS_OFF:
		return false;
	case SAMPLER_RATIO:
		break;
	}
	return random_part(t) < s->threshold;
}
