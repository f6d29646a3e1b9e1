/*
 * Protocol buffers by hand: a tag, then what it announces.  Some two hundred lines instead of a library and a compiler
 * for the few messages of OTLP, whose field numbers never change.
 */
#include "telemetry/protobuf.h"

#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

enum { VARINT_BYTES_MAX = 10 };

static size_t
write_varint(uint64_t value, uint8_t out[VARINT_BYTES_MAX])
{
	size_t n = 0;

	do {
		out[n] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		value >>= 7;
	} while (out[n++] & 0x80);
	return n;
}

static void
add_varint(struct strbuf *b, uint64_t value)
{
	uint8_t bytes[VARINT_BYTES_MAX];

	strbuf_add(b, bytes, write_varint(value, bytes));
}

static void
add_tag(struct strbuf *b, unsigned field, enum wire wire)
{
	add_varint(b, (uint64_t)field << 3 | wire);
}

static void
add_little_endian(struct strbuf *b, uint64_t value, size_t bytes)
{
	uint8_t out[8];

	for (size_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
	strbuf_add(b, out, bytes);
}

void
pb_varint(struct strbuf *b, unsigned field, uint64_t value)
{
	if (value == 0)
		return;
	add_tag(b, field, WIRE_VARINT);
	add_varint(b, value);
}

void
pb_fixed32(struct strbuf *b, unsigned field, uint32_t value)
{
	if (value == 0)
		return;
	add_tag(b, field, WIRE_FIXED32);
	add_little_endian(b, value, 4);
}

void
pb_fixed64(struct strbuf *b, unsigned field, uint64_t value)
{
	add_tag(b, field, WIRE_FIXED64);
	add_little_endian(b, value, 8);
}

void
pb_double(struct strbuf *b, unsigned field, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	pb_fixed64(b, field, bits);
}

void
pb_bytes(struct strbuf *b, unsigned field, struct slice value)
{
	if (value.len == 0)
		return;
	add_tag(b, field, WIRE_BYTES);
	add_varint(b, value.len);
	strbuf_add_slice(b, value);
}

void
pb_text(struct strbuf *b, unsigned field, struct slice value)
{
	if (value.len == 0 || utf8_valid(value, NULL)) {
		pb_bytes(b, field, value);
		return;
	}
	add_tag(b, field, WIRE_BYTES);
	add_varint(b, value.len);
	while (value.len > 0) {
		const size_t n = utf8_first(value);

		if (n > 0)
			strbuf_add(b, value.ptr, n);
		else
			strbuf_add_char(b, '?');
		value.ptr += n > 0 ? n : 1;
		value.len -= n > 0 ? n : 1;
	}
}

/* One byte is kept for the length; most messages need no more. */
size_t
pb_open(struct strbuf *b, unsigned field)
{
	add_tag(b, field, WIRE_BYTES);
	strbuf_add_char(b, '\0');
	return b->len;
}

void
pb_close(struct strbuf *b, size_t opened)
{
	const size_t len = b->len - opened;
	uint8_t bytes[VARINT_BYTES_MAX];
	const size_t n = write_varint(len, bytes);

	strbuf_add(b, "\0\0\0\0\0\0\0\0\0", n - 1);
	if (b->failed)
		return;
	memmove(b->ptr + opened + n - 1, b->ptr + opened, len);
	memcpy(b->ptr + opened - 1, bytes, n);
}

/*
 * Reading.
 */
static bool
read_varint(struct slice *rest, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < rest->len && i < VARINT_BYTES_MAX; i++) {
		const uint8_t byte = (uint8_t)rest->ptr[i];

		*out |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		rest->ptr += i + 1;
		rest->len -= i + 1;
		return true;
	}
	return false;
}

static bool
take(struct slice *rest, uint64_t len, struct slice *out)
{
	if (len > rest->len)
		return false;
	*out = (struct slice){ rest->ptr, (size_t)len };
	rest->ptr += len;
	rest->len -= (size_t)len;
	return true;
}

static bool
read_fixed(struct slice *rest, size_t bytes, uint64_t *out)
{
	struct slice s;

	*out = 0;
	if (!take(rest, bytes, &s))
		return false;
	for (size_t i = 0; i < bytes; i++)
		*out |= (uint64_t)(uint8_t)s.ptr[i] << (8 * i);
	return true;
}

enum err
pb_next(struct slice *rest, struct pb_field *out)
{
	uint64_t tag, len = 0;
	bool good = false;

	*out = (struct pb_field){ 0 };
	if (rest->len == 0)
		return ERR_NOT_FOUND;
	if (!read_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
		return ERR_INVALID;
	out->number = (unsigned)(tag >> 3);
	switch (tag & 7) {
	case WIRE_VARINT:
		good = read_varint(rest, &out->value);
		break;
	case WIRE_FIXED64:
		good = read_fixed(rest, 8, &out->value);
		break;
	case WIRE_FIXED32:
		good = read_fixed(rest, 4, &out->value);
		break;
	case WIRE_BYTES:
		good = read_varint(rest, &len) && take(rest, len, &out->bytes);
		break;
	default:
		break;
	}
	return good ? ERR_OK : ERR_INVALID;
}
