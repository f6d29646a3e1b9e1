#ifndef SERVICE_COPY_H
#define SERVICE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * The stored copy of a read: the JSON text, built whole, with an offset table (row x column) and its
 * ETag, in one block of bytes that caches keep as it is.  `?fields=` is cut from it without parsing.
 *
 * Versioned: a block of another version is ERR_INVALID, that is, a miss.
 *
 *   returns: many   [{"a":1,"b":"x"},{"a":2,"b":"y"}]
 *   returns: one    {"a":1,"b":"x"}
 */
struct copy_builder {
	struct strbuf json;    /* grows as rows come */
	struct strbuf offsets; /* uint32_t for each cell: where its value begins in json */
	struct strbuf names;   /* as in the block: see copy.c */
	size_t column_count, row_count, cell; /* cell: next column of the open row */
	size_t name_at;			      /* of the next cell's name in ${names} */
	bool one;
};

/* ${columns}: at least one, in UTF-8; copied.  ${max_bytes} bounds the JSON text. */
void copy_begin(
    struct copy_builder *b, const struct slice *columns, size_t count, bool one, size_t max_bytes);
/* The next cell's JSON value is appended to ${b->json} by the caller after this; once ${b->json.failed}
 * is set, the answer is too large and no more cells are of use. */
void copy_cell(struct copy_builder *b);
/* Ends the answer; the block goes to ${out} (malloc'd by strbuf; the caller frees it).
 * ERR_TOO_LARGE: over max_bytes; ERR_NOMEM; ERR_INVALID: half a row, or not one row for ${one}.
 * The builder is freed in any case. */
enum err copy_end(struct copy_builder *b, struct strbuf *out);
void copy_abort(struct copy_builder *b);

struct copy {
	struct slice json;
	struct slice etag; /* with its quotes: 128-bit hash of the JSON text in hex */
	uint32_t rows, columns;
	bool one;
	const char *names_at, *offsets_at; /* private */
};

/* A view into ${block}, which must outlive it.  Every length is checked. */
enum err copy_open(struct slice block, struct copy *out);

/*
 * The JSON text with only the columns of ${fields} ("id,name"), in that order, into the arena.
 * ERR_INVALID: empty, unknown or repeated field *${bad_out}; *${names_out} is then a JSON array of the columns
 * there are.  ERR_IO: the block is damaged.  ERR_NOMEM: the arena is full.  Reads the JSON text only where it copies.
 */
enum err copy_project(const struct copy *c, struct slice fields, struct arena *a,
    struct slice *json_out, struct slice *names_out, struct slice *bad_out);

#endif
