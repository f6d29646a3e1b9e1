/* Goal: spans become OTLP's messages with the right ids, times and limits, and a receiver's answer is read whatever it
 * is.  (That a foreign decoder understands all of it is shown in tests/integration, by Google's.) */
#include "telemetry/otlp.h"

#include <string.h>

#include "base/arena.h"
#include "telemetry/protobuf.h"
#include "telemetry/span.h"
#include "telemetry/trace.h"
#include "tests/unit/http/check.h"

static const struct otlp_limits wide = { 128, 0, 128, 128, 128, 128 };

struct work {
	struct arena arena;
	struct span_recorder inside;
	struct trace_context trace;
	struct span root;
	struct strbuf out;
};

static void
work_begin(struct work *w)
{
	memset(w, 0, sizeof *w);
	arena_init(&w->arena, 1 << 20);
	w->inside.arena = &w->arena;
	w->out = STRBUF_INIT(1 << 20);
	trace_begin(&w->trace, SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), 1,
	    SLICE("a=1"));
	w->root = (struct span){
		.name = SLICE("GET /x"), .kind = SPAN_SERVER, .begin_ns = 100, .end_ns = 900
	};
	(void)span_record(&w->inside);
}

static uint32_t
work_encode(struct work *w, const struct otlp_limits *limits)
{
	const struct otlp_work o = { .trace = &w->trace,
		.root = &w->root,
		.inside = &w->inside,
		.wall_minus_mono_ns = 1000000 };

	(void)span_record(NULL);
	return otlp_add_work(&w->out, &o, limits);
}

static void
work_end(struct work *w)
{
	strbuf_free(&w->out);
	arena_free(&w->arena);
}

/* The ${nth} field of that number in ${message}; absent bytes when there is none. */
static struct pb_field
get(struct slice message, unsigned number, int nth)
{
	struct pb_field f;

	while (pb_next(&message, &f) == ERR_OK)
		if (f.number == number && nth-- == 0)
			return f;
	return (struct pb_field){ 0 };
}

static int
count_of(struct slice message, unsigned number)
{
	struct pb_field f;
	int n = 0;

	while (pb_next(&message, &f) == ERR_OK)
		n += f.number == number;
	return n;
}

static void
test_those_inside_are_children_of_the_work_or_of_each_other(void)
{
	struct work w;
	struct span *outer, *inner;
	struct slice rest, root, first, second;

	work_begin(&w);
	outer = span_begin(SPAN_INTERNAL, "handle");
	inner = span_begin(SPAN_CLIENT, "SELECT");
	span_end(inner, ERR_OK);
	span_end(outer, ERR_OK);
	CU_ASSERT_EQUAL(work_encode(&w, &wide), 3);
	rest = strbuf_slice(&w.out);
	root = get(rest, 2, 0).bytes;
	first = get(rest, 2, 1).bytes;
	second = get(rest, 2, 2).bytes;
	CU_ASSERT_TRUE(slice_eq(
	    get(root, 2, 0).bytes, (struct slice){ (const char *)w.trace.span_id, SPAN_ID_BYTES }));
	CU_ASSERT_TRUE(slice_eq(get(root, 4, 0).bytes,
	    (struct slice){ (const char *)w.trace.parent_id, SPAN_ID_BYTES }));
	CU_ASSERT_TRUE(slice_eq(get(first, 4, 0).bytes, get(root, 2, 0).bytes));
	CU_ASSERT_TRUE(slice_eq(get(second, 4, 0).bytes, get(first, 2, 0).bytes));
	CU_ASSERT_EQUAL(get(second, 2, 0).bytes.len, SPAN_ID_BYTES);
	CHECK_TEXT("state", get(root, 3, 0).bytes, "a=1");
	CU_ASSERT_EQUAL(get(root, 6, 0).value, SPAN_SERVER);
	CU_ASSERT_EQUAL(get(root, 7, 0).value, 1000100);
	CU_ASSERT_EQUAL(get(root, 8, 0).value, 1000900);
	CU_ASSERT_EQUAL(get(root, 16, 0).value, 0x301);
	CU_ASSERT_EQUAL(get(first, 16, 0).value, 0x101);
	work_end(&w);
}

static void
test_only_failures_have_a_status(void)
{
	static const struct {
		enum err result;
		uint64_t code;
	} rows[] = { { ERR_OK, 0 }, { ERR_NOT_FOUND, 0 }, { ERR_TIMEOUT, 2 },
		{ ERR_UNAVAILABLE, 2 } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct work w;
		struct slice span;

		work_begin(&w);
		w.root.result = rows[i].result;
		(void)work_encode(&w, &wide);
		span = get(strbuf_slice(&w.out), 2, 0).bytes;
		CU_ASSERT_EQUAL(get(get(span, 15, 0).bytes, 3, 0).value, rows[i].code);
		CU_ASSERT_EQUAL(count_of(span, 9), rows[i].code == 0 ? 0 : 1); /* error.type */
		work_end(&w);
	}
}

static void
test_the_limits_of_the_settings_hold_and_what_they_cost_is_told(void)
{
	const struct otlp_limits narrow = {
		.attributes = 1, .attribute_bytes = 4, .events = 1, .event_attributes = 1
	};
	struct work w;
	struct span *s;
	struct slice span, event, text;

	work_begin(&w);
	s = span_begin(SPAN_CLIENT, "SELECT");
	span_str(s, SPAN_KEY_DB_QUERY_TEXT, SLICE("abc\xc3\xa4"));
	span_int(s, SPAN_KEY_WEIR_ROWS, 1);
	span_event(s, "one", SPAN_INT(WEIR_ROWS, 1), SPAN_INT(SERVER_PORT, 2));
	span_event(s, "two", SPAN_INT(WEIR_ROWS, 1));
	span_end(s, ERR_OK);
	(void)work_encode(&w, &narrow);
	span = get(strbuf_slice(&w.out), 2, 1).bytes;
	CU_ASSERT_EQUAL(count_of(span, 9), 1);
	text = get(get(get(span, 9, 0).bytes, 2, 0).bytes, 1, 0).bytes;
	CHECK_TEXT("within a character's bounds", text, "abc");
	CU_ASSERT_EQUAL(get(span, 10, 0).value, 1);
	CU_ASSERT_EQUAL(count_of(span, 11), 1);
	CU_ASSERT_EQUAL(get(span, 12, 0).value, 1);
	event = get(span, 11, 0).bytes;
	CU_ASSERT_EQUAL(count_of(event, 3), 1);
	CU_ASSERT_EQUAL(get(event, 4, 0).value, 1);
	work_end(&w);
}

static void
test_a_batch_is_made_of_spans_that_were_encoded_before(void)
{
	struct work w;
	struct strbuf request = STRBUF_INIT(1 << 20), resource = STRBUF_INIT(1 << 20);
	struct slice rest, one, items;

	work_begin(&w);
	span_end(span_begin(SPAN_CLIENT, "SELECT"), ERR_OK);
	(void)work_encode(&w, &wide);
	otlp_add_resource_text(&resource, SLICE("service.name"), SLICE("weir"));
	otlp_add_resource_int(&resource, SLICE("process.pid"), 0);
	rest = strbuf_slice(&w.out);
	one = otlp_cut_span(&rest);
	otlp_trace_request(&request, strbuf_slice(&resource), one);
	items = get(strbuf_slice(&request), 1, 0).bytes;
	CU_ASSERT_TRUE(slice_eq(get(items, 1, 0).bytes, strbuf_slice(&resource)));
	CU_ASSERT_EQUAL(count_of(get(items, 1, 0).bytes, 1), 2);
	CU_ASSERT_EQUAL(count_of(get(items, 2, 0).bytes, 2), 1);
	CU_ASSERT_EQUAL(one.len + rest.len, w.out.len);
	CU_ASSERT_EQUAL(otlp_cut_span(&rest).len > 0, true);
	CU_ASSERT_PTR_NULL(otlp_cut_span(&rest).ptr);
	strbuf_free(&request);
	strbuf_free(&resource);
	work_end(&w);
}

static void
test_a_partial_success_says_how_many_were_refused(void)
{
	struct slice message;
	int64_t rejected;

	CU_ASSERT_EQUAL(
	    otlp_read_response(SLICE("\x0a\x06\x08\x03\x12\x02no"), &rejected, &message), ERR_OK);
	CU_ASSERT_EQUAL(rejected, 3);
	CHECK_TEXT("message", message, "no");
	CU_ASSERT_EQUAL(otlp_read_response(SLICE(""), &rejected, &message), ERR_OK);
	CU_ASSERT_EQUAL(rejected, 0);
	CU_ASSERT_EQUAL(
	    otlp_read_response(SLICE("\x0a\x60\x08"), &rejected, &message), ERR_INVALID);
	CU_ASSERT_EQUAL(rejected, 0);
}

static void
test_retry_info_is_found_among_the_details(void)
{
	/* google.rpc.Status{code 8, details [Any{RetryInfo{retry_delay{seconds 2, nanos 500000000}}}]}, by Google's
	 * own library. */
	const struct slice info = SLICE(
	    "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ==");
	int64_t delay_ms;

	CU_ASSERT_EQUAL(otlp_read_retry_info(info, &delay_ms), ERR_OK);
	CU_ASSERT_EQUAL(delay_ms, 2500);
	CU_ASSERT_EQUAL(otlp_read_retry_info(SLICE("CAg="), &delay_ms), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(otlp_read_retry_info(SLICE("!!"), &delay_ms), ERR_NOT_FOUND);
}

UNIT_SUITE(otlp, TEST(test_those_inside_are_children_of_the_work_or_of_each_other),
    TEST(test_only_failures_have_a_status),
    TEST(test_the_limits_of_the_settings_hold_and_what_they_cost_is_told),
    TEST(test_a_batch_is_made_of_spans_that_were_encoded_before),
    TEST(test_a_partial_success_says_how_many_were_refused),
    TEST(test_retry_info_is_found_among_the_details));
