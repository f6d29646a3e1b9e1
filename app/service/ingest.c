/*
 * The consumer, one transaction a step.
 *
 *   read --> begin --> claim keys --> statements --> commit --> purge tags --> acknowledge
 *
 * What fails is undone whole, and the next step takes half as much from the same place, until the event that
 * fails stands alone at the head; then its SQLSTATE decides.  What succeeds makes the next batch larger again.  A
 * process that is killed anywhere leaves the spool as it was, or the key table tells what had been applied.
 */
#include "service/ingest.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "policy/backoff.h"
#include "service/cache.h"
#include "service/catalog.h"
#include "service/queue.h"
#include "service/writer.h"
#include "telemetry/scoreboard.h"

enum {
	BATCH_BYTES_MAX = 64 << 20,
	PURGE_BYTES_MAX = 4 << 20,
	UNCLEAR_TRIES = 10,
	WAIT_BASE_MS = 100,
	WAIT_CAP_MS = 5000,
	STOPPED_MS = 1000, /* between looks at a deployment that is not ready */
	SAY_AGAIN_MS = 60000,
	EXPIRE_EVERY_MS = 1000,
	EXPIRE_ROWS = 5000,
};

struct ingest {
	struct ingest_options o;
	struct writer *writer;
	struct arena arena;   /* of one batch */
	size_t limit;	      /* events of the next batch */
	uint64_t trying_seq;  /* the event that stands alone ... */
	uint32_t tries;	      /* ... and how often it failed without a clear reason */
	uint32_t bad_moments; /* in a row */
	int64_t said_ms, expired_ms;
	enum ingest_state said_state;
};

struct batch {
	struct event *events;
	size_t count, applied, duplicates, dead;
	enum writer_claim *claims;
	int64_t now_us;
};

/*
 * What the others see.
 */
static void
show(struct ingest *g, enum ingest_state state, const struct writer_failure *why)
{
	struct ingest_shared *s = g->o.shared;

	if (s == NULL)
		return;
	if (why != NULL) {
		(void)strncpy(s->reason, why->message, sizeof s->reason - 1);
		s->reason[sizeof s->reason - 1] = '\0';
	}
	if (atomic_exchange(&s->state, (uint32_t)state) != (uint32_t)state)
		atomic_store(&s->since_ms, clock_mono_ms());
	atomic_store(&s->pid, (uint32_t)getpid());
	atomic_store(&s->beat_ms, clock_mono_ms());
}

/* One line when a state begins, then one a minute. */
static void
say(struct ingest *g, enum ingest_state state, const char *event, const struct event *ev,
    const struct writer_failure *why)
{
	const int64_t now_ms = clock_mono_ms();

	show(g, state, why);
	if (g->said_state == state && now_ms - g->said_ms < SAY_AGAIN_MS)
		return;
	g->said_state = state;
	g->said_ms = now_ms;
	log_warn(event, LOG_SLICE("endpoint", ev != NULL ? ev->endpoint : SLICE("")),
	    LOG_STR("sqlstate", why->sqlstate), LOG_STR("message", why->message));
}

static void
count(struct ingest *g, enum metric m, uint64_t n)
{
	if (g->o.scoreboard != NULL)
		scoreboard_count(g->o.scoreboard, g->o.member, m, n);
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
	    LOG_INT("ms", (clock_wall_us() - b->now_us) / 1000));
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
static enum err
bury(struct ingest *g, const struct event *ev, const struct writer_failure *reason, int64_t now_us,
    struct writer_failure *why)
{
	struct slice record = { 0 };

	if (event_encode(ev, &g->arena, &record) != ERR_OK) {
		*why = (struct writer_failure){ .verdict = WRITER_BAD_MOMENT,
			.sqlstate = "53200",
			.message = "out of memory" };
		return ERR_NOMEM;
	}
	return writer_bury(g->writer, ev, record, reason, now_us, why);
}

static enum err
apply_new(struct ingest *g, const struct event *ev, int64_t now_us, struct writer_failure *why)
{
	const struct endpoint *e = catalog_find(g->o.catalog, ev->endpoint);
	int64_t rows = 0;
	enum err rc;

	if (e == NULL || !http_method_writes(e->method)) {
		*why = (struct writer_failure){ .verdict = WRITER_BAD_DEPLOYMENT,
			.sqlstate = "42000" };
		(void)strcpy(why->message, "there is no endpoint file of this name for a write");
		return ERR_UNAVAILABLE;
	}
	rc = writer_apply(g->writer, e, ev, now_us, &rows, why);
	return rc == ERR_OK ? writer_mark(g->writer, ev, rows, why) : rc;
}

static enum err
apply_one(struct ingest *g, struct batch *b, size_t i, struct writer_failure *why)
{
	static const struct writer_failure clash = { .sqlstate = "23505",
		.message = "the same idempotency key was applied with other parameters" };

	switch (b->claims[i]) {
	case WRITER_NEW:
		b->applied++;
		return apply_new(g, &b->events[i], b->now_us, why);
	case WRITER_APPLIED:
		b->duplicates++;
		return ERR_OK;
	case WRITER_CLASH:
		break;
	}
	b->dead++;
	return bury(g, &b->events[i], &clash, b->now_us, why);
}

static enum err
transact(struct ingest *g, struct batch *b, struct writer_failure *why)
{
	enum err rc = writer_begin(g->writer, why);

	if (rc == ERR_OK)
		rc = writer_claim_keys(g->writer, b->events, b->count, b->now_us, b->claims, why);
	for (size_t i = 0; i < b->count && rc == ERR_OK; i++)
		rc = apply_one(g, b, i, why);
	if (rc == ERR_OK)
		rc = writer_commit(g->writer, why);
	if (rc != ERR_OK)
		writer_rollback(g->writer);
	return rc;
}

static void
purge_event(struct ingest *g, const struct event *ev, struct arena *a)
{
	const struct endpoint *e = catalog_find(g->o.catalog, ev->endpoint);
	struct value *values;

	if (e == NULL || e->invalidate_count == 0)
		return;
	values = arena_alloc(a, (e->param_count + 1) * sizeof *values);
	if (values == NULL || event_values(e, ev, values) != ERR_OK)
		cache_purge_all(g->o.cache); /* too much, never too little */
	else
		count(g, METRIC_CACHE_PURGES, cache_purge_event(g->o.cache, e, values, a));
}

/* Also for events that had been applied before: who applied them may have been killed before its purge. */
static void
purge(struct ingest *g, const struct batch *b)
{
	struct arena a;

	if (g->o.cache == NULL)
		return;
	arena_init(&a, PURGE_BYTES_MAX);
	for (size_t i = 0; i < b->count; i++) {
		purge_event(g, &b->events[i], &a);
		arena_reset(&a);
	}
	arena_free(&a);
}

/* Committed.  Killed here or before the acknowledgement, the same events come again, and are known. */
static enum err
settle(struct ingest *g, struct batch *b, int64_t *wait_ms_out)
{
	enum err rc;

	purge(g, b);
	rc = queue_acknowledge(g->o.queue, b->events[b->count - 1].seq, b->now_us);
	if (rc != ERR_OK) {
		*wait_ms_out = WAIT_CAP_MS;
		return ERR_UNAVAILABLE;
	}
	log_batch(g, b);
	g->bad_moments = 0;
	g->tries = 0;
	g->said_state = INGEST_IDLE;
	g->limit = g->limit * 2 < g->o.batch_max ? g->limit * 2 : g->o.batch_max;
	show(g, INGEST_IDLE, NULL);
	return ERR_OK;
}

/*
 * What a failure means.
 */
static enum err
wait_for_better(struct ingest *g, const struct event *ev, const struct writer_failure *why,
    int64_t *wait_ms_out)
{
	say(g, INGEST_WAITING, "consumer_waits", ev, why);
	*wait_ms_out =
	    backoff_next_ms(++g->bad_moments, WAIT_BASE_MS, WAIT_CAP_MS, (uint32_t)rand_u64());
	return ERR_UNAVAILABLE;
}

static enum err
stop_before(struct ingest *g, const struct event *ev, const struct writer_failure *why,
    int64_t *wait_ms_out)
{
	say(g, INGEST_STOPPED, "consumer_stopped", ev, why);
	*wait_ms_out = STOPPED_MS;
	return ERR_UNAVAILABLE;
}

/* The head is beyond help: it becomes a dead letter, in a transaction of its own. */
static enum err
bury_head(
    struct ingest *g, struct batch *b, const struct writer_failure *reason, int64_t *wait_ms_out)
{
	struct writer_failure why = { .verdict = WRITER_OK };
	enum err rc = writer_begin(g->writer, &why);

	if (rc == ERR_OK)
		rc = bury(g, &b->events[0], reason, b->now_us, &why);
	if (rc == ERR_OK)
		rc = writer_commit(g->writer, &why);
	if (rc != ERR_OK) {
		writer_rollback(g->writer);
		return wait_for_better(g, &b->events[0], &why, wait_ms_out);
	}
	log_warn("dead_letter", LOG_SLICE("endpoint", b->events[0].endpoint),
	    LOG_STR("sqlstate", reason->sqlstate), LOG_STR("message", reason->message));
	b->applied = b->duplicates = 0;
	b->dead = 1;
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
	if (why->verdict == WRITER_BAD_MOMENT || why->verdict == WRITER_OK)
		return wait_for_better(g, &b->events[0], why, wait_ms_out);
	if (b->count > 1) {
		g->limit = b->count / 2;
		return ERR_OK;
	}
	switch (why->verdict) {
	case WRITER_BAD_EVENT:
		return bury_head(g, b, why, wait_ms_out);
	case WRITER_BAD_DEPLOYMENT:
		return stop_before(g, &b->events[0], why, wait_ms_out);
	case WRITER_UNCLEAR:
	case WRITER_OK:
	case WRITER_BAD_MOMENT:
		break;
	}
	return try_again(g, b, why, wait_ms_out);
}

/* The connection is made here and not once, for the database may come late or go away. */
static enum err
ready(struct ingest *g, int64_t *wait_ms_out)
{
	struct writer_failure why = {
		.verdict = WRITER_BAD_MOMENT, .sqlstate = "08001", .message = "cannot be opened"
	};
	enum err rc = ERR_OK;

	if (g->writer == NULL) {
		rc = writer_open(g->o.write_url, &g->writer, &why);
		if (rc == ERR_OK)
			rc = writer_migrate(g->writer, &why);
		if (rc != ERR_OK)
			writer_close(&g->writer);
	}
	return rc == ERR_OK ? ERR_OK : wait_for_better(g, NULL, &why, wait_ms_out);
}

/* Keys whose time is over; only with nothing waiting, so that none goes before an older event is applied. */
static void
expire(struct ingest *g)
{
	const int64_t now_ms = clock_mono_ms();
	struct writer_failure why;

	if (g->writer == NULL || now_ms - g->expired_ms < EXPIRE_EVERY_MS)
		return;
	g->expired_ms = now_ms;
	(void)writer_expire_keys(
	    g->writer, clock_wall_us() - g->o.key_ttl_ms * 1000, EXPIRE_ROWS, &why);
}

/* The batch is too large for our memory. */
static enum err
take_less(struct ingest *g, size_t count, int64_t *wait_ms_out)
{
	if (count > 1) {
		g->limit = count / 2;
		return ERR_OK;
	}
	*wait_ms_out = WAIT_CAP_MS;
	return ERR_UNAVAILABLE;
}

enum err
ingest_step(struct ingest *g, int64_t *wait_ms_out)
{
	struct batch b = { .now_us = clock_wall_us() };
	struct writer_failure why = { .verdict = WRITER_BAD_MOMENT };
	enum err rc;

	*wait_ms_out = 0;
	arena_reset(&g->arena);
	rc = queue_read(g->o.queue, g->limit, &g->arena, &b.events, &b.count);
	if (rc == ERR_NOT_FOUND) {
		expire(g);
		show(g, INGEST_IDLE, NULL);
		return rc;
	}
	if (rc == ERR_NOMEM)
		return take_less(g, g->limit, wait_ms_out);
	if (rc == ERR_OK)
		rc = ready(g, wait_ms_out);
	if (rc != ERR_OK) {
		if (*wait_ms_out == 0)
			*wait_ms_out = WAIT_CAP_MS;
		return ERR_UNAVAILABLE;
	}
	b.claims = arena_alloc(&g->arena, b.count * sizeof *b.claims);
	if (b.claims == NULL)
		return take_less(g, b.count, wait_ms_out);
	show(g, INGEST_APPLYING, NULL);
	rc = transact(g, &b, &why);
	return rc == ERR_OK ? settle(g, &b, wait_ms_out) : failed(g, &b, &why, wait_ms_out);
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
	arena_init(&g->arena, BATCH_BYTES_MAX);
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
