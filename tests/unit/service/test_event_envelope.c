/* Goal: an event comes out of Kafka as it went in, byte for byte, and nobody's bytes pass for one. */
#include "service/event_envelope.h"

#include <string.h>

#include "base/rand.h"
#include "http/endpoint.h"
#include "service/event.h"
#include "tests/support/unit.h"

enum { ARENA_BYTES = 64 << 20, MUTATIONS = 20000 };

static struct arena arena;

static struct event_param
param(const char *name, enum value_type type, const char *text)
{
	struct event_param p = { slice_of(name), { .type = type, .text = slice_of(text) } };

	if (type == VALUE_INTEGER)
		(void)slice_to_i64(p.value.text, &p.value.integer);
	return p;
}

static struct event
event_of(struct event_param *params, size_t count)
{
	struct event ev = { .endpoint = SLICE("create"),
		.tenant = SLICE("acme"),
		.key = SLICE("key \"1\""),
		.accepted_us = 1795511150801234,
		.traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		.params = params,
		.param_count = count };

	arena_init(&arena, ARENA_BYTES);
	event_id_make(ev.tenant, ev.endpoint, ev.key, ev.id);
	memset(ev.fingerprint, 0xa7, sizeof ev.fingerprint);
	CU_ASSERT_EQUAL_FATAL(event_encode(&ev, &arena, &ev.record), ERR_OK);
	return ev;
}

static struct slice
header(const struct event_envelope *env, const char *name)
{
	for (size_t i = 0; i < env->header_count; i++)
		if (slice_eq_cstr(env->headers[i].name, name))
			return env->headers[i].value;
	return (struct slice){ 0 };
}

/* Encodes, and says whether what is read back is the same record. */
static bool
survives(const struct event *ev, struct event_envelope *env)
{
	struct event back;

	CU_ASSERT_EQUAL_FATAL(event_envelope_encode(ev, NULL, &arena, env), ERR_OK);
	return event_envelope_decode(env->value, env->headers, env->header_count, &arena, &back) ==
		   ERR_OK &&
	       slice_eq(back.record, ev->record) && back.accepted_us == ev->accepted_us &&
	       slice_eq(back.key, ev->key) && back.param_count == ev->param_count;
}

static void
parameters_of_every_type_are_json_and_come_back_exactly(void)
{
	struct event_param params[] = {
		param("text", VALUE_TEXT, "caf\xc3\xa9 \"quoted\" \\ \n\t\x01"),
		param("empty", VALUE_TEXT, ""),
		param("whole", VALUE_INTEGER, "-9223372036854775808"),
		param("number", VALUE_NUMBER, "0.1"),
		param("yes", VALUE_BOOLEAN, "true"),
		param("day", VALUE_DATE, "2026-11-24"),
		param("moment", VALUE_TIMESTAMP, "2026-11-24T04:09:44.1Z"),
		param("id", VALUE_UUID, "0af76519-16cd-43dd-8448-eb211c80319c"),
		param("json", VALUE_JSON, "[1, 2.50,\"x\" , null]"),
		param("object", VALUE_OBJECT, "{ \"a\" : {} }"),
		param("array", VALUE_ARRAY, "[]"),
		param("any", VALUE_ANY, "null"),
		param("none", VALUE_INTEGER, ""),
	};
	struct event_envelope env;
	struct event ev;

	params[3].value.number = 0.1;
	params[4].value.integer = 1;
	params[12].value.null = true;
	ev = event_of(params, sizeof params / sizeof *params);
	CU_ASSERT_TRUE(survives(&ev, &env));
	CU_ASSERT_TRUE(slice_eq_cstr(header(&env, "weir-types"), "ttinbdsujoayI"));
	CU_ASSERT_TRUE(slice_starts(env.value, "{\"text\":\"caf"));
	CU_ASSERT_PTR_NOT_NULL(
	    memmem(env.value.ptr, env.value.len, "\"json\":[1, 2.50,\"x\" , null],", 28));
	CU_ASSERT_PTR_NOT_NULL(memmem(env.value.ptr, env.value.len, "\"none\":null}", 12));
	CU_ASSERT_TRUE(
	    slice_eq_cstr(header(&env, "weir-accepted-at"), "2026-11-24T09:05:50.801234Z"));
	CU_ASSERT_TRUE(slice_eq(env.key, ev.key));
	CU_ASSERT_EQUAL(env.timestamp_ms, 1795511150801);
	arena_free(&arena);
}

static void
a_trace_is_carried_and_who_sends_it_may_put_his_own_span_there(void)
{
	static const char sender[] = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
	struct event ev = event_of(NULL, 0), back;
	struct event_envelope env;

	CU_ASSERT_EQUAL_FATAL(event_envelope_encode(&ev, NULL, &arena, &env), ERR_OK);
	CU_ASSERT_PTR_NULL(header(&env, "tracestate").ptr);
	ev.tracestate = SLICE("a=1");
	CU_ASSERT_EQUAL_FATAL(event_encode(&ev, &arena, &ev.record), ERR_OK);
	CU_ASSERT_TRUE(survives(&ev, &env));
	CU_ASSERT_TRUE(slice_eq_cstr(header(&env, "tracestate"), "a=1"));
	event_envelope_trace(&env, SLICE(sender));
	CU_ASSERT_EQUAL_FATAL(
	    event_envelope_decode(env.value, env.headers, env.header_count, &arena, &back), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(back.traceparent, sender));
	CU_ASSERT_TRUE(slice_eq_cstr(back.tracestate, "a=1"));
	arena_free(&arena);
}

static void
an_event_without_parameters_is_an_empty_object(void)
{
	struct event ev = event_of(NULL, 0);
	struct event_envelope env;

	CU_ASSERT_TRUE(survives(&ev, &env));
	CU_ASSERT_TRUE(slice_eq_cstr(env.value, "{}"));
	arena_free(&arena);
}

static void
what_json_cannot_carry_exactly_goes_as_a_record(void)
{
	struct event_param params[] = {
		param("text", VALUE_TEXT, "\xff\xfe"),
		{ SLICE("nul"), { .type = VALUE_TEXT, .text = SLICE("a\0b") } },
		param("deep", VALUE_JSON,
		    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
		param("number", VALUE_NUMBER, "0.10"),
		param("not json", VALUE_JSON, "{"),
	};

	for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
		struct event ev = event_of(&params[i], 1);
		struct event_envelope env;

		CU_ASSERT_TRUE(survives(&ev, &env));
		CU_ASSERT_TRUE(slice_eq_cstr(header(&env, "weir-types"), "*"));
		CU_ASSERT_TRUE(slice_eq(env.value, ev.record));
		arena_free(&arena);
	}
}

static void
the_partition_key_is_the_parameter_that_the_file_names(void)
{
	struct event_param params[] = { param("owner", VALUE_TEXT, "ann"),
		param("n", VALUE_INTEGER, "7") };
	struct event ev = event_of(params, 2);
	struct endpoint e = { .partition_param = SLICE("owner") };
	struct event_envelope env;

	CU_ASSERT_EQUAL(event_envelope_encode(&ev, &e, &arena, &env), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(env.key, "ann"));
	e.partition_param = SLICE("n");
	CU_ASSERT_EQUAL(event_envelope_encode(&ev, &e, &arena, &env), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(env.key, "7"));
	params[1].value.null = true; /* absent: nothing to order by */
	CU_ASSERT_EQUAL(event_envelope_encode(&ev, &e, &arena, &env), ERR_OK);
	CU_ASSERT_TRUE(slice_eq(env.key, ev.key));
	arena_free(&arena);
}

static enum err
decode_with(const struct event_envelope *env, const char *name, struct slice value)
{
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	struct event out;

	memcpy(headers, env->headers, sizeof headers);
	for (size_t i = 0; i < env->header_count; i++)
		if (slice_eq_cstr(headers[i].name, name))
			headers[i].value = value;
	return event_envelope_decode(env->value, headers, env->header_count, &arena, &out);
}

static void
a_header_that_is_wrong_missing_or_doubled_makes_it_none_of_ours(void)
{
	static const struct {
		const char *name, *value;
	} wrong[] = { { "weir-version", "0" }, { "weir-version", "one" }, { "weir-version", "" },
		{ "weir-endpoint", "other" }, { "weir-endpoint", "" }, { "weir-tenant", "other" },
		{ "weir-key", "other" }, { "weir-key", "" },
		{ "weir-event-id", "0af76519-16cd-43dd-8448-eb211c80319c" },
		{ "weir-event-id", "" }, { "weir-accepted-at", "2026-11-24T09:05:50Z" },
		{ "weir-accepted-at", "2026-13-24T09:05:50.801234Z" }, { "weir-fingerprint", "a7" },
		{ "weir-fingerprint", "" },
		{ "weir-fingerprint", "xya7a7a7a7a7a7a7a7a7a7a7a7a7a7a7" }, { "weir-types", "" },
		{ "weir-types", "tt" }, { "weir-types", "i" }, { "weir-types", "T" },
		{ "weir-types", "?" }, { "weir-types", "*" } };
	struct event_param one = param("payload", VALUE_TEXT, "p");
	struct event ev = event_of(&one, 1), out;
	struct event_envelope env;

	CU_ASSERT_TRUE_FATAL(survives(&ev, &env));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CU_ASSERT_EQUAL(
		    decode_with(&env, wrong[i].name, slice_of(wrong[i].value)), ERR_INVALID);
	CU_ASSERT_EQUAL(decode_with(&env, "weir-version", SLICE("2")), ERR_MISMATCH);
	for (size_t i = 0; i < env.header_count; i++) {
		struct kafka_header without[KAFKA_HEADERS_MAX];

		memcpy(without, env.headers, sizeof without);
		without[i].name = SLICE("another");
		CU_ASSERT_EQUAL(
		    event_envelope_decode(env.value, without, env.header_count, &arena, &out),
		    ERR_INVALID);
		without[i] = env.headers[(i + 1) % env.header_count];
		CU_ASSERT_EQUAL(
		    event_envelope_decode(env.value, without, env.header_count, &arena, &out),
		    ERR_INVALID);
	}
	CU_ASSERT_EQUAL(
	    event_envelope_decode((struct slice){ 0 }, env.headers, env.header_count, &arena, &out),
	    ERR_INVALID);
	CU_ASSERT_EQUAL(event_envelope_decode(SLICE("{}"), NULL, 0, &arena, &out), ERR_INVALID);
	arena_free(&arena);
}

/* Whatever the bytes, what comes out is an event whose id is that of its names, or nothing. */
static void
check_mutation(const struct event_envelope *env)
{
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	const size_t at = rand_u64() % (env->header_count + 1);
	char bytes[512];
	struct slice *victim;
	struct event out;
	uint8_t id[EVENT_ID_BYTES];
	struct slice value = env->value;
	enum err rc;

	memcpy(headers, env->headers, sizeof headers);
	victim = at == env->header_count ? &value : &headers[at].value;
	CU_ASSERT_TRUE_FATAL(victim->len < sizeof bytes);
	memcpy(bytes, victim->ptr, victim->len);
	victim->ptr = bytes;
	for (uint64_t n = rand_u64() % 3 + 1; n > 0 && victim->len > 0; n--)
		bytes[rand_u64() % victim->len] = (char)rand_u64();
	if (rand_u64() % 4 == 0)
		victim->len = rand_u64() % (victim->len + 1);
	rc = event_envelope_decode(value, headers, env->header_count, &arena, &out);
	CU_ASSERT_TRUE(rc == ERR_OK || rc == ERR_INVALID || rc == ERR_MISMATCH);
	if (rc != ERR_OK)
		return;
	event_id_make(out.tenant, out.endpoint, out.key, id);
	CU_ASSERT_EQUAL(memcmp(id, out.id, sizeof id), 0);
	CU_ASSERT_TRUE(out.record.len > 0);
}

static void
damaged_bytes_are_refused_or_are_an_event_and_never_crash(void)
{
	struct event_param params[] = { param("payload", VALUE_TEXT, "p"),
		param("n", VALUE_INTEGER, "12"), param("o", VALUE_OBJECT, "{\"a\":[1,true]}") };
	struct event ev = event_of(params, 3);
	struct event_envelope as_json, as_record;
	struct arena kept = arena;

	CU_ASSERT_TRUE_FATAL(survives(&ev, &as_json));
	as_record = as_json;
	as_record.value = ev.record;
	for (size_t i = 0; i < as_record.header_count; i++)
		if (slice_eq_cstr(as_record.headers[i].name, "weir-types"))
			as_record.headers[i].value = SLICE("*");
	kept = arena;
	arena_init(&arena, ARENA_BYTES);
	for (int i = 0; i < MUTATIONS; i++) {
		check_mutation(i % 2 == 0 ? &as_json : &as_record);
		arena_reset(&arena);
	}
	arena_free(&arena);
	arena_free(&kept);
}

UNIT_SUITE(event_envelope, TEST(parameters_of_every_type_are_json_and_come_back_exactly),
    TEST(a_trace_is_carried_and_who_sends_it_may_put_his_own_span_there),
    TEST(an_event_without_parameters_is_an_empty_object),
    TEST(what_json_cannot_carry_exactly_goes_as_a_record),
    TEST(the_partition_key_is_the_parameter_that_the_file_names),
    TEST(a_header_that_is_wrong_missing_or_doubled_makes_it_none_of_ours),
    TEST(damaged_bytes_are_refused_or_are_an_event_and_never_crash));
