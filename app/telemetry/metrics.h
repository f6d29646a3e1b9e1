#ifndef TELEMETRY_METRICS_H
#define TELEMETRY_METRICS_H

#include "base/str.h"

/*
 * Every metric of weir, declared once with its unit and meaning in metrics_keys.inc.
 *
 * A family is what is shown under one name.  A metric is a word in each member's slot of the scoreboard: a counter that
 * is a family of its own, or one sample of a family with labels.
 */
enum metric {
#define METRIC(id, name, type, unit, help) METRIC_##id,
#define SAMPLE(id, family, labels)	   METRIC_##id,
#include "telemetry/metrics_keys.inc"
	METRIC__COUNT
};

enum family {
#define METRIC(id, name, type, unit, help)	   FAMILY_##id,
#define FAMILY(id, name, type, unit, help, labels) FAMILY_##id,
#include "telemetry/metrics_keys.inc"
	FAMILY__COUNT
};

enum metric_type {
	METRIC_TYPE_COUNTER,
	METRIC_TYPE_GAUGE,
	METRIC_TYPE_HISTOGRAM,
	METRIC_TYPE_INFO
};

struct family_info {
	const char *name; /* Prometheus: weir_..._total */
	enum metric_type type;
	const char *unit, *help;
	const char *labels; /* their names, for people; "": none */
};
extern const struct family_info family_infos[FAMILY__COUNT];

struct metric_info {
	enum family family;
	const char *labels; /* level="l1",...; "": none; NULL: a sum that is not shown */
};
extern const struct metric_info metric_infos[METRIC__COUNT];

/* Its family's name, with its labels in braces. */
void metric_name(enum metric m, struct strbuf *b);

#endif
