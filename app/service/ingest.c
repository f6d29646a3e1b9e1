/*
 * The consumer, one transaction a step.
 *
 *   read --> begin --> claim keys --> statements --> copy dead letters --> commit --> purge tags --> acknowledge
 *
 * What fails is undone whole, and the next step takes half as much from the same place, until the event that
 * fails stands alone at the head; then its SQLSTATE decides.  What succeeds makes the next batch larger again.  A
 * process that is killed anywhere leaves the source as it was, or the key table tells what had been applied.
 */
#include "service/ingest.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "policy/backoff.h"
#include "service/cache.h"
#include "service/catalog.h"
#include "service/event.h"
#include "service/ingest_trace.h"
#include "service/source.h"
#include "service/writer.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"

enum {
	GATHER_MS = 50,	     /* between small batches: many events share one commit */
	BATCH_MS_MAX = 2000, /* then the rest waits: a silent consumer is taken for a dead one */
	PURGE_BYTES_MAX = 4 << 20,
	UNCLEAR_TRIES = 10,
	WAIT_BASE_MS = 100,
	WAIT_CAP_MS = 5000,
	STOPPED_MS = 1000, /* between looks at a deployment that is not ready */
	SAY_AGAIN_MS = 60000,
	EXPIRE_MIN = 100,
	SKEW_US =
	    60 * 1000000, /* events are in the order of their commits, not quite of their times */
};

struct ingest {
	struct ingest_options o;
	struct writer *writer; /* NULL: to be opened */
	struct arena arena;    /* of one batch */
	size_t limit;	       /* events of the next batch */
	uint64_t trying_seq;   /* the event that stands alone ... */
	uint32_t tries;	       /* ... and how often it failed without a clear reason */
	uint32_t failures;     /* in a row */
	int64_t said_ms;
	enum ingest_state said_state;
};

struct batch {
	struct event *events;
	size_t count, applied, duplicates, dead;
	uint64_t position; /* of the database, once committed */
	enum writer_claim *claims;
	struct writer_job *jobs; /* of the new ones */
	int64_t now_us, begun_ms;
	struct ingest_trace trace;
	const struct catalog *catalog;
};

static const struct writer_failure clash = {
	.sqlstate = "23505",
	.message = "the same idempotency key was used with other parameters",
};

static void
pass(const struct ingest *g, enum ingest_arrow arrow)
{
	if (g->o.passed != NULL)
		g->o.passed(g->o.ctx, arrow);
}

/*
 * What the others see.
 */
static void
show(struct ingest *g, enum ingest_state state)
{
	struct ingest_shared *s = g->o.shared;

	if (s == NULL)
		return;
	if (atomic_exchange(&s->state, (uint32_t)state) != (uint32_t)state)
		atomic_store(&s->since_ms, clock_mono_ms());
	atomic_store(&s->pid, (uint32_t)getpid());
	atomic_store(&s->beat_ms, clock_mono_ms());
}

static const char *
file_of(const struct ingest *g, const struct event *ev)
{
	const struct endpoint *e = ev == NULL ? NULL : catalog_find(g->o.catalog, ev->endpoint);

	return e == NULL || e->file == NULL ? "" : e->file;
}

/* WAITING or STOPPED: one line when the state begins, then one a minute.  ${ev} NULL: before any event. */
static void
say(struct ingest *g, enum ingest_state state, const struct event *ev,
    const struct writer_failure *why)
{
	const struct slice endpoint = ev == NULL ? SLICE("") : ev->endpoint;
	const int64_t now_ms = clock_mono_ms();

	if (g->o.shared != NULL)
		(void)snprintf(g->o.shared->reason, sizeof g->o.shared->reason, "%.*s%s%s %.100s",
		    endpoint.len > 64 ? 64 : (int)endpoint.len, endpoint.ptr,
		    endpoint.len == 0 ? "" : ": ", why->sqlstate, why->message);
	show(g, state);
	if (g->said_state == state && now_ms - g->said_ms < SAY_AGAIN_MS)
		return;
	g->said_state = state;
	g->said_ms = now_ms;
	log_warn(state == INGEST_STOPPED ? "consumer_stopped" : "consumer_waits",
	    LOG_SLICE("endpoint", endpoint), LOG_STR("file", file_of(g, ev)),
	    LOG_STR("sqlstate", why->sqlstate), LOG_STR("reason", why->message));
}

static void
count(struct ingest *g, enum metric m, uint64_t n)
{
	if (g->o.scoreboard != NULL)
		scoreboard_count(g->o.scoreboard, g->o.member, m, n);
}

static void
say_dead(const struct event *ev, const struct writer_failure *reason)
{
	char id[EVENT_ID_TEXT];

	event_id_text(ev->id, id);
	log_warn("dead_letter", LOG_STR("event_id", id), LOG_SLICE("endpoint", ev->endpoint),
	    LOG_STR("sqlstate", reason->sqlstate), LOG_STR("reason", reason->message));
}

static void
log_batch(struct ingest *g, const struct batch *b)
{
	struct ingest_shared *s = g->o.shared;

	count(g, METRIC_BATCHES, 1);
	count(g, METRIC_EVENTS_APPLIED, b->applied);
	count(g, METRIC_EVENTS_DUPLICATE, b->duplicates);
	count(g, METRIC_EVENTS_DEAD, b->dead);
	log_info("batch", LOG_INT("events", b->count), LOG_INT("applied", b->applied),
	    LOG_INT("duplicates", b->duplicates), LOG_INT("dead", b->dead),
	    LOG_INT("last_seq", b->events[b->count - 1].seq),
	    LOG_INT("ms", clock_mono_ms() - b->begun_ms));
	if (s == NULL)
		return;
	(void)atomic_fetch_add(&s->batches, 1);
	(void)atomic_fetch_add(&s->events, b->applied);
	(void)atomic_fetch_add(&s->duplicates, b->duplicates);
	(void)atomic_fetch_add(&s->dead, b->dead);
	atomic_store(&s->applied_us, b->now_us);
}

/*
 * One batch.
 */
static const struct endpoint *
endpoint_of(const struct ingest *g, const struct event *ev, struct writer_failure *why)
{
	const struct endpoint *e = catalog_find(g->o.catalog, ev->endpoint);

	if (e != NULL && http_method_writes(e->method))
		return e;
	writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "42000",
	    "there is no endpoint file of this name for a write");
	return NULL;
}

/* What is to be done for each event: a statement to run, a dead letter, or nothing. */
static enum err
sort_out(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	enum err rc = ERR_OK;

	for (size_t i = 0; i < b->count && rc == ERR_OK; i++)
		switch (b->claims[i]) {
		case WRITER_NEW:
			b->jobs[b->applied].event = &b->events[i];
			b->jobs[b->applied].endpoint = endpoint_of(g, &b->events[i], why);
			if (b->jobs[b->applied++].endpoint == NULL)
				rc = ERR_UNAVAILABLE;
			break;
		case WRITER_APPLIED:
			b->duplicates++;
			break;
		case WRITER_CLASH:
			b->dead++;
			rc = writer_bury(g->writer, &b->events[i], &clash, b->now_us, why);
			break;
		}
	return rc;
}

static enum err
apply_all(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	size_t done;
	enum err rc = sort_out(g, b, why);

	if (rc == ERR_OK)
		rc = writer_apply(g->writer, b->jobs, b->applied, b->now_us,
		    b->begun_ms + BATCH_MS_MAX, &done, why);
	if (rc != ERR_OK && why->verdict == WRITER_TOO_MUCH) /* as much as its time allows, next */
		g->limit = (size_t)(b->jobs[done].event - b->events);
	return rc;
}

/*
 * Keys whose time is over when the oldest event that waits was accepted: not yet those that are only over by
 * now, or its own duplicate would be applied again.  More than a batch brings, or the table would grow.
 */
static enum err
expire(struct ingest *g, const struct batch *b, struct writer_failure *why)
{
	const int64_t before_us =
	    source_oldest_us(g->o.source, b->events, b->count) - g->o.key_ttl_ms * 1000 - SKEW_US;

	return writer_expire_keys(g->writer, before_us, 2 * b->count + EXPIRE_MIN, why);
}

/* A part of the transaction, as a span of it. */
static struct span *
part_begin(const struct ingest *g, const char *name, size_t events)
{
	struct span *s = span_begin(SPAN_CLIENT, name);

	span_str(s, SPAN_KEY_DB_SYSTEM_NAME, slice_of(writer_system(g->writer)));
	span_str(s, SPAN_KEY_DB_OPERATION_NAME, slice_of(name));
	if (events > 1)
		span_int(s, SPAN_KEY_DB_OPERATION_BATCH_SIZE, (int64_t)events);
	return s;
}

static enum err
part_end(struct span *s, enum err rc, const struct writer_failure *why)
{
	if (rc != ERR_OK)
		span_str(s, SPAN_KEY_DB_RESPONSE_STATUS_CODE, slice_of(why->sqlstate));
	span_end(s, rc);
	return rc;
}

static enum err
claim_all(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	struct span *s = part_begin(g, "claim keys", b->count);

	return part_end(s,
	    writer_claim_keys(
		g->writer, b->events, b->count, b->now_us, g->o.key_ttl_ms * 1000, b->claims, why),
	    why);
}

/* Of all events; absent when there are several, or none. */
static struct slice
only_statement(const struct batch *b)
{
	const struct endpoint *e = b->applied == 0 ? NULL : b->jobs[0].endpoint;

	for (size_t i = 1; i < b->applied; i++)
		if (b->jobs[i].endpoint != e)
			return (struct slice){ 0 };
	return e == NULL ? (struct slice){ 0 } : e->sql;
}

static enum err
run_all(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	struct span *s = part_begin(g, "apply", b->count);
	enum err rc = apply_all(g, b, why);

	if (s != NULL)
		span_str(s, SPAN_KEY_DB_QUERY_TEXT, only_statement(b));
	if (rc == ERR_OK)
		rc = expire(g, b, why);
	return part_end(s, rc, why);
}

/* As late as it can be: what fails before would be copied with each half of the batch again. */
static void
copy_clashes(struct ingest *g, const struct batch *b)
{
	if (b->dead == 0)
		return;
	for (size_t i = 0; i < b->count; i++)
		if (b->claims[i] == WRITER_CLASH)
			source_bury(g->o.source, &b->events[i], &clash);
	source_wait_buried(g->o.source);
}

static enum err
commit(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	struct span *s = part_begin(g, "COMMIT", 1);

	return part_end(s, writer_commit(g->writer, &b->position, why), why);
}

static enum err
transact(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	enum err rc = writer_begin(g->writer, why);

	pass(g, INGEST_BEGUN);
	if (rc == ERR_OK)
		rc = claim_all(g, b, why);
	pass(g, INGEST_CLAIMED);
	if (rc == ERR_OK)
		rc = run_all(g, b, why);
	pass(g, INGEST_RAN);
	if (rc == ERR_OK) {
		copy_clashes(g, b);
		pass(g, INGEST_COPIED);
		rc = commit(g, b, why);
	}
	if (rc != ERR_OK)
		writer_rollback(g->writer);
	return rc;
}

static void
purge_event(struct ingest *g, const struct event *ev, uint64_t position, struct arena *a)
{
	const struct endpoint *e = catalog_find(g->o.catalog, ev->endpoint);
	struct value *values;

	if (e == NULL || e->invalidate_count == 0)
		return;
	values = arena_alloc(a, (e->param_count + 1) * sizeof *values);
	if (values == NULL || event_values(e, ev, values) != ERR_OK)
		cache_purge_all(g->o.cache, position); /* too much, never too little */
	else
		count(
		    g, METRIC_CACHE_PURGES, cache_purge_event(g->o.cache, e, values, position, a));
}

/* Also for events that had been applied before: who applied them may have been killed before its purge. */
static void
purge(struct ingest *g, const struct batch *b)
{
	struct span *s;
	struct arena a;

	if (g->o.cache == NULL)
		return;
	s = span_begin(SPAN_INTERNAL, "purge");
	arena_init(&a, PURGE_BYTES_MAX);
	for (size_t i = 0; i < b->count; i++) {
		purge_event(g, &b->events[i], b->position, &a);
		arena_reset(&a);
	}
	(void)cache_purge_send(g->o.cache); /* what cannot be told is owed */
	span_end(s, ERR_OK);
	arena_free(&a);
}

/*
 * What a failure means.
 */
static enum err
wait_for_better(struct ingest *g, const struct event *ev, const struct writer_failure *why,
    int64_t *wait_ms_out)
{
	say(g, INGEST_WAITING, ev, why);
	*wait_ms_out =
	    backoff_next_ms(++g->failures, WAIT_BASE_MS, WAIT_CAP_MS, (uint32_t)rand_u64());
	return ERR_UNAVAILABLE;
}

static enum err
stop_before(struct ingest *g, const struct event *ev, const struct writer_failure *why,
    int64_t *wait_ms_out)
{
	say(g, INGEST_STOPPED, ev, why);
	*wait_ms_out = STOPPED_MS;
	return ERR_UNAVAILABLE;
}

/* For failures that no event stands behind; the connection is made anew, for it may be what is wrong. */
static enum err
start_again(struct ingest *g, const struct event *ev, const struct writer_failure *why,
    int64_t *wait_ms_out)
{
	writer_close(&g->writer);
	return why->verdict == WRITER_BAD_DEPLOYMENT ? stop_before(g, ev, why, wait_ms_out)
						     : wait_for_better(g, ev, why, wait_ms_out);
}

static const char *
outcome_of(const void *ctx, size_t i)
{
	const struct batch *b = ctx;

	if (b->claims[i] == WRITER_APPLIED)
		return "duplicate";
	/* Alone and not applied: it was buried. */
	return b->claims[i] == WRITER_CLASH || b->applied == 0 ? "dead" : "applied";
}

static const struct endpoint *
endpoint_at(const void *ctx, size_t i)
{
	const struct batch *b = ctx;

	return catalog_find(b->catalog, b->events[i].endpoint);
}

static void
tell(struct batch *b)
{
	const struct ingest_outcomes o = { b->events, b->count, outcome_of, endpoint_at, b };

	ingest_trace_tell(&b->trace, &o);
}

/* Committed.  Killed here or before the acknowledgement, the same events come again, and are known. */
static enum err
settle(struct ingest *g, struct batch *b, int64_t *wait_ms_out)
{
	const bool whole = b->count >= g->limit;
	struct writer_failure why;

	pass(g, INGEST_COMMITTED);
	purge(g, b);
	pass(g, INGEST_PURGED);
	tell(b); /* here, for what is acknowledged is not ours any more */
	if (source_acknowledge(g->o.source, b->events, b->count, b->now_us) != ERR_OK) {
		writer_failure_set(
		    &why, WRITER_BAD_MOMENT, "58030", "the queue cannot be acknowledged");
		return wait_for_better(g, NULL, &why, wait_ms_out);
	}
	pass(g, INGEST_ACKNOWLEDGED);
	log_batch(g, b);
	g->failures = g->tries = 0;
	g->said_state = INGEST_IDLE;
	if (clock_mono_ms() - b->begun_ms < BATCH_MS_MAX / 4)
		g->limit = g->limit * 2 < g->o.batch_max ? g->limit * 2 : g->o.batch_max;
	show(g, INGEST_IDLE);
	*wait_ms_out = whole ? 0 : GATHER_MS;
	return ERR_OK;
}

/* The head, in the transaction that is open. */
static enum err
bury(struct ingest *g, const struct batch *b, const struct writer_failure *reason,
    struct writer_failure *why)
{
	const enum err rc = writer_bury(g->writer, &b->events[0], reason, b->now_us, why);

	if (rc != ERR_OK)
		return rc;
	source_bury(g->o.source, &b->events[0], reason);
	source_wait_buried(g->o.source);
	pass(g, INGEST_COPIED);
	return ERR_OK;
}

/* The head is beyond help: it becomes a dead letter, in a transaction of its own. */
static enum err
bury_head(
    struct ingest *g, struct batch *b, const struct writer_failure *reason, int64_t *wait_ms_out)
{
	struct writer_failure why = { .verdict = WRITER_BAD_MOMENT };
	enum err rc = writer_begin(g->writer, &why);
	bool known; /* another consumer has dealt with it meanwhile */

	if (rc == ERR_OK)
		rc = writer_claim_keys(
		    g->writer, b->events, 1, b->now_us, g->o.key_ttl_ms * 1000, b->claims, &why);
	known = rc == ERR_OK && b->claims[0] == WRITER_APPLIED;
	if (rc == ERR_OK && !known)
		rc = bury(g, b, reason, &why);
	if (rc == ERR_OK)
		rc = writer_commit(g->writer, &b->position, &why);
	if (rc != ERR_OK) {
		writer_rollback(g->writer);
		return wait_for_better(g, &b->events[0], &why, wait_ms_out);
	}
	if (!known)
		say_dead(&b->events[0], reason);
	b->applied = 0;
	b->duplicates = known;
	b->dead = !known;
	return settle(g, b, wait_ms_out);
}

/* Ten tries alone, then a dead letter: a statement that always times out must not hold up all others. */
static enum err
try_again(struct ingest *g, struct batch *b, const struct writer_failure *why, int64_t *wait_ms_out)
{
	if (g->trying_seq != b->events[0].seq)
		g->tries = 0;
	g->trying_seq = b->events[0].seq;
	if (++g->tries >= UNCLEAR_TRIES)
		return bury_head(g, b, why, wait_ms_out);
	return wait_for_better(g, &b->events[0], why, wait_ms_out);
}

static enum err
failed(struct ingest *g, struct batch *b, const struct writer_failure *why, int64_t *wait_ms_out)
{
	if (why->verdict == WRITER_TOO_MUCH)
		return ERR_OK; /* the limit is set */
	if (why->verdict == WRITER_BAD_MOMENT || why->verdict == WRITER_OK)
		return start_again(g, &b->events[0], why, wait_ms_out);
	if (b->count > 1) {
		g->limit = b->count / 2;
		return ERR_OK;
	}
	switch (why->verdict) {
	case WRITER_BAD_EVENT:
		return bury_head(g, b, why, wait_ms_out);
	case WRITER_BAD_DEPLOYMENT:
		return start_again(g, &b->events[0], why, wait_ms_out);
	case WRITER_UNCLEAR:
	case WRITER_OK:
	case WRITER_BAD_MOMENT:
	case WRITER_TOO_MUCH:
		break;
	}
	return try_again(g, b, why, wait_ms_out);
}

static enum err
cannot_read(struct ingest *g, enum err rc, int64_t *wait_ms_out)
{
	struct writer_failure why;

	if (rc == ERR_INVALID) {
		writer_failure_set(&why, WRITER_BAD_DEPLOYMENT, "0A000",
		    "the queue holds a record of a version that this weir does not know");
		return stop_before(g, NULL, &why, wait_ms_out);
	}
	writer_failure_set(&why, WRITER_BAD_MOMENT, "58030", "the queue cannot be read");
	return wait_for_better(g, NULL, &why, wait_ms_out);
}

/* The connection is made here and not once, for the database may come late or go away. */
static enum err
ready(struct ingest *g, struct writer_failure *why)
{
	enum err rc;

	if (g->writer != NULL)
		return ERR_OK;
	rc = writer_open(&g->o.database, &g->writer, why);
	if (rc == ERR_OK && !g->o.tables_by_others)
		rc = writer_migrate(g->writer, why);
	return rc;
}

static enum err
apply_batch(struct ingest *g, struct batch *b, int64_t *wait_ms_out)
{
	struct writer_failure why = { .verdict = WRITER_BAD_MOMENT };

	if (ready(g, &why) != ERR_OK)
		return start_again(g, NULL, &why, wait_ms_out);
	show(g, INGEST_APPLYING);
	if (transact(g, b, &why) != ERR_OK)
		return failed(g, b, &why, wait_ms_out);
	for (size_t i = 0; i < b->count; i++)
		if (b->claims[i] == WRITER_CLASH)
			say_dead(&b->events[i], &clash);
	return settle(g, b, wait_ms_out);
}

enum err
ingest_step(struct ingest *g, int64_t *wait_ms_out)
{
	struct batch b = {
		.now_us = clock_wall_us(), .begun_ms = clock_mono_ms(), .catalog = g->o.catalog
	};
	enum err rc;

	*wait_ms_out = 0;
	arena_reset(&g->arena);
	rc = source_read(g->o.source, g->limit, &g->arena, &b.events, &b.count);
	if (rc == ERR_NOT_FOUND) {
		show(g, INGEST_IDLE);
		return rc;
	}
	b.claims = arena_alloc(&g->arena, (b.count + 1) * sizeof *b.claims);
	b.jobs = arena_alloc(&g->arena, (b.count + 1) * sizeof *b.jobs);
	if (rc != ERR_OK || b.claims == NULL || b.jobs == NULL)
		return cannot_read(g, rc, wait_ms_out);
	pass(g, INGEST_READ);
	ingest_trace_begin(&b.trace, g->o.exporter, g->o.topics, &g->arena, b.events, b.count);
	rc = apply_batch(g, &b, wait_ms_out);
	ingest_trace_end(&b.trace);
	return rc;
}

enum err
ingest_open(const struct ingest_options *o, struct ingest **out)
{
	struct ingest *g = calloc(1, sizeof *g);

	*out = g;
	if (g == NULL)
		return ERR_NOMEM;
	g->o = *o;
	g->limit = o->batch_max;
	/* Bounded by queue_read(), or by the one record that went through a bound when it was accepted. */
	arena_init(&g->arena, SIZE_MAX / 2);
	return ERR_OK;
}

void
ingest_close(struct ingest **ip)
{
	struct ingest *g = *ip;

	if (g == NULL)
		return;
	*ip = NULL;
	writer_close(&g->writer);
	arena_free(&g->arena);
	free(g);
}
