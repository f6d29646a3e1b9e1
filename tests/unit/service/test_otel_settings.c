/* Goal: OpenTelemetry's variables mean what its specification says, and a bad one is said, ignored, and never shown when
 * it may be a secret. */
#include "service/otel_settings.h"

#include <string.h>

#include "base/fault.h"
#include "tests/unit/http/check.h"

static struct arena arena;
static struct fault_list faults;
static struct otel_settings settings;

enum { VARIABLES_MAX = 16 };

/* ${pairs}: "NAME=value", NULL-terminated. */
static void
read_all(const char *const *pairs)
{
	struct otel_variable list[VARIABLES_MAX];
	size_t n = 0;

	arena_init(&arena, 1 << 20);
	fault_init(&faults);
	for (; pairs[n] != NULL; n++) {
		struct slice value = slice_of(pairs[n]);
		const struct slice name = slice_cut(&value, '=');

		list[n] = (struct otel_variable){ .name = arena_copy(&arena, name),
			.value = arena_copy(&arena, value),
			.where = "environment" };
	}
	CU_ASSERT_EQUAL_FATAL(otel_settings_read(list, n, &arena, &faults, &settings), ERR_OK);
	CU_ASSERT_EQUAL(faults.errors, 0);
}

#define READ(...) read_all((const char *const[]){ __VA_ARGS__, NULL })

static void
drop(void)
{
	fault_free(&faults);
	arena_free(&arena);
}

static bool
was_said(const char *what)
{
	for (size_t i = 0; i < faults.count; i++)
		if (strstr(faults.items[i].text, what) != NULL)
			return true;
	return false;
}

static void
test_nothing_is_exported_until_somebody_asks(void)
{
	static const struct {
		const char *set[3];
		bool traces, metrics;
	} rows[] = {
		{ { "OTEL_SERVICE_NAME=x" }, false, false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=" }, false, false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318" }, true, true },
		{ { "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://a:4318/x" }, true, false },
		{ { "OTEL_TRACES_EXPORTER=otlp" }, true, false },
		{ { "OTEL_METRICS_EXPORTER=otlp" }, false, true },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318", "OTEL_METRICS_EXPORTER=none" },
		    true, false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318", "OTEL_SDK_DISABLED=True" }, false,
		    false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318", "OTEL_SDK_DISABLED=1" }, true,
		    true },
		{ { "OTEL_TRACES_EXPORTER=console" }, false, false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		read_all(rows[i].set);
		CHECK_ROW(rows[i].set[0], settings.traces.on == rows[i].traces);
		CHECK_ROW(rows[i].set[0], settings.metrics.on == rows[i].metrics);
		drop();
	}
}

static void
test_where_to_and_how(void)
{
	static const struct {
		const char *set[4];
		const char *url;
		bool grpc;
	} rows[] = {
		{ { "OTEL_TRACES_EXPORTER=otlp" }, "http://localhost:4318/v1/traces", false },
		{ { "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" },
		    "http://localhost:4317/opentelemetry.proto.collector.trace.v1.TraceService/"
		    "Export",
		    true },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318/" }, "http://a:4318/v1/traces",
		    false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=https://a/otlp" }, "https://a/otlp/v1/traces",
		    false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="
							      "http://b:2/x" },
		    "http://b:2/x", false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4317" },
		    "http://a:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		    true },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4317",
		      "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" },
		    "http://a:4317/v1/traces", false },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=http://[::1]:4317/path",
		      "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc" },
		    "http://[::1]:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		    true },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" },
		    "https://a:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		    true },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		      "OTEL_EXPORTER_OTLP_INSECURE=true" },
		    "http://a:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		    true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		read_all(rows[i].set);
		CHECK_ROW(rows[i].url, settings.traces.on && faults.count == 0);
		CHECK_TEXT(rows[i].url, slice_of(settings.traces.url), rows[i].url);
		CHECK_ROW(rows[i].url, settings.traces.grpc == rows[i].grpc);
		drop();
	}
	READ("OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4317");
	CHECK_TEXT("metrics", slice_of(settings.metrics.url),
	    "http://a:4317/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
	drop();
	READ("OTEL_EXPORTER_OTLP_ENDPOINT=ftp://me:hunter2@a");
	CU_ASSERT_FALSE(settings.traces.on || settings.metrics.on);
	CU_ASSERT_TRUE(was_said("OTEL_EXPORTER_OTLP_ENDPOINT is not"));
	CU_ASSERT_FALSE(was_said("hunter2"));
	drop();
}

static void
test_headers_are_decoded_and_never_shown(void)
{
	READ("OTEL_TRACES_EXPORTER=otlp",
	    "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Basic%20aGk6aG8%3D , x-tenant=a%2Cb");
	CU_ASSERT_EQUAL_FATAL(settings.traces.header_count, 2);
	CU_ASSERT_STRING_EQUAL(settings.traces.headers[0], "Authorization: Basic aGk6aG8=");
	CU_ASSERT_STRING_EQUAL(settings.traces.headers[1], "x-tenant: a,b");
	drop();
	READ("OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_HEADERS=a=b",
	    "OTEL_EXPORTER_OTLP_TRACES_HEADERS=key=hunter2%0d%0aevil: yes");
	CU_ASSERT_EQUAL(settings.traces.header_count, 0);
	CU_ASSERT_TRUE(was_said("OTEL_EXPORTER_OTLP_TRACES_HEADERS is not"));
	CU_ASSERT_FALSE(was_said("hunter2"));
	drop();
}

static void
test_a_signals_own_variable_wins(void)
{
	READ("OTEL_EXPORTER_OTLP_ENDPOINT=http://a:4318", "OTEL_EXPORTER_OTLP_TIMEOUT=5000",
	    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=700", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
	    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION=none");
	CU_ASSERT_EQUAL(settings.traces.timeout_ms, 700);
	CU_ASSERT_EQUAL(settings.metrics.timeout_ms, 5000);
	CU_ASSERT_TRUE(settings.traces.gzip);
	CU_ASSERT_FALSE(settings.metrics.gzip);
	CU_ASSERT_EQUAL(faults.count, 0);
	drop();
}

static void
test_a_bad_value_is_said_and_the_default_counts(void)
{
	READ("OTEL_TRACES_EXPORTER=otlp", "OTEL_BSP_SCHEDULE_DELAY=soon",
	    "OTEL_BSP_MAX_QUEUE_SIZE=-1", "OTEL_TRACES_SAMPLER=traceidratio",
	    "OTEL_TRACES_SAMPLER_ARG=1.5", "OTEL_EXPORTER_OTLP_COMPRESSION=brotli",
	    "OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere",
	    "OTEL_RESOURCE_ATTRIBUTES=a=1,b");
	CU_ASSERT_EQUAL(settings.schedule_delay_ms, 5000);
	CU_ASSERT_EQUAL(settings.queue_max, 2048);
	CU_ASSERT_EQUAL(settings.batch_max, 512);
	CU_ASSERT_EQUAL(settings.sampler.threshold, sampler_threshold(1));
	CU_ASSERT_FALSE(settings.traces.gzip);
	CU_ASSERT_FALSE(settings.traces.grpc);
	CU_ASSERT_PTR_NULL(settings.traces.ca_file);
	CU_ASSERT_EQUAL(settings.resource_count, 1);
	CU_ASSERT_EQUAL(faults.count, 7);
	CU_ASSERT_TRUE(was_said("OTEL_BSP_SCHEDULE_DELAY is \"soon\", expected a whole number"));
	drop();
	READ("OTEL_BSP_MAX_QUEUE_SIZE=100");
	CU_ASSERT_EQUAL(settings.batch_max, 100);
	CU_ASSERT_EQUAL(faults.count, 0);
	drop();
}

static void
test_samplers_have_their_names(void)
{
	static const struct {
		const char *set;
		enum sampler_kind kind;
		bool parent_based;
	} rows[] = {
		{ "OTEL_TRACES_SAMPLER=", SAMPLER_ALWAYS_ON, true },
		{ "OTEL_TRACES_SAMPLER=always_on", SAMPLER_ALWAYS_ON, false },
		{ "OTEL_TRACES_SAMPLER=always_off", SAMPLER_ALWAYS_OFF, false },
		{ "OTEL_TRACES_SAMPLER=traceidratio", SAMPLER_RATIO, false },
		{ "OTEL_TRACES_SAMPLER=parentbased_traceidratio", SAMPLER_RATIO, true },
		{ "OTEL_TRACES_SAMPLER=parentbased_always_off", SAMPLER_ALWAYS_OFF, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		READ(rows[i].set, "OTEL_TRACES_SAMPLER_ARG=0.25");
		CHECK_ROW(rows[i].set, settings.sampler.kind == rows[i].kind);
		CHECK_ROW(rows[i].set, settings.sampler.parent_based == rows[i].parent_based);
		if (rows[i].kind == SAMPLER_RATIO)
			CU_ASSERT_EQUAL(settings.sampler.threshold, sampler_threshold(0.25));
		drop();
	}
	READ("OTEL_TRACES_SAMPLER=jaeger_remote");
	CU_ASSERT_EQUAL(settings.sampler.kind, SAMPLER_ALWAYS_ON);
	CU_ASSERT_TRUE(was_said("OTEL_TRACES_SAMPLER"));
	drop();
}

static const char *
attribute(const char *key)
{
	for (size_t i = 0; i < settings.resource_count; i++)
		if (slice_eq_cstr(settings.resource[i].key, key))
			return arena_copy(&arena, settings.resource[i].value);
	return "";
}

static void
test_the_service_has_a_name_whoever_gives_it(void)
{
	READ("OTEL_LOG_LEVEL=info");
	CU_ASSERT_STRING_EQUAL(attribute("service.name"), "unknown_service:weir");
	CU_ASSERT_EQUAL(faults.count, 0); /* what it would be anyhow */
	drop();
	READ("OTEL_RESOURCE_ATTRIBUTES=service.name=one,deployment.environment=a%20b");
	CU_ASSERT_STRING_EQUAL(attribute("service.name"), "one");
	CU_ASSERT_STRING_EQUAL(attribute("deployment.environment"), "a b");
	drop();
	READ("OTEL_RESOURCE_ATTRIBUTES=service.name=one", "OTEL_SERVICE_NAME=two");
	CU_ASSERT_STRING_EQUAL(attribute("service.name"), "two");
	CU_ASSERT_EQUAL(settings.resource_count, 1);
	drop();
}

static void
test_limits_of_spans_beat_the_general_ones(void)
{
	READ("OTEL_ATTRIBUTE_COUNT_LIMIT=5", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=3",
	    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=7", "OTEL_SPAN_EVENT_COUNT_LIMIT=2",
	    "OTEL_SPAN_LINK_COUNT_LIMIT=0");
	CU_ASSERT_EQUAL(settings.limits.attributes, 3);
	CU_ASSERT_EQUAL(settings.limits.event_attributes, 5);
	CU_ASSERT_EQUAL(settings.limits.attribute_bytes, 7);
	CU_ASSERT_EQUAL(settings.limits.events, 2);
	CU_ASSERT_EQUAL(settings.limits.links, 0);
	drop();
}

static void
test_what_cannot_be_honoured_is_said_once(void)
{
	READ("OTEL_CONFIG_FILE=/etc/otel.yaml", "OTEL_LOGS_EXPORTER=otlp",
	    "OTEL_PROPAGATORS=b3,tracecontext", "OTEL_NEXT_YEAR=1", "OTEL_BLRP_SCHEDULE_DELAY=");
	CU_ASSERT_TRUE(was_said("OTEL_CONFIG_FILE has no effect"));
	CU_ASSERT_TRUE(was_said("OTEL_LOGS_EXPORTER has no effect"));
	CU_ASSERT_TRUE(was_said("OTEL_PROPAGATORS has \"b3\""));
	CU_ASSERT_TRUE(was_said("OTEL_NEXT_YEAR has no effect"));
	CU_ASSERT_EQUAL(faults.count, 4);
	CU_ASSERT_TRUE(settings.propagates);
	drop();
	READ("OTEL_PROPAGATORS=none");
	CU_ASSERT_FALSE(settings.propagates);
	CU_ASSERT_EQUAL(faults.count, 0);
	drop();
	CU_ASSERT_TRUE(otel_is_known(SLICE("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY")));
	CU_ASSERT_FALSE(otel_is_known(SLICE("OTEL_EXPORTER_OTLP_METRICS_KEY")));
}

UNIT_SUITE(otel_settings, TEST(test_nothing_is_exported_until_somebody_asks),
    TEST(test_where_to_and_how), TEST(test_headers_are_decoded_and_never_shown),
    TEST(test_a_signals_own_variable_wins), TEST(test_a_bad_value_is_said_and_the_default_counts),
    TEST(test_samplers_have_their_names), TEST(test_the_service_has_a_name_whoever_gives_it),
    TEST(test_limits_of_spans_beat_the_general_ones),
    TEST(test_what_cannot_be_honoured_is_said_once));
