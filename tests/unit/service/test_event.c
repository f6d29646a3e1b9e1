/* Goal: an event has one id everywhere, equal requests one fingerprint, and no bytes break the record's reader. */
#include "service/event.h"

#include <stdlib.h>
#include <string.h>

#include "http/endpoint.h"
#include "tests/support/unit.h"

static struct arena arena;

static struct value
text_value(const char *s)
{
	return (struct value){ .type = VALUE_TEXT, .text = slice_of(s) };
}

static void
the_id_depends_on_each_part_and_where_it_ends(void)
{
	uint8_t a[EVENT_ID_BYTES], b[EVENT_ID_BYTES];

	event_id_make(SLICE("t"), SLICE("events"), SLICE("key"), a);
	event_id_make(SLICE("t"), SLICE("events"), SLICE("key"), b);
	CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
	event_id_make(SLICE("te"), SLICE("vents"), SLICE("key"), b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
	event_id_make(SLICE(""), SLICE("events"), SLICE("key"), a);
	event_id_make((struct slice){ 0 }, SLICE("events"), SLICE("key"), b);
	CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
}

static void
the_id_is_a_version_8_uuid_that_stays_the_same_for_ever(void)
{
	uint8_t id[EVENT_ID_BYTES], parsed[EVENT_ID_BYTES];
	char text[EVENT_ID_TEXT];

	event_id_make(SLICE("acme"), SLICE("create-event"), SLICE("abc"), id);
	event_id_text(id, text);
	CU_ASSERT_STRING_EQUAL(text, "e56fdf21-babe-8c81-bb74-d54769a4e274");
	CU_ASSERT_EQUAL(text[14], '8');
	CU_ASSERT_PTR_NOT_NULL(strchr("89ab", text[19]));
	CU_ASSERT_EQUAL(event_id_parse(slice_of(text), parsed), ERR_OK);
	CU_ASSERT_EQUAL(memcmp(id, parsed, sizeof id), 0);
}

static void
only_the_strict_form_of_an_id_is_read(void)
{
	static const char *const bad[] = {
		"",
		"550e8400-e29b-81d4-a716-44665544000",
		"550e8400-e29b-81d4-a716-4466554400000",
		"550E8400-e29b-81d4-a716-446655440000",
		"550e8400e29b-81d4-a716-4466554400000",
		"550e8400-e29b-81d4-a716-44665544000g",
		"{50e8400-e29b-81d4-a716-446655440000",
		"550e840--e29b-81d4-a716-446655440000",
	};
	uint8_t id[EVENT_ID_BYTES];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(event_id_parse(slice_of(bad[i]), id), ERR_INVALID);
	CU_ASSERT_EQUAL(event_id_parse(SLICE("550e8400-e29b-81d4-a716-446655440000"), id), ERR_OK);
	CU_ASSERT_EQUAL(id[0], 0x55);
	CU_ASSERT_EQUAL(id[15], 0x00);
}

static void
fingerprint(const struct endpoint *e, const struct value *values, uint8_t out[16])
{
	CU_ASSERT_EQUAL(event_fingerprint(e, values, &arena, out), ERR_OK);
}

static void
the_order_of_declaration_does_not_show_in_a_fingerprint(void)
{
	struct param ab[] = { { .name = SLICE("a") }, { .name = SLICE("b") } };
	struct param ba[] = { { .name = SLICE("b") }, { .name = SLICE("a") } };
	const struct endpoint first = { .params = ab, .param_count = 2 };
	const struct endpoint second = { .params = ba, .param_count = 2 };
	const struct value v1[] = { text_value("1"), text_value("2") };
	const struct value v2[] = { text_value("2"), text_value("1") };
	uint8_t f[3][EVENT_FINGERPRINT_BYTES];

	arena_init(&arena, 1 << 20);
	fingerprint(&first, v1, f[0]);
	fingerprint(&second, v2, f[1]);
	fingerprint(&second, v1, f[2]);
	CU_ASSERT_EQUAL(memcmp(f[0], f[1], 16), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(f[0], f[2], 16), 0);
	arena_free(&arena);
}

static void
json_counts_by_meaning_and_text_by_bytes(void)
{
	struct param p[] = { { .name = SLICE("payload"), .type = VALUE_OBJECT } };
	const struct endpoint e = { .params = p, .param_count = 1 };
	struct value v = { .type = VALUE_OBJECT, .text = SLICE("{\"a\":1,\"b\":[true]}") };
	uint8_t f[3][EVENT_FINGERPRINT_BYTES];

	arena_init(&arena, 1 << 20);
	fingerprint(&e, &v, f[0]);
	v.text = SLICE("{ \"b\" : [ true ] , \"a\" : 1 }");
	fingerprint(&e, &v, f[1]);
	CU_ASSERT_EQUAL(memcmp(f[0], f[1], 16), 0);
	v.text = SLICE("{\"a\":2,\"b\":[true]}");
	fingerprint(&e, &v, f[2]);
	CU_ASSERT_NOT_EQUAL(memcmp(f[0], f[2], 16), 0);
	arena_free(&arena);
}

static void
an_absent_optional_parameter_adds_nothing(void)
{
	struct param p[] = { { .name = SLICE("a") }, { .name = SLICE("b"), .optional = true } };
	const struct endpoint before = { .params = p, .param_count = 1 };
	const struct endpoint after = { .params = p, .param_count = 2 };
	struct value v[] = { text_value("1"), { .null = true } };
	uint8_t f[3][EVENT_FINGERPRINT_BYTES];

	arena_init(&arena, 1 << 20);
	fingerprint(&before, v, f[0]);
	fingerprint(&after, v, f[1]);
	CU_ASSERT_EQUAL(memcmp(f[0], f[1], 16), 0);
	v[1] = text_value("");
	fingerprint(&after, v, f[2]);
	CU_ASSERT_NOT_EQUAL(memcmp(f[0], f[2], 16), 0);
	arena_free(&arena);
}

#define WORD(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	} /* SLICE() for constants */

static struct event_param params[] = {
	{ WORD("text"), { .type = VALUE_TEXT, .text = { "a\0b", 3 } } },
	{ WORD("empty"), { .type = VALUE_TEXT, .text = WORD("") } },
	{ WORD("absent"), { .type = VALUE_JSON, .null = true } },
	{ WORD("int"), { .type = VALUE_INTEGER, .text = WORD("-7"), .integer = -7 } },
	{ WORD("num"), { .type = VALUE_NUMBER, .text = WORD("0.1"), .number = 0.1 } },
	{ WORD("bool"), { .type = VALUE_BOOLEAN, .text = WORD("true"), .integer = 1 } },
	{ WORD("json"), { .type = VALUE_OBJECT, .text = WORD("{\"x\":[1, 2]}") } },
};
enum { PARAMS = sizeof params / sizeof *params };

static struct slice
sample_record(void)
{
	struct event ev = {
		.endpoint = SLICE("create-event"),
		.tenant = SLICE("acme"),
		.key = SLICE("abc"),
		.fingerprint = "0123456789abcde",
		.accepted_us = -5,
		.traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		.params = params,
		.param_count = PARAMS,
	};
	struct slice record = { 0 };

	event_id_make(ev.tenant, ev.endpoint, ev.key, ev.id);
	CU_ASSERT_EQUAL(event_encode(&ev, &arena, &record), ERR_OK);
	return record;
}

static bool
same_value(const struct value *a, const struct value *b)
{
	return a->type == b->type && a->null == b->null && a->integer == b->integer &&
	       memcmp(&a->number, &b->number, sizeof a->number) == 0 && slice_eq(a->text, b->text);
}

static void
a_record_gives_back_what_was_written(void)
{
	struct event ev;
	struct slice record;
	uint8_t id[EVENT_ID_BYTES];

	arena_init(&arena, 1 << 20);
	record = sample_record();
	event_id_make(SLICE("acme"), SLICE("create-event"), SLICE("abc"), id);
	CU_ASSERT_EQUAL(event_decode(record, &arena, &ev), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(ev.endpoint, "create-event"));
	CU_ASSERT_TRUE(slice_eq_cstr(ev.tenant, "acme"));
	CU_ASSERT_TRUE(slice_eq_cstr(ev.key, "abc"));
	CU_ASSERT_EQUAL(ev.traceparent.len, 55);
	CU_ASSERT_EQUAL(memcmp(ev.id, id, sizeof id), 0);
	CU_ASSERT_EQUAL(memcmp(ev.fingerprint, "0123456789abcde", 16), 0);
	CU_ASSERT_EQUAL(ev.accepted_us, -5);
	CU_ASSERT_TRUE(slice_eq(ev.record, record));
	CU_ASSERT_EQUAL_FATAL(ev.param_count, PARAMS);
	for (size_t i = 0; i < PARAMS; i++) {
		CU_ASSERT_TRUE(slice_eq(ev.params[i].name, params[i].name));
		CU_ASSERT_TRUE(same_value(&ev.params[i].value, &params[i].value));
	}
	/* Empty is not absent: it is bound as empty text. */
	CU_ASSERT_PTR_NOT_NULL(ev.params[1].value.text.ptr);
	arena_free(&arena);
}

static void
values_come_in_the_order_that_the_endpoint_now_has(void)
{
	struct param now[] = { { .name = SLICE("num"), .type = VALUE_NUMBER },
		{ .name = SLICE("later"), .type = VALUE_TEXT, .optional = true },
		{ .name = SLICE("given"), .has_default = true, .fallback = text_value("d") },
		{ .name = SLICE("text"), .type = VALUE_TEXT } };
	struct endpoint e = { .params = now, .param_count = 4 };
	struct event ev = { .params = params, .param_count = PARAMS };
	struct value values[4];

	CU_ASSERT_EQUAL_FATAL(event_values(&e, &ev, values), ERR_OK);
	CU_ASSERT_EQUAL(values[0].number, 0.1);
	CU_ASSERT_TRUE(values[1].null);
	CU_ASSERT_TRUE(slice_eq_cstr(values[2].text, "d"));
	CU_ASSERT_EQUAL(values[3].text.len, 3);
	now[1].optional = false;
	CU_ASSERT_EQUAL(event_values(&e, &ev, values), ERR_NOT_FOUND);
}

/* Written by version 1; every later version must read it. */
static void
a_record_of_version_1_is_read_for_ever(void)
{
	static const char golden[] = "\x01"
				     "iiiiiiiiiiiiiiii"
				     "ffffffffffffffff"
				     "\x40\xe2\x01\0\0\0\0\0" /* 123456 */
				     "\x02\0\0\0ep"
				     "\0\0\0\0"
				     "\x01\0\0\0k"
				     "\0\0\0\0"
				     "\x02\0"
				     "\x01\0\0\0n"
				     "i\0"
				     "\x01\0\0\0"
				     "5"
				     "\x05\0\0\0\0\0\0\0"
				     "\x01\0\0\0o"
				     "t\x01"
				     "\0\0\0\0"
				     "\0\0\0\0\0\0\0\0";
	struct event ev;

	arena_init(&arena, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(event_decode(SLICE(golden), &arena, &ev), ERR_OK);
	CU_ASSERT_EQUAL(ev.accepted_us, 123456);
	CU_ASSERT_TRUE(slice_eq_cstr(ev.endpoint, "ep"));
	CU_ASSERT_EQUAL(ev.tenant.len, 0);
	CU_ASSERT_EQUAL_FATAL(ev.param_count, 2);
	CU_ASSERT_EQUAL(ev.params[0].value.type, VALUE_INTEGER);
	CU_ASSERT_EQUAL(ev.params[0].value.integer, 5);
	CU_ASSERT_TRUE(ev.params[1].value.null);
	arena_free(&arena);
}

/* A tracestate makes it version 2; without one it stays what an older weir reads. */
static void
a_tracestate_is_carried_and_costs_the_version_only_where_it_is(void)
{
	struct event ev = { .endpoint = SLICE("ep"), .key = SLICE("k") };
	struct event back;
	struct slice record;

	arena_init(&arena, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(event_encode(&ev, &arena, &record), ERR_OK);
	CU_ASSERT_EQUAL(*record.ptr, 1);
	ev.tracestate = SLICE("a=1,b=2");
	CU_ASSERT_EQUAL_FATAL(event_encode(&ev, &arena, &record), ERR_OK);
	CU_ASSERT_EQUAL(*record.ptr, 2);
	CU_ASSERT_EQUAL_FATAL(event_decode(record, &arena, &back), ERR_OK);
	CU_ASSERT_TRUE(slice_eq(back.tracestate, ev.tracestate));
	record.len--;
	CU_ASSERT_EQUAL(event_decode(record, &arena, &back), ERR_INVALID);
	arena_free(&arena);
}

static void
a_record_that_was_cut_or_prolonged_anywhere_is_refused(void)
{
	struct slice record;
	struct event ev;
	char *copy;

	arena_init(&arena, 1 << 22);
	record = sample_record();
	for (size_t len = 0; len < record.len; len++) {
		copy = malloc(len + 1); /* the sanitizer watches its end */
		memcpy(copy, record.ptr, len);
		CU_ASSERT_EQUAL(
		    event_decode((struct slice){ copy, len }, &arena, &ev), ERR_INVALID);
		free(copy);
	}
	copy = malloc(record.len + 1);
	memcpy(copy, record.ptr, record.len);
	copy[record.len] = 0;
	CU_ASSERT_EQUAL(
	    event_decode((struct slice){ copy, record.len + 1 }, &arena, &ev), ERR_INVALID);
	copy[0] = 2;
	CU_ASSERT_EQUAL(event_decode((struct slice){ copy, record.len }, &arena, &ev), ERR_INVALID);
	free(copy);
	arena_free(&arena);
}

static void
no_flipped_bit_makes_the_reader_leave_the_record(void)
{
	struct slice record;
	struct event ev;
	size_t read = 0;
	char *copy;

	arena_init(&arena, 1 << 26);
	record = sample_record();
	copy = malloc(record.len);
	for (size_t bit = 0; bit < record.len * 8; bit++) {
		memcpy(copy, record.ptr, record.len);
		copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
		if (event_decode((struct slice){ copy, record.len }, &arena, &ev) != ERR_OK)
			continue;
		read++;
		for (size_t i = 0; i < ev.param_count; i++)
			CU_ASSERT_TRUE(ev.params[i].value.text.ptr >= copy &&
				       ev.params[i].value.text.ptr + ev.params[i].value.text.len <=
					   copy + record.len);
	}
	CU_ASSERT_TRUE(read > 0); /* flips in text leave a good record */
	free(copy);
	arena_free(&arena);
}

UNIT_SUITE(event, TEST(the_id_depends_on_each_part_and_where_it_ends),
    TEST(the_id_is_a_version_8_uuid_that_stays_the_same_for_ever),
    TEST(only_the_strict_form_of_an_id_is_read),
    TEST(the_order_of_declaration_does_not_show_in_a_fingerprint),
    TEST(json_counts_by_meaning_and_text_by_bytes), TEST(an_absent_optional_parameter_adds_nothing),
    TEST(a_record_gives_back_what_was_written),
    TEST(values_come_in_the_order_that_the_endpoint_now_has),
    TEST(a_record_of_version_1_is_read_for_ever),
    TEST(a_tracestate_is_carried_and_costs_the_version_only_where_it_is),
    TEST(a_record_that_was_cut_or_prolonged_anywhere_is_refused),
    TEST(no_flipped_bit_makes_the_reader_leave_the_record));
