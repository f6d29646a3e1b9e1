/*
 * Events: their ids, fingerprints and records.
 *
 * A record; numbers little endian, a blob is 4 bytes of length and its bytes:
 *
 *   version 1 | id 16 | fingerprint 16 | accepted_us 8 | blobs endpoint, tenant, key, traceparent [, tracestate] |
 *   parameters 2 | each: blob name, type 1 (a letter), null 1, blob text, integer or double bits 8
 *
 * Version 2 has a tracestate; what has none is written as version 1, which an older weir reads.
 */
#include "service/event.h"

#include <string.h>

#include "base/hash.h"
#include "http/endpoint.h"

enum {
	RECORD_VERSION = 1,
	RECORD_WITH_STATE = 2,
	HEAD_BYTES = 1 + 16 + 16 + 8,
	BLOB_BYTES = 4,
	PARAM_BYTES = 18
};

/* Letters, for the enum may be sorted anew some day and old records must not notice. */
static const char type_letters[VALUE__COUNT] = {
	[VALUE_TEXT] = 't',
	[VALUE_INTEGER] = 'i',
	[VALUE_NUMBER] = 'n',
	[VALUE_BOOLEAN] = 'b',
	[VALUE_DATE] = 'd',
	[VALUE_TIMESTAMP] = 's',
	[VALUE_UUID] = 'u',
	[VALUE_JSON] = 'j',
	[VALUE_OBJECT] = 'o',
	[VALUE_ARRAY] = 'a',
	[VALUE_ANY] = 'y',
};

void
event_id_make(
    struct slice tenant, struct slice endpoint, struct slice key, uint8_t out[EVENT_ID_BYTES])
{
	const struct slice parts[] = { tenant, endpoint, key };
	uint8_t digest[DIGEST_BYTES];

	digest_sha256(parts, sizeof parts / sizeof *parts, digest);
	memcpy(out, digest, EVENT_ID_BYTES);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x80); /* version 8 */
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
}

static bool
dash_before(size_t byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
event_id_text(const uint8_t id[EVENT_ID_BYTES], char out[EVENT_ID_TEXT])
{
	for (size_t i = 0; i < EVENT_ID_BYTES; i++) {
		if (dash_before(i))
			*out++ = '-';
		hex_encode(&id[i], 1, out); /* and a NUL, which the next one covers */
		out += 2;
	}
}

enum err
event_id_parse(struct slice text, uint8_t out[EVENT_ID_BYTES])
{
	const char *p = text.ptr;

	if (text.len != EVENT_ID_TEXT - 1)
		return ERR_INVALID;
	for (size_t i = 0; i < EVENT_ID_BYTES; i++, p += 2) {
		if (dash_before(i) && *p++ != '-')
			return ERR_INVALID;
		if (!hex_decode(p, 1, &out[i]))
			return ERR_INVALID;
	}
	return ERR_OK;
}

static void
put_number(uint8_t **at, uint64_t n, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		*(*at)++ = (uint8_t)(n >> (8 * i));
}

static void
put_bytes(uint8_t **at, const void *bytes, size_t len)
{
	if (len > 0)
		memcpy(*at, bytes, len);
	*at += len;
}

static void
put_blob(uint8_t **at, struct slice s)
{
	put_number(at, s.len, BLOB_BYTES);
	put_bytes(at, s.ptr, s.len);
}

/* Indexes of the parameters by name: few, so by insertion. */
static void
sort_by_name(const struct endpoint *e, size_t *order)
{
	for (size_t i = 0; i < e->param_count; i++) {
		size_t at = i;

		for (; at > 0 && slice_cmp(e->params[order[at - 1]].name, e->params[i].name) > 0;
		     at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

static enum err
add_canonical(struct slice name, const struct value *v, struct arena *a, struct strbuf *out)
{
	uint8_t framed[BLOB_BYTES], *at = framed;

	put_number(&at, name.len, BLOB_BYTES);
	strbuf_add(out, framed, sizeof framed);
	strbuf_add_slice(out, name);
	return value_canonical(v, a, out);
}

enum err
event_fingerprint(const struct endpoint *e, const struct value *values, struct arena *a,
    uint8_t out[EVENT_FINGERPRINT_BYTES])
{
	struct strbuf text = STRBUF_INIT(SIZE_MAX / 2); /* the body was bounded */
	size_t *order = arena_alloc(a, (e->param_count + 1) * sizeof *order);
	struct hash128 h;
	enum err rc = ERR_NOMEM;

	if (order == NULL)
		return rc;
	sort_by_name(e, order);
	for (size_t i = 0; i < e->param_count; i++) {
		const struct value *v = &values[order[i]];

		/* An absent one adds nothing: a new optional parameter keeps old fingerprints. */
		if (v->null)
			continue;
		rc = add_canonical(e->params[order[i]].name, v, a, &text);
		if (rc != ERR_OK)
			goto out;
	}
	rc = text.failed ? ERR_NOMEM : ERR_OK;
	h = hash128(text.ptr, text.len);
	put_number(&out, h.hi, 8);
	put_number(&out, h.lo, 8);
out:
	strbuf_free(&text);
	return rc;
}

static bool
has_state(const struct event *ev)
{
	return ev->tracestate.len > 0;
}

/* 0: too large for the record's own length fields. */
static size_t
record_size(const struct event *ev)
{
	const struct slice blobs[] = { ev->endpoint, ev->tenant, ev->key, ev->traceparent,
		ev->tracestate };
	size_t size = HEAD_BYTES + 2;

	if (ev->param_count > UINT16_MAX)
		return 0;
	for (size_t i = 0; i < (has_state(ev) ? 5u : 4u); i++) {
		if (blobs[i].len > UINT32_MAX)
			return 0;
		size += BLOB_BYTES + blobs[i].len;
	}
	for (size_t i = 0; i < ev->param_count; i++) {
		const struct event_param *p = &ev->params[i];

		if (p->name.len > UINT32_MAX || p->value.text.len > UINT32_MAX)
			return 0;
		size += PARAM_BYTES + p->name.len + p->value.text.len;
	}
	return size;
}

static uint64_t
number_bits(const struct value *v)
{
	uint64_t bits = (uint64_t)v->integer;

	if (v->type == VALUE_NUMBER)
		memcpy(&bits, &v->number, sizeof bits);
	return bits;
}

static void
put_param(uint8_t **at, const struct event_param *p)
{
	put_blob(at, p->name);
	put_number(at, (uint8_t)type_letters[p->value.type], 1);
	put_number(at, p->value.null, 1);
	put_blob(at, p->value.text);
	put_number(at, number_bits(&p->value), 8);
}

enum err
event_encode(const struct event *ev, struct arena *a, struct slice *record_out)
{
	const size_t size = record_size(ev);
	uint8_t *record, *at;

	if (size == 0)
		return ERR_TOO_LARGE;
	record = at = arena_alloc(a, size);
	if (record == NULL)
		return ERR_NOMEM;
	put_number(&at, has_state(ev) ? RECORD_WITH_STATE : RECORD_VERSION, 1);
	put_bytes(&at, ev->id, sizeof ev->id);
	put_bytes(&at, ev->fingerprint, sizeof ev->fingerprint);
	put_number(&at, (uint64_t)ev->accepted_us, 8);
	put_blob(&at, ev->endpoint);
	put_blob(&at, ev->tenant);
	put_blob(&at, ev->key);
	put_blob(&at, ev->traceparent);
	if (has_state(ev))
		put_blob(&at, ev->tracestate);
	put_number(&at, ev->param_count, 2);
	for (size_t i = 0; i < ev->param_count; i++)
		put_param(&at, &ev->params[i]);
	*record_out = (struct slice){ (const char *)record, size };
	return ERR_OK;
}

/* What is left to read; past its end ${bad} stays set and everything reads as empty. */
struct reading {
	struct slice left;
	bool bad;
};

static struct slice
get_bytes(struct reading *r, size_t len)
{
	const struct slice s = { r->left.ptr, len };

	if (len > r->left.len) {
		r->bad = true;
		r->left = SLICE("");
		return r->left;
	}
	r->left.ptr += len;
	r->left.len -= len;
	return s;
}

static uint64_t
get_number(struct reading *r, size_t bytes)
{
	const struct slice s = get_bytes(r, bytes);
	uint64_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n |= (uint64_t)(uint8_t)s.ptr[i] << (8 * i);
	return n;
}

static struct slice
get_blob(struct reading *r)
{
	return get_bytes(r, (size_t)get_number(r, BLOB_BYTES));
}

static void
get_fixed(struct reading *r, uint8_t *out, size_t len)
{
	const struct slice s = get_bytes(r, len);

	memcpy(out, s.ptr, s.len);
}

char
event_letter_of(enum value_type type)
{
	return type_letters[type];
}

bool
event_type_of(char letter, enum value_type *out)
{
	for (size_t i = 0; i < VALUE__COUNT; i++)
		if (type_letters[i] == letter) {
			*out = (enum value_type)i;
			return true;
		}
	return false;
}

static void
get_param(struct reading *r, struct event_param *out)
{
	uint64_t bits;

	out->name = get_blob(r);
	if (!event_type_of((char)get_number(r, 1), &out->value.type))
		r->bad = true;
	out->value.null = get_number(r, 1) != 0;
	out->value.text = get_blob(r);
	bits = get_number(r, 8);
	if (out->value.type == VALUE_NUMBER)
		memcpy(&out->value.number, &bits, sizeof bits);
	else
		out->value.integer = (int64_t)bits;
}

enum err
event_decode(struct slice record, struct arena *a, struct event *out)
{
	struct reading r = { .left = record };
	uint64_t version;

	*out = (struct event){ .record = record };
	version = get_number(&r, 1);
	if (version != RECORD_VERSION && version != RECORD_WITH_STATE)
		return ERR_INVALID;
	get_fixed(&r, out->id, sizeof out->id);
	get_fixed(&r, out->fingerprint, sizeof out->fingerprint);
	out->accepted_us = (int64_t)get_number(&r, 8);
	out->endpoint = get_blob(&r);
	out->tenant = get_blob(&r);
	out->key = get_blob(&r);
	out->traceparent = get_blob(&r);
	if (version == RECORD_WITH_STATE)
		out->tracestate = get_blob(&r);
	out->param_count = (size_t)get_number(&r, 2);
	if (r.bad || out->param_count > r.left.len / PARAM_BYTES)
		return ERR_INVALID;
	out->params = arena_alloc(a, (out->param_count + 1) * sizeof *out->params);
	if (out->params == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < out->param_count; i++)
		get_param(&r, &out->params[i]);
	return r.bad || r.left.len > 0 ? ERR_INVALID : ERR_OK;
}

static const struct value *
find_value(const struct event *ev, struct slice name)
{
	for (size_t i = 0; i < ev->param_count; i++)
		if (slice_eq(ev->params[i].name, name))
			return &ev->params[i].value;
	return NULL;
}

enum err
event_values(const struct endpoint *e, const struct event *ev, struct value *values_out)
{
	for (size_t i = 0; i < e->param_count; i++) {
		const struct param *p = &e->params[i];
		const struct value *v = find_value(ev, p->name);

		if (v == NULL && !p->has_default && !p->optional)
			return ERR_NOT_FOUND;
		if (v != NULL)
			values_out[i] = *v;
		else if (p->has_default)
			values_out[i] = p->fallback;
		else
			values_out[i] = (struct value){ .type = p->type, .null = true };
	}
	return ERR_OK;
}
