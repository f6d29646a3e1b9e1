/*
 * The messages of OTLP, with their field numbers.
 */
#include "telemetry/otlp.h"

#include <string.h>

#include "base/rand.h"
#include "telemetry/protobuf.h"
#include "telemetry/span.h"
#include "telemetry/trace.h"

enum { /* the same places in the requests for traces and for metrics */
	REQUEST_RESOURCE_ITEMS = 1,
	ITEMS_RESOURCE = 1,
	ITEMS_SCOPE_ITEMS = 2,
	ITEMS_SCHEMA_URL = 3,
	SCOPE_ITEMS_SCOPE = 1,
	SCOPE_ITEMS_ITEMS = 2,
	RESOURCE_ATTRIBUTES = 1,
	SCOPE_NAME = 1,
	KEY_VALUE_KEY = 1,
	KEY_VALUE_VALUE = 2,
	VALUE_STRING = 1,
	VALUE_INT = 3,
};
enum {
	SPAN_TRACE_ID = 1,
	SPAN_SPAN_ID = 2,
	SPAN_TRACE_STATE = 3,
	SPAN_PARENT_ID = 4,
	SPAN_NAME = 5,
	SPAN_KIND = 6,
	SPAN_START = 7,
	SPAN_END = 8,
	SPAN_ATTRIBUTES = 9,
	SPAN_DROPPED_ATTRIBUTES = 10,
	SPAN_EVENTS = 11,
	SPAN_DROPPED_EVENTS = 12,
	SPAN_LINKS = 13,
	SPAN_DROPPED_LINKS = 14,
	SPAN_STATUS = 15,
	SPAN_FLAGS = 16,
	EVENT_TIME = 1,
	EVENT_NAME = 2,
	EVENT_ATTRIBUTES = 3,
	EVENT_DROPPED_ATTRIBUTES = 4,
	LINK_TRACE_ID = 1,
	LINK_SPAN_ID = 2,
	LINK_TRACE_STATE = 3,
	LINK_FLAGS = 6,
	STATUS_CODE = 3,
	STATUS_ERROR = 2,
	FLAG_SAMPLED = 0x1,
	FLAG_RANDOM = 0x2,
	FLAG_KNOWS_REMOTE = 0x100,
	FLAG_IS_REMOTE = 0x200,
};
#define SCHEMA_URL "https://opentelemetry.io/schemas/1.44.0"
#define SCOPE	   "weir"

/*
 * Attributes.
 */
static void
add_text_attr(struct strbuf *b, unsigned field, struct slice key, struct slice value)
{
	const size_t pair = pb_open(b, field);
	size_t any;

	pb_text(b, KEY_VALUE_KEY, key);
	any = pb_open(b, KEY_VALUE_VALUE);
	pb_text(b, VALUE_STRING, value);
	pb_close(b, any);
	pb_close(b, pair);
}

static void
add_int_attr(struct strbuf *b, unsigned field, struct slice key, int64_t value)
{
	const size_t pair = pb_open(b, field);
	size_t any;

	pb_text(b, KEY_VALUE_KEY, key);
	any = pb_open(b, KEY_VALUE_VALUE);
	if (value == 0) /* one of a oneof: it must be there to say which */
		strbuf_add(b, (const uint8_t[]){ VALUE_INT << 3, 0 }, 2);
	pb_varint(b, VALUE_INT, (uint64_t)value);
	pb_close(b, any);
	pb_close(b, pair);
}

/* Within its first ${max} bytes, and not inside of a character. */
static struct slice
shortened(struct slice text, uint32_t max)
{
	if (max == 0 || text.len <= max)
		return text;
	text.len = max;
	while (text.len > 0 && ((uint8_t)text.ptr[text.len] & 0xc0) == 0x80)
		text.len--;
	return text;
}

/* Returns how many there was no room for. */
static uint32_t
add_attrs(struct strbuf *b, unsigned field, const struct span_attr *attrs, uint32_t max,
    uint32_t max_bytes)
{
	uint32_t n = 0, dropped = 0;

	for (const struct span_attr *a = attrs; a != NULL; a = a->next) {
		const struct slice key = slice_of(span_key_names[a->key]);

		if (n++ >= max)
			dropped++;
		else if (a->is_int)
			add_int_attr(b, field, key, a->number);
		else
			add_text_attr(b, field, key, shortened(a->text, max_bytes));
	}
	return dropped;
}

void
otlp_add_resource_text(struct strbuf *resource, struct slice key, struct slice value)
{
	add_text_attr(resource, RESOURCE_ATTRIBUTES, key, value);
}

void
otlp_add_resource_int(struct strbuf *resource, struct slice key, int64_t value)
{
	add_int_attr(resource, RESOURCE_ATTRIBUTES, key, value);
}

/*
 * One span.
 */
struct one {
	const struct otlp_work *work;
	const struct otlp_limits *limits;
	const struct span *span;
	const uint8_t *id, *parent_id; /* NULL: no parent */
	const struct span_event *events;
	bool is_root;
};

static struct slice
id_bytes(const uint8_t *id, size_t len)
{
	return (struct slice){ (const char *)id, id == NULL ? 0 : len };
}

static uint64_t
wall(const struct otlp_work *w, int64_t mono_ns)
{
	return (uint64_t)(mono_ns + w->wall_minus_mono_ns);
}

static uint32_t
context_flags(const struct trace_context *t)
{
	return (t->sampled ? FLAG_SAMPLED : 0u) | (t->random ? FLAG_RANDOM : 0u) |
	       FLAG_KNOWS_REMOTE;
}

static void
add_events(struct strbuf *b, const struct one *o)
{
	uint32_t n = 0, dropped = 0;

	for (const struct span_event *e = o->events; e != NULL; e = e->next) {
		size_t at;

		if (n++ >= o->limits->events) {
			dropped++;
			continue;
		}
		at = pb_open(b, SPAN_EVENTS);
		pb_fixed64(b, EVENT_TIME, wall(o->work, e->at_ns));
		pb_text(b, EVENT_NAME, slice_of(e->name));
		pb_varint(b, EVENT_DROPPED_ATTRIBUTES,
		    add_attrs(b, EVENT_ATTRIBUTES, e->attrs, o->limits->event_attributes,
			o->limits->attribute_bytes));
		pb_close(b, at);
	}
	pb_varint(b, SPAN_DROPPED_EVENTS, dropped);
}

static void
add_links(struct strbuf *b, const struct one *o)
{
	uint32_t dropped = 0;

	for (size_t i = 0; i < o->work->link_count; i++) {
		const struct trace_context *t = o->work->links[i].trace;
		size_t at;

		if (i >= o->limits->links) {
			dropped++;
			continue;
		}
		at = pb_open(b, SPAN_LINKS);
		pb_bytes(b, LINK_TRACE_ID, id_bytes(t->trace_id, TRACE_ID_BYTES));
		pb_bytes(b, LINK_SPAN_ID, id_bytes(o->work->links[i].span_id, SPAN_ID_BYTES));
		pb_text(b, LINK_TRACE_STATE, t->tracestate);
		pb_fixed32(b, LINK_FLAGS, context_flags(t) | FLAG_IS_REMOTE);
		pb_close(b, at);
	}
	pb_varint(b, SPAN_DROPPED_LINKS, dropped);
}

static bool
has_failed(const struct span *s)
{
	return s->result != ERR_OK && s->result != ERR_NOT_FOUND;
}

static bool
says_error(const struct span *s)
{
	for (const struct span_attr *a = s->attrs; a != NULL; a = a->next)
		if (a->key == SPAN_KEY_ERROR_TYPE)
			return true;
	return false;
}

static void
add_status(struct strbuf *b, const struct span *s)
{
	size_t at;

	if (!has_failed(s))
		return;
	if (!says_error(s))
		add_text_attr(b, SPAN_ATTRIBUTES, slice_of(span_key_names[SPAN_KEY_ERROR_TYPE]),
		    slice_of(err_name(s->result)));
	at = pb_open(b, SPAN_STATUS);
	pb_varint(b, STATUS_CODE, STATUS_ERROR);
	pb_close(b, at);
}

static void
add_one(struct strbuf *b, const struct one *o)
{
	const struct otlp_work *w = o->work;
	const struct span *s = o->span;
	const int64_t end_ns = s->end_ns != 0 ? s->end_ns : w->root->end_ns;
	const size_t at = pb_open(b, SCOPE_ITEMS_ITEMS);

	pb_bytes(b, SPAN_TRACE_ID, id_bytes(w->trace->trace_id, TRACE_ID_BYTES));
	pb_bytes(b, SPAN_SPAN_ID, id_bytes(o->id, SPAN_ID_BYTES));
	pb_text(b, SPAN_TRACE_STATE, w->trace->tracestate);
	pb_bytes(b, SPAN_PARENT_ID, id_bytes(o->parent_id, SPAN_ID_BYTES));
	pb_text(b, SPAN_NAME, s->name);
	pb_varint(b, SPAN_KIND, s->kind);
	pb_fixed64(b, SPAN_START, wall(w, s->begin_ns));
	pb_fixed64(b, SPAN_END, wall(w, end_ns > s->begin_ns ? end_ns : s->begin_ns));
	pb_varint(b, SPAN_DROPPED_ATTRIBUTES,
	    add_attrs(
		b, SPAN_ATTRIBUTES, s->attrs, o->limits->attributes, o->limits->attribute_bytes));
	add_events(b, o);
	if (o->is_root)
		add_links(b, o);
	add_status(b, s);
	pb_fixed32(b, SPAN_FLAGS,
	    context_flags(w->trace) | (o->is_root && w->trace->has_parent ? FLAG_IS_REMOTE : 0u));
	pb_close(b, at);
}

uint32_t
otlp_add_work(struct strbuf *out, const struct otlp_work *w, const struct otlp_limits *limits)
{
	uint8_t ids[SPANS_MAX][SPAN_ID_BYTES];
	struct one o = { .work = w,
		.limits = limits,
		.span = w->root,
		.id = w->trace->span_id,
		.parent_id = w->trace->has_parent ? w->trace->parent_id : NULL,
		.events = w->inside == NULL ? w->root->events : w->inside->events,
		.is_root = true };
	uint32_t count = 1;

	add_one(out, &o);
	if (w->inside == NULL)
		return count;
	o.is_root = false;
	for (const struct span *s = w->inside->first; s != NULL; s = s->next, count++) {
		const uint64_t id = rand_u64() | 1; /* never all zero */

		memcpy(ids[s->index], &id, SPAN_ID_BYTES);
		o.span = s;
		o.id = ids[s->index];
		o.parent_id = s->parent == NULL ? w->trace->span_id : ids[s->parent->index];
		o.events = s->events;
		add_one(out, &o);
	}
	return count;
}

struct slice
otlp_cut_span(struct slice *rest)
{
	struct slice span = *rest;
	struct pb_field f;

	if (pb_next(rest, &f) != ERR_OK)
		return (struct slice){ 0 };
	span.len = (size_t)(rest->ptr - span.ptr);
	return span;
}

/*
 * Whole requests.
 */
static void
add_request(struct strbuf *out, struct slice resource, struct slice items)
{
	const size_t all = pb_open(out, REQUEST_RESOURCE_ITEMS);
	size_t at;

	pb_bytes(out, ITEMS_RESOURCE, resource);
	at = pb_open(out, ITEMS_SCOPE_ITEMS);
	{
		const size_t scope = pb_open(out, SCOPE_ITEMS_SCOPE);

		pb_text(out, SCOPE_NAME, SLICE(SCOPE));
		pb_close(out, scope);
	}
	strbuf_add_slice(out, items);
	pb_close(out, at);
	pb_text(out, ITEMS_SCHEMA_URL, SLICE(SCHEMA_URL));
	pb_close(out, all);
}

void
otlp_trace_request(struct strbuf *out, struct slice resource, struct slice spans)
{
	add_request(out, resource, spans);
}

void
otlp_metrics_request(struct strbuf *out, struct slice resource, struct slice metrics)
{
	add_request(out, resource, metrics);
}

/*
 * Answers.
 */
enum { PARTIAL_SUCCESS = 1, PARTIAL_REJECTED = 1, PARTIAL_MESSAGE = 2 };
enum {
	RPC_STATUS_DETAILS = 3,
	ANY_TYPE = 1,
	ANY_VALUE = 2,
	RETRY_DELAY = 1,
	SECONDS = 1,
	NANOS = 2
};

/* The last field of that number, as proto3 has it; absent when there is none. */
static enum err
find(struct slice message, unsigned number, struct pb_field *out)
{
	struct pb_field f;
	enum err rc;

	*out = (struct pb_field){ 0 };
	while ((rc = pb_next(&message, &f)) == ERR_OK)
		if (f.number == number)
			*out = f;
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err
otlp_read_response(struct slice body, int64_t *rejected_out, struct slice *message_out)
{
	struct pb_field partial, rejected = { 0 }, message = { 0 };
	enum err rc = find(body, PARTIAL_SUCCESS, &partial);

	if (rc == ERR_OK)
		rc = find(partial.bytes, PARTIAL_REJECTED, &rejected);
	if (rc == ERR_OK)
		rc = find(partial.bytes, PARTIAL_MESSAGE, &message);
	*rejected_out = rc == ERR_OK ? (int64_t)rejected.value : 0;
	*message_out = message.bytes;
	return rc;
}

static int
base64_digit(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int)(at - digits);
}

/* As much as is base64 and fits. */
static size_t
base64_decode(struct slice text, uint8_t *out, size_t max)
{
	uint32_t bits = 0;
	size_t n = 0;
	int have = 0;

	for (size_t i = 0; i < text.len && base64_digit(text.ptr[i]) >= 0; i++) {
		bits = bits << 6 | (uint32_t)base64_digit(text.ptr[i]);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (n == max)
			break;
		out[n++] = (uint8_t)(bits >> have);
	}
	return n;
}

static enum err
read_delay(struct slice retry_info, int64_t *delay_ms_out)
{
	struct pb_field delay, seconds = { 0 }, nanos = { 0 };
	enum err rc = find(retry_info, RETRY_DELAY, &delay);

	if (rc == ERR_OK)
		rc = find(delay.bytes, SECONDS, &seconds);
	if (rc == ERR_OK)
		rc = find(delay.bytes, NANOS, &nanos);
	if (rc == ERR_OK && (seconds.value > INT32_MAX || nanos.value > 999999999))
		rc = ERR_INVALID;
	if (rc == ERR_OK)
		*delay_ms_out = (int64_t)seconds.value * 1000 + (int64_t)nanos.value / 1000000;
	return rc;
}

enum err
otlp_read_retry_info(struct slice base64, int64_t *delay_ms_out)
{
	static const struct slice type = { "type.googleapis.com/google.rpc.RetryInfo", 40 };
	uint8_t bytes[1024];
	struct slice status = { (const char *)bytes, base64_decode(base64, bytes, sizeof bytes) };
	struct pb_field f, any_type, any_value;

	*delay_ms_out = 0;
	while (pb_next(&status, &f) == ERR_OK)
		if (f.number == RPC_STATUS_DETAILS &&
		    find(f.bytes, ANY_TYPE, &any_type) == ERR_OK &&
		    slice_eq(any_type.bytes, type) &&
		    find(f.bytes, ANY_VALUE, &any_value) == ERR_OK)
			return read_delay(any_value.bytes, delay_ms_out);
	return ERR_NOT_FOUND;
}
