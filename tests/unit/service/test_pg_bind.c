/* Goal: :name becomes $n, and each value goes out as what its declared type says. */
#include "service/pg_bind.h"

#include "client/pg.h"
#include "http/value.h"
#include "tests/unit/service/parse.h"

static const char file[] =
    "-- GET /t\n-- param i: integer\n-- param n: number, optional\n"
    "-- param b: boolean\n-- param t: timestamp\n-- param s: text, optional\n"
    "SELECT :b AS b, :i + :i AS i, CASE WHEN:s > 'a' THEN ':i' END, :n, :t,\n"
    "  :tenant, :now";

static void
names_become_numbers_in_the_order_of_their_first_use(void)
{
	struct parsed p = parse_named("t.postgresql.sql", slice_of(file));

	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	CU_ASSERT_TRUE(p.e.postgresql);
	is(p.e.sql, "SELECT $1 AS b, $2 + $2 AS i, CASE WHEN $3 > 'a' THEN ':i' END, $4, $5,\n"
		    "  $6, $7");
	parsed_free(&p);
}

static void
before_is_null_stands_a_text_with_a_number_of_its_own(void)
{
	struct parsed p = parse_named("t.postgresql.sql",
	    SLICE("-- GET /t\n-- param d: date, optional\n-- param i: integer, optional\n"
		  "SELECT 1 AS n WHERE (:d IS NULL OR :d /* is */ is not null OR :d = day)\n"
		  "  AND (:i IS NULL OR :i = n) AND :d IS NOT DISTINCT FROM day"));

	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	is(p.e.sql, "SELECT 1 AS n WHERE (CAST($1 AS text) IS NULL OR CAST($1 AS text) /* is */ is "
		    "not null OR $2 = day)\n"
		    "  AND ($3 IS NULL OR $3 = n) AND $2 IS NOT DISTINCT FROM day");
	CU_ASSERT_EQUAL(p.e.bind_count, 3);
	CU_ASSERT_EQUAL(p.e.binds[0].param, p.e.binds[1].param);
	parsed_free(&p);
}

static void
each_value_goes_out_as_its_declared_type(void)
{
	static const struct value values[] = {
		{ .type = VALUE_INTEGER, .integer = INT64_MIN },
		{ .type = VALUE_NUMBER, .number = 0.1 },
		{ .type = VALUE_BOOLEAN, .integer = 1 },
		{ .type = VALUE_TIMESTAMP, .text = { "2026-11-24T10:00:00.5Z", 22 } },
		{ .null = true },
	};
	const struct pg_ambient ambient = { .tenant = SLICE(""), .now_us = 1500000 };
	struct parsed p = parse_named("t.postgresql.sql", slice_of(file));
	struct pg_param *params = NULL;

	CU_ASSERT_EQUAL_FATAL(pg_bind_endpoint(&p.e, values, &ambient, &p.arena, &params), ERR_OK);
	is(params[0].value, "t");
	CU_ASSERT_EQUAL(params[0].oid, PG_BOOL);
	is(params[1].value, "-9223372036854775808");
	CU_ASSERT_EQUAL(params[1].oid, PG_INT8);
	CU_ASSERT_TRUE(params[2].null);
	CU_ASSERT_EQUAL(params[2].oid, PG_UNKNOWN);
	is(params[3].value, "0.10000000000000001");
	CU_ASSERT_EQUAL(params[3].oid, PG_FLOAT8);
	is(params[4].value, "2026-11-24T10:00:00.500000Z");
	CU_ASSERT_EQUAL(params[4].oid, PG_UNKNOWN);
	is(params[5].value, "");
	CU_ASSERT_FALSE(params[5].null);
	is(params[6].value, "1970-01-01T00:00:01.500000Z");
	parsed_free(&p);
}

static void
a_null_keeps_the_type_of_its_parameter(void)
{
	static const struct value values[] = { { .null = true }, { .null = true }, { .null = true },
		{ .null = true }, { .null = true } };
	const struct pg_ambient ambient = { .tenant = SLICE("t") };
	struct parsed p = parse_named("t.postgresql.sql", slice_of(file));
	struct pg_param *params = NULL, *types = NULL;

	CU_ASSERT_EQUAL_FATAL(pg_bind_endpoint(&p.e, values, &ambient, &p.arena, &params), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(pg_bind_types(&p.e, &p.arena, &types), ERR_OK);
	for (size_t i = 0; i < p.e.bind_count; i++)
		CU_ASSERT_EQUAL(params[i].oid, types[i].oid);
	CU_ASSERT_EQUAL(types[1].oid, PG_INT8);
	parsed_free(&p);
}

UNIT_SUITE(pg_bind, TEST(names_become_numbers_in_the_order_of_their_first_use),
    TEST(before_is_null_stands_a_text_with_a_number_of_its_own),
    TEST(each_value_goes_out_as_its_declared_type), TEST(a_null_keeps_the_type_of_its_parameter));
