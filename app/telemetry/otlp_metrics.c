/*
 * A family is one Metric, its samples are the points in it; so a family's message stays open until another one comes.
 */
#include "telemetry/otlp_metrics.h"

#include <string.h>

#include "telemetry/histogram.h"
#include "telemetry/protobuf.h"

enum {
	METRICS = 2, /* in ScopeMetrics */
	METRIC_NAME = 1,
	METRIC_DESCRIPTION = 2,
	METRIC_UNIT = 3,
	METRIC_GAUGE = 5,
	METRIC_SUM = 7,
	METRIC_HISTOGRAM = 9,
	POINTS = 1, /* in all of these */
	TEMPORALITY = 2,
	CUMULATIVE = 2,
	SUM_MONOTONIC = 3,
	POINT_START = 2,
	POINT_TIME = 3,
	POINT_DOUBLE = 4,
	POINT_INT = 6,
	POINT_ATTRIBUTES = 7,
	HISTOGRAM_COUNT = 4,
	HISTOGRAM_SUM = 5,
	HISTOGRAM_COUNTS = 6,
	HISTOGRAM_BOUNDS = 7,
	HISTOGRAM_ATTRIBUTES = 9,
	KEY = 1,
	VALUE = 2,
	VALUE_STRING = 1,
	NS_PER_S = 1000000000,
	US_PER_S = 1000000,
};

static bool
is_sum(enum family f)
{
	return family_infos[f].type == METRIC_TYPE_COUNTER;
}

/* OpenTelemetry says by the type what Prometheus says by the name. */
static struct slice
plain_name(enum family f)
{
	struct slice s = slice_of(family_infos[f].name);
	const struct slice total = SLICE("_total");

	if (s.len > total.len && memcmp(s.ptr + s.len - total.len, total.ptr, total.len) == 0)
		s.len -= total.len;
	return s;
}

/* UCUM: units that it knows, and in braces things that are counted. */
static void
add_unit(struct strbuf *b, const char *unit)
{
	struct strbuf text = STRBUF_INIT(64);

	if (strcmp(unit, "seconds") == 0)
		strbuf_add_char(&text, 's');
	else if (strcmp(unit, "bytes") == 0)
		strbuf_add_cstr(&text, "By");
	else
		strbuf_addf(&text, "{%s}", unit);
	pb_text(b, METRIC_UNIT, strbuf_slice(&text));
	strbuf_free(&text);
}

void
otlp_metrics_end(struct otlp_metrics *m)
{
	const enum metric_type type = family_infos[m->family].type;

	if (!m->open)
		return;
	m->open = false;
	if (type == METRIC_TYPE_COUNTER || type == METRIC_TYPE_HISTOGRAM)
		pb_varint(m->out, TEMPORALITY, CUMULATIVE);
	if (type == METRIC_TYPE_COUNTER)
		pb_varint(m->out, SUM_MONOTONIC, 1);
	pb_close(m->out, m->data_at);
	pb_close(m->out, m->metric_at);
}

static void
begin(struct otlp_metrics *m, enum family f)
{
	const struct family_info *info = &family_infos[f];

	if (m->open && m->family == f)
		return;
	otlp_metrics_end(m);
	m->open = true;
	m->family = f;
	m->metric_at = pb_open(m->out, METRICS);
	pb_text(m->out, METRIC_NAME, plain_name(f));
	pb_text(m->out, METRIC_DESCRIPTION, slice_of(info->help));
	add_unit(m->out, info->unit);
	m->data_at = pb_open(m->out, info->type == METRIC_TYPE_HISTOGRAM ? METRIC_HISTOGRAM
				     : is_sum(f)			 ? METRIC_SUM
									 : METRIC_GAUGE);
}

static void
add_attribute(struct strbuf *b, unsigned field, struct slice name, struct slice value)
{
	const size_t pair = pb_open(b, field);
	size_t any;

	pb_text(b, KEY, name);
	any = pb_open(b, VALUE);
	pb_text(b, VALUE_STRING, value);
	pb_close(b, any);
	pb_close(b, pair);
}

/* Up to the closing quote, without the escapes. */
static void
take_value(struct slice *rest, struct strbuf *value)
{
	while (rest->len > 0 && *rest->ptr != '"') {
		if (*rest->ptr == '\\' && rest->len > 1) {
			rest->ptr++;
			rest->len--;
			strbuf_add_char(value, *rest->ptr == 'n' ? '\n' : *rest->ptr);
		} else {
			strbuf_add_char(value, *rest->ptr);
		}
		rest->ptr++;
		rest->len--;
	}
}

static void
add_attributes(struct strbuf *b, unsigned field, struct slice labels)
{
	struct strbuf value = STRBUF_INIT(PROMETHEUS_LABELS_BYTES);

	while (labels.len > 0) {
		const struct slice name = slice_cut(&labels, '=');

		if (labels.len == 0)
			break;
		labels.ptr++; /* the opening quote */
		labels.len--;
		value.len = 0;
		take_value(&labels, &value);
		add_attribute(b, field, name, strbuf_slice(&value));
		(void)slice_cut(&labels, ','); /* past the closing quote */
	}
	strbuf_free(&value);
}

static size_t
begin_point(struct otlp_metrics *m, enum family f, unsigned attributes, struct slice labels)
{
	size_t at;

	begin(m, f);
	at = pb_open(m->out, POINTS);
	add_attributes(m->out, attributes, labels);
	if (is_sum(f) || family_infos[f].type == METRIC_TYPE_HISTOGRAM)
		pb_fixed64(m->out, POINT_START, (uint64_t)m->start_ns);
	pb_fixed64(m->out, POINT_TIME, (uint64_t)m->now_ns);
	return at;
}

static void
on_count(void *ctx, enum family f, struct slice labels, uint64_t value)
{
	struct otlp_metrics *m = ctx;
	const size_t at = begin_point(m, f, POINT_ATTRIBUTES, labels);

	pb_fixed64(m->out, POINT_INT, value);
	pb_close(m->out, at);
}

static void
on_number(void *ctx, enum family f, struct slice labels, double value)
{
	struct otlp_metrics *m = ctx;
	const size_t at = begin_point(m, f, POINT_ATTRIBUTES, labels);

	pb_double(m->out, POINT_DOUBLE, value);
	pb_close(m->out, at);
}

static void
add_packed(struct strbuf *b, const void *number)
{
	uint64_t bits;
	uint8_t bytes[8];

	memcpy(&bits, number, sizeof bits);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(bits >> (8 * i));
	strbuf_add(b, bytes, sizeof bytes);
}

/* Of each bucket alone, not of all below it. */
static void
add_counts(struct strbuf *b, const struct histogram_view *v, uint64_t (*edge_us)(size_t edge),
    size_t edges)
{
	const size_t at = pb_open(b, HISTOGRAM_COUNTS);
	uint64_t below = 0;

	for (size_t i = 0; i <= edges; i++) {
		const uint64_t upto = i < edges ? histogram_at_most(v, edge_us(i)) : v->count;
		const uint64_t alone = upto - below;

		add_packed(b, &alone);
		below = upto;
	}
	pb_close(b, at);
}

static void
on_histogram(void *ctx, enum family f, struct slice labels, const struct histogram_view *v,
    uint64_t (*edge_us)(size_t edge), size_t edges)
{
	struct otlp_metrics *m = ctx;
	const size_t at = begin_point(m, f, HISTOGRAM_ATTRIBUTES, labels);
	size_t bounds;

	pb_fixed64(m->out, HISTOGRAM_COUNT, v->count);
	pb_double(m->out, HISTOGRAM_SUM, (double)v->sum_ns / NS_PER_S);
	add_counts(m->out, v, edge_us, edges);
	bounds = pb_open(m->out, HISTOGRAM_BOUNDS);
	for (size_t i = 0; i < edges; i++) {
		const double bound = (double)edge_us(i) / US_PER_S;

		add_packed(m->out, &bound);
	}
	pb_close(m->out, bounds);
	pb_close(m->out, at);
}

const struct prometheus_sink otlp_metrics_sink = {
	.count = on_count,
	.number = on_number,
	.histogram = on_histogram,
};
