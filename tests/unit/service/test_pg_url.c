/* Goal: the URLs of PostgreSQL are read as they are meant, and what is wrong is said without a password. */
#include "service/pg_url.h"

#include <string.h>

#include "client/pg.h"
#include "tests/support/unit.h"

enum { ARENA_BYTES = 65536 };

static struct arena arena;
static struct pg_url urls[PG_URLS_MAX];
static size_t count;
static const char *why;

static enum err
parse(const char *text)
{
	arena_free(&arena);
	arena_init(&arena, ARENA_BYTES);
	return pg_urls_parse(slice_of(text), &arena, urls, &count, &why);
}

static void
refuses(const char *text, const char *expected)
{
	CU_ASSERT_EQUAL(parse(text), ERR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, expected));
}

static void
a_whole_url_is_read(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("postgres://me:p%40s%2Cs@db.example:5433/"
				    "shop?sslmode=verify-full&sslrootcert=%2Fca"),
	    ERR_OK);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "db.example");
	CU_ASSERT_EQUAL(urls[0].port, 5433);
	CU_ASSERT_STRING_EQUAL(urls[0].user, "me");
	CU_ASSERT_STRING_EQUAL(urls[0].password, "p@s,s");
	CU_ASSERT_STRING_EQUAL(urls[0].database, "shop");
	CU_ASSERT_STRING_EQUAL(urls[0].tls_mode, "verify-full");
	CU_ASSERT_STRING_EQUAL(urls[0].tls_root, "/ca");
	CU_ASSERT_STRING_EQUAL(urls[0].shown, "postgres://me:***@db.example:5433/shop");
}

static void
what_is_left_out_has_its_default(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("postgresql://me@[::1]"), ERR_OK);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "::1");
	CU_ASSERT_EQUAL(urls[0].port, 5432);
	CU_ASSERT_STRING_EQUAL(urls[0].database, "me");
	CU_ASSERT_PTR_NULL(urls[0].password);
	CU_ASSERT_STRING_EQUAL(urls[0].shown, "postgres://me@[::1]:5432/me");
	CU_ASSERT_FALSE(pg_url_is_local(&urls[0]));
}

static void
a_unix_socket_is_its_folder(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("postgres://me@%2Frun%2Fpg/db"), ERR_OK);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "/run/pg");
	CU_ASSERT_TRUE(pg_url_is_local(&urls[0]));
	CU_ASSERT_EQUAL_FATAL(parse("postgres://me@/db?host=/run/pg&port=7"), ERR_OK);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "/run/pg");
	CU_ASSERT_EQUAL(urls[0].port, 7);
}

static void
several_are_replicas_in_their_order(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("postgres://u:x@a/db, postgres://u:y@b/db"), ERR_OK);
	CU_ASSERT_EQUAL(count, 2);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "a");
	CU_ASSERT_STRING_EQUAL(urls[1].password, "y");
	CU_ASSERT_STRING_EQUAL(
	    pg_urls_shown(SLICE("postgres://u:x@a/db, postgres://u:y@b/db"), &arena),
	    "postgres://u:***@a:5432/db,postgres://u:***@b:5432/db");
}

static void
what_is_wrong_is_refused_and_said(void)
{
	refuses("mysql://u@h/db", "postgres://user:pass@host:port/database");
	refuses("postgres://host/db", "a user before the host");
	refuses("postgres://@host/db", "a user before the host");
	refuses("postgres://u@/db", "a host");
	refuses("postgres://u@h:0/db", "a port from 1 to 65535");
	refuses("postgres://u@h:65536/db", "a port from 1 to 65535");
	refuses("postgres://u@[::1/db", "[address]:port");
	refuses("postgres://u@h/db?sslmode=maybe", "sslmode disable");
	refuses("postgres://u@h/db?options=-c", "only sslmode");
	refuses("postgres://u@h/db?sslmode=", "a value");
	refuses("postgres://u:%zz@h/db", "% escapes");
	refuses("postgres://u@h/db,postgres://u@h/db", "each server once");
	refuses("postgres://u@h/db,", "postgres://user:pass@host:port/database");
}

static void
a_bad_url_is_shown_without_what_may_be_a_password(void)
{
	static const char *const texts[][2] = {
		{ "postgres://u:secret@h:x/db", "postgres://***@h:x/db" },
		{ "postgresql://u:secret", "postgresql://***" },
		{ "postgres://u:a@h/db,postgres://u:secret", "postgres://***" },
		{ "postgres://u@h/db?password=secret", "postgres://***@h/db?***" },
		{ "mysql:x", "***" },
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		CU_ASSERT_STRING_EQUAL(pg_urls_shown(slice_of(texts[i][0]), &arena), texts[i][1]);
}

static void
the_same_place_does_not_depend_on_the_user(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("postgres://a:x@h/db,postgres://a@h:1/db"), ERR_OK);
	CU_ASSERT_FALSE(pg_url_same_place(&urls[0], &urls[1]));
	urls[1].port = 5432;
	urls[1].user = "b";
	CU_ASSERT_TRUE(pg_url_same_place(&urls[0], &urls[1]));
	CU_ASSERT_STRING_EQUAL(pg_url_address(&urls[0], "127.0.0.1").numeric, "127.0.0.1");
	arena_free(&arena);
}

UNIT_SUITE(pg_url, TEST(a_whole_url_is_read), TEST(what_is_left_out_has_its_default),
    TEST(a_unix_socket_is_its_folder), TEST(several_are_replicas_in_their_order),
    TEST(what_is_wrong_is_refused_and_said),
    TEST(a_bad_url_is_shown_without_what_may_be_a_password),
    TEST(the_same_place_does_not_depend_on_the_user));
