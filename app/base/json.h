#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * A strict scanner for RFC 8259 text.  It builds no tree: it says whether the bytes are good, and
 * where the members of the outermost object lie.
 *
 * Refused, each with its reason and byte offset: anything RFC 8259 forbids, more than 32 levels,
 * bad UTF-8, lone surrogates (also written as \u), NUL (also as \u0000), duplicate members at any
 * level (names compared after unescaping), integers beyond 64 bits, numbers beyond a double; and, as
 * RFC 8259 §9 allows, objects of more than 256 members and fractions written in over 512 bytes.
 */
enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_INTEGER,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

enum {
	JSON_MAX_DEPTH = 32,
	JSON_MAX_MEMBERS = 256 /* of one object */,
	JSON_MAX_NUMBER_BYTES = 512
};

struct json_member {
	struct slice name; /* unescaped */
	struct slice raw;  /* the value's own bytes, strings with their quotes */
	enum json_type type;
};

struct json_fault {
	size_t offset;
	const char *why; /* constant text, such as "duplicate member" */
};

/* Checks ${text} whole and lists the outermost object's members, in the arena, in order.
 * ERR_INVALID with *${fault_out} filled; ERR_NOMEM when the arena is full. */
enum err json_scan_object(struct slice text, struct arena *a, struct json_member **members_out,
    size_t *count_out, struct json_fault *fault_out);

/* Checks one value of any type. */
enum err json_scan_value(
    struct slice text, struct arena *a, enum json_type *type_out, struct json_fault *fault_out);

/* The text of a scanned string (quotes and escapes gone), in the arena. */
enum err json_unescape(struct slice raw, struct arena *a, struct slice *out);

/* Appends the canonical form of scanned ${raw}: members sorted by name, no white space, strings
 * with the shortest escapes, integers as they are, other numbers as the shortest double. */
enum err json_canonical(struct slice raw, struct arena *a, struct strbuf *out);

#endif
