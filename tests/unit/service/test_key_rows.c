/* Goal: a key that was added is found by its id, one that was revoked says so, and the list hides the secret. */
#include "service/api_key.h"

#include "service/ledger.h"
#include "service/writer.h"
#include "tests/unit/service/write_house.h"

static const int64_t now_us = 1000000000123456; /* 2001-09-09T01:46:40.123456Z */
static const int64_t second_us = 1000000;

static struct write_house h;
static struct writer *w;
static struct writer_failure why;
static struct ledger *ledger;
static char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];
static uint8_t digest[DIGEST_BYTES];

static int64_t
soon(void)
{
	return clock_mono_ms() + 5000;
}

static void
open_fresh(void)
{
	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &ledger), ERR_OK);
}

static void
close_all(void)
{
	ledger_close(&ledger);
	writer_close(&w);
	write_house_free(&h);
}

static enum err
add(const char *tenant, const char *plan, int64_t at_us)
{
	struct api_key_row row = { .tenant = slice_of(tenant), .plan = slice_of(plan) };

	api_key_make(key, id);
	api_key_digest(slice_of(key), digest);
	row.id = slice_of(id);
	return writer_add_api_key(w, &row, digest, at_us, &why);
}

static enum err
revoke_key(const char *of, int64_t at_us)
{
	return writer_revoke_api_key(w, slice_of(of), at_us, &why);
}

static enum err
find(const char *of, struct api_key_found *out)
{
	return ledger_key(ledger, slice_of(of), soon(), out);
}

static void
note_row(void *ctx, const struct api_key_row *row)
{
	const struct slice none = SLICE("-");
	const struct slice plan = row->plan.ptr == NULL ? none : row->plan;
	const struct slice end = row->revoked_at.ptr == NULL ? none : row->revoked_at;

	strbuf_addf(ctx, "%.*s %.*s %.*s %.*s;", (int)row->tenant.len, row->tenant.ptr,
	    (int)plan.len, plan.ptr, (int)row->created_at.len, row->created_at.ptr, (int)end.len,
	    end.ptr);
}

static void
an_added_key_is_found_by_its_id(void)
{
	struct api_key_found found;

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", "gold", now_us), ERR_OK);
	CU_ASSERT_EQUAL(find(id, &found), ERR_OK);
	CU_ASSERT_TRUE(digest_equal(found.digest, digest));
	CU_ASSERT_FALSE(found.revoked);
	CU_ASSERT_EQUAL(found.tenant_len, 4);
	CU_ASSERT_EQUAL(memcmp(found.tenant, "acme", 4), 0);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_NOT_FOUND);
	close_all();
}

static void
only_its_hash_is_stored(void)
{
	char sql[300];

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", NULL, now_us), ERR_OK);
	(void)snprintf(sql, sizeof sql,
	    "SELECT count(*) FROM weir_api_keys WHERE hash LIKE '%%%s%%' OR length(hash) <> 32",
	    key);
	CU_ASSERT_EQUAL(house_ask(&h, sql), 0);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_api_keys"), 1);
	close_all();
}

static void
a_revoked_key_says_so_and_is_revoked_once(void)
{
	struct api_key_found found;

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", NULL, now_us), ERR_OK);
	CU_ASSERT_EQUAL(find(id, &found), ERR_OK); /* through a connection that is kept */
	CU_ASSERT_EQUAL(revoke_key(id, now_us + second_us), ERR_OK);
	CU_ASSERT_EQUAL(find(id, &found), ERR_OK);
	CU_ASSERT_TRUE(found.revoked);
	CU_ASSERT_EQUAL(revoke_key(id, now_us + 2 * second_us), ERR_CONFLICT);
	CU_ASSERT_STRING_EQUAL(why.message, "the key was revoked before");
	CU_ASSERT_TRUE(
	    house_says(&h, "SELECT revoked_at FROM weir_api_keys", "2001-09-09T01:46:41.123456Z"));
	CU_ASSERT_EQUAL(revoke_key("0000000000000000", now_us), ERR_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(why.message, "there is no such key");
	close_all();
}

static void
the_list_has_all_in_their_order(void)
{
	struct strbuf out = STRBUF_INIT(1000);

	open_fresh();
	CU_ASSERT_EQUAL(ledger_keys(ledger, soon(), note_row, &out), ERR_OK);
	CU_ASSERT_EQUAL(out.len, 0);
	CU_ASSERT_EQUAL(add("zeta", NULL, now_us), ERR_OK);
	CU_ASSERT_EQUAL(revoke_key(id, now_us + second_us), ERR_OK);
	CU_ASSERT_EQUAL(add("acme", "gold", now_us + second_us), ERR_OK);
	CU_ASSERT_EQUAL(ledger_keys(ledger, soon(), note_row, &out), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&out),
	    "zeta - 2001-09-09T01:46:40.123456Z 2001-09-09T01:46:41.123456Z;"
	    "acme gold 2001-09-09T01:46:41.123456Z -;"));
	strbuf_free(&out);
	close_all();
}

static void
a_row_that_nobody_can_use_is_no_key(void)
{
	struct api_key_found found;

	open_fresh();
	CU_ASSERT_EQUAL(
	    house_run(&h, "INSERT INTO weir_api_keys (id, tenant, hash, created_at) VALUES"
			  " ('a', 'acme', 'short', ''), ('b', '', zeroblob(32), ''),"
			  " ('c', CAST(x'ff' AS TEXT), zeroblob(32), '')"),
	    ERR_OK);
	CU_ASSERT_EQUAL(find("a", &found), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(find("b", &found), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(find("c", &found), ERR_NOT_FOUND);
	close_all();
}

static void
without_its_table_or_file_it_cannot_be_asked(void)
{
	struct api_key_found found;

	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &ledger), ERR_OK);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(unlink(h.db), 0);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	close_all();
}

UNIT_SUITE(key_rows, TEST(an_added_key_is_found_by_its_id), TEST(only_its_hash_is_stored),
    TEST(a_revoked_key_says_so_and_is_revoked_once), TEST(the_list_has_all_in_their_order),
    TEST(a_row_that_nobody_can_use_is_no_key), TEST(without_its_table_or_file_it_cannot_be_asked));
