/* Goal: people and programs are told the same about a breaker. */
#include "runtime/breakers.h"

#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"
#include "service/guard.h"
#include "tests/support/unit.h"

enum { NOW_MS = 100000 };

static const struct guard_view two[] = {
	{ .name = "redis-1",
	    .breaker = { .state = BREAKER_SUSPENDED,
		.since_ms = NOW_MS - 12345,
		.calls = 7,
		.failures = 5,
		.slow = 3,
		.opened = 2 } },
	{ .name = "kafka", .breaker = { .force = BREAKER_FORCED_OPEN, .admitted_pct = 55 } },
};

static struct slice
member(struct slice object, const char *name, struct arena *a)
{
	struct json_member *m;
	struct json_fault fault;
	size_t n;

	if (json_scan_object(object, a, &m, &n, &fault) != ERR_OK)
		return (struct slice){ NULL, 0 };
	for (size_t i = 0; i < n; i++)
		if (slice_eq_cstr(m[i].name, name))
			return m[i].raw;
	return (struct slice){ NULL, 0 };
}

static void
a_program_reads_every_figure(void)
{
	struct strbuf b = STRBUF_INIT(65536);
	struct slice one;
	struct arena a;

	arena_init(&a, 65536);
	breakers_json(two, 1, NOW_MS, &b);
	one = (struct slice){ b.ptr + 1, b.len - 2 }; /* the only one, without its brackets */
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "name", &a), "\"redis-1\""));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "state", &a), "\"suspended\""));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "forMs", &a), "12345"));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "admittedPct", &a), "0"));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "calls", &a), "7"));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "failures", &a), "5"));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "slow", &a), "3"));
	CU_ASSERT_TRUE(slice_eq_cstr(member(one, "opened", &a), "2"));
	strbuf_free(&b);
	arena_free(&a);
}

static void
several_are_one_array_and_none_is_an_empty_one(void)
{
	struct strbuf b = STRBUF_INIT(65536);
	struct json_fault fault;
	enum json_type type;
	struct arena a;

	arena_init(&a, 65536);
	breakers_json(two, 2, NOW_MS, &b);
	CU_ASSERT_EQUAL(json_scan_value(strbuf_slice(&b), &a, &type, &fault), ERR_OK);
	CU_ASSERT_EQUAL(type, JSON_ARRAY);
	CU_ASSERT_PTR_NOT_NULL(memmem(b.ptr, b.len, "\"forMs\":null", 12));
	strbuf_free(&b);
	b = STRBUF_INIT(65536);
	breakers_json(two, 0, NOW_MS, &b);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&b), "[]"));
	strbuf_free(&b);
	arena_free(&a);
}

static void
a_person_reads_one_line_each_in_columns(void)
{
	struct strbuf b = STRBUF_INIT(65536);
	struct slice rest, head, first, second;

	breakers_text(two, 2, NOW_MS, &b);
	rest = strbuf_slice(&b);
	head = slice_cut(&rest, '\n');
	first = slice_cut(&rest, '\n');
	second = slice_cut(&rest, '\n');
	CU_ASSERT_EQUAL(rest.len, 0);
	CU_ASSERT_EQUAL(head.len, first.len);
	CU_ASSERT_EQUAL(head.len, second.len);
	CU_ASSERT_TRUE(slice_starts(first, "redis-1 "));
	CU_ASSERT_PTR_NOT_NULL(memmem(first.ptr, first.len, " suspended ", 11));
	CU_ASSERT_PTR_NOT_NULL(memmem(first.ptr, first.len, " 12 s ", 6));
	CU_ASSERT_TRUE(slice_starts(second, "kafka "));
	CU_ASSERT_PTR_NOT_NULL(memmem(second.ptr, second.len, " forced-open ", 13));
	CU_ASSERT_PTR_NOT_NULL(memmem(second.ptr, second.len, " 55 % ", 6));
	strbuf_free(&b);
}

UNIT_SUITE(breakers, TEST(a_program_reads_every_figure),
    TEST(several_are_one_array_and_none_is_an_empty_one),
    TEST(a_person_reads_one_line_each_in_columns));
