/* Goal: a valid trace goes on, everything else begins a new one, and nothing a client sends fails. */
#include "telemetry/trace.h"

#include <string.h>

#include "base/hash.h"
#include "tests/unit/http/check.h"

#define TRACE_ID  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT_ID "00f067aa0ba902b7"
#define PARENT	  "00-" TRACE_ID "-" PARENT_ID "-01"

static struct slice
hex(const uint8_t *id, size_t len, char *out)
{
	hex_encode(id, len, out);
	return slice_of(out);
}

static void
test_a_valid_parent_is_continued(void)
{
	static const struct {
		const char *text;
		bool sampled, random;
	} rows[] = {
		{ PARENT, true, false },
		{ "00-" TRACE_ID "-" PARENT_ID "-00", false, false },
		{ "00-" TRACE_ID "-" PARENT_ID "-02", false, true },
		{ "00-" TRACE_ID "-" PARENT_ID "-ff", true, true },
		{ " \t" PARENT " ", true, false },
		{ "01-" TRACE_ID "-" PARENT_ID "-01", true, false },
		{ "cc-" TRACE_ID "-" PARENT_ID "-01-what-the-future-brings", true, false },
		{ "cc-" TRACE_ID "-" PARENT_ID "-01-", true, false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[2 * TRACE_ID_BYTES + 1];
		struct trace_context t;

		trace_begin(&t, slice_of(rows[i].text), 1, (struct slice){ NULL, 0 });
		CHECK_ROW(rows[i].text, t.has_parent);
		CHECK_TEXT(rows[i].text, hex(t.trace_id, TRACE_ID_BYTES, text), TRACE_ID);
		CHECK_TEXT(rows[i].text, hex(t.parent_id, SPAN_ID_BYTES, text), PARENT_ID);
		CHECK_ROW(rows[i].text, t.sampled == rows[i].sampled && t.random == rows[i].random);
	}
}

static void
test_anything_else_begins_a_new_trace(void)
{
	static const char *const rows[] = { "", "00", "00-" TRACE_ID "-" PARENT_ID,
		"00-" TRACE_ID "-" PARENT_ID "-1", "00-" TRACE_ID "-" PARENT_ID "-01-", PARENT "x",
		"01-" TRACE_ID "-" PARENT_ID "-01x", "ff-" TRACE_ID "-" PARENT_ID "-01",
		"0x-" TRACE_ID "-" PARENT_ID "-01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT_ID "-01",
		"00-" TRACE_ID "-00F067AA0BA902B7-01", "00-" TRACE_ID "-" PARENT_ID "-0A",
		"00-00000000000000000000000000000000-" PARENT_ID "-01",
		"00-" TRACE_ID "-0000000000000000-01", "00_" TRACE_ID "_" PARENT_ID "_01",
		"00-" TRACE_ID "-" PARENT_ID ".01", PARENT ", " PARENT };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		static const uint8_t zero[TRACE_ID_BYTES];
		struct trace_context t;

		trace_begin(&t, slice_of(rows[i]), 1, SLICE("a=1"));
		CHECK_ROW(rows[i], !t.has_parent && t.random && !t.sampled);
		CHECK_ROW(rows[i], memcmp(t.trace_id, zero, sizeof t.trace_id) != 0);
		CHECK_ROW(rows[i], t.tracestate.ptr == NULL);
	}
}

static void
test_two_parents_are_none(void)
{
	struct trace_context t;

	trace_begin(&t, SLICE(PARENT), 2, (struct slice){ NULL, 0 });
	CU_ASSERT_FALSE(t.has_parent);
	trace_begin(&t, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	CU_ASSERT_FALSE(t.has_parent);
}

static void
test_every_request_has_its_own_span(void)
{
	struct trace_context a, b;

	trace_begin(&a, SLICE(PARENT), 1, (struct slice){ NULL, 0 });
	trace_begin(&b, SLICE(PARENT), 1, (struct slice){ NULL, 0 });
	CU_ASSERT_NOT_EQUAL(memcmp(a.span_id, b.span_id, SPAN_ID_BYTES), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a.span_id, a.parent_id, SPAN_ID_BYTES), 0);
	CU_ASSERT_EQUAL(memcmp(a.trace_id, b.trace_id, TRACE_ID_BYTES), 0);
}

/* Repeats ${unit} ${n} times, comma between, into ${out}. */
static struct slice
repeat(const char *unit, int n, char *out, size_t cap)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += (size_t)snprintf(out + len, cap - len, "%s%s", i == 0 ? "" : ",", unit);
	return (struct slice){ out, len };
}

static void
check_state(const char *row, struct slice state, bool kept)
{
	struct trace_context t;

	trace_begin(&t, SLICE(PARENT), 1, state);
	CHECK_ROW(row, t.has_parent);
	CHECK_ROW(row, t.tracestate.ptr == (kept ? state.ptr : NULL));
	CHECK_ROW(row, t.tracestate.len == (kept ? state.len : 0));
}

static void
test_one_bad_member_spoils_the_tracestate(void)
{
	static const struct {
		const char *state;
		bool kept;
	} rows[] = {
		{ "foo=1", true },
		{ "foo=1,bar=2", true },
		{ "foo=1 \t , \t bar=2", true },
		{ "foo=1,,bar=2,", true },
		{ "0a_-*/@z=!~", true },
		{ "a= b", true },
		{ "foo=1,foo=2", true },
		{ "", false },
		{ " , ,", false },
		{ "foo", false },
		{ "foo=", false },
		{ "=1", false },
		{ "foo =1", false },
		{ "Foo=1", false },
		{ "_a=1", false },
		{ "f.o=1", false },
		{ "foo=1=2", false },
		{ "foo=\x01", false },
		{ "foo=\xc3\xa4", false },
		{ "foo=1,bar", false },
	};
	char many[2048], key[600];

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_state(rows[i].state, slice_of(rows[i].state), rows[i].kept);
	check_state("32 members", repeat("a=1", 32, many, sizeof many), true);
	check_state("33 members", repeat("a=1", 33, many, sizeof many), false);
	memset(key, 'k', sizeof key);
	key[256] = '=';
	check_state("longest", (struct slice){ key, 256 + 1 + 256 }, true);
	check_state("value too long", (struct slice){ key, 256 + 1 + 257 }, false);
	key[256] = 'k';
	key[257] = '=';
	check_state("key too long", (struct slice){ key, 257 + 1 + 1 }, false);
}

static void
test_what_goes_out_is_version_00_with_known_flags(void)
{
	struct trace_context t = { .trace_id = { 0x4b }, .span_id = { [7] = 1 } };
	char out[TRACEPARENT_BYTES];

	CU_ASSERT_STRING_EQUAL(
	    trace_format(&t, out), "00-4b000000000000000000000000000000-0000000000000001-00");
	t.sampled = true;
	CU_ASSERT_STRING_EQUAL(
	    trace_format(&t, out), "00-4b000000000000000000000000000000-0000000000000001-01");
	t.random = true;
	CU_ASSERT_STRING_EQUAL(
	    trace_format(&t, out), "00-4b000000000000000000000000000000-0000000000000001-03");
}

static void
test_our_own_output_is_a_valid_parent(void)
{
	char out[TRACEPARENT_BYTES];
	struct trace_context first, second;

	trace_begin(&first, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	trace_begin(&second, slice_of(trace_format(&first, out)), 1, (struct slice){ NULL, 0 });
	CU_ASSERT_TRUE(second.has_parent);
	CU_ASSERT_EQUAL(memcmp(second.parent_id, first.span_id, SPAN_ID_BYTES), 0);
	CU_ASSERT_EQUAL(memcmp(second.trace_id, first.trace_id, TRACE_ID_BYTES), 0);
	CU_ASSERT_TRUE(second.random);
}

static void
test_what_was_stored_is_read_again_as_a_parent(void)
{
	static const uint8_t zero[SPAN_ID_BYTES];
	struct trace_context t;
	char text[2 * SPAN_ID_BYTES + 1];

	CU_ASSERT_TRUE(trace_read(SLICE(PARENT), &t));
	CHECK_TEXT("parent", hex(t.parent_id, SPAN_ID_BYTES, text), PARENT_ID);
	CU_ASSERT_TRUE(t.has_parent && t.sampled);
	CU_ASSERT_EQUAL(memcmp(t.span_id, zero, sizeof zero), 0);
	trace_new_span(&t);
	CU_ASSERT_NOT_EQUAL(memcmp(t.span_id, zero, sizeof zero), 0);
	memcpy(text, t.span_id, SPAN_ID_BYTES);
	trace_child(&t);
	CU_ASSERT_EQUAL(memcmp(t.parent_id, text, SPAN_ID_BYTES), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(t.span_id, text, SPAN_ID_BYTES), 0);
	CU_ASSERT_FALSE(trace_read(SLICE(""), &t));
	CU_ASSERT_FALSE(t.has_parent || t.sampled);
}

static void
test_a_new_trace_may_be_named_as_the_request(void)
{
	static const char *const never[] = { "", "4bf92f3577b34da6a3ce929d0e0e473",
		"4bf92f3577b34da6a3ce929d0e0e47366", "4BF92F3577B34DA6A3CE929D0E0E4736",
		"00000000000000000000000000000000", "4bf92f3577b34da6a3ce929d0e0e473g" };
	struct trace_context t, before;
	char out[TRACEPARENT_BYTES];

	trace_begin(&t, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		before = t;
		trace_take_id(&t, slice_of(never[i]));
		CHECK_ROW(never[i], memcmp(before.trace_id, t.trace_id, TRACE_ID_BYTES) == 0);
	}
	trace_take_id(&t, SLICE("4bf92f3577b34da6a3ce929d0e0e4736"));
	CU_ASSERT_NSTRING_EQUAL(trace_format(&t, out), "00-4bf92f3577b34da6a3ce929d0e0e4736-", 36);
	trace_begin(&t, SLICE("00-aaf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), 1,
	    (struct slice){ NULL, 0 });
	trace_take_id(&t, SLICE("4bf92f3577b34da6a3ce929d0e0e4736")); /* the caller's stays */
	CU_ASSERT_EQUAL(t.trace_id[0], 0xaa);
}

UNIT_SUITE(trace, TEST(test_a_new_trace_may_be_named_as_the_request),
    TEST(test_a_valid_parent_is_continued), TEST(test_anything_else_begins_a_new_trace),
    TEST(test_two_parents_are_none), TEST(test_every_request_has_its_own_span),
    TEST(test_one_bad_member_spoils_the_tracestate),
    TEST(test_what_goes_out_is_version_00_with_known_flags),
    TEST(test_our_own_output_is_a_valid_parent),
    TEST(test_what_was_stored_is_read_again_as_a_parent));
