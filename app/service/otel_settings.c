/*
 * The OTEL_* variables: who wins, what is a good value, and what is said of a bad one.
 */
#include "service/otel_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "http/percent.h"

enum {
	NAME_BYTES_MAX = 96,
	PAIRS_MAX = 64, /* resource attributes, headers */
	TIMEOUT_MS_MAX = 3600000,
	COUNT_MAX = 1000000,
	GRPC_PORT = 4317,
};

#define EXPORTER "OTEL_EXPORTER_OTLP_"
#define SERVICE	 "unknown_service:weir"

static const struct otel_doc docs[] = {
#define HONOURED				     true
#define IGNORED					     false
#define OTEL(name, signals, fallback, verdict, help) { name, signals, fallback, verdict, help },
#include "service/otel_keys.inc"
#undef OTEL
#undef HONOURED
#undef IGNORED
};

enum { DOCS = sizeof docs / sizeof *docs };

const struct otel_doc *
otel_docs(size_t *count_out)
{
	*count_out = DOCS;
	return docs;
}

struct reading {
	const struct otel_variable *variables;
	size_t count;
	struct arena *arena;
	struct fault_list *faults;
	bool *said; /* for each variable: both signals may look at it */
};

/* Empty is not set. */
static const struct otel_variable *
find(const struct reading *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->variables[i].name, name) == 0 && *r->variables[i].value != '\0')
			return &r->variables[i];
	return NULL;
}

/* OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, else OTEL_EXPORTER_OTLP_TIMEOUT. */
static const struct otel_variable *
find_for(const struct reading *r, const char *signal, const char *rest)
{
	char name[NAME_BYTES_MAX];
	const struct otel_variable *v;

	(void)snprintf(name, sizeof name, EXPORTER "%s_%s", signal, rest);
	v = find(r, name);
	if (v != NULL)
		return v;
	(void)snprintf(name, sizeof name, EXPORTER "%s", rest);
	return find(r, name);
}

static bool
say_once(const struct reading *r, const struct otel_variable *v)
{
	const bool first = !r->said[v - r->variables];

	r->said[v - r->variables] = true;
	return first;
}

static void
say(const struct reading *r, const struct otel_variable *v, const char *expected)
{
	if (say_once(r, v))
		fault_warn(r->faults, v->where, v->line, "%s is \"%s\", expected %s; it is ignored",
		    v->name, v->value, expected);
}

/* The same of what may be a secret. */
static void
say_secret(const struct reading *r, const struct otel_variable *v, const char *expected)
{
	if (say_once(r, v))
		fault_warn(
		    r->faults, v->where, v->line, "%s is not %s; it is ignored", v->name, expected);
}

/*
 * Values.
 */
static int64_t
number(const struct reading *r, const struct otel_variable *v, int64_t fallback, int64_t min,
    int64_t max)
{
	int64_t n;

	if (v == NULL)
		return fallback;
	if (slice_to_i64(slice_trim(slice_of(v->value)), &n) == ERR_OK && n >= min && n <= max)
		return n;
	say(r, v,
	    arena_printf(
		r->arena, "a whole number from %lld to %lld", (long long)min, (long long)max));
	return fallback;
}

static bool
boolean(const struct reading *r, const struct otel_variable *v)
{
	if (v == NULL)
		return false;
	if (slice_eq_nocase(slice_of(v->value), "true"))
		return true;
	if (!slice_eq_nocase(slice_of(v->value), "false"))
		say(r, v, "true or false");
	return false;
}

static bool
is_word(const struct otel_variable *v, const char *word)
{
	return v != NULL && slice_eq_cstr(slice_trim(slice_of(v->value)), word);
}

/* Whether a comma-separated list has ${word}. */
static bool
has_word(const struct otel_variable *v, const char *word)
{
	struct slice rest = slice_of(v->value);

	while (rest.ptr != NULL)
		if (slice_eq_cstr(slice_trim(slice_cut(&rest, ',')), word))
			return true;
	return false;
}

/*
 * "k1=v1,k2=v2" with percent-encoded values, as W3C Baggage has it (properties behind ';' are part of the value, for who
 * writes a header means all of it).  ERR_INVALID: one of them is no pair.
 */
static enum err
pairs(const struct reading *r, const char *text, struct otel_attribute **out, size_t *count_out)
{
	struct slice rest = slice_of(text);
	const char *why;

	*count_out = 0;
	*out = arena_alloc(r->arena, PAIRS_MAX * sizeof **out);
	if (*out == NULL)
		return ERR_NOMEM;
	while (rest.ptr != NULL) {
		struct slice value = slice_trim(slice_cut(&rest, ','));
		struct otel_attribute *p = &(*out)[*count_out];

		if (value.len == 0)
			continue;
		p->key = slice_trim(slice_cut(&value, '='));
		if (p->key.len == 0 || value.ptr == NULL || *count_out == PAIRS_MAX - 1 ||
		    percent_decode(slice_trim(value), false, r->arena, &p->value, &why) != ERR_OK ||
		    percent_decode(p->key, false, r->arena, &p->key, &why) != ERR_OK)
			return ERR_INVALID;
		(*count_out)++;
	}
	return ERR_OK;
}

/*
 * Who we are.
 */
static bool
has_service_name(const struct otel_settings *s)
{
	for (size_t i = 0; i < s->resource_count; i++)
		if (slice_eq_cstr(s->resource[i].key, "service.name"))
			return true;
	return false;
}

static void
set_service_name(struct otel_settings *s, const char *name)
{
	for (size_t i = 0; i < s->resource_count; i++)
		if (slice_eq_cstr(s->resource[i].key, "service.name"))
			s->resource[i].value = slice_of(name);
	if (!has_service_name(s))
		s->resource[s->resource_count++] =
		    (struct otel_attribute){ SLICE("service.name"), slice_of(name) };
}

/* One place of the list is left for the name. */
static enum err
read_resource(const struct reading *r, struct otel_settings *out)
{
	const struct otel_variable *all = find(r, "OTEL_RESOURCE_ATTRIBUTES");
	const struct otel_variable *name = find(r, "OTEL_SERVICE_NAME");
	enum err rc = pairs(r, all == NULL ? "" : all->value, &out->resource, &out->resource_count);

	if (rc == ERR_NOMEM)
		return rc;
	if (rc != ERR_OK) {
		out->resource_count = 0;
		say(r, all, "KEY=VALUE pairs, comma-separated and percent-encoded");
	}
	if (name != NULL || !has_service_name(out))
		set_service_name(out, name == NULL ? SERVICE : name->value);
	return ERR_OK;
}

/*
 * The sampler.
 */
static void
read_ratio(const struct reading *r, struct sampler *out)
{
	const struct otel_variable *v = find(r, "OTEL_TRACES_SAMPLER_ARG");
	double ratio = 1;
	char *end;

	if (v != NULL) {
		errno = 0;
		ratio = strtod(v->value, &end);
		if (end == v->value || *end != '\0' || errno != 0 || !(ratio >= 0 && ratio <= 1)) {
			say(r, v, "a number from 0 to 1");
			ratio = 1;
		}
	}
	out->threshold = sampler_threshold(ratio);
}

static void
read_sampler(const struct reading *r, struct sampler *out)
{
	static const struct {
		const char *word;
		enum sampler_kind kind;
		bool parent_based;
	} kinds[] = {
		{ "always_on", SAMPLER_ALWAYS_ON, false },
		{ "always_off", SAMPLER_ALWAYS_OFF, false },
		{ "traceidratio", SAMPLER_RATIO, false },
		{ "parentbased_always_on", SAMPLER_ALWAYS_ON, true },
		{ "parentbased_always_off", SAMPLER_ALWAYS_OFF, true },
		{ "parentbased_traceidratio", SAMPLER_RATIO, true },
	};
	const struct otel_variable *v = find(r, "OTEL_TRACES_SAMPLER");

	*out = (struct sampler){ .kind = SAMPLER_ALWAYS_ON, .parent_based = true };
	for (size_t i = 0; v != NULL && i < sizeof kinds / sizeof *kinds; i++)
		if (is_word(v, kinds[i].word)) {
			out->kind = kinds[i].kind;
			out->parent_based = kinds[i].parent_based;
			v = NULL;
		}
	if (v != NULL)
		say(r, v, "always_on, always_off, traceidratio, or parentbased_ and one of these");
	if (out->kind == SAMPLER_RATIO)
		read_ratio(r, out);
}

/*
 * Where to.
 */
static bool
is_header(const struct otel_attribute *h)
{
	for (size_t i = 0; i < h->key.len; i++)
		if (strchr("!#$%&'*+-.^_`|~", h->key.ptr[i]) == NULL &&
		    !((h->key.ptr[i] | 32) >= 'a' && (h->key.ptr[i] | 32) <= 'z') &&
		    !(h->key.ptr[i] >= '0' && h->key.ptr[i] <= '9'))
			return false;
	for (size_t i = 0; i < h->value.len; i++)
		if ((uint8_t)h->value.ptr[i] < 0x20 && h->value.ptr[i] != '\t')
			return false; /* a line break would begin another header */
	return true;
}

static enum err
read_headers(const struct reading *r, const char *signal, struct otel_endpoint *out)
{
	const struct otel_variable *v = find_for(r, signal, "HEADERS");
	struct otel_attribute *list;
	const char **lines;
	size_t count;
	enum err rc;

	if (v == NULL)
		return ERR_OK;
	rc = pairs(r, v->value, &list, &count);
	lines = arena_alloc(r->arena, PAIRS_MAX * sizeof *lines);
	if (rc == ERR_NOMEM || lines == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < count && rc == ERR_OK; i++) {
		lines[i] = arena_printf(r->arena, "%.*s: %.*s", (int)list[i].key.len,
		    list[i].key.ptr, (int)list[i].value.len, list[i].value.ptr);
		rc = is_header(&list[i]) ? ERR_OK : ERR_INVALID;
	}
	if (rc != ERR_OK) {
		say_secret(r, v, "a list of NAME=VALUE, comma-separated and percent-encoded");
		return ERR_OK;
	}
	out->headers = lines;
	out->header_count = count;
	return ERR_OK;
}

static const char *
file(const struct reading *r, const char *signal, const char *rest)
{
	const struct otel_variable *v = find_for(r, signal, rest);

	if (v == NULL)
		return NULL;
	if (access(v->value, R_OK) == 0)
		return v->value;
	say(r, v, "a file that can be read");
	return NULL;
}

static bool
has_port(const char *url, int port)
{
	const char *host = strstr(url, "://"), *end, *colon;

	host = host == NULL ? url : host + 3;
	end = host + strcspn(host, "/?#");
	for (colon = end; colon > host && *colon != ':'; colon--)
		continue;
	return *colon == ':' && atoi(colon + 1) == port;
}

static void
read_protocol(const struct reading *r, const char *signal, const struct otel_variable *endpoint,
    struct otel_endpoint *out)
{
	const struct otel_variable *v = find_for(r, signal, "PROTOCOL");

	if (v == NULL)
		out->grpc = endpoint != NULL && has_port(endpoint->value, GRPC_PORT);
	else if (is_word(v, "grpc"))
		out->grpc = true;
	else if (!is_word(v, "http/protobuf"))
		say(r, v, "http/protobuf or grpc");
}

static bool
has_scheme(const char *url)
{
	return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

/* "http://localhost:4318" and "/v1/traces"; the slash at the end of the first is one too many. */
static const char *
joined(const struct reading *r, const char *base, const char *path)
{
	size_t n = strlen(base);

	while (n > 0 && base[n - 1] == '/')
		n--;
	return arena_printf(r->arena, "%.*s%s", (int)n, base, path);
}

/* Scheme and authority: gRPC's path is the method's. */
static const char *
origin(const struct reading *r, const char *url)
{
	const char *host = strstr(url, "://") + 3;

	return arena_printf(
	    r->arena, "%.*s", (int)(host - url + (ptrdiff_t)strcspn(host, "/?#")), url);
}

static const char *
grpc_url(
    const struct reading *r, const char *signal, const struct otel_variable *v, const char *method)
{
	const char *url = v == NULL ? "http://localhost:4317" : v->value;

	if (strstr(url, "://") == NULL)
		url = arena_printf(r->arena, "%s://%s",
		    boolean(r, find_for(r, signal, "INSECURE")) ? "http" : "https", url);
	if (url == NULL || !has_scheme(url))
		return NULL;
	url = origin(r, url);
	return url == NULL ? NULL : joined(r, url, method);
}

static const char *
http_url(const struct reading *r, const struct otel_variable *own, const struct otel_variable *v,
    const char *path)
{
	if (v != NULL && !has_scheme(v->value))
		return NULL;
	if (own != NULL)
		return own->value; /* as it is */
	return joined(r, v == NULL ? "http://localhost:4318" : v->value, path);
}

struct signal {
	const char *name, *path, *method, *exporter;
};

static enum err
read_endpoint(const struct reading *r, const struct signal *s, struct otel_endpoint *out)
{
	char name[NAME_BYTES_MAX];
	const struct otel_variable *own, *v, *compression;

	(void)snprintf(name, sizeof name, EXPORTER "%s_ENDPOINT", s->name);
	own = find(r, name);
	v = find_for(r, s->name, "ENDPOINT");
	read_protocol(r, s->name, v, out);
	out->url = out->grpc ? grpc_url(r, s->name, v, s->method) : http_url(r, own, v, s->path);
	if (out->url == NULL && v != NULL) {
		say_secret(r, v, "an http:// or https:// URL");
		out->on = false;
	}
	compression = find_for(r, s->name, "COMPRESSION");
	out->gzip = is_word(compression, "gzip");
	if (compression != NULL && !out->gzip && !is_word(compression, "none"))
		say(r, compression, "gzip or none");
	out->ca_file = file(r, s->name, "CERTIFICATE");
	out->client_cert_file = file(r, s->name, "CLIENT_CERTIFICATE");
	out->client_key_file = file(r, s->name, "CLIENT_KEY");
	out->timeout_ms =
	    number(r, find_for(r, s->name, "TIMEOUT"), out->timeout_ms, 1, TIMEOUT_MS_MAX);
	return read_headers(r, s->name, out);
}

/* Asked for: by an exporter, or by saying where to.  Without either, weir exports nothing. */
static bool
is_wanted(const struct reading *r, const struct signal *s)
{
	const struct otel_variable *v = find(r, s->exporter);

	if (boolean(r, find(r, "OTEL_SDK_DISABLED")))
		return false;
	if (v == NULL)
		return find_for(r, s->name, "ENDPOINT") != NULL;
	if (has_word(v, "otlp"))
		return true;
	if (!is_word(v, "none"))
		say(r, v, "otlp or none");
	return false;
}

static enum err
read_signal(const struct reading *r, const struct signal *s, struct otel_endpoint *out)
{
	*out = (struct otel_endpoint){ .on = is_wanted(r, s), .timeout_ms = 10000 };
	return out->on ? read_endpoint(r, s, out) : ERR_OK;
}

static void
read_batches(const struct reading *r, struct otel_settings *out)
{
	const struct otel_variable *batch = find(r, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE");
	int64_t most;

	out->schedule_delay_ms =
	    number(r, find(r, "OTEL_BSP_SCHEDULE_DELAY"), 5000, 0, TIMEOUT_MS_MAX);
	most = number(r, find(r, "OTEL_BSP_EXPORT_TIMEOUT"), 30000, 1, TIMEOUT_MS_MAX);
	if (out->traces.timeout_ms > most)
		out->traces.timeout_ms = most;
	out->queue_max =
	    (uint32_t)number(r, find(r, "OTEL_BSP_MAX_QUEUE_SIZE"), 2048, 1, COUNT_MAX);
	out->batch_max = (uint32_t)number(r, batch, 512, 1, COUNT_MAX);
	if (out->batch_max > out->queue_max) {
		if (batch != NULL)
			say(r, batch, "at most OTEL_BSP_MAX_QUEUE_SIZE, which is used");
		out->batch_max = out->queue_max;
	}
	out->metric_interval_ms =
	    number(r, find(r, "OTEL_METRIC_EXPORT_INTERVAL"), 60000, 1, TIMEOUT_MS_MAX);
	most = number(r, find(r, "OTEL_METRIC_EXPORT_TIMEOUT"), 30000, 1, TIMEOUT_MS_MAX);
	if (out->metrics.timeout_ms > most)
		out->metrics.timeout_ms = most;
}

static uint32_t
limit(const struct reading *r, const char *name, const char *general, int64_t fallback)
{
	const struct otel_variable *v = find(r, name);

	if (v == NULL && general != NULL)
		v = find(r, general);
	return (uint32_t)number(r, v, fallback, 0, COUNT_MAX);
}

static void
read_limits(const struct reading *r, struct otlp_limits *out)
{
	out->attributes =
	    limit(r, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", 128);
	out->attribute_bytes = limit(
	    r, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0);
	out->events = limit(r, "OTEL_SPAN_EVENT_COUNT_LIMIT", NULL, 128);
	out->links = limit(r, "OTEL_SPAN_LINK_COUNT_LIMIT", NULL, 128);
	out->event_attributes =
	    limit(r, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", 128);
	out->link_attributes =
	    limit(r, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", 128);
}

/* b3 and its like are other formats of the same: who sends only these is not heard. */
static bool
reads_trace_context(const struct reading *r)
{
	const struct otel_variable *v = find(r, "OTEL_PROPAGATORS");
	static const char *const unknown[] = { "b3", "b3multi", "jaeger", "xray", "ottrace" };

	if (v == NULL)
		return true;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		if (has_word(v, unknown[i]))
			fault_warn(r->faults, v->where, v->line,
			    "%s has \"%s\", which weir does not read, expected tracecontext",
			    v->name, unknown[i]);
	return has_word(v, "tracecontext");
}

/*
 * What cannot be honoured.
 */
const struct otel_doc *
otel_doc_of(struct slice name)
{
	static const char *const signals[] = { EXPORTER "TRACES_", EXPORTER "METRICS_" };

	for (size_t i = 0; i < DOCS; i++) {
		if (slice_eq_cstr(name, docs[i].name))
			return &docs[i];
		for (size_t s = 0; docs[i].signals && s < 2; s++) {
			const size_t n = strlen(signals[s]);

			if (slice_starts(name, signals[s]) &&
			    slice_eq_cstr((struct slice){ name.ptr + n, name.len - n },
				docs[i].name + sizeof EXPORTER - 1))
				return &docs[i];
		}
	}
	return NULL;
}

bool
otel_is_known(struct slice name)
{
	return otel_doc_of(name) != NULL;
}

bool
otel_is_secret(struct slice name)
{
	const struct slice end = SLICE("_HEADERS");

	return name.len > end.len && memcmp(name.ptr + name.len - end.len, end.ptr, end.len) == 0;
}

static void
say_what_is_ignored(const struct reading *r)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct otel_variable *v = &r->variables[i];
		const struct otel_doc *d = otel_doc_of(slice_of(v->name));

		if (*v->value == '\0' || (d != NULL && d->honoured) ||
		    (d != NULL && is_word(v, d->fallback)))
			continue;
		fault_warn(r->faults, v->where, v->line, "%s has no effect: %s", v->name,
		    d == NULL ? "weir does not know it." : d->help);
	}
}

enum err
otel_settings_read(const struct otel_variable *variables, size_t count, struct arena *a,
    struct fault_list *faults, struct otel_settings *out)
{
	static const struct signal traces = { "TRACES", "/v1/traces",
		"/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		"OTEL_TRACES_EXPORTER" };
	static const struct signal metrics = { "METRICS", "/v1/metrics",
		"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
		"OTEL_METRICS_EXPORTER" };
	const struct reading r = { variables, count, a, faults,
		arena_alloc(a, (count + 1) * sizeof(bool)) };
	enum err rc;

	if (r.said == NULL)
		return ERR_NOMEM;
	*out = (struct otel_settings){ .propagates = reads_trace_context(&r) };
	rc = read_signal(&r, &traces, &out->traces);
	if (rc == ERR_OK)
		rc = read_signal(&r, &metrics, &out->metrics);
	if (rc == ERR_OK)
		rc = read_resource(&r, out);
	if (rc != ERR_OK)
		return rc;
	read_sampler(&r, &out->sampler);
	read_batches(&r, out);
	read_limits(&r, &out->limits);
	say_what_is_ignored(&r);
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}
