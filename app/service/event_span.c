/*
 * Spans of events: PRODUCER for what the forwarder sends, CONSUMER for what the consumer applies.
 */
#include "service/event_span.h"

#include "base/arena.h"
#include "base/clock.h"
#include "service/exporter.h"
#include "telemetry/otlp.h"
#include "telemetry/span.h"

enum { ARENA_BYTES_MAX = 32 << 10 };

bool
event_span_begin(const struct event *ev, bool sends, struct event_span *out)
{
	struct trace_context t;

	if (!trace_read(ev->traceparent, &t) || !t.sampled)
		return false;
	trace_new_span(&t);
	*out = (struct event_span){ .trace = t,
		.sends = sends,
		.endpoint = ev->endpoint,
		.tracestate = ev->tracestate,
		.begin_ns = clock_mono_ns() };
	for (size_t i = 0; i < sizeof out->id; i++)
		out->id[i] = ev->id[i];
	return true;
}

static void
say(struct span *root, const struct event_span *s, struct arena *a)
{
	const char *operation = s->sends ? "send" : "process";
	const char *name = s->destination == NULL
			       ? operation
			       : arena_printf(a, "%s %s", operation, s->destination);
	char id[EVENT_ID_TEXT];

	event_id_text(s->id, id);
	root->name = slice_of(name == NULL ? operation : name);
	span_str(root, SPAN_KEY_MESSAGING_SYSTEM, slice_of(s->system));
	span_str(root, SPAN_KEY_MESSAGING_OPERATION_NAME, slice_of(operation));
	span_str(root, SPAN_KEY_MESSAGING_OPERATION_TYPE, slice_of(operation));
	span_str(root, SPAN_KEY_MESSAGING_DESTINATION_NAME, slice_of(s->destination));
	span_str(root, SPAN_KEY_MESSAGING_MESSAGE_ID, slice_of(id));
	span_str(root, SPAN_KEY_WEIR_ENDPOINT, s->endpoint);
	span_str(root, SPAN_KEY_WEIR_OUTCOME, slice_of(s->outcome));
}

void
event_span_offer(struct exporter *e, const struct event_span *s)
{
	struct arena a;
	struct span_recorder r = { .arena = &a };
	struct span root = { .kind = s->sends ? SPAN_PRODUCER : SPAN_CONSUMER,
		.begin_ns = s->begin_ns,
		.end_ns = s->end_ns,
		.result = s->result,
		.recorder = &r };
	struct trace_context trace = s->trace;
	/* What applies an event is linked to who sent it, and to the transaction that many share. */
	const struct otlp_link links[] = { { s->trace.parent_id, &s->trace },
		{ s->batch == NULL ? NULL : s->batch->span_id, s->batch } };
	const struct otlp_work w = { .trace = &trace,
		.root = &root,
		.wall_minus_mono_ns = clock_wall_us() * 1000 - clock_mono_ns(),
		.links = links,
		.link_count = s->sends ? 0 : (s->batch == NULL ? 1 : 2) };

	trace.tracestate = s->tracestate;
	arena_init(&a, ARENA_BYTES_MAX);
	say(&root, s, &a);
	exporter_offer(e, &w);
	arena_free(&a);
}
