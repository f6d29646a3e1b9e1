/*
 * The strict scanner: one pass over the bytes, at most 32 calls deep.
 *
 * Memory does not grow with the number of objects: each level has one frame
 * of members, used again by the next object of that level.  Duplicates are
 * looked for among the hashes of at most 256 names, under a seed that the
 * sender cannot know: the worst text costs some ten nanoseconds a byte.
 */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json_scan.h"
#include "base/rand.h"

enum { FRAME_FIRST = 8 };

/* The members of the object that is open at one level. */
struct frame {
	uint64_t *hashes; /* of the names */
	struct json_member *members;
	size_t count, cap;
};

struct scan {
	struct slice text;
	size_t at; /* the next byte */
	size_t depth;
	struct arena *arena;
	uint64_t seed; /* of the hashes */
	struct frame frames[JSON_MAX_DEPTH];
	enum err rc;
	struct json_fault fault;
};

static bool scan_value(struct scan *s, enum json_type *type_out);

static bool
fail_at(struct scan *s, size_t offset, const char *why)
{
	s->rc = ERR_INVALID;
	s->fault = (struct json_fault){ .offset = offset, .why = why };
	return false;
}

static bool
fail(struct scan *s, const char *why)
{
	return fail_at(s, s->at, why);
}

/* The next byte, or -1 at the end. */
static int
peek(const struct scan *s)
{
	return s->at < s->text.len ? (unsigned char)s->text.ptr[s->at] : -1;
}

static bool
take(struct scan *s, char c)
{
	if (peek(s) != c)
		return false;
	s->at++;
	return true;
}

static bool
is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static void
skip_space(struct scan *s)
{
	for (int c = peek(s); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = peek(s))
		s->at++;
}

/* Four hexadecimal digits at ${at}, or -1. */
static int
read_hex4(struct slice text, size_t at)
{
	int n = 0;

	if (at > text.len || text.len - at < 4)
		return -1;
	for (size_t i = at; i < at + 4; i++) {
		const char c = text.ptr[i];

		if (is_digit(c))
			n = n * 16 + (c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			n = n * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return n;
}

static bool
is_high(int unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static bool
is_low(int unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

/* \uXXXX, or two of them that make one character. */
static bool
scan_u_escape(struct scan *s)
{
	const int unit = read_hex4(s->text, s->at + 2);
	const size_t next = s->at + 6;

	if (unit == -1)
		return fail(s, "bad \\u escape");
	if (unit == 0)
		return fail(s, "NUL character");
	if (is_low(unit))
		return fail(s, "lone surrogate");
	if (is_high(unit)) {
		if (s->text.len - next < 6 || memcmp(s->text.ptr + next, "\\u", 2) != 0 ||
		    !is_low(read_hex4(s->text, next + 2)))
			return fail(s, "lone surrogate");
		s->at += 6;
	}
	s->at += 6;
	return true;
}

static bool
scan_escape(struct scan *s)
{
	const int c = s->at + 1 < s->text.len ? s->text.ptr[s->at + 1] : '\0';

	if (c == 'u')
		return scan_u_escape(s);
	if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
		return fail(s, "unknown escape");
	s->at += 2;
	return true;
}

static bool
scan_wide(struct scan *s)
{
	const size_t n = utf8_first((struct slice){ s->text.ptr + s->at, s->text.len - s->at });

	if (n == 0)
		return fail(s, "invalid UTF-8");
	s->at += n;
	return true;
}

static bool
scan_string(struct scan *s)
{
	bool ok = true;

	s->at++;
	while (ok) {
		const int c = peek(s);

		if (c == -1)
			return fail(s, "string without an end");
		if (c == '"')
			break;
		if (c == '\\')
			ok = scan_escape(s);
		else if (c >= 0x80)
			ok = scan_wide(s);
		else if (c < 0x20)
			return fail(s, c == 0 ? "NUL character" : "control character in a string");
		else
			s->at++;
	}
	s->at++;
	return ok;
}

/* Digits, at least one. */
static bool
scan_digits(struct scan *s)
{
	if (!is_digit(peek(s)))
		return fail(s, "expected a digit");
	while (is_digit(peek(s)))
		s->at++;
	return true;
}

static bool
check_double(struct scan *s, struct slice raw)
{
	char buf[JSON_MAX_NUMBER_BYTES + 1];

	if (raw.len > JSON_MAX_NUMBER_BYTES)
		return fail_at(s, s->at - raw.len, "number longer than 512 bytes");
	memcpy(buf, raw.ptr, raw.len);
	buf[raw.len] = '\0';
	if (isinf(strtod(buf, NULL)))
		return fail_at(s, s->at - raw.len, "number beyond a double");
	return true;
}

/* What may follow the integer part; *${type_out} tells whether anything did. */
static bool
scan_fraction(struct scan *s, enum json_type *type_out)
{
	*type_out = JSON_INTEGER;
	if (take(s, '.')) {
		*type_out = JSON_NUMBER;
		if (!scan_digits(s))
			return false;
	}
	if (take(s, 'e') || take(s, 'E')) {
		*type_out = JSON_NUMBER;
		if (!take(s, '+'))
			(void)take(s, '-');
		if (!scan_digits(s))
			return false;
	}
	return true;
}

static bool
scan_number(struct scan *s, enum json_type *type_out)
{
	const size_t start = s->at;
	struct slice raw;
	int64_t n;

	(void)take(s, '-');
	if (!take(s, '0') && !scan_digits(s))
		return false;
	if (!scan_fraction(s, type_out))
		return false;
	raw = (struct slice){ s->text.ptr + start, s->at - start };
	if (*type_out == JSON_NUMBER)
		return check_double(s, raw);
	if (slice_to_i64(raw, &n) != ERR_OK)
		return fail_at(s, start, "integer beyond 64 bits");
	return true;
}

static bool
scan_word(struct scan *s, const char *word, enum json_type type, enum json_type *type_out)
{
	if (!slice_starts((struct slice){ s->text.ptr + s->at, s->text.len - s->at }, word))
		return fail(s, "expected a value");
	s->at += strlen(word);
	*type_out = type;
	return true;
}

static bool
enter(struct scan *s)
{
	if (s->depth == JSON_MAX_DEPTH)
		return fail(s, "more than 32 levels");
	s->depth++;
	s->at++;
	skip_space(s);
	return true;
}

static bool
leave(struct scan *s)
{
	s->depth--;
	s->at++;
	return true;
}

/* Room for one member more. */
static bool
grow(struct scan *s, struct frame *f)
{
	const size_t cap = f->cap == 0 ? FRAME_FIRST : 2 * f->cap;
	struct frame wider = { .cap = cap, .count = f->count };

	if (f->count < f->cap)
		return true;
	wider.hashes = arena_alloc(s->arena, cap * sizeof *wider.hashes);
	wider.members = arena_alloc(s->arena, cap * sizeof *wider.members);
	if (wider.hashes == NULL || wider.members == NULL) {
		s->rc = ERR_NOMEM;
		return false;
	}
	if (f->count > 0) {
		memcpy(wider.hashes, f->hashes, f->count * sizeof *f->hashes);
		memcpy(wider.members, f->members, f->count * sizeof *f->members);
	}
	*f = wider;
	return true;
}

static bool
is_known(const struct frame *f, uint64_t hash, struct slice name)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->hashes[i] == hash && slice_eq(f->members[i].name, name))
			return true;
	return false;
}

/* Scans a member's name and adds it, without a value yet, to the frame. */
static bool
scan_name(struct scan *s, struct frame *f)
{
	const size_t start = s->at;
	struct slice name;
	uint64_t hash;

	if (peek(s) != '"')
		return fail(s, "expected a member name");
	if (!scan_string(s))
		return false;
	s->rc = json_unescape_lazy(
	    (struct slice){ s->text.ptr + start, s->at - start }, s->arena, &name);
	if (s->rc != ERR_OK)
		return false;
	hash = hash64(s->seed, name.ptr, name.len);
	if (is_known(f, hash, name))
		return fail_at(s, start, "duplicate member");
	if (f->count == JSON_MAX_MEMBERS)
		return fail_at(s, start, "more than 256 members");
	if (!grow(s, f))
		return false;
	f->hashes[f->count] = hash;
	f->members[f->count] = (struct json_member){ .name = name };
	f->count++;
	return true;
}

static bool
scan_member(struct scan *s, struct frame *f)
{
	struct json_member *m;
	enum json_type type;
	size_t start;

	if (!scan_name(s, f))
		return false;
	skip_space(s);
	if (!take(s, ':'))
		return fail(s, "expected ':'");
	skip_space(s);
	start = s->at;
	if (!scan_value(s, &type))
		return false;
	m = &f->members[f->count - 1];
	m->raw = (struct slice){ s->text.ptr + start, s->at - start };
	m->type = type;
	skip_space(s);
	return true;
}

static bool
scan_object(struct scan *s, enum json_type *type_out)
{
	struct frame *f;

	*type_out = JSON_OBJECT;
	if (!enter(s))
		return false;
	f = &s->frames[s->depth - 1];
	f->count = 0;
	if (peek(s) == '}')
		return leave(s);
	while (scan_member(s, f)) {
		if (peek(s) == '}')
			return leave(s);
		if (!take(s, ','))
			return fail(s, "expected ',' or '}'");
		skip_space(s);
	}
	return false;
}

static bool
scan_array(struct scan *s, enum json_type *type_out)
{
	enum json_type element;

	*type_out = JSON_ARRAY;
	if (!enter(s))
		return false;
	if (peek(s) == ']')
		return leave(s);
	while (scan_value(s, &element)) {
		skip_space(s);
		if (peek(s) == ']')
			return leave(s);
		if (!take(s, ','))
			return fail(s, "expected ',' or ']'");
		skip_space(s);
	}
	return false;
}

/* One value, without white space around it. */
static bool
scan_value(struct scan *s, enum json_type *type_out)
{
	const int c = peek(s);

	*type_out = JSON_NULL;
	switch (c) {
	case '{':
		return scan_object(s, type_out);
	case '[':
		return scan_array(s, type_out);
	case '"':
		*type_out = JSON_STRING;
		return scan_string(s);
	case 't':
		return scan_word(s, "true", JSON_TRUE, type_out);
	case 'f':
		return scan_word(s, "false", JSON_FALSE, type_out);
	case 'n':
		return scan_word(s, "null", JSON_NULL, type_out);
	default:
		if (c == '-' || is_digit(c))
			return scan_number(s, type_out);
		return fail(s, "expected a value");
	}
}

static void
begin(struct scan *s, struct slice text, struct arena *a)
{
	*s = (struct scan){ .text = text, .arena = a, .seed = rand_u64() };
}

/* The whole text: one value and white space around it. */
static enum err
scan_all(struct scan *s, enum json_type *type_out)
{
	skip_space(s);
	if (!scan_value(s, type_out))
		return s->rc;
	skip_space(s);
	if (s->at < s->text.len)
		(void)fail(s, "text after the end");
	return s->rc;
}

enum err
json_scan_object(struct slice text, struct arena *a, struct json_member **members_out,
    size_t *count_out, struct json_fault *fault_out)
{
	struct scan s;
	enum json_type type;

	begin(&s, text, a);
	skip_space(&s);
	if (peek(&s) != '{')
		(void)fail(&s, "expected an object");
	else
		(void)scan_all(&s, &type);
	*members_out = s.rc == ERR_OK ? s.frames[0].members : NULL;
	*count_out = s.rc == ERR_OK ? s.frames[0].count : 0;
	*fault_out = s.fault;
	return s.rc;
}

enum err
json_scan_value(
    struct slice text, struct arena *a, enum json_type *type_out, struct json_fault *fault_out)
{
	struct scan s;

	begin(&s, text, a);
	(void)scan_all(&s, type_out);
	*fault_out = s.fault;
	return s.rc;
}
