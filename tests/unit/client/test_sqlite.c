/* Goal: every operation keeps its deadline, statements are prepared once, and a failure says what it means. */
#include "client/sqlite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/unit.h"

static const int64_t far_ms = INT64_MAX;

static char *
fresh_path(void)
{
	static char path[4200];
	static int n;

	(void)snprintf(path, sizeof path, "%s/sqlite-%d.db", unit_dir(), n++);
	return path;
}

static struct sqlite *
opened(const char *path, enum sqlite_mode mode)
{
	const struct sqlite_options o = {
		.path = path, .mode = mode, .quiet = true, .deadline_ms = far_ms
	};
	struct sqlite *db = NULL;

	CU_ASSERT_EQUAL_FATAL(sqlite_open(&o, &db, NULL), ERR_OK);
	return db;
}

static struct sqlite_statement *
taken(struct sqlite *db, const char *sql)
{
	struct sqlite_statement *s = NULL;

	if (sqlite_take(db, SLICE("test"), slice_of(sql), &s) != ERR_OK)
		(void)printf("%s: %s\n", sql, sqlite_last_fault(db)->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

static int64_t
integer_of(struct sqlite *db, const char *sql)
{
	struct sqlite_statement *s = taken(db, sql);
	struct sqlite_cell c = { .integer = -1 };
	bool row = false;

	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	if (row)
		c = sqlite_cell(s, 0);
	sqlite_give(&s);
	return c.integer;
}

/* Runs ${sql} and checks how it fails. */
static void
fails(struct sqlite *db, const char *sql, enum err want, enum sqlite_fault_kind kind,
    const char *sqlstate)
{
	struct sqlite_statement *s = NULL;
	bool row;
	enum err rc = sqlite_take(db, SLICE("test"), slice_of(sql), &s);

	if (rc == ERR_OK)
		rc = sqlite_step(s, &row);
	sqlite_give(&s);
	if (rc != want || strcmp(sqlite_last_fault(db)->sqlstate, sqlstate) != 0)
		(void)printf("%s: %s %s\n", sql, sqlite_last_fault(db)->sqlstate,
		    sqlite_last_fault(db)->message);
	CU_ASSERT_EQUAL(rc, want);
	CU_ASSERT_EQUAL(sqlite_last_fault(db)->kind, kind);
	CU_ASSERT_STRING_EQUAL(sqlite_last_fault(db)->sqlstate, sqlstate);
}

static void
values_come_back_as_they_were_bound(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *s = taken(db, "SELECT ?1, ?2, ?3, ?4, ?5, ?3");
	bool row = false;

	sqlite_bind_null(s, 1);
	sqlite_bind_integer(s, 2, INT64_MIN);
	sqlite_bind_text(s, 3, SLICE("a\0b"));
	sqlite_bind_real(s, 4, 0.5);
	sqlite_bind_blob(s, 5, (struct slice){ 0 });
	CU_ASSERT_EQUAL_FATAL(sqlite_step(s, &row), ERR_OK);
	CU_ASSERT_TRUE_FATAL(row);
	CU_ASSERT_EQUAL(sqlite_columns(s), 6);
	CU_ASSERT_EQUAL(sqlite_cell(s, 0).kind, SQLITE_KIND_NULL);
	CU_ASSERT_EQUAL(sqlite_cell(s, 1).integer, INT64_MIN);
	CU_ASSERT_EQUAL(sqlite_cell(s, 2).kind, SQLITE_KIND_TEXT);
	CU_ASSERT_TRUE(slice_eq(sqlite_cell(s, 2).bytes, SLICE("a\0b")));
	CU_ASSERT_EQUAL(sqlite_cell(s, 3).real, 0.5);
	CU_ASSERT_EQUAL(sqlite_cell(s, 4).kind, SQLITE_KIND_BLOB);
	CU_ASSERT_EQUAL(sqlite_cell(s, 4).bytes.len, 0);
	CU_ASSERT_PTR_NULL(sqlite_column_type(s, 0));
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	CU_ASSERT_FALSE(row);
	sqlite_give(&s);
	CU_ASSERT_PTR_NULL(s);
	sqlite_close(&db);
	CU_ASSERT_PTR_NULL(db);
}

static void
a_statement_is_prepared_once_for_its_name_and_text(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *a = NULL, *b = NULL, *c = NULL;
	char other_place[] = "SELECT 1";

	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("x"), SLICE("SELECT 1"), &a), ERR_OK);
	b = a;
	sqlite_give(&a);
	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("x"), slice_of(other_place), &a), ERR_OK);
	CU_ASSERT_PTR_EQUAL(a, b);
	/* While it is taken, the next caller gets another. */
	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("x"), SLICE("SELECT 1"), &b), ERR_OK);
	CU_ASSERT_PTR_NOT_EQUAL(a, b);
	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("y"), SLICE("SELECT 1"), &c), ERR_OK);
	CU_ASSERT_PTR_NOT_EQUAL(a, c);
	CU_ASSERT_PTR_NOT_EQUAL(b, c);
	sqlite_give(&a);
	sqlite_give(&b);
	sqlite_give(&c);
	sqlite_close(&db);
}

static void
the_cache_is_bounded_and_forgets_the_longest_unused(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *taken_all[256], *s = NULL;
	char sql[32];

	for (int i = 0; i < 600; i++) {
		(void)snprintf(sql, sizeof sql, "SELECT %d", i);
		CU_ASSERT_EQUAL(integer_of(db, sql), i);
	}
	for (int i = 0; i < 256; i++)
		taken_all[i] = taken(db, "SELECT 1");
	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("x"), SLICE("SELECT 1"), &s), ERR_UNAVAILABLE);
	for (int i = 0; i < 256; i++)
		sqlite_give(&taken_all[i]);
	CU_ASSERT_EQUAL(integer_of(db, "SELECT 7"), 7);
	sqlite_close(&db);
}

static void
values_are_forgotten_when_a_statement_is_given_back(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *s = taken(db, "SELECT ?1");
	bool row;

	sqlite_bind_integer(s, 1, 5);
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	sqlite_rewind(s);
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_cell(s, 0).integer, 5);
	sqlite_give(&s);
	s = taken(db, "SELECT ?1");
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_cell(s, 0).kind, SQLITE_KIND_NULL);
	sqlite_give(&s);
	sqlite_close(&db);
}

static void
failures_say_what_they_mean(void)
{
	struct sqlite *db = opened(fresh_path(), SQLITE_FOR_WRITES);

	CU_ASSERT_EQUAL(
	    sqlite_exec(db, "CREATE TABLE t (n INTEGER PRIMARY KEY CHECK (n > 0), j)"), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_exec(db, "INSERT INTO t VALUES (1, '{')"), ERR_OK);
	fails(db, "INSERT INTO t VALUES (1, NULL)", ERR_INVALID, SQLITE_FAULT_VALUE, "23000");
	fails(db, "INSERT INTO t VALUES (-1, NULL)", ERR_INVALID, SQLITE_FAULT_VALUE, "23000");
	fails(db, "INSERT INTO t VALUES ('x', NULL)", ERR_INVALID, SQLITE_FAULT_VALUE, "22000");
	fails(db, "SELECT json_extract(j, '$.a') FROM t", ERR_INVALID, SQLITE_FAULT_VALUE, "22000");
	fails(db, "SELECT abs(-9223372036854775807 - n) FROM t", ERR_INVALID, SQLITE_FAULT_VALUE,
	    "22000");
	fails(db, "SELECT * FROM missing", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42000");
	fails(db, "SELECT FROM", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42000");
	fails(db, "SELECT \"text\"", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42000");
	fails(db, "  -- nothing", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "XX000");
	CU_ASSERT_EQUAL(sqlite_last_fault(db)->offset, -1);
	fails(db, "SELECT 1 FORM t", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42000");
	CU_ASSERT_EQUAL(sqlite_last_fault(db)->offset, 14);
	sqlite_close(&db);
}

static void
a_placeholder_that_is_not_there_is_told_by_the_step(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *s = taken(db, "SELECT ?1");
	bool row;

	sqlite_bind_integer(s, 2, 5);
	sqlite_bind_integer(s, 1, 5);
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(sqlite_last_fault(db)->sqlstate, "22000");
	sqlite_give(&s);
	sqlite_close(&db);
}

static void
a_deadline_ends_a_statement_that_would_run_for_ever(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);

	sqlite_deadline(db, clock_mono_ms() + 20);
	fails(db,
	    "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT count(*) FROM "
	    "a",
	    ERR_TIMEOUT, SQLITE_FAULT_TIMEOUT, "57014");
	sqlite_deadline(db, far_ms);
	CU_ASSERT_EQUAL(integer_of(db, "SELECT 5"), 5);
	sqlite_close(&db);
}

static void
a_deadline_that_has_passed_starts_nothing(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);

	sqlite_deadline(db, clock_mono_ms() - 1);
	fails(db, "SELECT 1", ERR_TIMEOUT, SQLITE_FAULT_TIMEOUT, "57014");
	sqlite_close(&db);
}

static void
a_locked_database_is_a_bad_moment(void)
{
	const char *path = fresh_path();
	struct sqlite *a = opened(path, SQLITE_FOR_WRITES), *b = opened(path, SQLITE_FOR_WRITES);

	CU_ASSERT_EQUAL(
	    sqlite_exec(a, "CREATE TABLE t (n); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)"),
	    ERR_OK);
	CU_ASSERT_TRUE(sqlite_in_transaction(a));
	CU_ASSERT_EQUAL(sqlite_changes(a), 1);
	sqlite_deadline(b, clock_mono_ms());
	CU_ASSERT_EQUAL(sqlite_exec(b, "BEGIN IMMEDIATE"), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(sqlite_last_fault(b)->kind, SQLITE_FAULT_MOMENT);
	CU_ASSERT_EQUAL(sqlite_exec(a, "COMMIT"), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_exec(b, "BEGIN IMMEDIATE"), ERR_OK);
	sqlite_close(&a);
	sqlite_close(&b);
}

static void
a_reader_reads_what_a_writer_committed_and_changes_nothing(void)
{
	const char *path = fresh_path();
	struct sqlite *w = opened(path, SQLITE_FOR_WRITES), *r;

	CU_ASSERT_EQUAL(sqlite_exec(w, "CREATE TABLE t (n); INSERT INTO t VALUES (7)"), ERR_OK);
	r = opened(path, SQLITE_FOR_READS);
	CU_ASSERT_EQUAL(integer_of(r, "SELECT n FROM t"), 7);
	CU_ASSERT_EQUAL(sqlite_exec(w, "UPDATE t SET n = 8"), ERR_OK);
	CU_ASSERT_EQUAL(integer_of(r, "SELECT n FROM t"), 8);
	fails(r, "UPDATE t SET n = 9", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42501");
	fails(r, "ATTACH '/dev/null' AS x", ERR_INVALID, SQLITE_FAULT_VALUE, "22000");
	sqlite_close(&w);
	/* The writer took its -wal file along; a reader that comes now, or was there, still reads. */
	CU_ASSERT_EQUAL(integer_of(r, "SELECT n FROM t"), 8);
	sqlite_close(&r);
	r = opened(path, SQLITE_FOR_READS);
	CU_ASSERT_EQUAL(integer_of(r, "SELECT n FROM t"), 8);
	sqlite_close(&r);
}

static void
a_schema_that_changes_prepares_again(void)
{
	const char *path = fresh_path();
	struct sqlite *w = opened(path, SQLITE_FOR_WRITES), *r;
	struct sqlite_statement *s;
	bool row;

	CU_ASSERT_EQUAL(sqlite_exec(w, "CREATE TABLE t (n); INSERT INTO t VALUES (7)"), ERR_OK);
	r = opened(path, SQLITE_FOR_READS);
	CU_ASSERT_EQUAL(integer_of(r, "SELECT * FROM t"), 7);
	CU_ASSERT_EQUAL(sqlite_exec(w, "ALTER TABLE t ADD COLUMN m DEFAULT 9"), ERR_OK);
	s = taken(r, "SELECT * FROM t");
	CU_ASSERT_EQUAL(sqlite_step(s, &row), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_columns(s), 2);
	CU_ASSERT_EQUAL(sqlite_cell(s, 1).integer, 9);
	sqlite_give(&s);
	CU_ASSERT_EQUAL(sqlite_exec(w, "DROP TABLE t"), ERR_OK);
	fails(r, "SELECT * FROM t", ERR_UNAVAILABLE, SQLITE_FAULT_DEPLOYMENT, "42000");
	CU_ASSERT_EQUAL(sqlite_exec(w, "CREATE TABLE t (n); INSERT INTO t VALUES (5)"), ERR_OK);
	CU_ASSERT_EQUAL(integer_of(r, "SELECT * FROM t"), 5);
	sqlite_close(&r);
	sqlite_close(&w);
}

static void
a_new_file_is_private_and_a_missing_one_is_not_made_by_a_reader(void)
{
	const char *path = fresh_path();
	const struct sqlite_options o = { .path = path, .mode = SQLITE_FOR_READS, .quiet = true };
	struct sqlite_fault why = { .kind = SQLITE_FAULT_NONE };
	struct sqlite *db = NULL;
	char wal[4300];
	struct stat st;

	CU_ASSERT_EQUAL(sqlite_open(&o, &db, &why), ERR_UNAVAILABLE);
	CU_ASSERT_PTR_NULL(db);
	CU_ASSERT_EQUAL(why.kind, SQLITE_FAULT_MOMENT);
	CU_ASSERT_STRING_EQUAL(why.message, "unable to open database file");
	CU_ASSERT_EQUAL(stat(path, &st), -1);
	db = opened(path, SQLITE_FOR_WRITES);
	CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	CU_ASSERT_EQUAL(integer_of(db, "PRAGMA synchronous"), 2); /* FULL */
	CU_ASSERT_EQUAL(sqlite_exec(db, "CREATE TABLE t (n)"), ERR_OK);
	(void)snprintf(wal, sizeof wal, "%s-wal", path);
	CU_ASSERT_EQUAL_FATAL(stat(wal, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	sqlite_close(&db);
}

static void
a_file_that_is_no_database_is_broken(void)
{
	const char *path = fresh_path();
	struct sqlite *db;
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (int i = 0; i < 500; i++)
		(void)fputs("no database ", f);
	(void)fclose(f);
	db = opened(path, SQLITE_FOR_READS);
	fails(db, "SELECT * FROM t", ERR_UNAVAILABLE, SQLITE_FAULT_BROKEN, "XX001");
	sqlite_close(&db);
}

static void
a_value_over_the_bound_is_the_values_fault(void)
{
	const struct sqlite_options o = { .mode = SQLITE_FOR_CHECKS,
		.quiet = true,
		.deadline_ms = far_ms,
		.max_value_bytes = 1000 };
	struct sqlite *db = NULL;

	CU_ASSERT_EQUAL_FATAL(sqlite_open(&o, &db, NULL), ERR_OK);
	fails(db, "SELECT length(hex(zeroblob(900)))", ERR_INVALID, SQLITE_FAULT_VALUE, "22000");
	sqlite_close(&db);
}

static void
reading_statements_are_told_from_writing_ones(void)
{
	struct sqlite *db = opened(NULL, SQLITE_FOR_CHECKS);
	struct sqlite_statement *s;

	CU_ASSERT_EQUAL(sqlite_exec(db, "CREATE TABLE t (n BOOLEAN)"), ERR_OK);
	s = taken(db, "SELECT n AS x FROM t");
	CU_ASSERT_TRUE(sqlite_is_readonly(s));
	CU_ASSERT_STRING_EQUAL(sqlite_column_name(s, 0), "x");
	CU_ASSERT_STRING_EQUAL(sqlite_column_type(s, 0), "BOOLEAN");
	sqlite_give(&s);
	s = taken(db, "DELETE FROM t");
	CU_ASSERT_FALSE(sqlite_is_readonly(s));
	sqlite_give(&s);
	sqlite_close(&db);
}

UNIT_SUITE(sqlite, TEST(values_come_back_as_they_were_bound),
    TEST(a_statement_is_prepared_once_for_its_name_and_text),
    TEST(the_cache_is_bounded_and_forgets_the_longest_unused),
    TEST(values_are_forgotten_when_a_statement_is_given_back), TEST(failures_say_what_they_mean),
    TEST(a_placeholder_that_is_not_there_is_told_by_the_step),
    TEST(a_deadline_ends_a_statement_that_would_run_for_ever),
    TEST(a_deadline_that_has_passed_starts_nothing), TEST(a_locked_database_is_a_bad_moment),
    TEST(a_reader_reads_what_a_writer_committed_and_changes_nothing),
    TEST(a_schema_that_changes_prepares_again),
    TEST(a_new_file_is_private_and_a_missing_one_is_not_made_by_a_reader),
    TEST(a_file_that_is_no_database_is_broken), TEST(a_value_over_the_bound_is_the_values_fault),
    TEST(reading_statements_are_told_from_writing_ones));
