#ifndef BASE_JSON_WRITE_H
#define BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/*
 * JSON (RFC 8259), written member by member into a strbuf that the caller owns and looks at once in the end
 * (${failed}).  A comma comes by itself, but behind an opening and at the start of a line (so JSON lines need no care).
 *
 * ${name} is the member's, written as it is: a constant that needs no escapes.  NULL: an item of an array, or
 * the whole document.
 */

/* `{` or `[`; the caller closes it with strbuf_add_char(). */
void json_write_open(struct strbuf *b, const char *name, char bracket);

/* The name alone: the caller adds the value. */
void json_write_key(struct strbuf *b, const char *name);

/* ${value} is UTF-8; one without bytes (ptr NULL) is null. */
void json_write_text(struct strbuf *b, const char *name, struct slice value);
void json_write_cstr(struct strbuf *b, const char *name, const char *value);

void json_write_i64(struct strbuf *b, const char *name, int64_t value);
void json_write_u64(struct strbuf *b, const char *name, uint64_t value);
void json_write_bool(struct strbuf *b, const char *name, bool value);
void json_write_null(struct strbuf *b, const char *name);

/* In the fewest digits that are read back as ${value}; what is not finite is null, for JSON has no word for it. */
void json_write_f64(struct strbuf *b, const char *name, double value);

#endif
