#ifndef SERVICE_EVENT_SPAN_H
#define SERVICE_EVENT_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/event.h"
#include "telemetry/trace.h"

struct exporter;

/*
 * An event's way behind its request, as spans of the trace that the request began: sent to Kafka, and applied.
 *
 * Only those whose trace is sampled; the conventions are OpenTelemetry's for messaging.
 */
struct event_span {
	struct trace_context trace; /* of the span; parent: who made the event, or sent it */
	bool sends;		    /* to Kafka; else it is applied */
	const char *system;	    /* "kafka", or "weir" for the spool */
	const char *destination;    /* the topic; of the spool: NULL */
	struct slice endpoint, tracestate;
	uint8_t id[EVENT_ID_BYTES];
	int64_t begin_ns, end_ns; /* monotonic */
	enum err result;
	const char *outcome;		   /* "applied", "duplicate", "dead"; NULL: none */
	const struct trace_context *batch; /* the transaction that it was part of, or NULL */
};

/* Begins one for ${ev}: false when its trace is not sampled, or there is none. */
bool event_span_begin(const struct event *ev, bool sends, struct event_span *out);
/* exporter_offer() of it. */
void event_span_offer(struct exporter *e, const struct event_span *s);

#endif
