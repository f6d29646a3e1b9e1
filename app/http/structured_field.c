/*
 * Structured Fields (RFC 9651): reading an Idempotency-Key, writing Strings.
 *
 * Reading is by the book for what has quotes, and lenient only for what has
 * none, because most clients in the field send their keys bare.
 */
#include "http/structured_field.h"

enum { KEY_MAX_BYTES = 255 };

static bool
is_printable(char c)
{
	return c >= 0x20 && c < 0x7f;
}

/* §4.2.5: the bytes between the quotes; only \" and \\ are escapes, nothing may follow. */
static enum err
unquote(struct slice raw, struct arena *a, struct slice *out)
{
	char *bytes = arena_alloc(a, raw.len);
	size_t len = 0, at = 1;

	if (bytes == NULL)
		return ERR_NOMEM;
	for (; at < raw.len && raw.ptr[at] != '"'; at++) {
		if (raw.ptr[at] == '\\') {
			at++;
			if (at == raw.len || (raw.ptr[at] != '"' && raw.ptr[at] != '\\'))
				return ERR_INVALID;
		}
		if (!is_printable(raw.ptr[at]))
			return ERR_INVALID;
		bytes[len++] = raw.ptr[at];
	}
	*out = (struct slice){ bytes, len };
	return at + 1 == raw.len ? ERR_OK : ERR_INVALID;
}

/* A comma would be two header lines that a front server joined; a space or a quote, a torn String. */
static enum err
check_bare(struct slice raw)
{
	for (size_t i = 0; i < raw.len; i++)
		if (!is_printable(raw.ptr[i]) || raw.ptr[i] == ' ' || raw.ptr[i] == '"' ||
		    raw.ptr[i] == ',')
			return ERR_INVALID;
	return ERR_OK;
}

enum err
sf_idempotency_key(struct slice raw, struct arena *a, struct slice *out)
{
	const struct slice s = slice_trim(raw);
	enum err rc = ERR_OK;

	*out = s;
	if (s.len > 2 * KEY_MAX_BYTES + 2) /* every byte escaped, and the quotes */
		return ERR_INVALID;
	rc = s.len > 0 && *s.ptr == '"' ? unquote(s, a, out) : check_bare(s);
	if (rc != ERR_OK)
		return rc;
	return out->len >= 1 && out->len <= KEY_MAX_BYTES ? ERR_OK : ERR_INVALID;
}

void
sf_add_string(struct strbuf *b, struct slice s)
{
	strbuf_add_char(b, '"');
	for (size_t i = 0; i < s.len; i++) {
		const char c = is_printable(s.ptr[i]) ? s.ptr[i] : '?';

		if (c == '"' || c == '\\')
			strbuf_add_char(b, '\\');
		strbuf_add_char(b, c);
	}
	strbuf_add_char(b, '"');
}
