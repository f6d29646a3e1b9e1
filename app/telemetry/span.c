/*
 * Spans of the work in hand: a list in its arena, and the thread's pointer to who keeps it.
 *
 * What they become is not decided here: the exporter and the slow log read the list when the work is done.
 */
#include "telemetry/span.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"

const char *const span_key_names[SPAN_KEY__COUNT] = {
#define SPAN_KEY(id, name) [SPAN_KEY_##id] = (name),
#include "telemetry/span_keys.inc"
#undef SPAN_KEY
};

static _Thread_local struct span_recorder *current;

struct span_recorder *
span_record(struct span_recorder *r)
{
	struct span_recorder *before = current;

	current = r;
	return before;
}

struct span_recorder *
span_recorder(void)
{
	return current;
}

/* A request does not fail because too much was to be told of it. */
static void *
take(struct arena *a, size_t bytes)
{
	const bool overflowed = a->overflowed;
	void *p = arena_alloc(a, bytes);

	a->overflowed = overflowed;
	return p;
}

static struct slice
copy(struct arena *a, struct slice text)
{
	char *bytes;

	if (text.len > SPAN_TEXT_BYTES_MAX)
		text.len = SPAN_TEXT_BYTES_MAX;
	bytes = text.len == 0 ? NULL : take(a, text.len);
	if (bytes == NULL)
		return SLICE("");
	memcpy(bytes, text.ptr, text.len);
	return (struct slice){ bytes, text.len };
}

struct span *
span_begin(enum span_kind kind, const char *name)
{
	return current == NULL ? NULL : span_begin_at(kind, name, clock_mono_ns());
}

struct span *
span_here(void)
{
	return current == NULL ? NULL : current->open;
}

struct span *
span_begin_at(enum span_kind kind, const char *name, int64_t begin_ns)
{
	struct span_recorder *r = current;
	struct span *s;

	if (r == NULL)
		return NULL;
	s = r->count < SPANS_MAX ? take(r->arena, sizeof *s) : NULL;
	if (s == NULL) {
		r->dropped++;
		return NULL;
	}
	*s = (struct span){ .name = slice_of(name),
		.kind = kind,
		.begin_ns = begin_ns,
		.parent = r->open,
		.index = r->count,
		.prev = r->last,
		.recorder = r };
	if (r->last == NULL)
		r->first = s;
	else
		r->last->next = s;
	r->last = r->open = s;
	r->count++;
	return s;
}

void
span_name(struct span *s, struct slice name)
{
	if (s != NULL && name.len > 0)
		s->name = copy(s->recorder->arena, name);
}

static void
add(struct span *s, const struct span_attr *attr)
{
	struct span_attr *a = take(s->recorder->arena, sizeof *a);

	if (a == NULL)
		return;
	*a = *attr;
	a->text = copy(s->recorder->arena, attr->text);
	a->next = NULL;
	if (s->attrs_end == NULL)
		s->attrs = a;
	else
		*s->attrs_end = a;
	s->attrs_end = &a->next;
	s->attr_count++;
}

void
span_str(struct span *s, enum span_key key, struct slice text)
{
	if (s != NULL && text.len > 0)
		add(s, &(struct span_attr){ .key = key, .text = text });
}

void
span_int(struct span *s, enum span_key key, int64_t number)
{
	if (s != NULL)
		add(s, &(struct span_attr){ .key = key, .is_int = true, .number = number });
}

void
span_end(struct span *s, enum err result)
{
	if (s == NULL)
		return;
	s->result = result;
	s->end_ns = clock_mono_ns();
	s->recorder->open = s->parent;
}

void
span_end_worth(struct span *s, enum err result, int64_t ns)
{
	struct span_recorder *r;

	span_end(s, result);
	if (s == NULL || s->end_ns - s->begin_ns >= ns || s->recorder->last != s ||
	    s->attrs != NULL || s->events != NULL)
		return;
	r = s->recorder;
	r->last = s->prev;
	*(s->prev == NULL ? &r->first : &s->prev->next) = NULL;
	r->count--;
}

static struct span_event *
event_new(struct arena *a, const char *name, const struct span_attr *attrs, size_t count)
{
	struct span_event *e = take(a, sizeof *e);
	struct span_attr *copies = e == NULL ? NULL : take(a, count * sizeof *copies);

	if (copies == NULL)
		return NULL;
	*e = (struct span_event){ .name = name, .at_ns = clock_mono_ns(), .attrs = copies };
	for (size_t i = 0; i < count; i++) {
		copies[i] = attrs[i];
		copies[i].text = copy(a, attrs[i].text);
		copies[i].next = i + 1 < count ? &copies[i + 1] : NULL;
	}
	return e;
}

void
span_event_attrs(struct span *s, const char *name, const struct span_attr *attrs, size_t count)
{
	struct span_recorder *r = s != NULL ? s->recorder : current;
	struct span_event *e;

	if (r == NULL || r->event_count >= SPAN_EVENTS_MAX)
		return;
	e = event_new(r->arena, name, attrs, count);
	if (e == NULL)
		return;
	r->event_count++;
	if (s != NULL) {
		*(s->events_end == NULL ? &s->events : s->events_end) = e;
		s->events_end = &e->next;
		return;
	}
	if (r->events_last == NULL)
		r->events = e;
	else
		r->events_last->next = e;
	r->events_last = e;
}
