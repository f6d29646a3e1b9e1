/* Goal: one client has one name, and nobody chooses another's. */
#include "http/address.h"

#include "tests/unit/http/check.h"

static struct arena arena;

static void
setup(void)
{
	arena_free(&arena);
	arena_init(&arena, 65536);
}

static void
test_a_list_holds_what_its_prefixes_cover(void)
{
	static const struct {
		const char *list, *address;
		bool has;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.0.1", true },
		{ "10.0.0.0/8", "11.0.0.1", false },
		{ "10.1.2.3/8", "10.9.9.9", true }, /* host bits do not count */
		{ "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.128/25", "192.0.2.200", true },
		{ "0.0.0.0/0", "203.0.113.9", true },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "::/0", "203.0.113.9", true },
		{ "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.2", false },
		{ "192.0.2.1", "::ffff:192.0.2.1", true },
		{ "::ffff:192.0.2.0/120", "192.0.2.77", true },
		{ "2001:db8::/32", "2001:db8:1::5", true },
		{ "2001:db8::/33", "2001:db8:8000::", false },
		{ "2001:db8::1", "2001:db8::2", false },
		{ " 127.0.0.1 , 10.0.0.0/8 ", "10.0.0.1", true },
		{ "unix:", "unix:", true },
		{ "unix:,10.0.0.0/8", "10.0.0.1", true },
		{ "unix:", "0.0.0.0", false },
		{ "127.0.0.1", "unix:", false },
		{ "127.0.0.1", "", false },
		{ "127.0.0.1", "localhost", false },
		{ "", "127.0.0.1", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cidr *list = NULL;
		struct slice bad;
		size_t count;

		setup();
		CHECK_ROW(rows[i].list,
		    cidr_list_parse(slice_of(rows[i].list), &arena, &list, &count, &bad) == ERR_OK);
		CHECK_ROW(rows[i].list,
		    cidr_list_has(list, count, slice_of(rows[i].address)) == rows[i].has);
	}
}

static void
test_a_bad_entry_is_named(void)
{
	static const struct {
		const char *list, *bad;
	} rows[] = {
		{ "10.0.0.0/8,10.0.0.0/33", "10.0.0.0/33" },
		{ "10.0.0/8", "10.0.0/8" },
		{ "10.0.0.01", "10.0.0.01" },
		{ "10.0.0.0/", "10.0.0.0/" },
		{ "10.0.0.0/-1", "10.0.0.0/-1" },
		{ "10.0.0.0/8/8", "10.0.0.0/8/8" },
		{ "::1/129", "::1/129" },
		{ "::g", "::g" },
		{ "127.0.0.1, proxy.internal ,::1", "proxy.internal" },
		{ "127.0.0.1,", "" },
		{ "/8", "/8" },
		{ "unix:/run/x", "unix:/run/x" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice bad = { NULL, 0 };
		struct cidr *list;
		size_t count;

		setup();
		CHECK_ROW(rows[i].list, cidr_list_parse(slice_of(rows[i].list), &arena, &list,
					    &count, &bad) == ERR_INVALID);
		CHECK_TEXT(rows[i].list, bad, rows[i].bad);
	}
}

static void
test_the_client_is_whom_the_last_trusted_proxy_saw(void)
{
	static const struct {
		const char *remote, *forwarded, *want;
	} rows[] = {
		/* without a proxy */
		{ "192.0.2.1", NULL, "192.0.2.1" },
		{ "::ffff:192.0.2.1", NULL, "192.0.2.1" },
		{ "2001:db8:1:2:3:4:5:6", NULL, "2001:db8:1:2::/64" },
		{ "2001:DB8:1:2::", NULL, "2001:db8:1:2::/64" },
		{ "::1", NULL, "::/64" },
		{ "unix:", NULL, "unknown" },
		{ "nonsense", NULL, "unknown" },
		{ NULL, NULL, "unknown" },
		/* a client's own header is not believed */
		{ "192.0.2.1", "198.51.100.7", "192.0.2.1" },
		/* one and several trusted proxies, 10.0.0.0/8 and unix: */
		{ "10.0.0.1", "198.51.100.7", "198.51.100.7" },
		{ "unix:", "198.51.100.7", "unknown" },
		{ "10.0.0.1", "203.0.113.1, 198.51.100.7, 10.0.0.2", "198.51.100.7" },
		{ "10.0.0.1", "203.0.113.1,198.51.100.7 , , 10.0.0.2,", "198.51.100.7" },
		{ "10.0.0.1", "2001:db8:1:2::9", "2001:db8:1:2::/64" },
		/* what a trusted proxy says is not an address */
		{ "10.0.0.1", "198.51.100.7, unknown", "unknown" },
		{ "10.0.0.1", "198.51.100.7, 10.0.0.256", "unknown" },
		/* only proxies: the first of them */
		{ "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3" },
		{ "10.0.0.1", "", "10.0.0.1" },
		{ "10.0.0.1", NULL, "10.0.0.1" },
		/* ports */
		{ "10.0.0.1", "198.51.100.7:4711", "198.51.100.7" },
		{ "10.0.0.1", "[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64" },
		{ "10.0.0.1", "[2001:db8:1:2::9]", "2001:db8:1:2::/64" },
		{ "10.0.0.1", "[2001:db8:1:2::9", "unknown" },
	};
	struct arena lists = { 0 };
	struct cidr *trusted = NULL;
	struct slice bad;
	size_t count;

	arena_init(&lists, 4096);
	CU_ASSERT_EQUAL(
	    cidr_list_parse(SLICE("10.0.0.0/8"), &lists, &trusted, &count, &bad), ERR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		setup();
		CHECK_TEXT(rows[i].forwarded == NULL ? rows[i].remote : rows[i].forwarded,
		    address_client(slice_of(rows[i].remote), slice_of(rows[i].forwarded), trusted,
			count, &arena),
		    rows[i].want);
	}
	arena_free(&lists);
}

static void
test_a_unix_peer_may_be_a_trusted_proxy(void)
{
	struct cidr *trusted = NULL;
	struct slice bad;
	size_t count;

	setup();
	CU_ASSERT_EQUAL(cidr_list_parse(SLICE("unix:"), &arena, &trusted, &count, &bad), ERR_OK);
	CHECK_TEXT(
	    "unix:", address_client(SLICE("unix:"), SLICE("198.51.100.7"), trusted, count, &arena),
	    "198.51.100.7");
	CHECK_TEXT("alone",
	    address_client(SLICE("unix:"), (struct slice){ NULL, 0 }, trusted, count, &arena),
	    "unknown");
}

static void
test_without_memory_nobody_gets_a_name_of_his_own(void)
{
	arena_free(&arena);
	arena_init(&arena, 0);
	CHECK_TEXT("full",
	    address_client(SLICE("2001:db8::1"), (struct slice){ NULL, 0 }, NULL, 0, &arena),
	    "unknown");
	arena_free(&arena);
}

UNIT_SUITE(address, TEST(test_a_list_holds_what_its_prefixes_cover),
    TEST(test_a_bad_entry_is_named), TEST(test_the_client_is_whom_the_last_trusted_proxy_saw),
    TEST(test_a_unix_peer_may_be_a_trusted_proxy),
    TEST(test_without_memory_nobody_gets_a_name_of_his_own));
