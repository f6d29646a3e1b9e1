#ifndef SERVICE_EXPORTER_H
#define SERVICE_EXPORTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct otel_settings;
struct otlp_work;
struct scoreboard;
struct trace_context;

/*
 * Finished spans, on their way to a receiver of OTLP.
 *
 *   exporter_offer() -- encoded --> queue (bounded, lock-free) --> one thread: batches, one request at a time
 *
 * Whoever offers never waits: where the queue is full, the spans are counted (SPANS_DROPPED) and forgotten.  What no
 * receiver takes in OTEL_EXPORTER_OTLP_TIMEOUT is counted (SPANS_LOST) and forgotten too.  Without an exporter (NULL, which
 * all calls take) nothing is sampled, encoded or sent.
 */
struct exporter;

struct exporter_options {
	const struct otel_settings *settings; /* lent for the exporter's life */
	const char *role;		      /* of the process: "worker", "consumer" */
	struct scoreboard *scoreboard;	      /* NULL: nothing is counted */
	unsigned member;
};

/* Starts the thread.  *${out} is NULL, and ERR_OK, when the settings want no traces.  ERR_INVALID: the URL. */
enum err exporter_open(const struct exporter_options *o, struct exporter **out);
/* Sends what waits if that takes no longer than some two seconds. */
void exporter_close(struct exporter **ep);

/* Decides whether ${t} is sampled, and says so in it.  A few instructions. */
void exporter_sample(const struct exporter *e, struct trace_context *t);

/* Whether a request that was not sampled may be kept all the same, for it was slow, failed or was shed: up to 100 a
 * second in each process, so that a broken database does not make telemetry the next problem.  Counted when not. */
bool exporter_may_keep(struct exporter *e, int64_t now_ns);

/* Spans that wait; *${most_out}: how many may.  Both 0 without an exporter. */
uint32_t exporter_waiting(const struct exporter *e, uint32_t *most_out);

/* Any thread; everything is copied. */
void exporter_offer(struct exporter *e, const struct otlp_work *w);

/* Who we are, as attributes of a resource. */
void exporter_resource(const struct otel_settings *s, const char *role, struct strbuf *out);

#endif
