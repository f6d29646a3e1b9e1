#ifndef TELEMETRY_SAMPLER_H
#define TELEMETRY_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

struct trace_context;

/*
 * Which traces are exported: OTEL_TRACES_SAMPLER.  A function of the trace's id alone, so that every server and every
 * restart decides alike, and what a ratio takes a higher one takes too.
 */
enum sampler_kind { SAMPLER_ALWAYS_ON, SAMPLER_ALWAYS_OFF, SAMPLER_RATIO };

struct sampler {
	enum sampler_kind kind;
	bool parent_based;  /* a trace with a caller: as the caller says */
	uint64_t threshold; /* of a ratio: sampler_threshold() */
};

uint64_t sampler_threshold(double ratio); /* 0..1 */
bool sampler_takes(const struct sampler *s, const struct trace_context *t);

#endif
