/*
 * The table behind enum metric; its lines are in metrics_keys.inc.
 */
#include "telemetry/metrics.h"

#define METRIC(id, metric_name, metric_type, metric_unit, metric_help)                             \
	[METRIC_##id] = { .name = (metric_name),                                                   \
		.type = METRIC_TYPE_##metric_type,                                                 \
		.unit = (metric_unit),                                                             \
		.help = (metric_help) },

const struct metric_info metric_infos[METRIC__COUNT] = {
#include "telemetry/metrics_keys.inc"
};
