/* Goal: REDIS_URL is read as it is meant, and what is wrong with it is said without its password. */
#include "service/shard_url.h"

#include "tests/support/unit.h"

enum { ARENA_BYTES = 65536 };

static struct arena arena;
static struct shard_url urls[SHARD_URLS_MAX];
static size_t count;
static const char *why;

static enum err
parse(const char *text)
{
	arena_free(&arena);
	arena_init(&arena, ARENA_BYTES);
	return shard_urls_parse(slice_of(text), &arena, urls, &count, &why);
}

static void
a_whole_url_is_read(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("redis://me:p%40ss%2C@cache.example:6380/3"), ERR_OK);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "cache.example");
	CU_ASSERT_EQUAL(urls[0].port, 6380);
	CU_ASSERT_EQUAL(urls[0].database, 3);
	CU_ASSERT_STRING_EQUAL(urls[0].user, "me");
	CU_ASSERT_STRING_EQUAL(urls[0].password, "p@ss,");
	CU_ASSERT_STRING_EQUAL(urls[0].shown, "redis://me:***@cache.example:6380/3");
	CU_ASSERT_STRING_EQUAL(urls[0].identity, "cache.example:6380/3");
}

static void
what_is_left_out_has_its_default(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("redis://cache"), ERR_OK);
	CU_ASSERT_EQUAL(urls[0].port, 6379);
	CU_ASSERT_EQUAL(urls[0].database, 0);
	CU_ASSERT_PTR_NULL(urls[0].password);
	CU_ASSERT_EQUAL_FATAL(parse("redis://:secret@[::1]:7/"), ERR_OK);
	CU_ASSERT_PTR_NULL(urls[0].user);
	CU_ASSERT_STRING_EQUAL(urls[0].host, "::1");
	CU_ASSERT_EQUAL(urls[0].port, 7);
}

static void
several_are_shards(void)
{
	CU_ASSERT_EQUAL_FATAL(parse("redis://a, unix:/run/redis.sock,redis://a/1"), ERR_OK);
	CU_ASSERT_EQUAL(count, 3);
	CU_ASSERT_STRING_EQUAL(urls[1].path, "/run/redis.sock");
	CU_ASSERT_PTR_NULL(urls[1].host);
	CU_ASSERT_STRING_EQUAL(shard_urls_shown(SLICE("redis://:x@a,unix:/b"), &arena),
	    "redis://:***@a:6379/0,unix:/b");
}

static void
what_is_wrong_is_refused_and_said(void)
{
	static const char *const bad[] = { "", "cache:6379", "http://cache", "rediss://cache",
		"redis://", "redis://:6379", "redis://cache:0", "redis://cache:65536",
		"redis://cache:x", "redis://cache/-1", "redis://cache/0/1", "redis://me@cache",
		"redis://a:%zz@cache", "redis://[::1", "redis://[::1]7",
		"unix:", "redis://a,,redis://b", "redis://a,redis://a:6379/0" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CU_ASSERT_EQUAL(parse(bad[i]), ERR_INVALID);
		CU_ASSERT_PTR_NOT_NULL(why);
	}
	CU_ASSERT_EQUAL(
	    parse("redis://a0,redis://a1,redis://a2,redis://a3,redis://a4,redis://a5,redis://a6,"
		  "redis://a7,redis://a8,redis://a9,redis://b0,redis://b1,redis://b2,redis://b3,"
		  "redis://b4,redis://b5,redis://b6"),
	    ERR_INVALID);
	CU_ASSERT_STRING_EQUAL(why, "at most 16 shards");
}

static void
a_bad_one_is_shown_without_what_may_be_a_password(void)
{
	static const char *const texts[][2] = {
		{ "redis://:a,b@cache:x", "redis://***@cache:x" },
		{ "redis://:secret", "redis://***" },
		{ "me:secret@cache", "***@cache" },
		{ "redis://me:secret", "redis://***" },
		{ "redis://cache,redis://:secret", "redis://***" },
		{ "redis://:a@cache,redis://:secret", "redis://***" },
		{ "redis://cache:99999", "redis://cache:99999" },
		{ "cache:6379", "cache:6379" },
		{ "redis://cache/x", "redis://cache/x" },
		{ "unix:", "unix:" },
	};

	arena_free(&arena);
	arena_init(&arena, ARENA_BYTES);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		CU_ASSERT_STRING_EQUAL(
		    shard_urls_shown(slice_of(texts[i][0]), &arena), texts[i][1]);
}

UNIT_SUITE(shard_url, TEST(a_whole_url_is_read), TEST(what_is_left_out_has_its_default),
    TEST(several_are_shards), TEST(what_is_wrong_is_refused_and_said),
    TEST(a_bad_one_is_shown_without_what_may_be_a_password));
