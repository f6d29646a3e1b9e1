/* Goal: an answer is built whole, opened with every length checked, and cut without parsing. */
#include "service/copy.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

enum { MAX_BYTES = 1 << 20 };

static const struct slice columns[] = { { "id", 2 }, { "na\"me", 5 }, { "flag", 4 } };

static void
cell(struct copy_builder *b, const char *json)
{
	copy_cell(b);
	strbuf_add_cstr(&b->json, json);
}

static void
row(struct copy_builder *b, const char *x, const char *y, const char *z)
{
	cell(b, x);
	cell(b, y);
	cell(b, z);
}

static struct strbuf
two_rows(void)
{
	struct copy_builder b;
	struct strbuf block = { 0 };

	copy_begin(&b, columns, 3, false, MAX_BYTES);
	row(&b, "1", "\"a,b\"", "null");
	row(&b, "22", "\"}\"", "[1,{\"x\":2}]");
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_OK);
	return block;
}

static struct strbuf
rows_of_none(void)
{
	struct copy_builder b;
	struct strbuf block = { 0 };

	copy_begin(&b, columns, 3, false, MAX_BYTES);
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_OK);
	return block;
}

static struct strbuf
one_object(void)
{
	struct copy_builder b;
	struct strbuf block = { 0 };

	copy_begin(&b, columns, 3, true, MAX_BYTES);
	row(&b, "1", "\"a\"", "true");
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_OK);
	return block;
}

static void
json_is(struct strbuf block, const char *want)
{
	struct copy c;

	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&block), &c), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(c.json, want));
	strbuf_free(&block);
}

static void
answers_are_arrays_of_objects_or_one_object(void)
{
	json_is(two_rows(), "[{\"id\":1,\"na\\\"me\":\"a,b\",\"flag\":null},"
			    "{\"id\":22,\"na\\\"me\":\"}\",\"flag\":[1,{\"x\":2}]}]");
	json_is(rows_of_none(), "[]");
	json_is(one_object(), "{\"id\":1,\"na\\\"me\":\"a\",\"flag\":true}");
}

/* The projection of ${block} to ${fields}, or "!BAD names". */
static void
project_is(struct strbuf block, const char *fields, const char *want)
{
	struct slice json = { 0 }, names = { 0 }, bad = { 0 };
	struct arena a;
	struct copy c;
	char *got;

	arena_init(&a, 1 << 16);
	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&block), &c), ERR_OK);
	if (copy_project(&c, slice_of(fields), &a, &json, &names, &bad) == ERR_OK)
		got = arena_copy(&a, json);
	else
		got = arena_printf(
		    &a, "!%.*s %.*s", (int)bad.len, bad.ptr, (int)names.len, names.ptr);
	CU_ASSERT_STRING_EQUAL(got, want);
	arena_free(&a);
	strbuf_free(&block);
}

static void
fields_are_cut_in_the_order_asked_for(void)
{
	project_is(
	    two_rows(), "flag,id", "[{\"flag\":null,\"id\":1},{\"flag\":[1,{\"x\":2}],\"id\":22}]");
	project_is(two_rows(), "na\"me", "[{\"na\\\"me\":\"a,b\"},{\"na\\\"me\":\"}\"}]");
	project_is(two_rows(), "id,na\"me,flag",
	    "[{\"id\":1,\"na\\\"me\":\"a,b\",\"flag\":null},"
	    "{\"id\":22,\"na\\\"me\":\"}\",\"flag\":[1,{\"x\":2}]}]");
	project_is(rows_of_none(), "id", "[]");
	project_is(one_object(), "flag", "{\"flag\":true}");
	project_is(one_object(), "id,flag", "{\"id\":1,\"flag\":true}");
}

static void
a_bad_field_is_named_with_the_list_of_fields(void)
{
	static const char *const bad[] = { "x", "", "id,id", "id,", " id", "ID" };
	static const char *const named[] = { "x", "", "id", "", " id", "ID" };
	char want[64];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		(void)snprintf(want, sizeof want, "!%s [\"id\",\"na\\\"me\",\"flag\"]", named[i]);
		project_is(two_rows(), bad[i], want);
	}
}

static void
the_etag_is_of_the_text_alone(void)
{
	struct strbuf x = two_rows(), y = two_rows(), z = rows_of_none();
	struct copy a, b, c;

	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&x), &a), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&y), &b), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&z), &c), ERR_OK);
	CU_ASSERT_EQUAL(a.etag.len, 34);
	CU_ASSERT_TRUE(a.etag.ptr[0] == '"' && a.etag.ptr[33] == '"');
	CU_ASSERT_TRUE(slice_eq(a.etag, b.etag));
	CU_ASSERT_FALSE(slice_eq(a.etag, c.etag));
	strbuf_free(&x);
	strbuf_free(&y);
	strbuf_free(&z);
}

static void
an_answer_that_is_too_large_is_told(void)
{
	struct copy_builder b;
	struct strbuf block = { 0 };

	copy_begin(&b, columns, 3, false, 30);
	row(&b, "1", "\"a\"", "true");
	CU_ASSERT_TRUE(b.json.failed);
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_TOO_LARGE);
	CU_ASSERT_PTR_NULL(block.ptr);
}

static void
half_an_answer_is_refused(void)
{
	struct copy_builder b;
	struct strbuf block = { 0 };

	copy_begin(&b, columns, 3, false, MAX_BYTES);
	cell(&b, "1");
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_INVALID);
	copy_begin(&b, columns, 3, true, MAX_BYTES);
	CU_ASSERT_EQUAL(copy_end(&b, &block), ERR_INVALID);
}

/* A view of a block that ends where its memory ends, so that a sanitizer sees every step too far. */
static void
open_and_cut(const char *bytes, size_t len)
{
	struct slice json, names, bad;
	struct slice block = { NULL, len };
	char *exact = malloc(len == 0 ? 1 : len);
	struct arena a;
	struct copy c;

	CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
	memcpy(exact, bytes, len);
	block.ptr = exact;
	arena_init(&a, 1 << 20);
	if (copy_open(block, &c) == ERR_OK)
		(void)copy_project(&c, SLICE("flag,id"), &a, &json, &names, &bad);
	arena_free(&a);
	free(exact);
}

static void
a_damaged_block_is_refused_or_cut_within_its_bytes(void)
{
	struct strbuf block = two_rows();
	struct copy c;

	for (size_t len = 0; len < block.len; len++)
		CU_ASSERT_EQUAL(copy_open((struct slice){ block.ptr, len }, &c), ERR_INVALID);
	for (size_t at = 0; at < block.len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			block.ptr[at] = (char)(block.ptr[at] ^ 1 << bit);
			open_and_cut(block.ptr, block.len);
			block.ptr[at] = (char)(block.ptr[at] ^ 1 << bit);
		}
	}
	strbuf_free(&block);
}

static void
damaged_offsets_are_told(void)
{
	struct strbuf block = two_rows();
	struct slice json, names, bad;
	struct arena a;
	struct copy c;

	arena_init(&a, 1 << 16);
	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&block), &c), ERR_OK);
	memset(block.ptr + (c.offsets_at - block.ptr), 0xff, 4);
	CU_ASSERT_EQUAL(copy_project(&c, SLICE("id"), &a, &json, &names, &bad), ERR_IO);
	arena_free(&a);
	strbuf_free(&block);
}

static void
a_full_arena_is_told(void)
{
	struct strbuf block = two_rows();
	struct slice json, names, bad;
	struct arena a;
	struct copy c;
	enum err rc = ERR_NOMEM;
	size_t bytes = 0;

	CU_ASSERT_EQUAL_FATAL(copy_open(strbuf_slice(&block), &c), ERR_OK);
	for (; rc == ERR_NOMEM && bytes < 1024; bytes += 16) {
		arena_init(&a, bytes);
		rc = copy_project(&c, SLICE("id"), &a, &json, &names, &bad);
		arena_free(&a);
	}
	CU_ASSERT_EQUAL(rc, ERR_OK);
	CU_ASSERT_TRUE(bytes > 96);
	strbuf_free(&block);
}

UNIT_SUITE(copy, TEST(answers_are_arrays_of_objects_or_one_object),
    TEST(fields_are_cut_in_the_order_asked_for), TEST(a_bad_field_is_named_with_the_list_of_fields),
    TEST(the_etag_is_of_the_text_alone), TEST(an_answer_that_is_too_large_is_told),
    TEST(half_an_answer_is_refused), TEST(a_damaged_block_is_refused_or_cut_within_its_bytes),
    TEST(damaged_offsets_are_told), TEST(a_full_arena_is_told));
