/* Goal: a key that was added is found by its id, one that was revoked says so, and only a hash is stored. */
#include "tests/unit/service/key_rows.h"
#include "tests/unit/service/write_house.h"

static struct write_house h;

static void
open_fresh(void)
{
	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &rows_writer, &rows_why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(rows_writer, &rows_why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &rows_ledger), ERR_OK);
}

static void
close_all(void)
{
	ledger_close(&rows_ledger);
	writer_close(&rows_writer);
	write_house_free(&h);
}

static void
an_added_key_is_found_by_its_id(void)
{
	open_fresh();
	check_added();
	close_all();
}

static void
only_its_hash_is_stored(void)
{
	char sql[300];

	open_fresh();
	CU_ASSERT_EQUAL(add("acme", NULL, first_us), ERR_OK);
	(void)snprintf(sql, sizeof sql,
	    "SELECT count(*) FROM weir_api_keys WHERE hash LIKE '%%%s%%' OR length(hash) <> 32",
	    row_key);
	CU_ASSERT_EQUAL(house_ask(&h, sql), 0);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_api_keys"), 1);
	close_all();
}

static void
a_revoked_key_says_so_and_is_revoked_once(void)
{
	open_fresh();
	check_revoked();
	close_all();
}

static void
the_list_has_all_in_their_order(void)
{
	open_fresh();
	check_list();
	close_all();
}

static void
a_row_that_nobody_can_use_is_no_key(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(
	    house_run(&h, "INSERT INTO weir_api_keys (id, tenant, hash, created_at) VALUES"
			  " ('a', 'acme', 'short', ''), ('b', '', zeroblob(32), ''),"
			  " ('c', CAST(x'ff' AS TEXT), zeroblob(32), '')"),
	    ERR_OK);
	check_unusable();
	close_all();
}

static void
without_its_table_or_file_it_cannot_be_asked(void)
{
	struct api_key_found found;

	write_house_make(&h);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&h.o.database, 1, &rows_ledger), ERR_OK);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(unlink(h.db), 0);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	close_all();
}

UNIT_SUITE(key_rows, TEST(an_added_key_is_found_by_its_id), TEST(only_its_hash_is_stored),
    TEST(a_revoked_key_says_so_and_is_revoked_once), TEST(the_list_has_all_in_their_order),
    TEST(a_row_that_nobody_can_use_is_no_key), TEST(without_its_table_or_file_it_cannot_be_asked));
