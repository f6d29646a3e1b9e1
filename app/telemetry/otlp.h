#ifndef TELEMETRY_OTLP_H
#define TELEMETRY_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct span;
struct span_recorder;
struct trace_context;

/*
 * OTLP, the messages (opentelemetry-proto 1.x): spans and requests as bytes, and what a receiver answers.  No I/O;
 * who sends them is service/exporter.h.
 *
 * Spans are encoded where the work ends, one after the other, each as a field of the message that a batch becomes;
 * so a batch is made of pieces without looking into them.
 */
struct otlp_limits { /* OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and its like; 0 of a length: none */
	uint32_t attributes, attribute_bytes, events, event_attributes, links, link_attributes;
};

/* Another trace's span that this work has to do with. */
struct otlp_link {
	const uint8_t *span_id;
	const struct trace_context *trace; /* that it is in */
};

/* One piece of work: a span of its own, and those inside. */
struct otlp_work {
	const struct trace_context *trace; /* ids, flags, tracestate; the parent is remote */
	const struct span *root;
	const struct span_recorder *inside; /* NULL: nothing was recorded */
	int64_t wall_minus_mono_ns;
	const struct otlp_link *links;
	size_t link_count;
};

/* Appends the spans of ${w} and returns how many; those inside that never ended end with the work. */
uint32_t otlp_add_work(
    struct strbuf *out, const struct otlp_work *w, const struct otlp_limits *limits);
/* Takes the first span off ${rest}, which otlp_add_work() has made. */
struct slice otlp_cut_span(struct slice *rest);

/* Attributes: of a resource, encoded once. */
void otlp_add_resource_text(struct strbuf *resource, struct slice key, struct slice value);
void otlp_add_resource_int(struct strbuf *resource, struct slice key, int64_t value);

/* A whole export request for traces, from ${resource} and the spans in ${spans}. */
void otlp_trace_request(struct strbuf *out, struct slice resource, struct slice spans);

/* The same for metrics, of telemetry/otlp_metrics.h. */
void otlp_metrics_request(struct strbuf *out, struct slice resource, struct slice metrics);

/* What an Export*ServiceResponse says: how many were refused although the rest was taken; borrowed text. */
enum err otlp_read_response(struct slice body, int64_t *rejected_out, struct slice *message_out);

/* The delay of google.rpc.RetryInfo in the base64 of grpc-status-details-bin.  ERR_NOT_FOUND: it has none. */
enum err otlp_read_retry_info(struct slice base64, int64_t *delay_ms_out);

#endif
