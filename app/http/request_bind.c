/*
 * From hostile bytes to typed values: the path's segments, the query string and
 * the JSON body, each parameter once, each refusal in words that name it.
 *
 * A query costs one walk over its pairs.  Names are compared while they are
 * decoded, so what is not declared is never copied.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "http/percent.h"
#include "http/request.h"

enum { QUOTE_POINTS = 64, POINT_BYTES = 6, LIST_MAX_BYTES = 16 * 1024 };

/* One request being bound; every refusal goes into ${problem}. */
struct binding {
	const struct request *request;
	const struct endpoint *endpoint;
	struct arena *arena;
	struct value *values;
	struct problem *problem;
	uint64_t bound; /* bit per param */
};

static bool
is_control(const char *p, size_t n)
{
	const unsigned char c = (unsigned char)*p;

	if (n == 1)
		return c < 0x20 || c == 0x7f;
	return n == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0; /* U+0080 to U+009F */
}

/* One character of ${s} at ${at} into ${to}; how many bytes of ${s} it took. */
static size_t
quote_point(struct slice s, size_t at, char to[POINT_BYTES + 1])
{
	const size_t n = utf8_first((struct slice){ s.ptr + at, s.len - at });
	const char *p = s.ptr + at;

	if (n == 0)
		(void)snprintf(to, POINT_BYTES + 1, "\\x%02x", (unsigned)(unsigned char)*p);
	else if (is_control(p, n))
		(void)snprintf(to, POINT_BYTES + 1, "\\u%04x", (unsigned)(unsigned char)p[n - 1]);
	else
		*(char *)mempcpy(to, p, n) = '\0';
	return n == 0 ? 1 : n;
}

/* Somebody else's bytes, fit to be shown: UTF-8, no control characters, at most 64 code points. */
static const char *
quote(struct slice s, struct arena *a)
{
	char text[QUOTE_POINTS * POINT_BYTES + sizeof "..."], point[POINT_BYTES + 1];
	size_t len = 0, at = 0;
	const char *copy;

	for (int points = 0; at < s.len && points < QUOTE_POINTS; points++) {
		at += quote_point(s, at, point);
		memcpy(text + len, point, strlen(point));
		len += strlen(point);
	}
	if (at < s.len) {
		memcpy(text + len, "...", 3);
		len += 3;
	}
	copy = arena_copy(a, (struct slice){ text, len });
	return copy == NULL ? "" : copy;
}

static const char *
kind_of(const struct param *p)
{
	return p->place == PARAM_BODY ? "body member" : "parameter";
}

/* ERR_INVALID with this detail, or ERR_NOMEM where some part of it could not even be said. */
static enum err
refuse(struct binding *b, const char *detail, const char *param)
{
	if (detail == NULL || b->arena->overflowed) {
		*b->problem = problem_of(ERR_NOMEM);
		return ERR_NOMEM;
	}
	*b->problem = PROBLEM(400, detail);
	b->problem->param = param;
	return ERR_INVALID;
}

static enum err
out_of_memory(struct binding *b)
{
	return refuse(b, NULL, NULL);
}

/* `parameter "limit": expected an integer, got "abc"`.  JSON bytes bring their own quotes. */
static enum err
refuse_value(struct binding *b, const struct param *p, const char *expected, struct slice got)
{
	const char *name = quote(p->name, b->arena), *mark = p->place == PARAM_BODY ? "" : "\"";

	return refuse(b,
	    arena_printf(b->arena, "%s \"%s\": expected %s, got %s%s%s", kind_of(p), name, expected,
		mark, quote(got, b->arena), mark),
	    name);
}

static enum err
refuse_because(struct binding *b, struct slice param, const char *why)
{
	const char *name = quote(param, b->arena);

	return refuse(b, arena_printf(b->arena, "parameter \"%s\" %s", name, why), name);
}

static enum err
bind_text(struct binding *b, size_t index, struct slice text)
{
	const struct param *p = &b->endpoint->params[index];
	const char *expected = NULL;
	const enum err rc = value_parse(p, text, b->arena, &b->values[index], &expected);

	b->bound |= UINT64_C(1) << index;
	if (rc == ERR_INVALID)
		return refuse_value(b, p, expected, text);
	return rc == ERR_OK ? ERR_OK : out_of_memory(b);
}

static enum err
bind_path(struct binding *b, const struct slice *decoded_segments)
{
	const struct endpoint *e = b->endpoint;
	enum err rc = ERR_OK;

	for (size_t i = 0; i < e->segment_count && rc == ERR_OK; i++)
		if (e->segments[i].param >= 0)
			rc = bind_text(b, (size_t)e->segments[i].param, decoded_segments[i]);
	return rc;
}

/* Takes one name=value off ${rest}; both raw.  A name alone has an empty value. */
static void
take_pair(struct slice *rest, struct slice *name_out, struct slice *value_out)
{
	*value_out = slice_cut(rest, '&');
	*name_out = slice_cut(value_out, '=');
}

/* The value of a query parameter that somebody asked for, decoded; refused as ${name}'s fault. */
static enum err
decode_value(struct binding *b, struct slice name, struct slice raw, bool again, struct slice *out)
{
	const char *why = NULL;
	enum err rc;

	if (again)
		return refuse_because(b, name, "is given more than once");
	rc = percent_decode(raw, true, b->arena, out, &why);
	if (rc == ERR_INVALID) {
		why = arena_printf(b->arena, "has %s", why);
		return why == NULL ? out_of_memory(b) : refuse_because(b, name, why);
	}
	return rc == ERR_OK ? ERR_OK : out_of_memory(b);
}

/* The index of the query parameter that raw ${name} means, or param_count. */
static size_t
find_query_param(const struct endpoint *e, struct slice name)
{
	size_t i = 0;

	while (i < e->param_count &&
	       !(e->params[i].place == PARAM_QUERY && percent_eq(name, true, e->params[i].name)))
		i++;
	return i;
}

static enum err
bind_query(struct binding *b)
{
	struct slice rest = b->request->query, name, raw, text;
	enum err rc = ERR_OK;

	while (rest.ptr != NULL && rc == ERR_OK) {
		size_t i;

		take_pair(&rest, &name, &raw);
		i = find_query_param(b->endpoint, name);
		if (i == b->endpoint->param_count)
			continue;
		rc = decode_value(
		    b, b->endpoint->params[i].name, raw, (b->bound & UINT64_C(1) << i) != 0, &text);
		if (rc == ERR_OK)
			rc = bind_text(b, i, text);
	}
	return rc;
}

/* "a, b, c" of the declared body members, in the arena. */
static const char *
declared_members(struct binding *b)
{
	struct strbuf list = STRBUF_INIT(LIST_MAX_BYTES);
	const char *text;

	for (size_t i = 0; i < b->endpoint->param_count; i++) {
		if (b->endpoint->params[i].place != PARAM_BODY)
			continue;
		strbuf_add_cstr(&list, list.len == 0 ? "" : ", ");
		strbuf_add_slice(&list, b->endpoint->params[i].name);
	}
	text = arena_copy(b->arena, strbuf_slice(&list));
	strbuf_free(&list);
	return text == NULL ? "" : text;
}

static enum err
refuse_undeclared(struct binding *b, struct slice member)
{
	const char *name = quote(member, b->arena), *declared = declared_members(b);

	if (*declared == '\0')
		return refuse(b,
		    arena_printf(b->arena,
			"body member \"%s\" is not declared: this endpoint takes no body", name),
		    name);
	return refuse(b,
	    arena_printf(
		b->arena, "body member \"%s\" is not declared, expected only %s", name, declared),
	    name);
}

static enum err
bind_member(struct binding *b, const struct json_member *m)
{
	const struct endpoint *e = b->endpoint;
	const char *expected = NULL;
	enum err rc;
	size_t i = 0;

	while (i < e->param_count &&
	       !(e->params[i].place == PARAM_BODY && slice_eq(e->params[i].name, m->name)))
		i++;
	if (i == e->param_count)
		return refuse_undeclared(b, m->name);
	b->bound |= UINT64_C(1) << i;
	rc = value_parse_json(&e->params[i], m->raw, b->arena, &b->values[i], &expected);
	if (rc == ERR_INVALID)
		return refuse_value(b, &e->params[i], expected, m->raw);
	return rc == ERR_OK ? ERR_OK : out_of_memory(b);
}

/* What a fault in the body points at: the string that begins there, or all that follows. */
static struct slice
pointed_at(struct slice body, size_t offset)
{
	struct slice s;
	size_t end = 1;

	if (offset > body.len)
		offset = body.len;
	s = (struct slice){ body.ptr + offset, body.len - offset };
	if (s.len == 0 || *s.ptr != '"')
		return s;
	while (end < s.len && s.ptr[end] != '"')
		end += s.ptr[end] == '\\' ? 2 : 1;
	if (end < s.len)
		s.len = end + 1;
	return s;
}

static enum err
refuse_json(struct binding *b, const struct json_fault *fault)
{
	const struct slice at = pointed_at(b->request->body, fault->offset);

	if (at.len == 0)
		return refuse(b, arena_printf(b->arena, "body, at its end: %s", fault->why), NULL);
	return refuse(b,
	    arena_printf(b->arena, "body, byte %zu: %s, near %s", fault->offset, fault->why,
		quote(at, b->arena)),
	    NULL);
}

/* One parameter of a media type; only a charset says anything about JSON (RFC 8259 §8.1). */
static bool
is_other_charset(struct slice parameter)
{
	struct slice value = parameter;
	const struct slice name = slice_trim(slice_cut(&value, '='));

	if (!slice_eq_nocase(name, "charset"))
		return false;
	value = slice_trim(value);
	return !slice_eq_nocase(value, "utf-8") && !slice_eq_nocase(value, "\"utf-8\"");
}

static bool
is_json_type(struct slice content_type)
{
	struct slice rest = content_type;

	if (!slice_eq_nocase(slice_trim(slice_cut(&rest, ';')), "application/json"))
		return false;
	while (rest.ptr != NULL)
		if (is_other_charset(slice_cut(&rest, ';')))
			return false;
	return true;
}

static enum err
refuse_type(struct binding *b)
{
	const struct slice type = b->request->content_type;
	enum err rc;

	if (type.ptr == NULL)
		rc = refuse(b, "Content-Type: expected application/json, got none", NULL);
	else
		rc = refuse(b,
		    arena_printf(b->arena, "Content-Type: expected application/json, got \"%s\"",
			quote(type, b->arena)),
		    NULL);
	if (rc == ERR_INVALID) {
		b->problem->status = 415;
		b->problem->accept = "application/json";
	}
	return rc;
}

/* An empty body is `{}`: its missing members are then named like any others. */
static enum err
bind_body(struct binding *b)
{
	const struct slice body = b->request->body;
	struct json_fault fault = { 0 };
	struct json_member *members = NULL;
	size_t count = 0;
	enum err rc;

	if (body.len == 0)
		return ERR_OK;
	if (!is_json_type(b->request->content_type))
		return refuse_type(b);
	rc = json_scan_object(body, b->arena, &members, &count, &fault);
	if (rc != ERR_OK)
		return rc == ERR_INVALID ? refuse_json(b, &fault) : out_of_memory(b);
	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = bind_member(b, &members[i]);
	return rc;
}

static enum err
refuse_missing(struct binding *b, const struct param *p)
{
	const char *name = quote(p->name, b->arena);
	const char *expected = value_expected(p, b->arena);

	if (expected == NULL)
		return out_of_memory(b);
	return refuse(b,
	    arena_printf(b->arena, "%s \"%s\" is missing: expected %s", kind_of(p), name, expected),
	    name);
}

static enum err
bind_absent(struct binding *b)
{
	for (size_t i = 0; i < b->endpoint->param_count; i++) {
		const struct param *p = &b->endpoint->params[i];

		if ((b->bound & UINT64_C(1) << i) != 0)
			continue;
		if (p->has_default)
			b->values[i] = p->fallback;
		else if (p->optional)
			b->values[i] = (struct value){ .type = p->type, .null = true };
		else
			return refuse_missing(b, p);
	}
	return ERR_OK;
}

enum err
request_bind(const struct request *r, const struct endpoint *e,
    const struct slice *decoded_segments, struct arena *a, struct value *values,
    struct problem *problem_out)
{
	struct binding b = {
		.request = r, .endpoint = e, .arena = a, .values = values, .problem = problem_out
	};
	enum err rc;

	assert(e->param_count <= ENDPOINT_MAX_PARAMS);
	rc = bind_path(&b, decoded_segments);
	if (rc == ERR_OK)
		rc = bind_query(&b);
	if (rc == ERR_OK)
		rc = bind_body(&b);
	return rc == ERR_OK ? bind_absent(&b) : rc;
}

enum err
request_fields(
    const struct request *r, struct arena *a, struct slice *out, struct problem *problem_out)
{
	const struct slice fields = SLICE("fields");
	struct binding b = { .request = r, .arena = a, .problem = problem_out };
	struct slice rest = r->query, name, raw;
	enum err rc = ERR_OK;

	*out = (struct slice){ NULL, 0 };
	while (rest.ptr != NULL && rc == ERR_OK) {
		take_pair(&rest, &name, &raw);
		if (percent_eq(name, true, fields))
			rc = decode_value(&b, fields, raw, out->ptr != NULL, out);
	}
	return rc;
}
