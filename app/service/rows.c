/*
 * Database values to JSON.
 *
 * One function per form; each writes the value when it fits and says false when
 * it does not, and then the value is written as it is stored.
 */
#include "service/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"

static bool
contains(const char *type, const char *word)
{
	return strcasestr(type, word) != NULL;
}

static bool
begins(const char *type, const char *word)
{
	return strncasecmp(type, word, strlen(word)) == 0;
}

/* The first row that fits wins: names first, then SQLite's own rules of affinity. */
static const struct type_word {
	const char *word;
	bool (*fits)(const char *type, const char *word);
	enum cell_form form;
} type_words[] = {
	{ "BOOL", begins, CELL_AS_BOOLEAN },
	{ "JSON", begins, CELL_AS_JSON },
	{ "TIMESTAMP", begins, CELL_AS_TIMESTAMP },
	{ "DATETIME", begins, CELL_AS_TIMESTAMP },
	{ "DATE", begins, CELL_AS_DATE },
	{ "INTERVAL", begins, CELL_AS_TEXT },
	{ "UUID", begins, CELL_AS_TEXT },
	{ "INT", contains, CELL_AS_INTEGER },
	{ "CHAR", contains, CELL_AS_TEXT },
	{ "CLOB", contains, CELL_AS_TEXT },
	{ "TEXT", contains, CELL_AS_TEXT },
	{ "BLOB", contains, CELL_AS_BYTES },
	{ "BYTEA", begins, CELL_AS_BYTES },
	{ "REAL", contains, CELL_AS_NUMBER },
	{ "FLOA", contains, CELL_AS_NUMBER },
	{ "DOUB", contains, CELL_AS_NUMBER },
	{ "NUM", begins, CELL_AS_NUMBER },
	{ "DEC", begins, CELL_AS_NUMBER },
};

enum cell_form
cell_form_of_declared(const char *type)
{
	for (size_t i = 0; type != NULL && i < sizeof type_words / sizeof *type_words; i++)
		if (type_words[i].fits(type, type_words[i].word))
			return type_words[i].form;
	return CELL_AS_STORED;
}

enum cell_form
cell_form_of_rule(enum value_type t)
{
	static const enum cell_form forms[VALUE__COUNT] = {
		[VALUE_TEXT] = CELL_AS_TEXT,
		[VALUE_INTEGER] = CELL_AS_INTEGER,
		[VALUE_NUMBER] = CELL_AS_NUMBER,
		[VALUE_BOOLEAN] = CELL_AS_BOOLEAN,
		[VALUE_DATE] = CELL_AS_DATE,
		[VALUE_TIMESTAMP] = CELL_AS_TIMESTAMP,
		[VALUE_UUID] = CELL_AS_TEXT,
		[VALUE_JSON] = CELL_AS_JSON,
		[VALUE_OBJECT] = CELL_AS_JSON,
		[VALUE_ARRAY] = CELL_AS_JSON,
		[VALUE_ANY] = CELL_AS_JSON,
	};

	return forms[t];
}

/* JSON has no place for a byte that is no UTF-8: each becomes U+FFFD. */
static void
add_string(struct strbuf *out, struct slice s)
{
	struct strbuf good = STRBUF_INIT(out->max);

	if (utf8_valid(s, NULL)) {
		strbuf_add_json(out, s);
		return;
	}
	while (s.len > 0) {
		const size_t n = utf8_first(s);

		strbuf_add_slice(&good, n > 0 ? (struct slice){ s.ptr, n } : SLICE("\xef\xbf\xbd"));
		s.ptr += n > 0 ? n : 1;
		s.len -= n > 0 ? n : 1;
	}
	strbuf_add_json(out, strbuf_slice(&good));
	out->failed = out->failed || good.failed;
	strbuf_free(&good);
}

/* The shortest decimal that reads back as ${d}: 15 digits often do, 17 always. */
static void
add_real(struct strbuf *out, double d)
{
	char text[32];

	if (!isfinite(d)) {
		strbuf_add_cstr(out, "null");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof text, "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	strbuf_add_cstr(out, text);
}

static void
add_base64(struct strbuf *out, struct slice s)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	strbuf_add_char(out, '"');
	for (size_t at = 0; at < s.len; at += 3) {
		const size_t n = s.len - at < 3 ? s.len - at : 3;
		uint32_t bits = 0;
		char four[4] = { '=', '=', '=', '=' };

		for (size_t i = 0; i < n; i++)
			bits |= (uint32_t)(unsigned char)s.ptr[at + i] << (16 - 8 * i);
		for (size_t i = 0; i <= n; i++)
			four[i] = digits[bits >> (18 - 6 * i) & 63];
		strbuf_add(out, four, sizeof four);
	}
	strbuf_add_char(out, '"');
}

static void
add_stored(struct strbuf *out, const struct cell *c)
{
	switch (c->kind) {
	case CELL_NULL:
		strbuf_add_cstr(out, "null");
		break;
	case CELL_INTEGER:
		strbuf_add_i64(out, c->integer);
		break;
	case CELL_REAL:
		add_real(out, c->real);
		break;
	case CELL_TEXT:
		add_string(out, c->bytes);
		break;
	case CELL_BLOB:
		add_base64(out, c->bytes);
		break;
	}
}

/* A form says false when the value does not fit it and nothing was written. */
typedef bool form_writer(struct strbuf *out, const struct cell *c, struct arena *scratch);

static bool
write_text(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	struct cell stored = *c;

	(void)scratch;
	stored.kind = CELL_TEXT;
	if (c->kind == CELL_TEXT || c->kind == CELL_BLOB) {
		add_stored(out, &stored);
		return true;
	}
	strbuf_add_char(out, '"'); /* digits need no escape */
	add_stored(out, c);
	strbuf_add_char(out, '"');
	return true;
}

/* Whether a double is a whole number of 64 bits: 2^63 itself is none. */
static bool
is_whole(double d)
{
	return d >= -0x1p63 && d < 0x1p63 && trunc(d) == d;
}

static bool
write_integer(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	int64_t n = c->integer;

	(void)scratch;
	if (c->kind == CELL_TEXT && slice_to_i64(c->bytes, &n) != ERR_OK)
		return false;
	if (c->kind == CELL_REAL && is_whole(c->real))
		n = (int64_t)c->real;
	else if (c->kind == CELL_REAL || c->kind == CELL_BLOB)
		return false;
	strbuf_add_i64(out, n);
	return true;
}

/* RFC 8259's number of any size: base/json.h would refuse what is more than 64 bits. */
static bool
is_number(struct slice s)
{
	size_t at = s.len > 0 && *s.ptr == '-' ? 1 : 0;
	size_t n = slice_digits_at(s, at);

	if (n > 1 && s.ptr[at] == '0')
		return false;
	at += n;
	if (n > 0 && at < s.len && s.ptr[at] == '.') {
		n = slice_digits_at(s, at + 1);
		at += 1 + n;
	}
	if (n > 0 && at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
		at += at + 1 < s.len && (s.ptr[at + 1] == '+' || s.ptr[at + 1] == '-') ? 2 : 1;
		n = slice_digits_at(s, at);
		at += n;
	}
	return n > 0 && at == s.len;
}

static bool
write_number(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	(void)scratch;
	if (c->kind != CELL_TEXT || !is_number(c->bytes))
		return false;
	strbuf_add_slice(out, c->bytes);
	return true;
}

static bool
write_boolean(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	bool yes = c->integer != 0;

	(void)scratch;
	if (c->kind == CELL_TEXT) {
		yes = slice_eq_nocase(c->bytes, "true") || slice_eq_nocase(c->bytes, "t");
		if (!yes && !slice_eq_nocase(c->bytes, "false") && !slice_eq_nocase(c->bytes, "f"))
			return false;
	} else if (c->kind != CELL_INTEGER) {
		return false;
	}
	strbuf_add_cstr(out, yes ? "true" : "false");
	return true;
}

static bool
write_json(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	struct json_fault fault;
	enum json_type type;

	if (c->kind != CELL_TEXT || json_scan_value(c->bytes, scratch, &type, &fault) != ERR_OK)
		return false;
	strbuf_add_slice(out, c->bytes);
	return true;
}

/* What databases write short of RFC 3339: no offset means UTC, no seconds 00, an offset in whole hours. */
static bool
complete(struct slice s, char *out, size_t cap)
{
	const bool has_seconds = s.len > 16 && s.ptr[16] == ':';
	const char last = s.len == 0 ? '\0' : s.ptr[s.len - 1];
	const char sign = s.len > 18 ? s.ptr[s.len - 3] : '\0';
	const char *tail = "";
	int n;

	if (s.len < 16 || s.len > 40)
		return false;
	if (!has_seconds)
		tail = ":00Z";
	else if (sign == '+' || sign == '-')
		tail = ":00";
	else if (last != 'Z' && last != 'z' &&
		 (s.len < 25 || strchr("+-", s.ptr[s.len - 6]) == NULL))
		tail = "Z";
	n = snprintf(out, cap, "%.*s%s", (int)s.len, s.ptr, tail);
	return n > 0 && (size_t)n < cap;
}

/* Seconds, or a Julian day (exact to some 40 us, so to the ms), to text; false: a year of not four digits. */
static bool
moment_of_number(const struct cell *c, char out[CLOCK_RFC3339_BYTES])
{
	const double us =
	    c->kind == CELL_INTEGER ? (double)c->integer * 1e6 : (c->real - 2440587.5) * 86400e6;

	if (!(us >= -62135596800e6 && us < 253402300800e6)) /* years 0001 to 9999 */
		return false;
	(void)clock_rfc3339(
	    c->kind == CELL_INTEGER ? c->integer * 1000000 : (int64_t)round(us / 1e3) * 1000, out);
	return true;
}

static bool
write_timestamp(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	char text[48], utc[MOMENT_BYTES];
	const char *why;

	(void)scratch;
	if (c->kind == CELL_BLOB)
		return false;
	if (c->kind == CELL_TEXT ? !complete(c->bytes, text, sizeof text)
				 : !moment_of_number(c, text))
		return false;
	if (moment_to_utc(slice_of(text), utc, &why) != ERR_OK)
		return false;
	strbuf_addf(out, "\"%s\"", utc);
	return true;
}

/* " 04:09" or "T04:09", and not the " BC" of PostgreSQL. */
static bool
begins_time(const char *at, size_t len)
{
	return len > 1 && (*at == ' ' || *at == 'T') && at[1] >= '0' && at[1] <= '9';
}

/* Also the day of a moment that was stored in full. */
static bool
write_date(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	struct slice day = { c->bytes.ptr, 10 };
	const char *why;

	(void)scratch;
	if (c->kind != CELL_TEXT || c->bytes.len < 10 ||
	    (c->bytes.len > 10 && !begins_time(&c->bytes.ptr[10], c->bytes.len - 10)) ||
	    moment_check_date(day, &why) != ERR_OK)
		return false;
	strbuf_add_json(out, day);
	return true;
}

static bool
write_bytes(struct strbuf *out, const struct cell *c, struct arena *scratch)
{
	(void)scratch;
	if (c->kind != CELL_TEXT && c->kind != CELL_BLOB)
		return false;
	add_base64(out, c->bytes);
	return true;
}

void
cell_add_json(struct strbuf *out, const struct cell *c, enum cell_form form, struct arena *scratch)
{
	static form_writer *const writers[] = {
		[CELL_AS_STORED] = NULL,
		[CELL_AS_TEXT] = write_text,
		[CELL_AS_INTEGER] = write_integer,
		[CELL_AS_NUMBER] = write_number,
		[CELL_AS_BOOLEAN] = write_boolean,
		[CELL_AS_JSON] = write_json,
		[CELL_AS_TIMESTAMP] = write_timestamp,
		[CELL_AS_DATE] = write_date,
		[CELL_AS_BYTES] = write_bytes,
	};
	form_writer *const write = writers[form];

	if (c->kind == CELL_NULL || write == NULL || !write(out, c, scratch))
		add_stored(out, c);
}

enum err
rows_sortable_timestamp(struct slice canonical, char out[MOMENT_BYTES])
{
	enum { SECONDS = 19 }; /* bytes before the fraction */
	static const char zeros[] = "000000";
	const size_t fraction = canonical.len < SECONDS + 2 ? 0 : canonical.len - SECONDS - 2;

	if (canonical.len < SECONDS + 1 || fraction > 6 || canonical.ptr[canonical.len - 1] != 'Z')
		return ERR_INVALID;
	(void)snprintf(out, MOMENT_BYTES, "%.*s.%.*s%sZ", SECONDS, canonical.ptr, (int)fraction,
	    fraction == 0 ? "" : canonical.ptr + SECONDS + 1, zeros + fraction);
	return ERR_OK;
}
