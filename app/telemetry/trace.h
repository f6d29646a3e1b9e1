#ifndef TELEMETRY_TRACE_H
#define TELEMETRY_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Where a request stands in a distributed trace: W3C Trace Context, level 2.
 *
 * No header that a client can send makes trace_begin() fail: what is not valid starts a new trace.
 */
enum { TRACE_ID_BYTES = 16, SPAN_ID_BYTES = 8, TRACEPARENT_BYTES = 56 /* with its NUL */ };

struct trace_context {
	uint8_t trace_id[TRACE_ID_BYTES];
	uint8_t span_id[SPAN_ID_BYTES];	  /* new: this request's own */
	uint8_t parent_id[SPAN_ID_BYTES]; /* the caller's span, when has_parent */
	bool has_parent;
	bool
	    sampled; /* the caller's wish; false in a new trace, until a sampler of ours says else */
	bool random; /* the trace id's right half is random, as level 2 asks of its maker */
	struct slice
	    tracestate; /* all of it, to be passed on unchanged; absent when there is none */
};

/*
 * Continues the caller's trace, or makes a new one when ${traceparent} is absent, malformed, or came
 * more than once (${traceparent_lines}).  ${tracestate} is every line joined by commas; it is kept,
 * borrowed, only with a parent and when all of its members are well-formed.
 */
void trace_begin(struct trace_context *t, struct slice traceparent, unsigned traceparent_lines,
    struct slice tracestate);

/*
 * Reads a traceparent that weir itself has stored (in the spool, in Kafka): trace_id, parent_id, flags; the rest of
 * ${t} is zero, and has_parent is true.  False: it is none, and ${t} is zero.
 */
bool trace_read(struct slice traceparent, struct trace_context *t);

/* A new id for ${t}'s own span; of a child: the span that was its own becomes the parent. */
void trace_new_span(struct trace_context *t);
void trace_child(struct trace_context *t);

/*
 * A new trace may take the id that the front server gave the request: ${request_id} when it is 32 lower-case hex
 * digits, as nginx makes them.  So the front's log knows the trace too.  Anything else changes nothing.
 */
void trace_take_id(struct trace_context *t, struct slice request_id);

/* The traceparent of what this request calls, of version 00; returns ${out}. */
char *trace_format(const struct trace_context *t, char out[TRACEPARENT_BYTES]);

#endif
