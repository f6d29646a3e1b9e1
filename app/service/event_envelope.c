/*
 * Envelopes: what an event looks like in Kafka.
 *
 * Decoding believes nothing: the id must be the one of tenant, endpoint and key, every member must
 * be of the type that is said, and what is left over or missing makes it none of ours.
 */
#include "service/event_envelope.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "http/endpoint.h"
#include "service/event.h"

enum { VALUE_BYTES_MAX = 512 << 20, FINGERPRINT_TEXT = 2 * EVENT_FINGERPRINT_BYTES };

#define AS_RECORD "*"

enum part {
	VERSION,
	ENDPOINT,
	TENANT,
	KEY,
	EVENT_ID,
	ACCEPTED_AT,
	FINGERPRINT,
	TYPES,
	TRACE,
	TRACE_STATE, /* the only one that may be missing */
	PARTS
};

#define NAME(text)                                                                                 \
	{                                                                                          \
		.ptr = (text), .len = sizeof(text) - 1                                             \
	}
static const struct slice names[PARTS] = {
	[VERSION] = NAME("weir-version"),
	[ENDPOINT] = NAME("weir-endpoint"),
	[TENANT] = NAME("weir-tenant"),
	[KEY] = NAME("weir-key"),
	[EVENT_ID] = NAME("weir-event-id"),
	[ACCEPTED_AT] = NAME("weir-accepted-at"),
	[FINGERPRINT] = NAME("weir-fingerprint"),
	[TYPES] = NAME("weir-types"),
	[TRACE] = NAME("traceparent"),
	[TRACE_STATE] = NAME("tracestate"),
};

/*
 * The value, read: by who takes the message, and by who makes it.
 */
static bool
read_param(const struct json_member *m, char letter, struct arena *a, struct event_param *out)
{
	const bool null = letter >= 'A' && letter <= 'Z';
	const char *expected;
	struct param p = { .name = m->name };

	if (!event_type_of((char)tolower((unsigned char)letter), &p.type))
		return false;
	out->name = m->name;
	if (null) {
		out->value = (struct value){ .type = p.type, .null = true, .text = SLICE("") };
		return m->type == JSON_NULL;
	}
	return value_parse_json(&p, m->raw, a, &out->value, &expected) == ERR_OK &&
	       out->value.type == p.type;
}

static enum err
read_json(struct slice value, struct slice types, struct arena *a, struct event *out)
{
	struct json_member *members;
	struct json_fault fault;
	size_t count;
	enum err rc = json_scan_object(value, a, &members, &count, &fault);

	if (rc != ERR_OK)
		return rc;
	out->params = arena_alloc(a, (count + 1) * sizeof *out->params);
	if (out->params == NULL)
		return ERR_NOMEM;
	if (types.len != count)
		return ERR_INVALID;
	out->param_count = count;
	for (size_t i = 0; i < count; i++)
		if (!read_param(&members[i], types.ptr[i], a, &out->params[i]))
			return a->overflowed ? ERR_NOMEM : ERR_INVALID;
	return event_encode(out, a, &out->record);
}

/*
 * Out.
 */
static void
add(struct event_envelope *out, enum part part, struct slice value)
{
	out->headers[out->header_count++] =
	    (struct kafka_header){ names[part], value.ptr == NULL ? SLICE("") : value };
}

static bool
is_string(enum value_type t)
{
	return t == VALUE_TEXT || t == VALUE_DATE || t == VALUE_TIMESTAMP || t == VALUE_UUID;
}

static void
write_value(struct strbuf *b, const struct value *v)
{
	if (v->null)
		strbuf_add_cstr(b, "null");
	else if (!is_string(v->type))
		strbuf_add_slice(b, v->text); /* the canonical text of these is JSON */
	else if (utf8_valid(v->text, NULL))
		strbuf_add_json(b, v->text);
	else
		b->failed = true;
}

/* False: JSON cannot say it, or there is no memory. */
static bool
write_json(
    const struct event *ev, struct arena *a, struct event_envelope *out, struct slice *types_out)
{
	struct strbuf b = STRBUF_INIT(VALUE_BYTES_MAX);
	char *types = arena_alloc(a, ev->param_count + 1);

	for (size_t i = 0; i < ev->param_count && types != NULL; i++) {
		const struct event_param *p = &ev->params[i];
		const char letter = event_letter_of(p->value.type);

		types[i] = p->value.null ? (char)toupper((unsigned char)letter) : letter;
		strbuf_add_char(&b, i == 0 ? '{' : ',');
		strbuf_add_json(&b, p->name);
		strbuf_add_char(&b, ':');
		write_value(&b, &p->value);
	}
	strbuf_add_cstr(&b, ev->param_count == 0 ? "{}" : "}");
	if (!b.failed && types != NULL) {
		out->value = arena_slice(a, strbuf_slice(&b));
		*types_out = (struct slice){ types, ev->param_count };
	}
	strbuf_free(&b);
	return out->value.ptr != NULL;
}

/* What a reader would make of it is the same record, byte for byte.  The head is not read back: it is the same
 * whatever the value is. */
static bool
reads_back(const struct event *ev, struct slice value, struct slice types, struct arena *a)
{
	struct event back = *ev;

	return read_json(value, types, a, &back) == ERR_OK && slice_eq(back.record, ev->record);
}

static struct slice
partition_key(const struct event *ev, const struct endpoint *e)
{
	for (size_t i = 0; e != NULL && e->partition_param.ptr != NULL && i < ev->param_count;
	     i++) {
		const struct event_param *p = &ev->params[i];

		if (slice_eq(p->name, e->partition_param) && !p->value.null &&
		    p->value.text.len > 0)
			return p->value.text;
	}
	return ev->key;
}

static void
add_headers(const struct event *ev, char *texts, struct event_envelope *out)
{
	char *const id = texts, *const at = id + EVENT_ID_TEXT,
		    *const print = at + CLOCK_RFC3339_BYTES;

	event_id_text(ev->id, id);
	(void)clock_rfc3339(ev->accepted_us, at);
	hex_encode(ev->fingerprint, sizeof ev->fingerprint, print);
	add(out, VERSION, SLICE("1"));
	add(out, ENDPOINT, ev->endpoint);
	add(out, TENANT, ev->tenant);
	add(out, KEY, ev->key);
	add(out, EVENT_ID, slice_of(id));
	add(out, ACCEPTED_AT, slice_of(at));
	add(out, FINGERPRINT, slice_of(print));
	add(out, TRACE, ev->traceparent);
	if (ev->tracestate.len > 0)
		add(out, TRACE_STATE, ev->tracestate);
}

enum err
event_envelope_encode(
    const struct event *ev, const struct endpoint *e, struct arena *a, struct event_envelope *out)
{
	char *texts = arena_alloc(a, EVENT_ID_TEXT + CLOCK_RFC3339_BYTES + FINGERPRINT_TEXT + 1);
	struct slice types = { 0 };

	*out = (struct event_envelope){ .key = partition_key(ev, e),
		.timestamp_ms = ev->accepted_us / 1000 };
	if (texts == NULL)
		return ERR_NOMEM;
	add_headers(ev, texts, out);
	if (write_json(ev, a, out, &types) && reads_back(ev, out->value, types, a)) {
		add(out, TYPES, types);
		return ERR_OK;
	}
	out->value = ev->record;
	add(out, TYPES, SLICE(AS_RECORD));
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}

void
event_envelope_trace(struct event_envelope *env, struct slice traceparent)
{
	for (size_t i = 0; i < env->header_count; i++)
		if (slice_eq(env->headers[i].name, names[TRACE]))
			env->headers[i].value = traceparent;
}

/*
 * In.
 */
static bool
take_headers(const struct kafka_header *headers, size_t count, struct slice parts[PARTS])
{
	for (size_t i = 0; i < count; i++)
		for (size_t p = 0; p < PARTS; p++) {
			if (!slice_eq(headers[i].name, names[p]))
				continue;
			if (parts[p].ptr != NULL)
				return false; /* which of the two? */
			parts[p] = headers[i].value.ptr == NULL ? SLICE("") : headers[i].value;
		}
	for (size_t p = 0; p < PARTS; p++)
		if (parts[p].ptr == NULL && p != TRACE_STATE)
			return false;
	return true;
}

static bool
parse_hex(struct slice s, uint8_t *out, size_t len)
{
	return s.len == 2 * len && hex_decode(s.ptr, len, out);
}

static bool
same_event(const struct event *a, const struct event *b)
{
	return slice_eq(a->endpoint, b->endpoint) && slice_eq(a->tenant, b->tenant) &&
	       slice_eq(a->key, b->key) && a->accepted_us == b->accepted_us &&
	       memcmp(a->id, b->id, sizeof a->id) == 0 &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0;
}

static enum err
read_record(struct slice value, struct arena *a, struct event *out)
{
	struct event record;
	const enum err rc = event_decode(value, a, &record);

	if (rc != ERR_OK)
		return rc;
	if (!same_event(&record, out))
		return ERR_INVALID;
	record.traceparent = out->traceparent; /* who sent it, not who made it */
	*out = record;
	return ERR_OK;
}

/* Names are for logs, tables and SQL, which are text. */
static bool
are_names(const struct event *ev)
{
	return ev->endpoint.len > 0 && ev->key.len > 0 && utf8_valid(ev->endpoint, NULL) &&
	       utf8_valid(ev->tenant, NULL) && utf8_valid(ev->key, NULL) &&
	       memchr(ev->key.ptr, '\0', ev->key.len) == NULL &&
	       memchr(ev->tenant.ptr, '\0', ev->tenant.len) == NULL;
}

static enum err
read_head(const struct slice parts[PARTS], struct event *out)
{
	uint8_t id[EVENT_ID_BYTES];

	*out = (struct event){ .endpoint = parts[ENDPOINT],
		.tenant = parts[TENANT],
		.key = parts[KEY],
		.traceparent = parts[TRACE],
		.tracestate = parts[TRACE_STATE] };
	if (!are_names(out) ||
	    !clock_rfc3339_parse(
		parts[ACCEPTED_AT].ptr, parts[ACCEPTED_AT].len, &out->accepted_us) ||
	    !parse_hex(parts[FINGERPRINT], out->fingerprint, sizeof out->fingerprint) ||
	    event_id_parse(parts[EVENT_ID], out->id) != ERR_OK)
		return ERR_INVALID;
	event_id_make(out->tenant, out->endpoint, out->key, id);
	return memcmp(id, out->id, sizeof id) == 0 ? ERR_OK : ERR_INVALID;
}

enum err
event_envelope_decode(struct slice value, const struct kafka_header *headers, size_t header_count,
    struct arena *a, struct event *out)
{
	struct slice parts[PARTS] = { 0 };
	const bool whole = take_headers(headers, header_count, parts);
	int64_t version;
	enum err rc;

	if (parts[VERSION].ptr == NULL || slice_to_i64(parts[VERSION], &version) != ERR_OK)
		return ERR_INVALID;
	if (version != EVENT_ENVELOPE_VERSION)
		return version > EVENT_ENVELOPE_VERSION ? ERR_MISMATCH : ERR_INVALID;
	rc = whole && value.ptr != NULL ? read_head(parts, out) : ERR_INVALID;
	if (rc != ERR_OK)
		return rc;
	if (slice_eq_cstr(parts[TYPES], AS_RECORD))
		return read_record(value, a, out);
	return read_json(value, parts[TYPES], a, out);
}
