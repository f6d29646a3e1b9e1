#ifndef RUNTIME_EXPOSITION_H
#define RUNTIME_EXPOSITION_H

#include "telemetry/prometheus.h"

struct runtime;
struct snapshot;
struct strbuf;

/*
 * All metrics of this host as one text, for a scraper: on the admin socket at /metrics, and where no supervisor lives
 * by `weir status --metrics`.
 *
 * Made of the segment and a snapshot of it, so no worker is asked, and totals are those of all who ever were there.
 */
void exposition_write(const struct runtime *rt, const struct snapshot *s, enum prometheus_form form,
    struct strbuf *out);

/* The same as OTLP: metrics for otlp_metrics_request(). */
void exposition_otlp(const struct runtime *rt, const struct snapshot *s, struct strbuf *out);

/* Bytes that it may take: 128 endpoints with their histograms. */
enum { EXPOSITION_BYTES_MAX = 1 << 20 };

#endif
