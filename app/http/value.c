/*
 * Typed values: raw text to a checked and canonical value, or to a sentence
 * about what was expected.
 *
 * One row per type: its word, its reader, and how a JSON body writes it.  Bounds
 * and choices are checked after reading and are the same for all types.  Dates and
 * timestamps have their own room, moment.c.
 */
#include "http/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "http/moment.h"

enum { EXPECTED_MAX_BYTES = 4096, NUMBER_BYTES = 32, UUID_BYTES = 36 };

/*
 * A reader makes ${out}->text, and the number where there is one.  It may borrow ${raw}.
 * ERR_INVALID; then *${note_out} may say more than the expectation does.
 */
typedef enum err reader(
    struct slice raw, struct arena *a, struct value *out, const char **note_out);

static reader read_text, read_integer, read_number, read_boolean, read_date, read_timestamp,
    read_uuid, read_json;

enum json_form { FORM_STRING, FORM_NUMBER, FORM_BOOLEAN, FORM_ANY };

static const struct kind {
	const char *name;
	const char *noun; /* what was expected */
	reader *read;
	enum json_form form;
	char first;  /* FORM_ANY: the value must begin so; 0: with anything */
	char letter; /* in canonical bytes, which outlive this program in stored fingerprints */
} kinds[VALUE__COUNT] = {
	[VALUE_TEXT] = { "text", "text", read_text, FORM_STRING, 0, 't' },
	[VALUE_INTEGER] = { "integer", "an integer", read_integer, FORM_NUMBER, 0, 'i' },
	[VALUE_NUMBER] = { "number", "a number", read_number, FORM_NUMBER, 0, 'n' },
	[VALUE_BOOLEAN] = { "boolean", "true or false", read_boolean, FORM_BOOLEAN, 0, 'b' },
	[VALUE_DATE] = { "date", "a date such as 2026-11-24", read_date, FORM_STRING, 0, 'd' },
	[VALUE_TIMESTAMP] = { "timestamp", "a timestamp such as 2026-11-24T04:09:44Z",
	    read_timestamp, FORM_STRING, 0, 's' },
	[VALUE_UUID] = { "uuid", "a UUID", read_uuid, FORM_STRING, 0, 'u' },
	[VALUE_JSON] = { "json", "JSON", read_json, FORM_ANY, 0, 'j' },
	[VALUE_OBJECT] = { "object", "a JSON object", read_json, FORM_ANY, '{', 'j' },
	[VALUE_ARRAY] = { "array", "a JSON array", read_json, FORM_ANY, '[', 'j' },
	[VALUE_ANY] = { "any", "any JSON value", read_json, FORM_ANY, 0, 'j' },
};

static const char *const form_notes[] = {
	[FORM_STRING] = " (a JSON string)",
	[FORM_NUMBER] = " (a JSON number)",
	[FORM_BOOLEAN] = " (a JSON boolean)",
	[FORM_ANY] = NULL,
};

const char *
value_type_name(enum value_type t)
{
	return kinds[t].name;
}

bool
value_type_parse(struct slice word, enum value_type *out)
{
	for (enum value_type t = VALUE_TEXT; t < VALUE__COUNT; t++) {
		if (slice_eq_cstr(word, kinds[t].name)) {
			*out = t;
			return true;
		}
	}
	return false;
}

static enum err
keep(struct arena *a, const char *text, size_t len, struct value *out)
{
	out->text = arena_slice(a, (struct slice){ text, len });
	return out->text.ptr == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err
read_text(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	(void)a;
	out->text = raw;
	if (!utf8_valid(raw, NULL))
		*note_out = " in UTF-8";
	else if (raw.len > 0 && memchr(raw.ptr, '\0', raw.len) != NULL)
		*note_out = " without NUL";
	else
		return ERR_OK;
	return ERR_INVALID;
}

static enum err
read_integer(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	const size_t sign = raw.len > 0 && *raw.ptr == '-' ? 1 : 0;
	const size_t count = slice_digits_at(raw, sign);
	char digits[I64_BYTES];

	if (slice_to_i64(raw, &out->integer) != ERR_OK) {
		if (count > 0 && sign + count == raw.len)
			*note_out = " within 64 bits";
		return ERR_INVALID;
	}
	out->text = raw;
	if (raw.ptr[sign] != '0' || raw.len == 1)
		return ERR_OK; /* canonical already */
	return keep(a, digits, i64_write(out->integer, digits), out);
}

/* [-] digits [. digits] [e [+-] digits]: RFC 8259's number, but leading zeros are forgiven. */
static bool
is_number(struct slice s)
{
	size_t at = s.len > 0 && *s.ptr == '-' ? 1 : 0;
	size_t n = slice_digits_at(s, at);

	at += n;
	if (n > 0 && at < s.len && s.ptr[at] == '.') {
		n = slice_digits_at(s, at + 1);
		at += 1 + n;
	}
	if (n > 0 && at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
		at++;
		if (at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-'))
			at++;
		n = slice_digits_at(s, at);
		at += n;
	}
	return n > 0 && at == s.len;
}

/* The shortest decimal that reads back as ${d}: 15 digits often do, 17 always. */
static size_t
print_number(double d, char text[NUMBER_BYTES])
{
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, NUMBER_BYTES, "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	return strlen(text);
}

static enum err
read_number(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	char text[NUMBER_BYTES];
	const char *copy;

	if (!is_number(raw))
		return ERR_INVALID;
	copy = arena_copy(a, raw); /* strtod() wants a NUL */
	if (copy == NULL)
		return ERR_NOMEM;
	out->number = strtod(copy, NULL) + 0.0; /* -0 is 0 */
	if (isinf(out->number)) {
		*note_out = " within the range of a double";
		return ERR_INVALID;
	}
	return keep(a, text, print_number(out->number, text), out);
}

static enum err
read_boolean(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	(void)a;
	(void)note_out;
	out->integer = slice_eq(raw, SLICE("true"));
	out->text = raw;
	return out->integer == 1 || slice_eq(raw, SLICE("false")) ? ERR_OK : ERR_INVALID;
}

static enum err
read_date(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	(void)a;
	out->text = raw;
	return moment_check_date(raw, note_out);
}

static enum err
read_timestamp(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	char text[MOMENT_BYTES];
	const enum err rc = moment_to_utc(raw, text, note_out);

	return rc == ERR_OK ? keep(a, text, strlen(text), out) : rc;
}

/* RFC 9562 §4: 8-4-4-4-12 hexadecimal digits, in either case. */
static enum err
read_uuid(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	char text[UUID_BYTES];

	(void)note_out;
	if (raw.len != UUID_BYTES)
		return ERR_INVALID;
	for (size_t i = 0; i < UUID_BYTES; i++) {
		const char c = raw.ptr[i];

		text[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
		if (shape[i] == '-' ? c != '-' : memchr("0123456789abcdef", text[i], 16) == NULL)
			return ERR_INVALID;
	}
	return keep(a, text, UUID_BYTES, out);
}

static enum err
read_json(struct slice raw, struct arena *a, struct value *out, const char **note_out)
{
	const char first = kinds[out->type].first;
	struct json_fault fault = { 0 };
	enum json_type type;
	enum err rc;

	out->text = raw;
	rc = json_scan_value(raw, a, &type, &fault);
	if (rc == ERR_INVALID)
		*note_out = arena_printf(a, " (%s at byte %zu)", fault.why, fault.offset);
	if (rc != ERR_OK || first == 0)
		return rc;
	return type == (first == '{' ? JSON_OBJECT : JSON_ARRAY) ? ERR_OK : ERR_INVALID;
}

static bool
within_text(const struct param *p, struct slice text)
{
	size_t points = 0;

	if (!p->has_min && !p->has_max && !p->has_length)
		return true;
	(void)utf8_valid(text, &points);
	if (p->has_length && points != (uint64_t)p->length)
		return false;
	return !(p->has_min && (double)points < p->min) && !(p->has_max && (double)points > p->max);
}

static bool
within_bounds(const struct param *p, const struct value *v)
{
	if (p->type == VALUE_TEXT)
		return within_text(p, v->text);
	if (p->type == VALUE_INTEGER)
		return !(p->has_min && v->integer < p->min_int) &&
		       !(p->has_max && v->integer > p->max_int);
	if (p->type == VALUE_NUMBER)
		return !(p->has_min && v->number < p->min) && !(p->has_max && v->number > p->max);
	return true;
}

static bool
is_choice(const struct param *p, struct slice text)
{
	for (size_t i = 0; i < p->choice_count; i++)
		if (slice_eq(p->choices[i], text))
			return true;
	return p->choice_count == 0;
}

static void
add_bound(struct strbuf *b, const struct param *p, int64_t whole, double number)
{
	char text[NUMBER_BYTES];

	if (p->type == VALUE_INTEGER) {
		strbuf_add_i64(b, whole);
	} else {
		(void)print_number(number, text);
		strbuf_add_cstr(b, text);
	}
}

/* " from 1 to 100", " of at least 1", " of exactly 2 characters"; nothing without bounds. */
static void
add_bounds(struct strbuf *b, const struct param *p)
{
	const bool text = p->type == VALUE_TEXT;
	double last = p->has_max ? p->max : p->min;

	if (p->has_length) {
		strbuf_add_cstr(b, " of exactly ");
		strbuf_add_i64(b, p->length);
		last = (double)p->length;
	} else if (p->has_min && p->has_max) {
		strbuf_add_cstr(b, text ? " of " : " from ");
		add_bound(b, p, p->min_int, p->min);
		strbuf_add_cstr(b, " to ");
		add_bound(b, p, p->max_int, p->max);
	} else if (p->has_min) {
		strbuf_add_cstr(b, " of at least ");
		add_bound(b, p, p->min_int, p->min);
	} else if (p->has_max) {
		strbuf_add_cstr(b, " of at most ");
		add_bound(b, p, p->max_int, p->max);
	} else {
		return;
	}
	if (text)
		strbuf_add_cstr(b, last == 1 ? " character" : " characters");
}

/* "an integer of at least 1 within 64 bits", in the arena; NULL when that is full. */
static const char *
expectation(const struct param *p, const char *note, struct arena *a)
{
	struct strbuf b = STRBUF_INIT(EXPECTED_MAX_BYTES);
	const char *text;

	if (p->choice_count > 0) {
		strbuf_add_cstr(&b, "one of ");
		for (size_t i = 0; i < p->choice_count; i++) {
			strbuf_add_cstr(&b, i == 0 ? "" : ", ");
			strbuf_add_slice(&b, p->choices[i]);
		}
	} else {
		strbuf_add_cstr(&b, kinds[p->type].noun);
		add_bounds(&b, p);
	}
	strbuf_add_cstr(&b, note == NULL ? "" : note);
	text = arena_copy(a, b.failed ? slice_of(kinds[p->type].noun) : strbuf_slice(&b));
	strbuf_free(&b);
	return text;
}

const char *
value_expected(const struct param *p, struct arena *a)
{
	return expectation(p, NULL, a);
}

static enum err
refuse(const struct param *p, const char *note, struct arena *a, const char **expected_out)
{
	*expected_out = expectation(p, note, a);
	return *expected_out == NULL ? ERR_NOMEM : ERR_INVALID;
}

enum err
value_parse(const struct param *p, struct slice raw, struct arena *a, struct value *out,
    const char **expected_out)
{
	const char *note = NULL;
	enum err rc;

	*out = (struct value){ .type = p->type };
	rc = kinds[p->type].read(raw, a, out, &note);
	if (rc == ERR_OK && !(within_bounds(p, out) && is_choice(p, out->text)))
		rc = ERR_INVALID;
	return rc == ERR_INVALID ? refuse(p, note, a, expected_out) : rc;
}

static enum json_form
form_of(struct slice raw_json)
{
	const char c = raw_json.len == 0 ? '\0' : *raw_json.ptr;

	if (c == '"')
		return FORM_STRING;
	if (c == 't' || c == 'f')
		return FORM_BOOLEAN;
	return c == '-' || (c >= '0' && c <= '9') ? FORM_NUMBER : FORM_ANY;
}

/* The bytes are known to be good JSON: they are not scanned a second time. */
static enum err
take_json(const struct param *p, struct slice raw_json, struct arena *a, struct value *out,
    const char **expected_out)
{
	const char first = kinds[p->type].first;

	*out = (struct value){ .type = p->type, .text = raw_json };
	if (first == 0 || (raw_json.len > 0 && *raw_json.ptr == first))
		return ERR_OK;
	return refuse(p, NULL, a, expected_out);
}

enum err
value_parse_json(const struct param *p, struct slice raw_json, struct arena *a, struct value *out,
    const char **expected_out)
{
	const enum json_form form = kinds[p->type].form;
	struct slice text = raw_json;
	enum err rc;

	if (p->optional && slice_eq(raw_json, SLICE("null"))) {
		*out = (struct value){ .type = p->type, .null = true };
		return ERR_OK;
	}
	if (form == FORM_ANY)
		return take_json(p, raw_json, a, out, expected_out);
	if (form_of(raw_json) != form)
		return refuse(p, form_notes[form], a, expected_out);
	rc = form == FORM_STRING ? json_unescape(raw_json, a, &text) : ERR_OK;
	return rc == ERR_OK ? value_parse(p, text, a, out, expected_out) : rc;
}

/*
 * A head of five bytes (the type's letter, in upper case for null; the length, little endian), then
 * the bytes.  The length is known only afterwards for JSON, so the head is filled in last.
 */
enum err
value_canonical(const struct value *v, struct arena *a, struct strbuf *out)
{
	const size_t head = out->len;
	enum err rc = ERR_OK;
	size_t len;

	strbuf_add(out, (const char[5]){ 0 }, 5);
	if (!v->null && kinds[v->type].form == FORM_ANY)
		rc = json_canonical(v->text, a, out);
	else if (!v->null)
		strbuf_add_slice(out, v->text);
	if (rc != ERR_OK || out->failed)
		return rc != ERR_OK ? rc : ERR_NOMEM;
	len = out->len - head - 5;
	if (len > UINT32_MAX)
		return ERR_TOO_LARGE;
	out->ptr[head] =
	    (char)(v->null ? kinds[v->type].letter - 'a' + 'A' : kinds[v->type].letter);
	for (size_t i = 0; i < 4; i++)
		out->ptr[head + 1 + i] = (char)(len >> (8 * i) & 0xff);
	return ERR_OK;
}
