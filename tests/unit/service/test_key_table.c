/* Goal: a key that was added is found by its id, one that was revoked says so, and the list hides the secret. */
#include "service/key_table.h"

#include "service/api_key.h"
#include "service/writer.h"
#include "tests/unit/service/write_house.h"

static struct write_house h;
static struct key_table *table;
static char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];
static uint8_t digest[DIGEST_BYTES];

static int64_t
soon(void)
{
	return clock_mono_ms() + 5000;
}

static void
open_table(void)
{
	const struct key_table_options o = { .url = h.url, .max_connections = 1 };

	CU_ASSERT_EQUAL_FATAL(key_table_open(&o, &table), ERR_OK);
}

static void
open_fresh(void)
{
	struct writer_failure why;
	struct writer *w = NULL;

	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
	writer_close(&w);
	open_table();
}

static void
close_all(void)
{
	key_table_close(&table);
	write_house_free(&h);
}

static enum err
add(const char *tenant, const char *plan, const char *at)
{
	struct key_row row = { .tenant = slice_of(tenant), .plan = slice_of(plan) };

	api_key_make(key, id);
	api_key_digest(slice_of(key), digest);
	row.id = slice_of(id);
	row.created_at = slice_of(at);
	return key_table_add(table, &row, digest, soon());
}

static enum err
find(const char *of, struct key_found *out)
{
	return key_table_find(table, slice_of(of), soon(), out);
}

static void
note_row(void *ctx, const struct key_row *row)
{
	strbuf_addf(ctx, "%.*s %.*s %s;", (int)row->tenant.len, row->tenant.ptr,
	    row->plan.ptr == NULL ? 1 : (int)row->plan.len,
	    row->plan.ptr == NULL ? "-" : row->plan.ptr,
	    row->revoked_at.ptr == NULL ? "good" : "revoked");
}

static void
an_added_key_is_found_by_its_id(void)
{
	struct key_found found;

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", "gold", "2026-01-01T00:00:00.000000Z"), ERR_OK);
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
	CU_ASSERT_EQUAL(add("acme", NULL, "2026-01-01T00:00:00.000000Z"), ERR_OK);
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
	struct key_found found;

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", NULL, "2026-01-01T00:00:00.000000Z"), ERR_OK);
	CU_ASSERT_EQUAL(find(id, &found), ERR_OK); /* through a connection that is kept */
	CU_ASSERT_EQUAL(
	    key_table_revoke(table, slice_of(id), SLICE("2026-01-02T00:00:00.000000Z"), soon()),
	    ERR_OK);
	CU_ASSERT_EQUAL(find(id, &found), ERR_OK);
	CU_ASSERT_TRUE(found.revoked);
	CU_ASSERT_EQUAL(
	    key_table_revoke(table, slice_of(id), SLICE("2026-01-03T00:00:00.000000Z"), soon()),
	    ERR_CONFLICT);
	CU_ASSERT_TRUE(
	    house_says(&h, "SELECT revoked_at FROM weir_api_keys", "2026-01-02T00:00:00.000000Z"));
	CU_ASSERT_EQUAL(key_table_revoke(table, SLICE("0000000000000000"),
			    SLICE("2026-01-03T00:00:00.000000Z"), soon()),
	    ERR_NOT_FOUND);
	close_all();
}

static void
the_list_has_all_in_their_order(void)
{
	struct strbuf out = STRBUF_INIT(1000);

	open_fresh();
	CU_ASSERT_EQUAL(key_table_list(table, soon(), note_row, &out), ERR_OK);
	CU_ASSERT_EQUAL(out.len, 0);
	CU_ASSERT_EQUAL(add("zeta", NULL, "2026-01-01T00:00:00.000000Z"), ERR_OK);
	CU_ASSERT_EQUAL(
	    key_table_revoke(table, slice_of(id), SLICE("2026-01-02T00:00:00.000000Z"), soon()),
	    ERR_OK);
	CU_ASSERT_EQUAL(add("acme", "gold", "2026-01-02T00:00:00.000000Z"), ERR_OK);
	CU_ASSERT_EQUAL(key_table_list(table, soon(), note_row, &out), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&out), "zeta - revoked;acme gold good;"));
	strbuf_free(&out);
	close_all();
}

static void
a_row_that_nobody_can_use_is_no_key(void)
{
	struct key_found found;

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
	struct key_found found;

	write_house_make(&h);
	open_table();
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(unlink(h.db), 0);
	key_table_close(&table);
	open_table();
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	close_all();
}

static void
another_scheme_is_no_database(void)
{
	const struct key_table_options o = { .url = "mysql://there/is/none" };

	CU_ASSERT_EQUAL(key_table_open(&o, &table), ERR_INVALID);
}

UNIT_SUITE(key_table, TEST(an_added_key_is_found_by_its_id), TEST(only_its_hash_is_stored),
    TEST(a_revoked_key_says_so_and_is_revoked_once), TEST(the_list_has_all_in_their_order),
    TEST(a_row_that_nobody_can_use_is_no_key), TEST(without_its_table_or_file_it_cannot_be_asked),
    TEST(another_scheme_is_no_database));
