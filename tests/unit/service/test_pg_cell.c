/* Goal: a value of PostgreSQL becomes the JSON that SQLite's would, by the type that the server names. */
#include "service/pg_cell.h"

#include <stdio.h>

#include "client/pg.h"
#include "tests/support/unit.h"

enum { ENUM_OID = 16400 }; /* of a type that somebody made */

static void
is(uint32_t oid, const char *text, const char *want)
{
	struct strbuf out = STRBUF_INIT(1 << 16);
	struct arena a;
	struct cell c;

	arena_init(&a, 1 << 16);
	c = pg_cell(oid, text == NULL, text == NULL ? SLICE("") : slice_of(text), &a);
	cell_add_json(&out, &c, pg_cell_form(oid), &a);
	if (!slice_eq_cstr(strbuf_slice(&out), want))
		(void)printf("got %.*s, want %s\n", (int)out.len, out.ptr, want);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&out), want));
	strbuf_free(&out);
	arena_free(&a);
}

static void
numbers_are_exact(void)
{
	is(PG_INT8, "-9223372036854775808", "-9223372036854775808");
	is(PG_INT2, "7", "7");
	is(PG_OID, "4294967295", "4294967295");
	is(PG_NUMERIC, "123456789012345678901234567890.10", "123456789012345678901234567890.10");
	is(PG_NUMERIC, "NaN", "null");
	is(PG_FLOAT8, "0.1", "0.1");
	is(PG_FLOAT8, "1e+100", "1e+100");
	is(PG_FLOAT8, "-Infinity", "null");
	is(PG_FLOAT4, "0.1", "0.1");
}

static void
words_and_documents_are_as_the_database_has_them(void)
{
	is(PG_TEXT, "a \"b\"\n", "\"a \\\"b\\\"\\n\"");
	is(PG_TEXT, "", "\"\"");
	is(PG_TEXT, NULL, "null");
	is(PG_UUID, "0b53eb46-0000-4000-8000-000000000000",
	    "\"0b53eb46-0000-4000-8000-000000000000\"");
	is(PG_JSON, "{\"a\" : 1}", "{\"a\" : 1}");
	is(PG_JSONB, "[1, 2]", "[1, 2]");
	is(PG_TEXT_ARRAY, "{a,b}", "\"{a,b}\"");
	is(ENUM_OID, "sad", "\"sad\"");
}

static void
truth_is_true_or_false(void)
{
	is(PG_BOOL, "t", "true");
	is(PG_BOOL, "f", "false");
	is(PG_BOOL, NULL, "null");
}

static void
moments_are_rfc_3339_in_utc(void)
{
	is(PG_TIMESTAMPTZ, "2026-11-24 04:09:44.12+00", "\"2026-11-24T04:09:44.12Z\"");
	is(PG_TIMESTAMPTZ, "2026-11-24 04:09:44+00", "\"2026-11-24T04:09:44Z\"");
	is(PG_TIMESTAMP, "2026-11-24 04:09:44.123456", "\"2026-11-24T04:09:44.123456Z\"");
	is(PG_DATE, "2026-11-24", "\"2026-11-24\"");
	is(PG_TIMESTAMPTZ, "infinity", "\"infinity\"");
	is(PG_DATE, "0044-03-15 BC", "\"0044-03-15 BC\"");
}

static void
bytes_are_base64(void)
{
	is(PG_BYTEA, "\\x", "\"\"");
	is(PG_BYTEA, "\\x00ffAb", "\"AP+r\"");
}

UNIT_SUITE(pg_cell, TEST(numbers_are_exact), TEST(words_and_documents_are_as_the_database_has_them),
    TEST(truth_is_true_or_false), TEST(moments_are_rfc_3339_in_utc), TEST(bytes_are_base64));
