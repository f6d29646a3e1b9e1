/*
 * Traces of the consumer's batches.
 */
#include "service/ingest_trace.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "service/event.h"
#include "service/event_span.h"
#include "service/exporter.h"
#include "service/topics.h"
#include "telemetry/otlp.h"

enum { LINKS_MAX = 128 };

static bool
is_sampled(const struct event *ev)
{
	struct trace_context t;

	return trace_read(ev->traceparent, &t) && t.sampled;
}

static bool
any_is_sampled(const struct event *events, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_sampled(&events[i]))
			return true;
	return false;
}

void
ingest_trace_begin(struct ingest_trace *t, struct exporter *e, const struct topics *topics,
    struct arena *a, const struct event *events, size_t count)
{
	*t = (struct ingest_trace){ .topics = topics };
	if (e == NULL || !any_is_sampled(events, count))
		return;
	t->exporter = e;
	t->begin_ns = clock_mono_ns();
	t->spans.arena = a;
	trace_begin(&t->context, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	t->context.sampled = true;
	(void)span_record(&t->spans);
}

void
ingest_trace_end(struct ingest_trace *t)
{
	if (t->exporter != NULL)
		(void)span_record(NULL);
	t->exporter = NULL;
}

static void
tell_event(const struct ingest_trace *t, const struct ingest_outcomes *o, size_t i, int64_t end_ns)
{
	struct event_span s;

	if (!event_span_begin(&o->events[i], false, &s))
		return;
	s.system = t->topics == NULL ? "weir" : "kafka";
	s.destination = t->topics == NULL ? NULL : topics_of(t->topics, o->endpoint_of(o->ctx, i));
	s.begin_ns = t->begin_ns;
	s.end_ns = end_ns;
	s.outcome = o->outcome_of(o->ctx, i);
	s.result = strcmp(s.outcome, "dead") == 0 ? ERR_INVALID : ERR_OK;
	s.batch = &t->context;
	event_span_offer(t->exporter, &s);
}

/* Links to those who made the events, as many as there is room for. */
static size_t
link_all(const struct ingest_outcomes *o, struct trace_context *from, struct otlp_link *links)
{
	size_t n = 0;

	for (size_t i = 0; i < o->count && n < LINKS_MAX; i++) {
		if (!trace_read(o->events[i].traceparent, &from[n]) || !from[n].sampled)
			continue;
		links[n] = (struct otlp_link){ from[n].parent_id, &from[n] };
		n++;
	}
	return n;
}

static void
tell_batch(struct ingest_trace *t, const struct ingest_outcomes *o, int64_t end_ns)
{
	struct arena *a = t->spans.arena;
	struct trace_context *from = arena_alloc(a, LINKS_MAX * sizeof *from);
	struct otlp_link *links = arena_alloc(a, LINKS_MAX * sizeof *links);
	struct span root = { .name = SLICE("batch"),
		.kind = SPAN_INTERNAL,
		.begin_ns = t->begin_ns,
		.end_ns = end_ns,
		.recorder = &t->spans };
	const struct otlp_work w = { .trace = &t->context,
		.root = &root,
		.inside = &t->spans,
		.wall_minus_mono_ns = clock_wall_us() * 1000 - clock_mono_ns(),
		.links = links,
		.link_count = from == NULL || links == NULL ? 0 : link_all(o, from, links) };

	span_int(&root, SPAN_KEY_MESSAGING_BATCH_MESSAGE_COUNT, (int64_t)o->count);
	exporter_offer(t->exporter, &w);
}

void
ingest_trace_tell(struct ingest_trace *t, const struct ingest_outcomes *o)
{
	const int64_t end_ns = clock_mono_ns();

	if (t->exporter == NULL)
		return;
	tell_batch(t, o, end_ns);
	for (size_t i = 0; i < o->count; i++)
		tell_event(t, o, i, end_ns);
}
