/*
 * What a snapshot comes to in words: names of states, and what a person should look at first.
 */
#include "runtime/snapshot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SILENT_MS = 3000,	    /* a worker beats twice a second */
	SILENT_CONSUMER_MS = 15000, /* a batch may take a while */
};

const char *
snapshot_member_name(enum member_kind k)
{
	static const char *const names[] = {
		[MEMBER_NONE] = "none",
		[MEMBER_SUPERVISOR] = "supervisor",
		[MEMBER_WORKER] = "worker",
		[MEMBER_CONSUMER] = "consumer",
	};

	return names[k];
}

const char *
snapshot_consumer_name(enum ingest_state s)
{
	static const char *const names[] = {
		[INGEST_IDLE] = "idle",
		[INGEST_APPLYING] = "applying",
		[INGEST_WAITING] = "waiting",
		[INGEST_STOPPED] = "stopped",
	};

	return names[s];
}

const char *
snapshot_forwarder_name(enum forward_state s)
{
	static const char *const names[] = {
		[FORWARD_NONE] = "none",
		[FORWARD_GOING] = "going",
		[FORWARD_STALLED] = "stalled",
		[FORWARD_STOPPED] = "stopped",
	};

	return names[s];
}

struct slice
snapshot_shed_reason(enum metric m)
{
	struct slice rest = slice_of(metric_infos[m].labels);

	if (metric_infos[m].family != FAMILY_SHED_BY || rest.ptr == NULL)
		return (struct slice){ NULL, 0 };
	(void)slice_cut(&rest, '"');
	return slice_cut(&rest, '"');
}

static bool
is_silent(const struct snapshot *s, const struct snapshot_member *m)
{
	return s->now_ms - m->view.beat_ms >
	       (m->view.kind == MEMBER_CONSUMER ? SILENT_CONSUMER_MS : SILENT_MS);
}

const char *
snapshot_member_word(const struct snapshot *s, const struct snapshot_member *m)
{
	if (is_silent(s, m))
		return "silent";
	if (m->view.kind == MEMBER_SUPERVISOR)
		return "watching";
	if (m->view.kind == MEMBER_CONSUMER)
		return snapshot_consumer_name(s->consumer.state);
	return m->view.in_hand > 0 || m->activity.counts.busy > 0 ? "working" : "idle";
}

/*
 * What a person should look at.
 */
struct alarms {
	struct snapshot_alarm *out;
	size_t count;
};

static void __attribute__((format(printf, 3, 4)))
raise(struct alarms *a, bool grave, const char *fmt, ...)
{
	va_list ap;

	if (a->count == SNAPSHOT_ALARMS)
		return;
	a->out[a->count].grave = grave;
	va_start(ap, fmt);
	(void)vsnprintf(a->out[a->count].text, SNAPSHOT_ALARM_BYTES, fmt, ap);
	va_end(ap);
	a->count++;
}

static void
raise_for_members(const struct snapshot *s, struct alarms *a)
{
	if (snapshot_sum(s).workers == 0)
		raise(a, true, "no worker is up");
	for (size_t i = 0; i < s->member_count; i++) {
		const struct snapshot_member *m = &s->members[i];

		if (is_silent(s, m))
			raise(a, true, "%s %d has shown no heartbeat for %" PRId64 " s",
			    snapshot_member_name(m->view.kind), (int)m->view.pid,
			    (s->now_ms - m->view.beat_ms) / 1000);
	}
}

static void
raise_for_writes(const struct snapshot *s, struct alarms *a)
{
	if (!s->spool_known)
		raise(a, true, "the spool cannot be read");
	else if (s->spool.full)
		raise(a, true, "the spool is full: writes are answered 503");
	if (s->consumer.state == INGEST_STOPPED)
		raise(a, true, "the consumer has stopped: %s", s->consumer.reason);
	if (s->consumer.state == INGEST_WAITING)
		raise(a, false, "the consumer waits: %s", s->consumer.reason);
	if (s->forwarder.state == FORWARD_STOPPED)
		raise(a, true, "the forwarder has stopped before an event that Kafka refuses");
	if (s->forwarder.state == FORWARD_STALLED)
		raise(a, false, "the forwarder stalls: Kafka does not answer");
}

static void
raise_for_breakers(const struct snapshot *s, struct alarms *a)
{
	for (size_t i = 0; i < s->breaker_count; i++) {
		const struct breaker_view *v = &s->breakers[i].breaker;

		if (v->force == BREAKER_FORCED_OPEN ||
		    (v->force == BREAKER_AUTO && v->state != BREAKER_CLOSED))
			raise(a, v->state == BREAKER_OPEN || v->force == BREAKER_FORCED_OPEN,
			    "breaker %s is %s", s->breakers[i].name,
			    breaker_word(v->state, v->force));
	}
}

static void
raise_for_load(const struct snapshot *s, struct alarms *a)
{
	const struct snapshot_sums sum = snapshot_sum(s);

	if (sum.activity.threads_max > 0 && sum.activity.busy >= sum.activity.threads_max)
		raise(a, false, "every lane is busy, %" PRIu32 " requests wait for one",
		    sum.activity.waiting);
	if (s->window.ms > 0 && s->window.counted[HISTORY_SHED] > 0)
		raise(a, false, "%" PRId64 " requests were shed in the last %d s",
		    s->window.counted[HISTORY_SHED], SNAPSHOT_WINDOW_S);
}

static int
by_gravity(const void *a, const void *b)
{
	const struct snapshot_alarm *x = a, *y = b;

	return y->grave - x->grave;
}

size_t
snapshot_alarms(const struct snapshot *s, struct snapshot_alarm out[SNAPSHOT_ALARMS])
{
	struct alarms a = { out, 0 };

	raise_for_members(s, &a);
	raise_for_writes(s, &a);
	raise_for_breakers(s, &a);
	raise_for_load(s, &a);
	qsort(out, a.count, sizeof *out, by_gravity);
	return a.count;
}
