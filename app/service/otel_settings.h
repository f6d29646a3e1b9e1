#ifndef SERVICE_OTEL_SETTINGS_H
#define SERVICE_OTEL_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "telemetry/otlp.h"
#include "telemetry/sampler.h"

struct fault_list;

/*
 * The OTEL_* variables, read.  As their specification wants it, and unlike weir's own settings, a bad value is no error:
 * it is said (a warning that names the variable; never the value of one that may hold a secret) and counts as not set.
 */
struct otel_variable {
	const char *name, *value;
	const char *where; /* of the warnings: where it was set */
	unsigned line;
};

struct otel_endpoint { /* of one signal */
	bool on;
	const char *url; /* whole */
	bool grpc, gzip;
	const char *const *headers; /* "name: value" */
	size_t header_count;
	const char *ca_file, *client_cert_file, *client_key_file; /* NULL: none */
	int64_t timeout_ms; /* of one batch, with all its tries */
};

struct otel_attribute {
	struct slice key, value;
};

struct otel_settings {
	bool propagates; /* a caller's traceparent is continued */
	struct otel_endpoint traces, metrics;
	struct sampler sampler;
	int64_t schedule_delay_ms;
	uint32_t queue_max, batch_max; /* spans */
	int64_t metric_interval_ms;
	struct otlp_limits limits;
	struct otel_attribute *resource; /* with service.name */
	size_t resource_count;
};

/* Everything lives in ${a}, or is the variables' own.  ERR_NOMEM only. */
enum err otel_settings_read(const struct otel_variable *variables, size_t count, struct arena *a,
    struct fault_list *faults, struct otel_settings *out);

/* Whether there is such a variable, also as a signal's variant. */
bool otel_is_known(struct slice name);

struct otel_doc {
	const char *name;
	bool signals;
	const char *fallback;
	bool honoured;
	const char *help;
};
const struct otel_doc *otel_docs(size_t *count_out);
/* Of a variable or a signal's variant; NULL: there is none. */
const struct otel_doc *otel_doc_of(struct slice name);
/* Its value may be a secret. */
bool otel_is_secret(struct slice name);

#endif
