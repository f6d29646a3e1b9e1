#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Bytes: borrowed ones (slice) and growing ones (strbuf).
 */

/* Borrowed bytes, not NUL-terminated, possibly with NUL inside.  {NULL, 0} is "absent". */
struct slice {
	const char *ptr;
	size_t len;
};

#define SLICE(literal) ((struct slice){ .ptr = (literal), .len = sizeof(literal) - 1 })

struct slice slice_of(const char *cstr); /* NULL gives the absent slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_eq_cstr(struct slice a, const char *cstr);
bool slice_eq_nocase(struct slice a, const char *cstr); /* ASCII */
bool slice_starts(struct slice s, const char *prefix);
int slice_cmp(struct slice a, struct slice b); /* byte order, shorter first */
struct slice slice_trim(struct slice s);       /* spaces and tabs at both ends */

/* Cuts ${rest} at the first ${sep}: returns what is before, leaves what is after (absent when none). */
struct slice slice_cut(struct slice *rest, char sep);

/* Strict decimal: optional '-', digits, nothing else, within 64 bits.  ERR_INVALID otherwise. */
enum err slice_to_i64(struct slice s, int64_t *out);
/* How many digits stand at ${at}. */
size_t slice_digits_at(struct slice s, size_t at);

/* Writes ${n} in decimal, without a NUL, and returns how many bytes that took. */
enum { I64_BYTES = 20 }; /* the lowest has 19 digits and a sign */
size_t i64_write(int64_t n, char out[I64_BYTES]);

/* True for well-formed UTF-8 (no surrogates, no overlong forms); *${points_out} may be NULL. */
bool utf8_valid(struct slice s, size_t *points_out);

/* Bytes of the well-formed character that ${s} begins with; 0 when there is none. */
size_t utf8_first(struct slice s);

/*
 * A growing buffer with a sticky failure: append as often as needed, test once.
 * ${max} bounds it; past it, or without memory, ${failed} is set and appends do nothing.
 * Start from STRBUF_INIT(max); strbuf_free() is fine at any time.
 */
struct strbuf {
	char *ptr;
	size_t len, cap, max;
	bool failed;
};

#define STRBUF_INIT(max_bytes) ((struct strbuf){ .max = (max_bytes) })

void strbuf_add(struct strbuf *b, const void *bytes, size_t len);
void strbuf_add_slice(struct strbuf *b, struct slice s);
void strbuf_add_cstr(struct strbuf *b, const char *s);
void strbuf_add_char(struct strbuf *b, char c);
void strbuf_add_i64(struct strbuf *b, int64_t n);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A quoted JSON string; bytes must be valid UTF-8. */
void strbuf_add_json(struct strbuf *b, struct slice s);
struct slice strbuf_slice(const struct strbuf *b);
void strbuf_free(struct strbuf *b);

#endif
