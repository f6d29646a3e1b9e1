#ifndef TELEMETRY_METRICS_H
#define TELEMETRY_METRICS_H

/*
 * Every counter of weir, declared once with its unit and meaning in metrics_keys.inc.
 */
enum metric {
#define METRIC(id, name, type, unit, help) METRIC_##id,
#include "telemetry/metrics_keys.inc"
#undef METRIC
	METRIC__COUNT
};

enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE };

struct metric_info {
	const char *name; /* Prometheus: weir_..._total */
	enum metric_type type;
	const char *unit, *help;
};

extern const struct metric_info metric_infos[METRIC__COUNT];

#endif
