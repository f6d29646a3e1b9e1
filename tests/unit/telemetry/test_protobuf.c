/* Goal: what is written are the bytes of the protocol buffers' own documentation, and reading believes nothing. */
#include "telemetry/protobuf.h"

#include <string.h>

#include "tests/unit/http/check.h"

static void
check_bytes(const char *row, struct strbuf *b, const char *bytes, size_t len)
{
	CHECK_ROW(row, b->len == len && (len == 0 || memcmp(b->ptr, bytes, len) == 0));
	strbuf_free(b);
}

static void
test_fields_are_written_as_documented(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);

	pb_varint(&b, 1, 150);
	check_bytes("varint", &b, "\x08\x96\x01", 3);
	pb_varint(&b, 1, 0);
	check_bytes("default", &b, "", 0);
	pb_varint(&b, 1, UINT64_MAX);
	check_bytes("-1", &b, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	pb_text(&b, 2, SLICE("testing"));
	check_bytes("string", &b, "\x12\x07testing", 9);
	pb_fixed32(&b, 16, 0x301);
	check_bytes("fixed32", &b, "\x85\x01\x01\x03\0\0", 6);
	pb_fixed64(&b, 7, 1);
	check_bytes("fixed64", &b, "\x39\x01\0\0\0\0\0\0\0", 9);
	pb_double(&b, 4, 1.0);
	check_bytes("double", &b, "\x21\0\0\0\0\0\0\xf0\x3f", 9);
}

static void
test_a_message_inside_has_its_length_whatever_that_takes(void)
{
	static const size_t sizes[] = { 0, 1, 127, 128, 16383, 16384, 100000 };
	static char text[100000];

	memset(text, 'x', sizeof text);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct strbuf b = STRBUF_INIT(1 << 20);
		const size_t outer = pb_open(&b, 3), inner = pb_open(&b, 1);
		struct pb_field f;
		struct slice rest, inside;

		strbuf_add(&b, text, sizes[i]);
		pb_close(&b, inner);
		pb_close(&b, outer);
		pb_varint(&b, 9, 7);
		rest = strbuf_slice(&b);
		CU_ASSERT_EQUAL_FATAL(pb_next(&rest, &f), ERR_OK);
		CU_ASSERT_EQUAL(f.number, 3);
		inside = f.bytes;
		CU_ASSERT_EQUAL_FATAL(pb_next(&inside, &f), ERR_OK);
		CU_ASSERT_EQUAL(f.bytes.len, sizes[i]);
		CU_ASSERT_EQUAL_FATAL(pb_next(&rest, &f), ERR_OK);
		CU_ASSERT_EQUAL(f.value, 7);
		CU_ASSERT_EQUAL(pb_next(&rest, &f), ERR_NOT_FOUND);
		strbuf_free(&b);
	}
}

static void
test_a_string_is_always_utf8(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);

	pb_text(&b, 1, SLICE("a\xff\xc3\xa4\xe2\x82"));
	check_bytes("text", &b,
	    "\x0a\x06"
	    "a?\xc3\xa4??",
	    8);
}

static void
test_what_is_cut_off_or_no_field_is_refused(void)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = { { "\x08", 1 }, { "\x08\x96", 2 }, { "\x12\x07test", 6 }, { "\x39\x01", 2 },
		{ "\x85\x01\x01", 3 }, { "\x0b", 1 }, { "\x0f\x01", 2 }, { "\x00\x01", 2 },
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice rest = { rows[i].bytes, rows[i].len };
		struct pb_field f;

		CU_ASSERT_EQUAL(pb_next(&rest, &f), ERR_INVALID);
	}
}

UNIT_SUITE(protobuf, TEST(test_fields_are_written_as_documented),
    TEST(test_a_message_inside_has_its_length_whatever_that_takes),
    TEST(test_a_string_is_always_utf8), TEST(test_what_is_cut_off_or_no_field_is_refused));
