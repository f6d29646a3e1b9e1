/*
 * Trace context in and out (W3C Trace Context, level 2, §3).
 *
 * Reading is strict where the text is strict: lower-case digits only, no zero
 * ids.  A later version is read as far as version 00 goes and written as 00.
 */
#include "telemetry/trace.h"

#include <stddef.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

enum {
	VERSION_AT = 0,
	TRACE_ID_AT = 3,
	PARENT_ID_AT = 36,
	FLAGS_AT = 53,
	LENGTH = 55,
	FLAG_SAMPLED = 1,
	FLAG_RANDOM = 2,
	MEMBERS_MAX = 32,
	KEY_MAX = 256,
	VALUE_MAX = 256
};

static bool
is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int
hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_hex(const char *text, uint8_t *out, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high * 16 + low);
	}
	return true;
}

static bool
is_zero(const uint8_t *id, size_t bytes)
{
	uint8_t any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= id[i];
	return any == 0;
}

/* §3.2.2; a version after 00 may be longer, but only behind another dash. */
static bool
read_traceparent(struct slice s, struct trace_context *t)
{
	uint8_t version, flags;

	s = slice_trim(s);
	if (s.len < LENGTH || s.ptr[TRACE_ID_AT - 1] != '-' || s.ptr[PARENT_ID_AT - 1] != '-' ||
	    s.ptr[FLAGS_AT - 1] != '-')
		return false;
	if (!read_hex(s.ptr + VERSION_AT, &version, 1) ||
	    !read_hex(s.ptr + TRACE_ID_AT, t->trace_id, TRACE_ID_BYTES) ||
	    !read_hex(s.ptr + PARENT_ID_AT, t->parent_id, SPAN_ID_BYTES) ||
	    !read_hex(s.ptr + FLAGS_AT, &flags, 1))
		return false;
	if (version == 0xff || (s.len > LENGTH && (version == 0 || s.ptr[LENGTH] != '-')))
		return false;
	if (is_zero(t->trace_id, TRACE_ID_BYTES) || is_zero(t->parent_id, SPAN_ID_BYTES))
		return false;
	t->sampled = (flags & FLAG_SAMPLED) != 0;
	t->random = (flags & FLAG_RANDOM) != 0;
	return true;
}

static bool
is_key(struct slice s)
{
	if (s.len < 1 || s.len > KEY_MAX || (!is_lower(*s.ptr) && !is_digit(*s.ptr)))
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (!is_lower(s.ptr[i]) && !is_digit(s.ptr[i]) &&
		    (s.ptr[i] == '\0' || strchr("_-*/@", s.ptr[i]) == NULL))
			return false;
	return true;
}

/* Trimmed already, so no space can be its last byte. */
static bool
is_value(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e || s.ptr[i] == ',' || s.ptr[i] == '=')
			return false;
	return s.len >= 1 && s.len <= VALUE_MAX;
}

/* §3.3.1: one bad member, or a 33rd, spoils the whole list; empty members are no members. */
static bool
is_tracestate(struct slice list)
{
	unsigned members = 0;

	while (list.ptr != NULL) {
		struct slice value = slice_trim(slice_cut(&list, ','));
		struct slice key;

		if (value.len == 0)
			continue;
		key = slice_cut(&value, '=');
		if (++members > MEMBERS_MAX || !is_key(key) || !is_value(value))
			return false;
	}
	return members > 0;
}

static void
make_id(uint8_t *id, size_t bytes)
{
	do {
		for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
			const uint64_t random = rand_u64();

			memcpy(id + i, &random, sizeof random);
		}
	} while (is_zero(id, bytes));
}

void
trace_begin(struct trace_context *t, struct slice traceparent, unsigned traceparent_lines,
    struct slice tracestate)
{
	struct trace_context parent = { 0 };

	*t = (struct trace_context){ .random = true };
	if (traceparent_lines == 1 && read_traceparent(traceparent, &parent)) {
		*t = parent;
		t->has_parent = true;
		if (is_tracestate(tracestate))
			t->tracestate = tracestate;
	} else {
		make_id(t->trace_id, sizeof t->trace_id);
	}
	make_id(t->span_id, sizeof t->span_id);
}

bool
trace_read(struct slice traceparent, struct trace_context *t)
{
	struct trace_context read = { .has_parent = true };

	*t = (struct trace_context){ 0 };
	if (!read_traceparent(traceparent, &read))
		return false;
	*t = read;
	return true;
}

void
trace_new_span(struct trace_context *t)
{
	make_id(t->span_id, sizeof t->span_id);
}

void
trace_child(struct trace_context *t)
{
	memcpy(t->parent_id, t->span_id, sizeof t->parent_id);
	t->has_parent = true;
	trace_new_span(t);
}

void
trace_take_id(struct trace_context *t, struct slice request_id)
{
	uint8_t id[TRACE_ID_BYTES];

	if (t->has_parent || request_id.len != 2 * sizeof id ||
	    !read_hex(request_id.ptr, id, sizeof id) || is_zero(id, sizeof id))
		return;
	memcpy(t->trace_id, id, sizeof id);
	t->random = false; /* whoever made it has not said so */
}

char *
trace_format(const struct trace_context *t, char out[TRACEPARENT_BYTES])
{
	const uint8_t flags =
	    (uint8_t)((t->sampled ? FLAG_SAMPLED : 0) | (t->random ? FLAG_RANDOM : 0));

	hex_encode(&(uint8_t){ 0 }, 1, out); /* each NUL is then overwritten by the next dash */
	hex_encode(t->trace_id, sizeof t->trace_id, out + TRACE_ID_AT);
	hex_encode(t->span_id, sizeof t->span_id, out + PARENT_ID_AT);
	hex_encode(&flags, 1, out + FLAGS_AT);
	out[TRACE_ID_AT - 1] = out[PARENT_ID_AT - 1] = out[FLAGS_AT - 1] = '-';
	return out;
}
