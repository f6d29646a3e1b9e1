#ifndef SERVICE_API_KEY_H
#define SERVICE_API_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/*
 * What an API key looks like, and where a request carries one.
 *
 *   weir_<id>_<secret>      id: 64 random bits, secret: 256, both in lower-case hexadecimal
 *
 * The id is no secret: it finds the row, and is what people call the key by.  Kept is only the SHA-256 of the
 * whole key; a secret of 256 bits needs no slower hash.
 */
enum {
	API_KEY_ID_TEXT = 16 + 1, /* with its NUL */
	API_KEY_TEXT = 5 + 16 + 1 + 64 + 1
};

void api_key_make(char text_out[API_KEY_TEXT], char id_out[API_KEY_ID_TEXT]);
/* ERR_INVALID: not of this form.  *${id_out} lies in ${text}. */
enum err api_key_parse(struct slice text, struct slice *id_out);
bool api_key_is_id(struct slice text);
void api_key_digest(struct slice text, uint8_t out[DIGEST_BYTES]);

/*
 * The key that a request carries: `Authorization: Bearer KEY`, or `X-API-Key: KEY`, or the same one in both.
 * Repeated lines come joined by ", ".  Other schemes are no key: Basic belongs to the front server's own
 * protection, which passes it on.
 *   ERR_NOT_FOUND  none was sent
 *   ERR_INVALID    *${why_out} tells the client; whatever was sent is no key, or there are two
 */
enum err api_key_sent(struct slice authorization, struct slice x_api_key, struct slice *key_out,
    struct slice *id_out, const char **why_out);

/*
 * weir_api_keys(id, tenant, plan, hash, created_at, revoked_at) in the write database: looked at through
 * service/ledger.h, changed through service/writer.h.
 */
enum { API_KEY_TENANT_MAX = 255, API_KEY_PLAN_MAX = 64 };

/* What a row says of a key that was sent. */
struct api_key_found {
	uint8_t digest[DIGEST_BYTES];
	bool revoked;
	size_t tenant_len;
	char tenant[API_KEY_TENANT_MAX];
};

/* For drivers.  ERR_NOT_FOUND: a row that was made by hand, and that nobody can use. */
enum err api_key_found_fill(
    struct api_key_found *out, struct slice digest, struct slice tenant, bool revoked);

/* A row as people see it, without its hash; lent. */
struct api_key_row {
	struct slice id, tenant;
	struct slice plan;	 /* absent: none */
	struct slice created_at; /* RFC 3339 */
	struct slice revoked_at; /* absent: it is good */
};
typedef void api_key_row_fn(void *ctx, const struct api_key_row *row);

#endif
