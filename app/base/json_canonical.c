/*
 * One form for equal values: what two clients write differently but mean the
 * same must give the same fingerprint.  In the spirit of RFC 8785, but
 * integers keep all their 64 bits.
 *
 * The text is scanned first, so what walks it afterwards may trust it.
 * Members are written as they come and put in order when their object ends,
 * so the text is walked once, however deep it is.
 */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"

enum { FIRST_PIECES = 16 };

/* One member, as it stands in the output. */
struct piece {
	struct slice name;
	size_t start, len;
};

struct writer {
	struct slice text;
	size_t at; /* the next byte of it */
	struct strbuf *out;
	struct strbuf scratch;
	struct arena *arena;
	struct piece *pieces; /* of all objects that are open, the innermost last */
	size_t count, cap;
	enum err rc;
};

static void write_value(struct writer *w);

static char
next_byte(const struct writer *w)
{
	return w->at < w->text.len ? w->text.ptr[w->at] : '\0';
}

static void
skip_space(struct writer *w)
{
	while (w->at < w->text.len && strchr(" \n\r\t", w->text.ptr[w->at]) != NULL)
		w->at++;
}

/* The string that begins here, with its quotes. */
static struct slice
take_string(struct writer *w)
{
	const size_t start = w->at;

	for (w->at++; next_byte(w) != '"'; w->at++)
		if (next_byte(w) == '\\')
			w->at++;
	w->at++;
	return (struct slice){ w->text.ptr + start, w->at - start };
}

/* The number, null, true or false that begins here. */
static struct slice
take_word(struct writer *w)
{
	const size_t start = w->at;

	while (strchr(",]} \n\r\t", next_byte(w)) == NULL)
		w->at++;
	return (struct slice){ w->text.ptr + start, w->at - start };
}

static struct slice
write_string(struct writer *w)
{
	struct slice text = { NULL, 0 };

	w->rc = json_unescape_lazy(take_string(w), w->arena, &text);
	strbuf_add_json(w->out, text);
	return text;
}

/* The fewest digits, from 15 up, that read back as the same double. */
static void
write_double(struct slice raw, struct strbuf *out)
{
	char text[JSON_MAX_NUMBER_BYTES + 1];
	double n;

	memcpy(text, raw.ptr, raw.len);
	text[raw.len] = '\0';
	n = strtod(text, NULL);
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof text, "%.*g", digits, n == 0 ? 0.0 : n); /* no -0 */
		if (strtod(text, NULL) == n)
			break;
	}
	strbuf_add_cstr(out, text);
}

static bool
is_fractional(struct slice raw)
{
	for (size_t i = 0; i < raw.len; i++)
		if (strchr(".eE", raw.ptr[i]) != NULL)
			return true;
	return false;
}

static void
write_word(struct writer *w)
{
	const struct slice raw = take_word(w);
	const bool number = *raw.ptr == '-' || (*raw.ptr >= '0' && *raw.ptr <= '9');

	if (number && is_fractional(raw))
		write_double(raw, w->out);
	else if (slice_eq_cstr(raw, "-0"))
		strbuf_add_char(w->out, '0');
	else
		strbuf_add_slice(w->out, raw);
}

/* Steps to the next element or member; false at ${end}, which is stepped over. */
static bool
next_item(struct writer *w, char end)
{
	skip_space(w);
	if (w->rc != ERR_OK)
		return false;
	if (next_byte(w) == end) {
		w->at++;
		return false;
	}
	if (next_byte(w) == ',') {
		strbuf_add_char(w->out, ',');
		w->at++;
		skip_space(w);
	}
	return true;
}

static void
write_array(struct writer *w)
{
	strbuf_add_char(w->out, '[');
	w->at++;
	while (next_item(w, ']'))
		write_value(w);
	strbuf_add_char(w->out, ']');
}

/* Room for one more piece. */
static bool
reserve_piece(struct writer *w)
{
	const size_t cap = w->cap == 0 ? FIRST_PIECES : 2 * w->cap;
	struct piece *wider;

	if (w->count < w->cap)
		return true;
	wider = arena_alloc(w->arena, cap * sizeof *wider);
	if (wider == NULL) {
		w->rc = ERR_NOMEM;
		return false;
	}
	if (w->count > 0)
		memcpy(wider, w->pieces, w->count * sizeof *wider);
	w->pieces = wider;
	w->cap = cap;
	return true;
}

static void
write_member(struct writer *w)
{
	struct piece p = { .start = w->out->len };
	size_t mine;

	if (!reserve_piece(w))
		return;
	mine = w->count++; /* an index: the value's own members may move the array */
	p.name = write_string(w);
	skip_space(w);
	strbuf_add_char(w->out, ':');
	w->at++;
	skip_space(w);
	if (w->rc == ERR_OK)
		write_value(w);
	p.len = w->out->len - p.start;
	w->pieces[mine] = p;
}

static int
by_name(const void *a, const void *b)
{
	const struct piece *pa = a, *pb = b;

	return slice_cmp(pa->name, pb->name);
}

static bool
in_order(const struct piece *p, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (by_name(&p[i - 1], &p[i]) > 0)
			return false;
	return true;
}

/* Rewrites the ${n} members that stand at the end of the output, from ${begin} on. */
static void
sort_members(struct writer *w, struct piece *p, size_t n, size_t begin)
{
	w->scratch.len = 0;
	strbuf_add(&w->scratch, w->out->ptr + begin, w->out->len - begin);
	if (w->scratch.failed) {
		w->rc = ERR_NOMEM;
		return;
	}
	qsort(p, n, sizeof *p, by_name);
	w->out->len = begin;
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			strbuf_add_char(w->out, ',');
		strbuf_add(w->out, w->scratch.ptr + (p[i].start - begin), p[i].len);
	}
}

static void
write_object(struct writer *w)
{
	const size_t outer = w->count;
	size_t begin, n;

	strbuf_add_char(w->out, '{');
	begin = w->out->len;
	w->at++;
	while (next_item(w, '}'))
		write_member(w);
	n = w->count - outer;
	if (n > 1 && w->rc == ERR_OK && !w->out->failed && !in_order(w->pieces + outer, n))
		sort_members(w, w->pieces + outer, n, begin);
	w->count = outer;
	strbuf_add_char(w->out, '}');
}

static void
write_value(struct writer *w)
{
	switch (next_byte(w)) {
	case '{':
		write_object(w);
		break;
	case '[':
		write_array(w);
		break;
	case '"':
		(void)write_string(w);
		break;
	default:
		write_word(w);
	}
}

enum err
json_canonical(struct slice raw, struct arena *a, struct strbuf *out)
{
	struct writer w = { .text = raw, .out = out, .arena = a, .scratch = STRBUF_INIT(out->max) };
	struct json_fault fault;
	enum json_type type;

	w.rc = json_scan_value(raw, a, &type, &fault);
	if (w.rc != ERR_OK)
		return w.rc;
	skip_space(&w);
	write_value(&w);
	strbuf_free(&w.scratch);
	if (w.rc == ERR_OK && out->failed)
		return ERR_NOMEM;
	return w.rc;
}
