#ifndef HTTP_STRUCTURED_FIELD_H
#define HTTP_STRUCTURED_FIELD_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * The parts of RFC 9651 that weir reads and writes.
 */

/* An Idempotency-Key: the draft's quoted String or the bare token that Stripe's clients send; `abc`
 * and `"abc"` give the same bytes.  1 to 255 printable ASCII characters.  ERR_INVALID otherwise. */
enum err sf_idempotency_key(struct slice raw, struct arena *a, struct slice *out);

/* Appends ${s} as a quoted String; bytes outside printable ASCII become '?'. */
void sf_add_string(struct strbuf *b, struct slice s);

#endif
