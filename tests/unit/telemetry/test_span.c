/* Goal: whatever runs for a request can say what it did, nothing is said where nobody records, and no request fails
 * because too much was said. */
#include "telemetry/span.h"

#include <string.h>

#include "base/arena.h"
#include "tests/unit/http/check.h"

struct work {
	struct arena arena;
	struct span_recorder recorder;
};

static void
work_begin(struct work *w, size_t max_bytes)
{
	memset(w, 0, sizeof *w);
	arena_init(&w->arena, max_bytes);
	w->recorder.arena = &w->arena;
	(void)span_record(&w->recorder);
}

static void
work_end(struct work *w)
{
	(void)span_record(NULL);
	arena_free(&w->arena);
}

static void
test_a_thread_without_a_recorder_records_nothing(void)
{
	struct span *s = span_begin(SPAN_CLIENT, "call");

	CU_ASSERT_PTR_NULL(s);
	span_name(s, SLICE("other"));
	span_str(s, SPAN_KEY_DB_SYSTEM_NAME, SLICE("redis"));
	span_int(s, SPAN_KEY_SERVER_PORT, 1);
	span_event(s, "told", SPAN_INT(WEIR_ROWS, 1));
	span_end(s, ERR_OK);
	CU_ASSERT_PTR_NULL(span_recorder());
}

static void
test_what_begins_inside_is_a_child(void)
{
	struct work w;
	struct span *outer, *inner, *after;

	work_begin(&w, 1 << 20);
	outer = span_begin(SPAN_INTERNAL, "handle");
	inner = span_begin(SPAN_CLIENT, "SELECT");
	span_end(inner, ERR_TIMEOUT);
	after = span_begin(SPAN_CLIENT, "SELECT");
	span_end(after, ERR_OK);
	span_end(outer, ERR_OK);
	CU_ASSERT_PTR_NULL(outer->parent);
	CU_ASSERT_PTR_EQUAL(inner->parent, outer);
	CU_ASSERT_PTR_EQUAL(after->parent, outer);
	CU_ASSERT_PTR_EQUAL(w.recorder.first, outer);
	CU_ASSERT_PTR_EQUAL(outer->next, inner);
	CU_ASSERT_PTR_EQUAL(inner->next, after);
	CU_ASSERT_PTR_NULL(w.recorder.open);
	CU_ASSERT_EQUAL(inner->result, ERR_TIMEOUT);
	CU_ASSERT_TRUE(outer->begin_ns > 0 && outer->begin_ns <= inner->begin_ns);
	CU_ASSERT_TRUE(inner->end_ns >= inner->begin_ns && outer->end_ns >= after->end_ns);
	work_end(&w);
}

static void
test_what_was_said_is_kept_in_order_and_copied(void)
{
	char text[] = "redis", name[] = "GET copies";
	struct work w;
	struct span *s;

	work_begin(&w, 1 << 20);
	s = span_begin(SPAN_CLIENT, "GET");
	span_name(s, slice_of(name));
	span_str(s, SPAN_KEY_DB_SYSTEM_NAME, slice_of(text));
	span_str(s, SPAN_KEY_DB_NAMESPACE, SLICE(""));
	span_int(s, SPAN_KEY_SERVER_PORT, 6379);
	memset(text, 'x', sizeof text - 1);
	memset(name, 'x', sizeof name - 1);
	span_end(s, ERR_OK);
	CHECK_TEXT("name", s->name, "GET copies");
	CHECK_TEXT("first", s->attrs->text, "redis");
	CU_ASSERT_EQUAL(s->attrs->next->key, SPAN_KEY_SERVER_PORT);
	CU_ASSERT_EQUAL(s->attrs->next->number, 6379);
	CU_ASSERT_PTR_NULL(s->attrs->next->next);
	CU_ASSERT_EQUAL(s->attr_count, 2);
	work_end(&w);
}

static void
test_what_took_no_time_and_says_nothing_never_was(void)
{
	const int64_t for_ever = INT64_MAX;
	struct work w;
	struct span *first, *outer;

	work_begin(&w, 1 << 20);
	span_end_worth(NULL, ERR_OK, for_ever);
	span_end_worth(span_begin(SPAN_INTERNAL, "nothing"), ERR_OK, for_ever);
	CU_ASSERT_PTR_NULL(w.recorder.first);
	first = span_begin(SPAN_INTERNAL, "says something");
	span_int(first, SPAN_KEY_WEIR_ROWS, 1);
	span_end_worth(first, ERR_OK, for_ever);
	span_end_worth(span_begin(SPAN_INTERNAL, "nothing"), ERR_OK, for_ever);
	outer = span_begin(SPAN_INTERNAL, "has a child");
	span_end(span_begin(SPAN_INTERNAL, "child"), ERR_OK);
	span_end_worth(outer, ERR_OK, for_ever);
	span_end_worth(span_begin(SPAN_INTERNAL, "took its time"), ERR_OK, 0);
	CU_ASSERT_EQUAL(w.recorder.count, 4);
	CU_ASSERT_PTR_EQUAL(w.recorder.first, first);
	CU_ASSERT_PTR_EQUAL(first->next, outer);
	CU_ASSERT_STRING_EQUAL(w.recorder.last->name.ptr, "took its time");
	CU_ASSERT_EQUAL(w.recorder.last->index, 3);
	CU_ASSERT_PTR_NULL(w.recorder.open);
	work_end(&w);
}

static void
test_events_belong_to_a_span_or_to_the_work(void)
{
	struct work w;
	struct span *s;

	work_begin(&w, 1 << 20);
	s = span_begin(SPAN_CLIENT, "GET");
	span_event(
	    s, "first", SPAN_STR(WEIR_BREAKER_NAME, SLICE("redis-1")), SPAN_INT(WEIR_ROWS, 2));
	span_event(s, "second", SPAN_INT(WEIR_ROWS, 3));
	span_event(NULL, "third", SPAN_INT(WEIR_ROWS, 4));
	span_event(NULL, "fourth", SPAN_INT(WEIR_ROWS, 5));
	span_end(s, ERR_OK);
	CU_ASSERT_STRING_EQUAL(s->events->name, "first");
	CHECK_TEXT("text", s->events->attrs->text, "redis-1");
	CU_ASSERT_EQUAL(s->events->attrs->next->number, 2);
	CU_ASSERT_STRING_EQUAL(s->events->next->name, "second");
	CU_ASSERT_PTR_NULL(s->events->next->next);
	CU_ASSERT_STRING_EQUAL(w.recorder.events->name, "third");
	CU_ASSERT_STRING_EQUAL(w.recorder.events->next->name, "fourth");
	work_end(&w);
}

static void
test_what_is_too_much_is_counted_and_dropped(void)
{
	struct work w;

	work_begin(&w, 1 << 20);
	for (int i = 0; i < SPANS_MAX; i++)
		span_end(span_begin(SPAN_INTERNAL, "step"), ERR_OK);
	CU_ASSERT_PTR_NULL(span_begin(SPAN_INTERNAL, "one more"));
	for (int i = 0; i < SPAN_EVENTS_MAX + 3; i++)
		span_event(NULL, "again", SPAN_INT(WEIR_ROWS, i));
	CU_ASSERT_EQUAL(w.recorder.count, SPANS_MAX);
	CU_ASSERT_EQUAL(w.recorder.dropped, 1);
	CU_ASSERT_EQUAL(w.recorder.event_count, SPAN_EVENTS_MAX);
	work_end(&w);
}

static void
test_a_full_arena_is_no_failure_of_the_request(void)
{
	static char long_text[2 * SPAN_TEXT_BYTES_MAX];
	struct work w;
	struct span *s;

	memset(long_text, 'x', sizeof long_text);
	work_begin(&w, 512);
	s = span_begin(SPAN_INTERNAL, "step");
	span_str(s, SPAN_KEY_DB_QUERY_TEXT, (struct slice){ long_text, sizeof long_text });
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_FALSE(w.arena.overflowed);
	while (span_begin(SPAN_INTERNAL, "step") != NULL)
		continue;
	span_event(NULL, "no room", SPAN_STR(WEIR_BREAKER_NAME, SLICE("redis-1")));
	CU_ASSERT_EQUAL(w.recorder.dropped, 1);
	CU_ASSERT_FALSE(w.arena.overflowed);
	work_end(&w);
	work_begin(&w, 1 << 20);
	s = span_begin(SPAN_INTERNAL, "step");
	span_str(s, SPAN_KEY_DB_QUERY_TEXT, (struct slice){ long_text, sizeof long_text });
	CU_ASSERT_EQUAL(s->attrs->text.len, SPAN_TEXT_BYTES_MAX);
	work_end(&w);
}

static void
test_who_works_for_another_gives_the_thread_back(void)
{
	struct work a, b;
	struct span_recorder *before;

	work_begin(&a, 1 << 20);
	memset(&b, 0, sizeof b);
	arena_init(&b.arena, 1 << 20);
	b.recorder.arena = &b.arena;
	before = span_record(&b.recorder);
	CU_ASSERT_PTR_EQUAL(before, &a.recorder);
	span_end(span_begin(SPAN_INTERNAL, "of b"), ERR_OK);
	(void)span_record(before);
	CU_ASSERT_EQUAL(a.recorder.count, 0);
	CU_ASSERT_EQUAL(b.recorder.count, 1);
	arena_free(&b.arena);
	work_end(&a);
}

UNIT_SUITE(span, TEST(test_a_thread_without_a_recorder_records_nothing),
    TEST(test_what_begins_inside_is_a_child), TEST(test_what_was_said_is_kept_in_order_and_copied),
    TEST(test_what_took_no_time_and_says_nothing_never_was),
    TEST(test_events_belong_to_a_span_or_to_the_work),
    TEST(test_what_is_too_much_is_counted_and_dropped),
    TEST(test_a_full_arena_is_no_failure_of_the_request),
    TEST(test_who_works_for_another_gives_the_thread_back));
