/*
 * JSON, written: the commas, the names and the values.
 */
#include "base/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBER_BYTES = 40, DIGITS_MAX = 17 /* of a double */ };

static void
comma(struct strbuf *b)
{
	const char last = b->len == 0 ? '{' : b->ptr[b->len - 1];

	if (last != '{' && last != '[' && last != ':' && last != '\n')
		strbuf_add_char(b, ',');
}

void
json_write_key(struct strbuf *b, const char *name)
{
	comma(b);
	if (name == NULL)
		return;
	strbuf_add_char(b, '"');
	strbuf_add_cstr(b, name);
	strbuf_add_cstr(b, "\":");
}

void
json_write_open(struct strbuf *b, const char *name, char bracket)
{
	json_write_key(b, name);
	strbuf_add_char(b, bracket);
}

void
json_write_text(struct strbuf *b, const char *name, struct slice value)
{
	if (value.ptr == NULL) {
		json_write_null(b, name);
		return;
	}
	json_write_key(b, name);
	strbuf_add_json(b, value);
}

void
json_write_cstr(struct strbuf *b, const char *name, const char *value)
{
	json_write_text(b, name, slice_of(value));
}

void
json_write_i64(struct strbuf *b, const char *name, int64_t value)
{
	json_write_key(b, name);
	strbuf_add_i64(b, value);
}

void
json_write_u64(struct strbuf *b, const char *name, uint64_t value)
{
	json_write_key(b, name);
	strbuf_addf(b, "%" PRIu64, value);
}

void
json_write_bool(struct strbuf *b, const char *name, bool value)
{
	json_write_key(b, name);
	strbuf_add_cstr(b, value ? "true" : "false");
}

void
json_write_null(struct strbuf *b, const char *name)
{
	json_write_key(b, name);
	strbuf_add_cstr(b, "null");
}

void
json_write_f64(struct strbuf *b, const char *name, double value)
{
	char number[NUMBER_BYTES] = "null";

	for (int digits = 1; isfinite(value) && digits <= DIGITS_MAX; digits++) {
		(void)snprintf(number, sizeof number, "%.*g", digits, value);
		if (!(strtod(number, NULL) < value) && !(strtod(number, NULL) > value))
			break;
	}
	json_write_key(b, name);
	strbuf_add_cstr(b, number);
}
