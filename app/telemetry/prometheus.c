/*
 * The two formats differ in the names of counters and infos, in units, exemplars, and in how they end.
 */
#include "telemetry/prometheus.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { US_PER_S = 1000000, NS_PER_S = 1000000000 };

const char *
prometheus_content_type(enum prometheus_form f)
{
	return f == PROMETHEUS_OPENMETRICS
		   ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		   : "text/plain; version=0.0.4; charset=utf-8";
}

void
prometheus_init(struct prometheus *p, enum prometheus_form form, struct strbuf *out)
{
	*p = (struct prometheus){ .out = out, .form = form };
}

void
prometheus_init_sink(struct prometheus *p, const struct prometheus_sink *sink, void *ctx)
{
	*p = (struct prometheus){ .sink = sink, .sink_ctx = ctx };
}

void
prometheus_family(struct prometheus *p, enum family f)
{
	p->family = f;
	p->headed = false;
	p->labels_len = 0;
}

/*
 * Heads.
 */
static struct slice
without(struct slice name, const char *suffix)
{
	const size_t n = strlen(suffix);

	if (name.len > n && memcmp(name.ptr + name.len - n, suffix, n) == 0)
		name.len -= n;
	return name;
}

/* OpenMetrics names the family without what the samples add to it. */
static struct slice
family_name(const struct prometheus *p)
{
	const struct family_info *info = &family_infos[p->family];
	const struct slice name = slice_of(info->name);

	if (p->form == PROMETHEUS_TEXT)
		return name;
	if (info->type == METRIC_TYPE_COUNTER)
		return without(name, "_total");
	return info->type == METRIC_TYPE_INFO ? without(name, "_info") : name;
}

static const char *
type_name(const struct prometheus *p)
{
	switch (family_infos[p->family].type) {
	case METRIC_TYPE_COUNTER:
		return "counter";
	case METRIC_TYPE_HISTOGRAM:
		return "histogram";
	case METRIC_TYPE_INFO:
		return p->form == PROMETHEUS_OPENMETRICS ? "info" : "gauge";
	case METRIC_TYPE_GAUGE:
		break;
	}
	return "gauge";
}

static void
add_help(struct strbuf *b, enum prometheus_form form, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			strbuf_add_cstr(b, "\\n");
		else if (*text == '\\' || (*text == '"' && form == PROMETHEUS_OPENMETRICS))
			strbuf_addf(b, "\\%c", *text);
		else
			strbuf_add_char(b, *text);
	}
}

static void
comment(struct prometheus *p, const char *word, struct slice name)
{
	strbuf_addf(p->out, "# %s %.*s ", word, (int)name.len, name.ptr);
}

static void
head(struct prometheus *p)
{
	const struct family_info *info = &family_infos[p->family];
	const struct slice name = family_name(p);
	const struct slice bare = without(name, info->unit);

	if (p->headed)
		return;
	p->headed = true;
	comment(p, "HELP", name);
	add_help(p->out, p->form, info->help);
	strbuf_add_char(p->out, '\n');
	comment(p, "TYPE", name);
	strbuf_addf(p->out, "%s\n", type_name(p));
	/* A unit must be the end of the name; of other families it is for people, in the README. */
	if (p->form == PROMETHEUS_OPENMETRICS && info->type != METRIC_TYPE_INFO &&
	    bare.len < name.len && bare.ptr[bare.len - 1] == '_') {
		comment(p, "UNIT", name);
		strbuf_addf(p->out, "%s\n", info->unit);
	}
}

/*
 * Samples.
 */
static void
label_char(struct prometheus *p, char c)
{
	if (p->labels_len < sizeof p->labels)
		p->labels[p->labels_len++] = c;
}

/* ${room}: bytes that are left free, so that what follows a cut value still closes it. */
static void
label_text(struct prometheus *p, struct slice s, size_t room)
{
	for (size_t i = 0; i < s.len && p->labels_len + room + 2 <= sizeof p->labels; i++) {
		const char c = s.ptr[i];

		if (c == '\\' || c == '"' || c == '\n')
			label_char(p, '\\');
		label_char(p, c == '\n' ? 'n' : c);
	}
}

void
prometheus_label(struct prometheus *p, const char *name, struct slice value)
{
	if (p->labels_len + strlen(name) + 8 > sizeof p->labels)
		return;
	if (p->labels_len > 0)
		label_char(p, ',');
	label_text(p, slice_of(name), 0);
	label_char(p, '=');
	label_char(p, '"');
	label_text(p, value, 1);
	label_char(p, '"');
}

void
prometheus_labels(struct prometheus *p, const char *written)
{
	if (p->labels_len > 0 && *written != '\0')
		label_char(p, ',');
	for (; *written != '\0'; written++)
		label_char(p, *written);
}

/* Its name and labels; with ${le} a label more. */
static void
start(struct prometheus *p, const char *suffix, const char *le)
{
	const char *name = family_infos[p->family].name;
	const bool labelled = p->labels_len > 0;

	head(p);
	strbuf_addf(p->out, "%s%s", name, suffix);
	if (labelled || le != NULL)
		strbuf_addf(p->out, "{%.*s", (int)p->labels_len, p->labels);
	if (le != NULL)
		strbuf_addf(p->out, "%sle=\"%s\"", labelled ? "," : "", le);
	strbuf_add_cstr(p->out, labelled || le != NULL ? "} " : " ");
}

/* Of the sample in hand; the next one has others. */
static struct slice
take_labels(struct prometheus *p)
{
	const struct slice labels = { p->labels, p->labels_len };

	p->labels_len = 0;
	return labels;
}

void
prometheus_count(struct prometheus *p, uint64_t value)
{
	if (p->sink != NULL) {
		p->sink->count(p->sink_ctx, p->family, take_labels(p), value);
		return;
	}
	start(p, "", NULL);
	strbuf_addf(p->out, "%" PRIu64 "\n", value);
	p->labels_len = 0;
}

void
prometheus_number(struct prometheus *p, double value)
{
	if (p->sink != NULL) {
		p->sink->number(p->sink_ctx, p->family, take_labels(p), value);
		return;
	}
	start(p, "", NULL);
	strbuf_addf(p->out, "%.15g\n", value);
	p->labels_len = 0;
}

static void
exemplar(struct prometheus *p, size_t edge, prometheus_exemplars *exemplars, const void *ctx)
{
	struct prometheus_exemplar x;

	if (p->form != PROMETHEUS_OPENMETRICS || exemplars == NULL || !exemplars(ctx, edge, &x))
		return;
	strbuf_addf(p->out, " # {trace_id=\"%s\"} %.9g %" PRId64 ".%03d", x.trace_id,
	    (double)x.took_ns / NS_PER_S, x.wall_us / US_PER_S, (int)(x.wall_us % US_PER_S / 1000));
}

void
prometheus_histogram(struct prometheus *p, const struct histogram_view *v,
    uint64_t (*edge_us)(size_t edge), size_t edges, prometheus_exemplars *exemplars,
    const void *ctx)
{
	char le[32];

	if (p->sink != NULL) {
		p->sink->histogram(p->sink_ctx, p->family, take_labels(p), v, edge_us, edges);
		return;
	}
	for (size_t i = 0; i < edges; i++) {
		(void)snprintf(le, sizeof le, "%.9g", (double)edge_us(i) / US_PER_S);
		start(p, "_bucket", le);
		strbuf_addf(p->out, "%" PRIu64, histogram_at_most(v, edge_us(i)));
		exemplar(p, i, exemplars, ctx);
		strbuf_add_char(p->out, '\n');
	}
	start(p, "_bucket", "+Inf");
	strbuf_addf(p->out, "%" PRIu64, v->count);
	exemplar(p, edges, exemplars, ctx);
	strbuf_add_char(p->out, '\n');
	start(p, "_count", NULL);
	strbuf_addf(p->out, "%" PRIu64 "\n", v->count);
	start(p, "_sum", NULL);
	strbuf_addf(p->out, "%.15g\n", (double)v->sum_ns / NS_PER_S);
	p->labels_len = 0;
}

void
prometheus_end(struct prometheus *p)
{
	if (p->sink == NULL && p->form == PROMETHEUS_OPENMETRICS)
		strbuf_add_cstr(p->out, "# EOF\n");
}
