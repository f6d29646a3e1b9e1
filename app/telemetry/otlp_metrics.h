#ifndef TELEMETRY_OTLP_METRICS_H
#define TELEMETRY_OTLP_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "telemetry/metrics.h"
#include "telemetry/prometheus.h"

/*
 * Metrics as OTLP: what telemetry/prometheus.h is told, in messages.  Counters are cumulative sums, histograms are
 * cumulative with explicit bounds, all else is a gauge.
 *
 *	struct otlp_metrics m = { .out = &buffer, .start_ns = ..., .now_ns = ... };
 *	prometheus_init_sink(&p, &otlp_metrics_sink, &m);  ... the families ...
 *	otlp_metrics_end(&m);
 */
struct otlp_metrics {
	struct strbuf *out;
	int64_t start_ns, now_ns; /* wall: since when counters count; this moment */

	bool open; /* private: a family's message is, and where */
	enum family family;
	size_t metric_at, data_at;
};

extern const struct prometheus_sink otlp_metrics_sink;
void otlp_metrics_end(struct otlp_metrics *m);

#endif
