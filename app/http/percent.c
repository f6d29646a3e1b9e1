/*
 * Percent-encoding: decoding hostile bytes once, comparing without a copy, and
 * making any bytes fit for a URI.
 *
 * Nearly every segment and value is plain ASCII: one loop says so, and then the
 * caller gets its own bytes back.
 */
#include "http/percent.h"

#include <string.h>

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Takes one byte off the front of ${rest} (which is not empty); -1 for a bad escape. */
static int
take_byte(struct slice *rest, bool plus_is_space)
{
	const char c = *rest->ptr;
	size_t taken = 1;
	int byte = (unsigned char)c;

	if (c == '%') {
		const int high = rest->len < 3 ? -1 : hex_digit(rest->ptr[1]);
		const int low = rest->len < 3 ? -1 : hex_digit(rest->ptr[2]);

		if (high < 0 || low < 0)
			return -1;
		byte = high * 16 + low;
		taken = 3;
	} else if (c == '+' && plus_is_space) {
		byte = ' ';
	}
	rest->ptr += taken;
	rest->len -= taken;
	return byte;
}

static bool
is_plain(struct slice s, bool plus_is_space)
{
	for (size_t i = 0; i < s.len; i++) {
		const unsigned char c = (unsigned char)s.ptr[i];

		if (c == '\0' || c >= 0x80 || c == '%' || (c == '+' && plus_is_space))
			return false;
	}
	return true;
}

enum err
percent_decode(
    struct slice raw, bool plus_is_space, struct arena *a, struct slice *out, const char **why_out)
{
	size_t len = 0;
	char *bytes;

	*out = raw.len == 0 ? SLICE("") : raw;
	if (is_plain(raw, plus_is_space))
		return ERR_OK;
	bytes = arena_alloc(a, raw.len);
	if (bytes == NULL)
		return ERR_NOMEM;
	while (raw.len > 0) {
		const int byte = take_byte(&raw, plus_is_space);

		if (byte <= 0) {
			*why_out = byte < 0 ? "a bad percent escape" : "a NUL byte";
			return ERR_INVALID;
		}
		bytes[len++] = (char)byte;
	}
	*out = (struct slice){ bytes, len };
	if (utf8_valid(*out, NULL))
		return ERR_OK;
	*why_out = "bytes that are not UTF-8";
	return ERR_INVALID;
}

bool
percent_eq(struct slice raw, bool plus_is_space, struct slice want)
{
	for (; raw.len > 0 && want.len > 0; want.ptr++, want.len--)
		if (take_byte(&raw, plus_is_space) != (unsigned char)*want.ptr)
			return false;
	return raw.len == 0 && want.len == 0;
}

static bool
is_uri_char(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c != '\0' && strchr("-._~:/?#[]@!$&'()*+,;=", c) != NULL;
}

/* A "%" that begins no escape is data like any other byte. */
static bool
fits_at(struct slice s, size_t i)
{
	struct slice rest = { s.ptr + i, s.len - i };

	return s.ptr[i] == '%' ? take_byte(&rest, false) >= 0 : is_uri_char(s.ptr[i]);
}

void
percent_clean(struct strbuf *b, struct slice raw)
{
	size_t done = 0; /* what is before has been appended */

	for (size_t i = 0; i < raw.len; i++) {
		if (fits_at(raw, i))
			continue;
		strbuf_add(b, raw.ptr + done, i - done);
		strbuf_addf(b, "%%%02X", (unsigned)(unsigned char)raw.ptr[i]);
		done = i + 1;
	}
	if (done < raw.len)
		strbuf_add(b, raw.ptr + done, raw.len - done);
}
