/* Goal: what was packed comes back whole, and nothing else comes out. */
#include "client/zstd.h"

#include <string.h>

#include "tests/support/unit.h"

static void
what_was_packed_comes_back(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);
	char in[10000], out[sizeof in];

	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (char)(i % 7);
	CU_ASSERT_EQUAL(zstd_pack((struct slice){ in, sizeof in }, &b), ERR_OK);
	CU_ASSERT_TRUE(b.len < sizeof in / 10);
	CU_ASSERT_EQUAL(zstd_unpack(strbuf_slice(&b), out, sizeof out), ERR_OK);
	CU_ASSERT_EQUAL(memcmp(in, out, sizeof in), 0);
	CU_ASSERT_EQUAL(zstd_unpack(strbuf_slice(&b), out, sizeof out - 1), ERR_INVALID);
	b.len--;
	CU_ASSERT_EQUAL(zstd_unpack(strbuf_slice(&b), out, sizeof out), ERR_INVALID);
	strbuf_free(&b);
}

static void
it_never_writes_past_its_room(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20), small = STRBUF_INIT(4);
	static char zeroes[100000];
	char out[16];

	CU_ASSERT_EQUAL(zstd_pack((struct slice){ zeroes, sizeof zeroes }, &b), ERR_OK);
	CU_ASSERT_EQUAL(zstd_unpack(strbuf_slice(&b), out, sizeof out), ERR_INVALID);
	CU_ASSERT_EQUAL(zstd_unpack(SLICE("no frame"), out, sizeof out), ERR_INVALID);
	CU_ASSERT_EQUAL(zstd_unpack(SLICE(""), out, sizeof out), ERR_INVALID);
	CU_ASSERT_EQUAL(zstd_pack((struct slice){ zeroes, sizeof zeroes }, &small), ERR_NOMEM);
	strbuf_free(&b);
	strbuf_free(&small);
}

UNIT_SUITE(zstd, TEST(what_was_packed_comes_back), TEST(it_never_writes_past_its_room));
