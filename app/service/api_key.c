/*
 * The form of API keys, and how they are found in a request.
 */
#include "service/api_key.h"

#include <stdio.h>
#include <string.h>

#include "base/rand.h"

enum { ID_BYTES = 8, SECRET_BYTES = 32, ID_LEN = 2 * ID_BYTES, SECRET_LEN = 2 * SECRET_BYTES };

static const char prefix[] = "weir_";

enum { PREFIX_LEN = sizeof prefix - 1 };

_Static_assert(API_KEY_TEXT == PREFIX_LEN + ID_LEN + 1 + SECRET_LEN + 1, "all parts of a key");

void
api_key_make(char text[API_KEY_TEXT], char id[API_KEY_ID_TEXT])
{
	uint8_t id_bytes[ID_BYTES], secret[SECRET_BYTES];
	char secret_text[SECRET_LEN + 1];

	rand_bytes(id_bytes, sizeof id_bytes);
	rand_bytes(secret, sizeof secret);
	hex_encode(id_bytes, sizeof id_bytes, id);
	hex_encode(secret, sizeof secret, secret_text);
	(void)snprintf(text, API_KEY_TEXT, "%s%s_%s", prefix, id, secret_text);
}

static bool
is_hex(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
	return true;
}

enum err
api_key_parse(struct slice text, struct slice *id_out)
{
	const char *id, *secret;

	if (text.len != API_KEY_TEXT - 1 || !slice_starts(text, prefix))
		return ERR_INVALID;
	id = text.ptr + PREFIX_LEN;
	secret = id + ID_LEN + 1;
	if (secret[-1] != '_' || !is_hex(id, ID_LEN) || !is_hex(secret, SECRET_LEN))
		return ERR_INVALID;
	*id_out = (struct slice){ id, ID_LEN };
	return ERR_OK;
}

bool
api_key_is_id(struct slice text)
{
	return text.len == ID_LEN && is_hex(text.ptr, text.len);
}

void
api_key_digest(struct slice text, uint8_t out[DIGEST_BYTES])
{
	digest_sha256(&text, 1, out);
}

/* "Bearer", in any case, and a token behind it; which may be missing, and then is none that is good. */
static bool
is_bearer(struct slice element, struct slice *token_out)
{
	const struct slice scheme = slice_cut(&element, ' ');

	*token_out = slice_trim(element);
	return slice_eq_nocase(scheme, "Bearer");
}

/* Several lines are joined by commas, and no key has one: what has more than one element is no key. */
static enum err
bearer_of(struct slice authorization, struct slice *token_out)
{
	size_t elements = 0, bearers = 0;
	struct slice token;

	for (; authorization.ptr != NULL; elements++) {
		if (!is_bearer(slice_trim(slice_cut(&authorization, ',')), &token))
			continue;
		*token_out = token;
		bearers++;
	}
	if (bearers == 0)
		return ERR_NOT_FOUND;
	return elements == 1 ? ERR_OK : ERR_INVALID;
}

enum err
api_key_sent(struct slice authorization, struct slice x_api_key, struct slice *key_out,
    struct slice *id_out, const char **why_out)
{
	struct slice bearer = { NULL, 0 };
	const enum err rc = bearer_of(authorization, &bearer);

	if (rc == ERR_NOT_FOUND && x_api_key.ptr == NULL)
		return ERR_NOT_FOUND;
	x_api_key = slice_trim(x_api_key);
	*why_out = "what was sent is not an API key: expected one, once";
	if (rc == ERR_INVALID)
		return ERR_INVALID;
	*key_out = rc == ERR_OK ? bearer : x_api_key;
	if (rc == ERR_OK && x_api_key.ptr != NULL && !slice_eq(bearer, x_api_key)) {
		*why_out = "Authorization and X-API-Key are two different keys";
		return ERR_INVALID;
	}
	return api_key_parse(*key_out, id_out);
}

enum err
api_key_found_fill(
    struct api_key_found *out, struct slice digest, struct slice tenant, bool revoked)
{
	if (digest.len != sizeof out->digest || tenant.len == 0 ||
	    tenant.len > sizeof out->tenant || !utf8_valid(tenant, NULL))
		return ERR_NOT_FOUND;
	memcpy(out->digest, digest.ptr, digest.len);
	memcpy(out->tenant, tenant.ptr, tenant.len);
	out->tenant_len = tenant.len;
	out->revoked = revoked;
	return ERR_OK;
}
