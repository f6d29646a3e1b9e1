/* Goal: API keys on PostgreSQL are what they are on SQLite, directly and through PgBouncer. */
#include "tests/unit/service/key_rows.h"
#include "tests/unit/service/pg_house.h"

static struct pg_house p;

static void
open_fresh(bool through_bouncer)
{
	pg_house_make(&p, through_bouncer, 3000);
	CU_ASSERT_EQUAL_FATAL(writer_open(&p.h.o.database, &rows_writer, &rows_why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(rows_writer, &rows_why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(ledger_open(&p.h.o.database, 1, &rows_ledger), ERR_OK);
}

static void
close_all(void)
{
	ledger_close(&rows_ledger);
	writer_close(&rows_writer);
	pg_house_free(&p);
}

static void
an_added_key_is_found_by_its_id(void)
{
	open_fresh(false);
	check_added();
	CU_ASSERT_TRUE(pg_house_says(
	    &p, "SELECT string_agg(length(hash)::text || plan, ',') FROM weir_api_keys", "32gold"));
	close_all();
}

static void
a_revoked_key_says_so_and_is_revoked_once(void)
{
	open_fresh(false);
	check_revoked();
	close_all();
}

static void
the_list_has_all_in_their_order(void)
{
	open_fresh(false);
	check_list();
	close_all();
}

static void
a_row_that_nobody_can_use_is_no_key(void)
{
	open_fresh(false);
	CU_ASSERT_TRUE(pg_house_says(&p,
	    "INSERT INTO weir_api_keys (id, tenant, hash, created_at) VALUES"
	    " ('a', 'acme', 'short', now()), ('b', '', decode(repeat('00', 32), 'hex'), now()),"
	    " ('c', repeat('x', 256), decode(repeat('00', 32), 'hex'), now())",
	    ""));
	check_unusable();
	close_all();
}

static void
through_pgbouncer_it_is_the_same(void)
{
	open_fresh(true);
	check_revoked();
	close_all();
	open_fresh(true);
	check_added();
	close_all();
}

static void
without_its_table_it_cannot_be_asked_until_it_is_there(void)
{
	struct api_key_found found;

	open_fresh(false);
	CU_ASSERT_TRUE(pg_house_says(&p, "DROP TABLE weir_api_keys", ""));
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(writer_migrate(rows_writer, &rows_why), ERR_OK);
	CU_ASSERT_EQUAL(find("0000000000000000", &found), ERR_NOT_FOUND);
	close_all();
}

static void
a_table_that_is_locked_costs_no_more_than_the_deadline(void)
{
	struct api_key_found found;
	int64_t began_ms;

	open_fresh(false);
	CU_ASSERT_EQUAL(add("acme", NULL, first_us), ERR_OK);
	CU_ASSERT_TRUE(pg_house_says(&p, "BEGIN", ""));
	CU_ASSERT_TRUE(pg_house_says(&p, "LOCK TABLE weir_api_keys IN ACCESS EXCLUSIVE MODE", ""));
	began_ms = clock_mono_ms();
	CU_ASSERT_EQUAL(
	    ledger_key(rows_ledger, slice_of(row_id), began_ms + 200, &found), ERR_TIMEOUT);
	CU_ASSERT_TRUE(clock_mono_ms() - began_ms < 3000);
	CU_ASSERT_TRUE(pg_house_says(&p, "ROLLBACK", ""));
	CU_ASSERT_EQUAL(find(row_id, &found), ERR_OK); /* on a new connection */
	close_all();
}

UNIT_SUITE(key_rows_postgresql, TEST(an_added_key_is_found_by_its_id),
    TEST(a_revoked_key_says_so_and_is_revoked_once), TEST(the_list_has_all_in_their_order),
    TEST(a_row_that_nobody_can_use_is_no_key), TEST(through_pgbouncer_it_is_the_same),
    TEST(without_its_table_it_cannot_be_asked_until_it_is_there),
    TEST(a_table_that_is_locked_costs_no_more_than_the_deadline));
