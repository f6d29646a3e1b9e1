/*
 * Who calls: one canonical text for one client, however its address was written.
 *
 * Every address is 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), so one
 * comparison of bits serves both families.  The system's inet_pton() reads them:
 * it is strict, and takes neither octal nor short forms.
 */
#include "http/address.h"

#include <arpa/inet.h>
#include <string.h>

enum { ADDRESS_BYTES = 16, ADDRESS_BITS = 128, IPV4_AT = 12, IPV4_BITS = 96, SITE_BYTES = 8 };

static const uint8_t mapped[IPV4_AT] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool
is_ipv4(const uint8_t bytes[ADDRESS_BYTES])
{
	return memcmp(bytes, mapped, sizeof mapped) == 0;
}

static bool
parse_address(struct slice s, uint8_t out[ADDRESS_BYTES])
{
	char text[INET6_ADDRSTRLEN];

	if (s.len == 0 || s.len >= sizeof text)
		return false;
	memcpy(text, s.ptr, s.len);
	text[s.len] = '\0'; /* a NUL inside ends it early, and then the rest must not be there */
	if (strlen(text) != s.len)
		return false;
	if (strchr(text, ':') != NULL)
		return inet_pton(AF_INET6, text, out) == 1;
	memcpy(out, mapped, sizeof mapped);
	return inet_pton(AF_INET, text, out + IPV4_AT) == 1;
}

/* Clears what lies behind the prefix, so that 10.1.2.3/8 is 10.0.0.0/8. */
static void
mask(struct cidr *c)
{
	for (unsigned i = c->bits; i < ADDRESS_BITS; i++)
		c->bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
}

static enum err
parse_cidr(struct slice text, struct cidr *out)
{
	struct slice prefix = text;
	const struct slice address = slice_cut(&prefix, '/');
	unsigned most;
	int64_t bits;

	if (slice_eq(text, SLICE("unix:"))) {
		out->unix_peer = true;
		return ERR_OK;
	}
	if (!parse_address(address, out->bytes))
		return ERR_INVALID;
	most =
	    memchr(address.ptr, ':', address.len) != NULL ? ADDRESS_BITS : ADDRESS_BITS - IPV4_BITS;
	bits = most;
	if (prefix.ptr != NULL && slice_to_i64(prefix, &bits) != ERR_OK)
		return ERR_INVALID;
	if (bits < 0 || bits > most)
		return ERR_INVALID;
	out->bits = (unsigned)bits + ADDRESS_BITS - most;
	mask(out);
	return ERR_OK;
}

enum err
cidr_list_parse(
    struct slice text, struct arena *a, struct cidr **out, size_t *count_out, struct slice *bad_out)
{
	size_t commas = 0, count = 0;

	*out = NULL;
	*count_out = 0;
	text = slice_trim(text);
	if (text.len == 0)
		return ERR_OK;
	for (size_t i = 0; i < text.len; i++)
		commas += text.ptr[i] == ',';
	*out = arena_alloc(a, (commas + 1) * sizeof **out);
	if (*out == NULL)
		return ERR_NOMEM;
	while (text.ptr != NULL) {
		*bad_out = slice_trim(slice_cut(&text, ','));
		if (parse_cidr(*bad_out, &(*out)[count++]) != ERR_OK)
			return ERR_INVALID;
	}
	*count_out = count;
	return ERR_OK;
}

static bool
cidr_has(const struct cidr *c, const uint8_t bytes[ADDRESS_BYTES])
{
	const unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (c->unix_peer || memcmp(c->bytes, bytes, whole) != 0)
		return false;
	return rest == 0 || (c->bytes[whole] ^ bytes[whole]) >> (8 - rest) == 0;
}

static bool
list_has(const struct cidr *list, size_t count, const uint8_t bytes[ADDRESS_BYTES])
{
	for (size_t i = 0; i < count; i++)
		if (cidr_has(&list[i], bytes))
			return true;
	return false;
}

static bool
list_has_unix(const struct cidr *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].unix_peer)
			return true;
	return false;
}

bool
cidr_list_has(const struct cidr *list, size_t count, struct slice address)
{
	uint8_t bytes[ADDRESS_BYTES];

	if (count == 0)
		return false;
	if (slice_starts(address, "unix:"))
		return list_has_unix(list, count);
	return parse_address(address, bytes) && list_has(list, count, bytes);
}

/* ${s} as the client is known by: itself when it is IPv4 in its only form. */
static struct slice
canonical(struct slice s, struct arena *a)
{
	char text[INET6_ADDRSTRLEN + sizeof "/64"];
	uint8_t bytes[ADDRESS_BYTES];

	if (!parse_address(s, bytes))
		return SLICE("unknown");
	if (is_ipv4(bytes)) {
		if (memchr(s.ptr, ':', s.len) == NULL)
			return s;
		(void)inet_ntop(AF_INET, bytes + IPV4_AT, text, sizeof text);
	} else {
		memset(bytes + SITE_BYTES, 0, ADDRESS_BYTES - SITE_BYTES);
		(void)inet_ntop(AF_INET6, bytes, text, sizeof text);
		memcpy(text + strlen(text), "/64", sizeof "/64");
	}
	s = arena_slice(a, slice_of(text));
	return s.ptr == NULL ? SLICE("unknown") : s;
}

/* Takes the last element off a comma-separated list; *${rest} becomes absent with the first one. */
static struct slice
cut_last(struct slice *rest)
{
	const char *comma = rest->len == 0 ? NULL : memrchr(rest->ptr, ',', rest->len);
	struct slice last = *rest;

	if (comma == NULL) {
		*rest = (struct slice){ NULL, 0 };
	} else {
		last.ptr = comma + 1;
		last.len = (size_t)(rest->ptr + rest->len - last.ptr);
		rest->len = (size_t)(comma - rest->ptr);
	}
	return slice_trim(last);
}

/* Some proxies write the port too: 192.0.2.1:4711, [2001:db8::1]:4711, [2001:db8::1]. */
static struct slice
without_port(struct slice s)
{
	const char *colon = s.len == 0 ? NULL : memchr(s.ptr, ':', s.len);
	const char *close;

	if (s.len > 0 && *s.ptr == '[') {
		close = memchr(s.ptr, ']', s.len);
		if (close != NULL)
			return (struct slice){ s.ptr + 1, (size_t)(close - s.ptr) - 1 };
	} else if (colon != NULL && memrchr(s.ptr, ':', s.len) == colon) {
		return (struct slice){ s.ptr, (size_t)(colon - s.ptr) };
	}
	return s;
}

/*
 * A trusted proxy vouches for the element on its left, and no further.  When all are trusted, the
 * caller sits among the proxies: the leftmost is it.
 */
struct slice
address_client(struct slice remote, struct slice forwarded_for, const struct cidr *trusted,
    size_t trusted_count, struct arena *a)
{
	struct slice client = remote;

	while (forwarded_for.ptr != NULL && cidr_list_has(trusted, trusted_count, client)) {
		const struct slice next = without_port(cut_last(&forwarded_for));

		if (next.len > 0) /* RFC 9110 §5.6.1: empty elements do not count */
			client = next;
	}
	return canonical(client, a);
}
