/*
 * The forwarder, one turn a step.
 *
 * What is out is a ring, in the order of the log.  Reports come in any order among partitions, so
 * an event counts as forwarded when it and all before it were reported.  Clients are told at once; the log's head goes in a
 * durable transaction that many share, for until then a second delivery does no harm.
 */
#include "service/forward.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "service/catalog.h"
#include "service/event.h"
#include "service/event_envelope.h"
#include "service/event_span.h"
#include "service/guard.h"
#include "service/queue.h"
#include "service/topics.h"

enum {
	WINDOW = FORWARD_OUT_MAX,
	WINDOW_BYTES = FORWARD_OUT_BYTES_MAX,
	READ_MAX = 512,
	MARK_EVERY_MS = 100,
	IDLE_MS = 250,
	TURN_MS = 20,	    /* between looks at the log while something is out ... */
	PROMPT_TURN_MS = 2, /* ... and for new events that must not wait for old reports */
	PREPARE_MS = 20,    /* of one question to a broker ... */
	ASK_AGAIN_MS = 25,  /* ... and until the next, at first */
	ASK_ENOUGH_MS = 800,
	ASK_AGAIN_MAX_MS = 2000,
	FULL_POLL_MS = 50,
	CLOSED_MS = 50,	 /* between looks at a breaker that is open */
	AGAIN_MS = 2000, /* after a refusal, or when no producer can be had */
	SAY_AGAIN_MS = 60000,
};

struct sent {
	uint64_t seq;
	size_t bytes;
	int64_t at_ms;
	bool reported;
	bool traced; /* its span is in traces, in the same place */
};

struct forward {
	struct forward_options o;
	struct kafka_producer *producer; /* NULL: to be opened */
	struct arena arena;		 /* of one read */
	struct arena scratch;		 /* of one event: the producer copies what it is given */
	struct sent ring[WINDOW];
	struct event_span *traces; /* WINDOW of them; NULL: no exporter */
	uint64_t first, end;	   /* places in the ring: out are [first, end) */
	size_t bytes;		   /* that are out */
	uint64_t read_seq;	   /* produced up to here */
	uint64_t told_seq, marked_seq;
	int64_t moved_ms; /* the last progress */
	int64_t marked_ms, resume_ms, said_ms;
	int64_t ask_ms, ask_again_ms; /* for what the producer must know; 0: it does */
	enum err refused;	      /* the first report that was bad */
	struct guard_pass pass;
	bool calling;  /* a call of the guard is in hand */
	bool answered; /* since the stall, while no call was in hand */
	bool more;     /* the last read was full and all of it was sent: the log holds more */
	bool begun;
};

const struct forward_driver forward_driver_kafka = {
	.open = kafka_producer_open,
	.close = kafka_producer_close,
	.prepare = kafka_producer_prepare,
	.produce = kafka_produce,
	.poll = kafka_producer_poll,
	.failed = kafka_producer_failed,
};

static void
pass(const struct forward *f, enum forward_arrow arrow)
{
	if (f->o.passed != NULL)
		f->o.passed(f->o.ctx, arrow);
}

static struct sent *
sent_at(struct forward *f, uint64_t place)
{
	return &f->ring[place & (WINDOW - 1)];
}

/*
 * What the others see: one line for each change, and one a minute while it is stopped.
 */
static void
show(struct forward *f, enum forward_state state, const char *why)
{
	struct forward_shared *s = f->o.shared;
	const int64_t now_ms = clock_mono_ms();
	const enum forward_state before =
	    (enum forward_state)atomic_exchange(&s->state, (uint32_t)state);

	atomic_store(&s->pid, (uint32_t)getpid());
	if (before == state && (state != FORWARD_STOPPED || now_ms - f->said_ms < SAY_AGAIN_MS))
		return;
	atomic_store(&s->since_ms, now_ms);
	f->said_ms = now_ms;
	if (state == FORWARD_STALLED)
		log_warn(
		    "kafka_stalled", LOG_STR("so", "writes stay in the spool until it answers"));
	else if (state == FORWARD_STOPPED)
		log_warn("forwarder_stopped", LOG_INT("before_seq", f->told_seq + 1),
		    LOG_STR("reason", why));
	else if (before == FORWARD_STALLED || before == FORWARD_STOPPED)
		log_info("forwarder_goes_on", LOG_INT("seq", f->told_seq));
}

/*
 * The breaker.  A call is from sending until the next progress; what is out already is the probe of a
 * Kafka that stalls, for its reports come by themselves.
 */
static void
end_call(struct forward *f, enum err result, int64_t now_ms)
{
	if (f->calling)
		guard_leave(f->o.guard, &f->pass, result, now_ms);
	f->calling = false;
}

static bool
may_send(struct forward *f, int64_t now_ms)
{
	const struct guard *g = f->o.guard;

	if (g == NULL)
		return true;
	if (!guard_is_up(g))
		f->calling =
		    guard_probe(g, now_ms, &f->pass) == ERR_OK || (f->calling && f->pass.probe);
	else if (!f->calling)
		f->calling = guard_enter(g, now_ms, &f->pass) == ERR_OK;
	/* The reports came before a probe was due: they are its answer. */
	if (f->calling && f->pass.probe && f->answered)
		end_call(f, ERR_OK, now_ms);
	return f->calling;
}

/* Nothing was sent after all. */
static void
withdraw_call(struct forward *f, int64_t now_ms)
{
	if (f->calling)
		guard_withdraw(f->o.guard, &f->pass, now_ms);
	f->calling = false;
}

/*
 * A span from the sending to the report, in the trace of the request; the message carries it on.
 */
static void
begin_trace(
    struct forward *f, const struct event *ev, const char *topic, struct event_envelope *env)
{
	struct event_span *s;
	char *text;

	if (f->traces == NULL)
		return;
	s = &f->traces[f->end & (WINDOW - 1)];
	text = arena_alloc(&f->arena, TRACEPARENT_BYTES);
	if (text == NULL || !event_span_begin(ev, true, s))
		return;
	s->system = "kafka";
	s->destination = topic;
	s->endpoint = SLICE(""); /* the event goes before the report comes */
	s->tracestate = SLICE("");
	event_envelope_trace(env, slice_of(trace_format(&s->trace, text)));
	sent_at(f, f->end)->traced = true;
}

static void
tell_sent(struct forward *f, uint64_t place, enum err result)
{
	struct event_span *s;

	if (!sent_at(f, place)->traced)
		return;
	sent_at(f, place)->traced = false;
	s = &f->traces[place & (WINDOW - 1)];
	s->end_ns = clock_mono_ns();
	s->result = result;
	event_span_offer(f->o.exporter, s);
}

/* Inside of poll(). */
static void
reported(void *ctx, uint64_t ticket, enum err result)
{
	struct forward *f = ctx;

	if (ticket < f->first || ticket >= f->end)
		return;
	tell_sent(f, ticket, result);
	if (result == ERR_OK)
		sent_at(f, ticket)->reported = true;
	else if (f->refused == ERR_OK)
		f->refused = result;
}

static bool
open_producer(struct forward *f)
{
	const struct kafka_producer_options o = {
		.common = *f->o.kafka,
		.idempotent = true,
		.topics = f->o.topics->names,
		.topic_count = f->o.topics->count,
		.delivered = reported,
		.ctx = f,
	};

	if (f->producer != NULL)
		return true;
	if (clock_mono_ms() < f->resume_ms)
		return false;
	if (f->o.driver->open(&o, &f->producer) == ERR_OK) {
		f->ask_ms = 0;
		f->ask_again_ms = ASK_AGAIN_MS;
		return true;
	}
	f->resume_ms = clock_mono_ms() + AGAIN_MS;
	return false;
}

/*
 * The first events would wait: for librdkafka's own look for a topic, once a second, and for two of them where
 * the question makes it; and for its producer id, which a fresh broker does not have at once and librdkafka asks
 * for twice a second, but again with each answer.  So we ask for the first second, and until all are known.
 */
static void
prepare(struct forward *f, int64_t now_ms)
{
	enum err rc;

	if (f->ask_again_ms == 0 || now_ms < f->ask_ms)
		return;
	rc = f->o.driver->prepare(f->producer, PREPARE_MS);
	f->ask_ms = clock_mono_ms() + f->ask_again_ms;
	if (f->ask_again_ms < ASK_AGAIN_MAX_MS)
		f->ask_again_ms *= 2;
	if (rc == ERR_OK && f->ask_again_ms > ASK_ENOUGH_MS)
		f->ask_again_ms = 0;
}

/* For those who look. */
static void
tell_out(const struct forward *f)
{
	atomic_store_explicit(&f->o.shared->out, f->end - f->first, memory_order_relaxed);
	atomic_store_explicit(&f->o.shared->out_bytes, f->bytes, memory_order_relaxed);
}

/* Back to what is known to be forwarded; what was out goes again. */
static void
start_again(struct forward *f, int64_t pause_ms)
{
	f->o.driver->close(&f->producer);
	f->first = f->end;
	f->bytes = 0;
	f->read_seq = f->told_seq;
	f->refused = ERR_OK;
	f->resume_ms = clock_mono_ms() + pause_ms;
	(void)atomic_fetch_add(&f->o.shared->restarts, 1);
	tell_out(f);
}

/*
 * Reports.
 */
static void
settle(struct forward *f, int64_t now_ms)
{
	const uint64_t first = f->first;
	uint64_t seq = f->told_seq;

	for (; f->first < f->end && sent_at(f, f->first)->reported; f->first++) {
		seq = sent_at(f, f->first)->seq;
		f->bytes -= sent_at(f, f->first)->bytes;
	}
	if (seq == f->told_seq)
		return;
	(void)atomic_fetch_add(&f->o.shared->delivered, f->first - first);
	pass(f, FORWARD_REPORTED);
	f->moved_ms = now_ms;
	f->answered = !f->calling;
	end_call(f, ERR_OK, now_ms);
	f->told_seq = seq;
	queue_tell_forwarded(f->o.queue, seq);
	pass(f, FORWARD_TOLD);
	show(f, FORWARD_GOING, "");
}

/* A spool that cannot be written keeps its head, and the same events go again some day. */
static void
mark(struct forward *f, int64_t now_ms)
{
	const bool due = f->first == f->end || now_ms - f->marked_ms >= MARK_EVERY_MS;

	if (f->told_seq == f->marked_seq || !due)
		return;
	f->marked_ms = now_ms;
	if (queue_forwarded(f->o.queue, f->told_seq) != ERR_OK)
		return;
	f->marked_seq = f->told_seq;
	pass(f, FORWARD_MARKED);
}

static void
look_for_stall(struct forward *f, int64_t now_ms)
{
	if (f->first < f->end && now_ms - sent_at(f, f->first)->at_ms > f->o.stalled_ms &&
	    now_ms - f->moved_ms > f->o.stalled_ms) {
		end_call(f, ERR_TIMEOUT, now_ms);
		f->answered = false;
		show(f, FORWARD_STALLED, "");
	}
}

/*
 * Sending.
 */
static enum err
send_one(struct forward *f, const struct event *ev, int64_t now_ms)
{
	const struct endpoint *e = catalog_find(f->o.catalog, ev->endpoint);
	struct event_envelope env;
	struct kafka_message m;
	enum err rc;

	arena_reset(&f->scratch);
	rc = event_envelope_encode(ev, e, &f->scratch, &env);
	if (rc != ERR_OK)
		return rc;
	m = (struct kafka_message){ .topic = topics_of(f->o.topics, e),
		.key = env.key,
		.value = env.value,
		.headers = env.headers,
		.header_count = env.header_count,
		.timestamp_ms = env.timestamp_ms,
		.ticket = f->end };
	*sent_at(f, f->end) =
	    (struct sent){ .seq = ev->seq, .bytes = env.value.len, .at_ms = now_ms };
	begin_trace(f, ev, m.topic, &env);
	f->end++; /* before the call: a report may come from within */
	rc = f->o.driver->produce(f->producer, &m);
	if (rc != ERR_OK) {
		f->end--;
		return rc;
	}
	f->bytes += env.value.len;
	f->read_seq = ev->seq;
	return ERR_OK;
}

static bool
has_room(const struct forward *f)
{
	return f->end - f->first + READ_MAX <= WINDOW && f->bytes < WINDOW_BYTES;
}

/* ERR_NOT_FOUND: nothing is new. */
static enum err
send_new(struct forward *f, int64_t now_ms)
{
	struct event *events;
	size_t count;
	enum err rc;

	f->more = false;
	arena_reset(&f->arena);
	rc = queue_read_after(f->o.queue, f->read_seq, READ_MAX, &f->arena, &events, &count);
	if (rc == ERR_INVALID)
		show(f, FORWARD_STOPPED, "a record of a version that this weir does not know");
	if (rc != ERR_OK)
		return rc;
	pass(f, FORWARD_READ);
	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = send_one(f, &events[i], now_ms);
	f->more = rc == ERR_OK && count == READ_MAX;
	pass(f, FORWARD_PRODUCED);
	/* What was sent before it is out by now; alone, it would wait for ever. */
	if (rc == ERR_TOO_LARGE && f->first == f->end) {
		show(f, FORWARD_STOPPED,
		    "the event is larger than Kafka takes: see KAFKA_CONFIG_MESSAGE_MAX_BYTES and "
		    "the topic's max.message.bytes");
		start_again(f, AGAIN_MS);
	}
	return rc;
}

/* What is stored in the spool is where we begin, whatever the segment says. */
static enum err
begin(struct forward *f)
{
	uint64_t first;
	const enum err rc = queue_first(f->o.queue, &first);

	if (rc != ERR_OK)
		return rc;
	f->read_seq = f->told_seq = f->marked_seq = first - 1;
	queue_tell_forwarded(f->o.queue, f->told_seq);
	f->begun = true;
	show(f, FORWARD_GOING, "");
	return ERR_OK;
}

static void
nap(int64_t ms)
{
	static _Atomic uint32_t never;

	wake_wait(&never, 0, ms);
}

/*
 * Takes reports, and with them waits for more events.  Where nobody waits for a report, not for the first
 * one: they come by partition, and a turn for each would read the log, and send, a few events at a time.
 */
static void
take_reports(struct forward *f)
{
	int64_t wait_ms = f->o.prompt ? PROMPT_TURN_MS : 0;

	if (f->first == f->end || (f->more && has_room(f)))
		wait_ms = 0;
	else if (!has_room(f))
		wait_ms = FULL_POLL_MS;
	else if (!f->o.prompt)
		nap(TURN_MS);
	f->o.driver->poll(f->producer, wait_ms);
}

/* How long nothing may happen: the producer is to be ready before the first event comes. */
static int64_t
idle_ms(const struct forward *f, int64_t now_ms)
{
	const int64_t ask_ms = f->ask_ms > now_ms ? f->ask_ms - now_ms : 0;

	return f->ask_again_ms > 0 && ask_ms < IDLE_MS ? ask_ms : IDLE_MS;
}

/* True: the producer has failed, or Kafka refused an event, and all begins again. */
static bool
is_beyond_help(struct forward *f)
{
	if (f->o.driver->failed(f->producer)) {
		log_warn("kafka_producer_failed", LOG_INT("out", f->end - f->first),
		    LOG_STR(
			"so", "a new producer begins behind the last event that was delivered"));
		start_again(f, 0);
		return true;
	}
	if (f->refused == ERR_OK)
		return false;
	show(f, FORWARD_STOPPED,
	    f->refused == ERR_TOO_LARGE ? "the event is larger than the topic's max.message.bytes"
					: "Kafka refused the event: see kafka_delivery_failed");
	start_again(f, AGAIN_MS);
	return true;
}

enum err
forward_step(struct forward *f)
{
	int64_t now_ms;
	enum err rc = f->begun ? ERR_OK : begin(f);

	if (rc != ERR_OK || !open_producer(f)) {
		nap(IDLE_MS);
		return rc;
	}
	prepare(f, clock_mono_ms());
	take_reports(f);
	now_ms = clock_mono_ms();
	settle(f, now_ms);
	mark(f, now_ms);
	if (is_beyond_help(f)) {
		withdraw_call(f, now_ms);
		return ERR_OK;
	}
	look_for_stall(f, now_ms);
	if (!may_send(f, now_ms)) {
		f->more = false;
		if (f->first == f->end)
			nap(CLOSED_MS); /* else the reports are waited for */
		return ERR_OK;
	}
	rc = has_room(f) ? send_new(f, now_ms) : ERR_OK;
	tell_out(f);
	if (f->first < f->end)
		return ERR_OK;
	withdraw_call(f, now_ms);
	if (rc != ERR_NOT_FOUND)
		return ERR_OK;
	queue_wait(f->o.queue, idle_ms(f, now_ms));
	return f->marked_seq == f->told_seq ? ERR_NOT_FOUND : ERR_OK;
}

enum err
forward_open(const struct forward_options *o, struct forward **out)
{
	struct forward *f = calloc(1, sizeof *f);

	*out = f;
	if (f == NULL)
		return ERR_NOMEM;
	f->o = *o;
	tell_out(f); /* who was killed has left what it had out */
	if (o->exporter != NULL)
		f->traces = calloc(WINDOW, sizeof *f->traces); /* without memory: no traces */
	arena_init(&f->arena, SIZE_MAX / 2);		       /* bounded by queue_read_after() */
	arena_init(&f->scratch, SIZE_MAX / 2);
	return ERR_OK;
}

void
forward_close(struct forward **fp)
{
	struct forward *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	if (f->told_seq > f->marked_seq) /* or the next one would send it twice */
		(void)queue_forwarded(f->o.queue, f->told_seq);
	f->o.driver->close(&f->producer);
	f->first = f->end;
	f->bytes = 0;
	tell_out(f);
	arena_free(&f->arena);
	arena_free(&f->scratch);
	free(f->traces);
	free(f);
}
