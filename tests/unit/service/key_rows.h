#ifndef TESTS_UNIT_SERVICE_KEY_ROWS_H
#define TESTS_UNIT_SERVICE_KEY_ROWS_H

#include "base/clock.h"
#include "service/api_key.h"
#include "service/ledger.h"
#include "service/writer.h"
#include "tests/support/unit.h"

/*
 * What every database must say of API keys that a writer has written and a ledger looks at.
 */
static const int64_t first_us = 1000000000123456; /* 2001-09-09T01:46:40.123456Z */
static const int64_t second_us = 1000000;

static struct writer *rows_writer;
static struct ledger *rows_ledger;
static struct writer_failure rows_why;
static char row_key[API_KEY_TEXT], row_id[API_KEY_ID_TEXT];
static uint8_t row_digest[DIGEST_BYTES];

static inline enum err
add(const char *tenant, const char *plan, int64_t at_us)
{
	struct api_key_row row = { .tenant = slice_of(tenant), .plan = slice_of(plan) };

	api_key_make(row_key, row_id);
	api_key_digest(slice_of(row_key), row_digest);
	row.id = slice_of(row_id);
	return writer_add_api_key(rows_writer, &row, row_digest, at_us, &rows_why);
}

static inline enum err
revoke_key(const char *of, int64_t at_us)
{
	return writer_revoke_api_key(rows_writer, slice_of(of), at_us, &rows_why);
}

static inline enum err
find(const char *of, struct api_key_found *out)
{
	return ledger_key(rows_ledger, slice_of(of), clock_mono_ms() + 5000, out);
}

static inline void
note_row(void *ctx, const struct api_key_row *row)
{
	const struct slice none = SLICE("-");
	const struct slice plan = row->plan.ptr == NULL ? none : row->plan;
	const struct slice end = row->revoked_at.ptr == NULL ? none : row->revoked_at;

	strbuf_addf(ctx, "%.*s %.*s %.*s %.*s;", (int)row->tenant.len, row->tenant.ptr,
	    (int)plan.len, plan.ptr, (int)row->created_at.len, row->created_at.ptr, (int)end.len,
	    end.ptr);
}

static inline bool
lists(const char *want)
{
	struct strbuf out = STRBUF_INIT(1000);
	bool same;

	CU_ASSERT_EQUAL(ledger_keys(rows_ledger, clock_mono_ms() + 5000, note_row, &out), ERR_OK);
	same = slice_eq_cstr(strbuf_slice(&out), want);
	strbuf_free(&out);
	return same;
}

static inline void
check_added(void)
{
	struct api_key_found found;

	CU_ASSERT_EQUAL(add("acme \xc3\xa9", "gold", first_us), ERR_OK);
	CU_ASSERT_EQUAL(find(row_id, &found), ERR_OK);
	CU_ASSERT_TRUE(digest_equal(found.digest, row_digest));
	CU_ASSERT_FALSE(found.revoked);
	CU_ASSERT_TRUE(
	    slice_eq_cstr((struct slice){ found.tenant, found.tenant_len }, "acme \xc3\xa9"));
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_NOT_FOUND);
}

static inline void
check_revoked(void)
{
	struct api_key_found found;

	CU_ASSERT_EQUAL(add("acme", NULL, first_us), ERR_OK);
	CU_ASSERT_EQUAL(find(row_id, &found), ERR_OK); /* through a connection that is kept */
	CU_ASSERT_EQUAL(revoke_key(row_id, first_us + second_us), ERR_OK);
	CU_ASSERT_EQUAL(find(row_id, &found), ERR_OK);
	CU_ASSERT_TRUE(found.revoked);
	CU_ASSERT_EQUAL(revoke_key(row_id, first_us + 2 * second_us), ERR_CONFLICT);
	CU_ASSERT_STRING_EQUAL(rows_why.message, "the key was revoked before");
	CU_ASSERT_TRUE(lists("acme - 2001-09-09T01:46:40.123456Z 2001-09-09T01:46:41.123456Z;"));
	CU_ASSERT_EQUAL(revoke_key("0000000000000000", first_us), ERR_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(rows_why.message, "there is no such key");
}

static inline void
check_list(void)
{
	CU_ASSERT_TRUE(lists(""));
	CU_ASSERT_EQUAL(add("zeta", NULL, first_us), ERR_OK);
	CU_ASSERT_EQUAL(revoke_key(row_id, first_us + second_us), ERR_OK);
	CU_ASSERT_EQUAL(add("acme", "gold", first_us + second_us), ERR_OK);
	CU_ASSERT_TRUE(lists("zeta - 2001-09-09T01:46:40.123456Z 2001-09-09T01:46:41.123456Z;"
			     "acme gold 2001-09-09T01:46:41.123456Z -;"));
}

/* After rows a, b and c were made by hand: a short hash, no tenant, or one that is no text. */
static inline void
check_unusable(void)
{
	struct api_key_found found;

	CU_ASSERT_EQUAL(find("a", &found), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(find("b", &found), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(find("c", &found), ERR_NOT_FOUND);
}

#endif
