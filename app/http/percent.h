#ifndef HTTP_PERCENT_H
#define HTTP_PERCENT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Percent-encoding (RFC 3986 §2.1) as paths and query strings use it.  `+` is a space only where
 * the caller says so: in a query, as HTML forms write it (WHATWG URL §5.1), never in a path.
 */

/*
 * Decodes ${raw} once.  Where nothing is to be decoded *${out} is ${raw} itself and nothing is
 * allocated; *${out} is never absent.  ERR_INVALID: *${why_out} is constant text, one of
 * "a bad percent escape", "a NUL byte" and "bytes that are not UTF-8".
 */
enum err percent_decode(
    struct slice raw, bool plus_is_space, struct arena *a, struct slice *out, const char **why_out);

/* True when ${raw} decodes to ${want}; allocates nothing. */
bool percent_eq(struct slice raw, bool plus_is_space, struct slice want);

/* Appends ${raw} as a URI may hold it: what is no URI character (RFC 3986 §2) becomes an escape. */
void percent_clean(struct strbuf *b, struct slice raw);

#endif
