#ifndef SERVICE_METRICS_EXPORTER_H
#define SERVICE_METRICS_EXPORTER_H

#include "base/err.h"

struct otel_settings;
struct strbuf;

/*
 * The host's metrics, those of /metrics, sent to a receiver of OTLP every OTEL_METRIC_EXPORT_INTERVAL and at the end.
 *
 * They belong to the host, so one process of it sends them: whoever holds `metrics.lock` in the state folder; when it
 * dies, another one goes on.  No request waits for it.
 */
struct metrics_exporter;

struct metrics_exporter_options {
	const struct otel_settings *settings; /* lent for the exporter's life */
	/* On the exporter's thread: appends all metrics, for otlp_metrics_request(). */
	void (*write)(void *ctx, struct strbuf *out);
	void *ctx;
	int state_dir_fd;
};

/* Starts the thread.  *${out} is NULL, and ERR_OK, when the settings want no metrics.  ERR_INVALID: the URL. */
enum err metrics_exporter_open(
    const struct metrics_exporter_options *o, struct metrics_exporter **out);
/* Takes some two seconds at most. */
void metrics_exporter_close(struct metrics_exporter **mp);

#endif
