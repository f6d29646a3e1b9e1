/*
 * The tables behind enum family and enum metric; their lines are in metrics_keys.inc.
 */
#include "telemetry/metrics.h"

const struct family_info family_infos[FAMILY__COUNT] = {
#define METRIC(id, ...) FAMILY(id, __VA_ARGS__, "")
#define FAMILY(id, family_name, family_type, family_unit, family_help, family_labels)              \
	[FAMILY_##id] = { .name = (family_name),                                                   \
		.type = METRIC_TYPE_##family_type,                                                 \
		.unit = (family_unit),                                                             \
		.help = (family_help),                                                             \
		.labels = (family_labels) },
#include "telemetry/metrics_keys.inc"
};

const struct metric_info metric_infos[METRIC__COUNT] = {
#define METRIC(id, ...)			   [METRIC_##id] = { FAMILY_##id, "" },
#define SAMPLE(id, its_family, its_labels) [METRIC_##id] = { FAMILY_##its_family, its_labels },
#include "telemetry/metrics_keys.inc"
};

void
metric_name(enum metric m, struct strbuf *b)
{
	const struct metric_info *info = &metric_infos[m];

	strbuf_add_cstr(b, family_infos[info->family].name);
	if (info->labels != NULL && *info->labels != '\0')
		strbuf_addf(b, "{%s}", info->labels);
}
