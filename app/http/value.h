#ifndef HTTP_VALUE_H
#define HTTP_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Typed values: what a parameter may be, and what one is.  Values of a request live in its arena,
 * those of an endpoint (defaults) with the endpoint.
 */
enum value_type {
	VALUE_TEXT,
	VALUE_INTEGER,	 /* 64 bits */
	VALUE_NUMBER,	 /* double */
	VALUE_BOOLEAN,	 /* true, false */
	VALUE_DATE,	 /* 2026-11-24 */
	VALUE_TIMESTAMP, /* RFC 3339, kept in UTC with Z */
	VALUE_UUID,	 /* kept in lower case */
	VALUE_JSON,	 /* any JSON value, as the client's own bytes */
	VALUE_OBJECT,	 /* the same, but must be an object */
	VALUE_ARRAY,
	VALUE_ANY,
	VALUE__COUNT
};

struct value {
	enum value_type type;
	bool null; /* optional and absent, or JSON null where optional */
	struct slice
	    text; /* as bound: canonical text of scalars; JSON types: the client's own bytes */
	int64_t integer; /* INTEGER; BOOLEAN 0 or 1 */
	double number;	 /* NUMBER */
};

/* What one declared parameter allows. */
struct param {
	struct slice name;
	enum value_type type;
	enum param_place { PARAM_PATH, PARAM_QUERY, PARAM_BODY } place;
	bool optional, has_min, has_max, has_length, has_default;
	double min, max;	  /* of numbers; of text: code points */
	int64_t min_int, max_int; /* the same for INTEGER, exact */
	int64_t length;		  /* code points */
	struct slice *choices;	  /* one of; canonical text */
	size_t choice_count;
	struct value fallback; /* has_default */
	unsigned line;	       /* in its file, for messages */
};

const char *value_type_name(enum value_type t);
bool value_type_parse(struct slice word, enum value_type *out);

/* What ${p} takes, as a part of a sentence in the arena: "an integer of at least 1", "one of a, b".
 * NULL when the arena is full. */
const char *value_expected(const struct param *p, struct arena *a);

/*
 * Checks raw text (already percent-decoded, or a default's) against ${p} and makes it canonical.
 * ${out}->text may borrow ${raw}.  ERR_INVALID: *${expected_out} is as value_expected(), sometimes
 * with more: "an integer of at least 1 within 64 bits".  ERR_NOMEM: the arena is full.
 */
enum err value_parse(const struct param *p, struct slice raw, struct arena *a, struct value *out,
    const char **expected_out);

/* The same for a member of a JSON body (raw JSON bytes that json_scan_object() found good). */
enum err value_parse_json(const struct param *p, struct slice raw_json, struct arena *a,
    struct value *out, const char **expected_out);

/* Appends the form in which equal values are equal bytes: type, length, canonical bytes (JSON types
 * through json_canonical()).  For cache keys and fingerprints; the form is stored, so it never changes.
 * ERR_NOMEM: the buffer is at its bound. */
enum err value_canonical(const struct value *v, struct arena *a, struct strbuf *out);

#endif
