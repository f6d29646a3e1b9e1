#ifndef SERVICE_INGEST_TRACE_H
#define SERVICE_INGEST_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "telemetry/span.h"
#include "telemetry/trace.h"

struct arena;
struct event;
struct exporter;
struct topics;

/*
 * What a batch of the consumer says of itself: a trace of its own, of its transaction, linked to every event in it whose
 * trace is sampled; and for each of these a CONSUMER span in its own trace.
 *
 * Without an exporter, or without a sampled event, nothing is recorded.
 */
struct ingest_trace {
	struct exporter *exporter;   /* NULL: nothing is recorded */
	const struct topics *topics; /* NULL: events come from the spool */
	struct span_recorder spans;
	struct trace_context context;
	int64_t begin_ns;
};

/* The calling thread records until ingest_trace_end(); ${a} is the batch's. */
void ingest_trace_begin(struct ingest_trace *t, struct exporter *e, const struct topics *topics,
    struct arena *a, const struct event *events, size_t count);

/* ${endpoint_of}: of an event, for its topic; NULL when its file is gone.  ${outcome_of}: "applied", "duplicate", "dead". */
struct ingest_outcomes {
	const struct event *events;
	size_t count;
	const char *(*outcome_of)(const void *ctx, size_t i);
	const struct endpoint *(*endpoint_of)(const void *ctx, size_t i);
	const void *ctx;
};
/* It is committed: tells all of it. */
void ingest_trace_tell(struct ingest_trace *t, const struct ingest_outcomes *o);
void ingest_trace_end(struct ingest_trace *t);

#endif
