#ifndef TELEMETRY_PROMETHEUS_H
#define TELEMETRY_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "telemetry/histogram.h"
#include "telemetry/metrics.h"

/*
 * Writes metrics as Prometheus reads them: its text format 0.0.4, or OpenMetrics 1.0.0.
 *
 *   for each family: prometheus_family(); for each sample: its labels, then its value; prometheus_end().
 *
 * A family of which nothing is known is left out: its head comes with its first sample.  What does not fit fails
 * the strbuf.
 */
enum prometheus_form { PROMETHEUS_TEXT, PROMETHEUS_OPENMETRICS };

const char *prometheus_content_type(enum prometheus_form f);

enum { PROMETHEUS_LABELS_BYTES = 512 };

/* Who takes the samples instead of a text, in another format; ${labels}: name="value",... with escaped values. */
struct prometheus_sink {
	void (*count)(void *ctx, enum family f, struct slice labels, uint64_t value);
	void (*number)(void *ctx, enum family f, struct slice labels, double value);
	void (*histogram)(void *ctx, enum family f, struct slice labels,
	    const struct histogram_view *v, uint64_t (*edge_us)(size_t edge), size_t edges);
};

struct prometheus {
	struct strbuf *out;
	enum prometheus_form form;
	enum family family;
	bool headed; /* its head is written */
	size_t labels_len;
	char labels[PROMETHEUS_LABELS_BYTES]; /* of the sample to come */
	const struct prometheus_sink *sink;   /* NULL: the text */
	void *sink_ctx;
};

void prometheus_init(struct prometheus *p, enum prometheus_form form, struct strbuf *out);
void prometheus_init_sink(struct prometheus *p, const struct prometheus_sink *sink, void *ctx);
void prometheus_family(struct prometheus *p, enum family f);

/* For the next sample only.  ${value} is escaped; what has no room is cut. */
void prometheus_label(struct prometheus *p, const char *name, struct slice value);
void prometheus_labels(
    struct prometheus *p, const char *written); /* as metrics_keys.inc has them */

void prometheus_count(struct prometheus *p, uint64_t value);
void prometheus_number(struct prometheus *p, double value);

/* A request that fell into a bucket, by the id of its trace. */
struct prometheus_exemplar {
	char trace_id[33]; /* hex */
	int64_t took_ns, wall_us;
};
/* Fills ${out} for what took at most ${edge} and more than the one before; false: none is known. */
typedef bool prometheus_exemplars(const void *ctx, size_t edge, struct prometheus_exemplar *out);

/* Cumulative counts at ${edges} upper edges (microseconds, exact ones: histogram_at_most), and above the last.
 * ${exemplars} may be NULL; only OpenMetrics shows them. */
void prometheus_histogram(struct prometheus *p, const struct histogram_view *v,
    uint64_t (*edge_us)(size_t edge), size_t edges, prometheus_exemplars *exemplars,
    const void *ctx);

void prometheus_end(struct prometheus *p);

#endif
