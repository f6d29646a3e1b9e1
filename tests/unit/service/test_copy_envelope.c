/* Goal: what is written is read back, and no bytes that somebody left in Redis pass for a copy. */
#include "service/copy_envelope.h"

#include <string.h>

#include "base/hash.h"
#include "tests/support/unit.h"

enum { MAX_BYTES = 1 << 20, ARENA_BYTES = 4 << 20 };

static struct arena a;
static struct strbuf written;

static const struct copy_envelope sample = {
	.stored_us = INT64_C(1764000000123456),
	.fresh_ms = 3600000,
	.stale_ms = 600000,
	.error_ms = 86400000,
	.cost_us = 4000000000u,
	.generations = { "1764000000000001 1764000000000002", 33 },
};

static void
write_block(struct slice block)
{
	struct copy_envelope e = sample;

	arena_free(&a);
	arena_init(&a, ARENA_BYTES);
	strbuf_free(&written);
	written = STRBUF_INIT(2 * MAX_BYTES);
	e.block = block;
	CU_ASSERT_EQUAL(copy_envelope_write(&e, &written), ERR_OK);
}

static enum err
open_written(struct copy_envelope *out)
{
	return copy_envelope_open(strbuf_slice(&written), MAX_BYTES, &a, out);
}

static void
check_round_trip(struct slice block)
{
	struct copy_envelope e;

	write_block(block);
	CU_ASSERT_EQUAL_FATAL(open_written(&e), ERR_OK);
	CU_ASSERT_EQUAL(e.stored_us, sample.stored_us);
	CU_ASSERT_EQUAL(e.fresh_ms, sample.fresh_ms);
	CU_ASSERT_EQUAL(e.stale_ms, sample.stale_ms);
	CU_ASSERT_EQUAL(e.error_ms, sample.error_ms);
	CU_ASSERT_EQUAL(e.cost_us, sample.cost_us);
	CU_ASSERT_TRUE(slice_eq(e.generations, sample.generations));
	CU_ASSERT_TRUE(slice_eq(e.block, block));
}

static void
what_is_written_is_read_back(void)
{
	char noise[5000];

	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (char)(i * i * 31 >> 3);
	check_round_trip(SLICE("{\"a\":1}"));
	check_round_trip((struct slice){ noise, sizeof noise });
}

static void
a_large_block_is_packed_and_a_small_one_is_not(void)
{
	static char zeroes[100000];

	check_round_trip((struct slice){ zeroes, sizeof zeroes });
	CU_ASSERT_TRUE(written.len < 1000);
	CU_ASSERT_EQUAL(written.ptr[3], 1);
	check_round_trip((struct slice){ zeroes, 100 });
	CU_ASSERT_EQUAL(written.len, 56 + sample.generations.len + 100);
	CU_ASSERT_EQUAL(written.ptr[3], 0);
}

static void
every_changed_byte_is_noticed(void)
{
	struct copy_envelope e;

	write_block(SLICE("{\"a\":\"some text that is a copy\"}"));
	for (size_t i = 0; i < written.len; i++) {
		written.ptr[i] ^= 0x10;
		CU_ASSERT_EQUAL(open_written(&e), ERR_INVALID);
		written.ptr[i] ^= 0x10;
	}
	CU_ASSERT_EQUAL(open_written(&e), ERR_OK);
}

static void
every_length_but_the_whole_is_refused(void)
{
	const struct slice block = SLICE("{\"a\":\"some text that is a copy\"}");
	struct copy_envelope e;

	write_block(block);
	for (size_t n = 0; n < written.len; n++)
		CU_ASSERT_EQUAL(
		    copy_envelope_open((struct slice){ written.ptr, n }, MAX_BYTES, &a, &e),
		    ERR_INVALID);
}

/* Somebody who knows how the hash is made. */
static void
sign(void)
{
	const uint64_t head = hash64(0x6c32, written.ptr, 40);
	const uint64_t h = hash64(head, written.ptr + 48, written.len - 48);

	for (size_t i = 0; i < 8; i++)
		written.ptr[40 + i] = (char)(h >> (8 * i) & 0xff);
}

static void
spoil(size_t at, const char *bytes, size_t n)
{
	static char zeroes[5000];
	struct copy_envelope e;

	write_block((struct slice){ zeroes, sizeof zeroes });
	memcpy(written.ptr + at, bytes, n);
	sign();
	CU_ASSERT_EQUAL(open_written(&e), ERR_INVALID);
}

static void
a_hostile_writer_gets_no_memory_and_no_bytes_of_others(void)
{
	struct copy_envelope e;

	spoil(4, "\xff\xff\xff\x7f", 4); /* more than may be taken */
	spoil(4, "\x00\x00\x08\x00", 4); /* more than is packed */
	spoil(4, "\x01\x00\x00\x00", 4); /* less */
	spoil(3, "\x00", 1);		 /* not packed, and of another length */
	spoil(48, "\xff\xff", 2);	 /* generations beyond the end */
	spoil(48, "\x01\x02", 2);	 /* more of them than there may be */
	spoil(15, "\x80", 1);		 /* stored before time began */
	spoil(23, "\x7f", 1);		 /* fresh for ever */
	spoil(31, "\xff", 1);
	spoil(39, "\xff", 1);
	spoil(56 + 33, "\x00\x00\x00\x00", 4); /* no frame of zstd */
	write_block(SLICE("x"));
	sign();
	CU_ASSERT_EQUAL(open_written(&e), ERR_OK); /* it is the hash that sign() makes */
}

static void
a_block_over_the_bound_and_too_many_generations_are_refused(void)
{
	static char zeroes[2000];
	struct copy_envelope e = sample;

	write_block((struct slice){ zeroes, sizeof zeroes });
	CU_ASSERT_EQUAL(copy_envelope_open(strbuf_slice(&written), 1999, &a, &e), ERR_INVALID);
	CU_ASSERT_EQUAL(copy_envelope_open(strbuf_slice(&written), 2000, &a, &e), ERR_OK);
	e = sample;
	e.generations = (struct slice){ zeroes, COPY_GENERATIONS_MAX + 1 };
	CU_ASSERT_EQUAL(copy_envelope_write(&e, &written), ERR_TOO_LARGE);
	arena_free(&a);
	strbuf_free(&written);
}

UNIT_SUITE(copy_envelope, TEST(what_is_written_is_read_back),
    TEST(a_large_block_is_packed_and_a_small_one_is_not), TEST(every_changed_byte_is_noticed),
    TEST(every_length_but_the_whole_is_refused),
    TEST(a_hostile_writer_gets_no_memory_and_no_bytes_of_others),
    TEST(a_block_over_the_bound_and_too_many_generations_are_refused));
