/*
 * The endpoints' statements on PostgreSQL: sent many at once, parsed once for a run of events of one endpoint.
 *
 * How many go out at once follows from how long the last ones took, so that the batch's time can end
 * between two strides, and a server that stalls is noticed in time: begun with one, four times as many while
 * they are quick, up to STRIDE_MAX.
 */
#include <string.h>

#include "base/clock.h"
#include "http/endpoint.h"
#include "service/pg_bind.h"
#include "service/writer_postgresql.h"

enum { STRIDE_MAX = 512, STRIDE_MS = 250, BIND_BYTES_MAX = 1 << 20 };

struct stride {
	struct pg_writer *w;
	const struct writer_job *jobs;
	size_t count; /* to be sent; then: were sent */
	int64_t now_us;
	int64_t *rows_out;
	size_t done;
	uint8_t before[STRIDE_MAX]; /* answers before that of each job's statement */
	/* Why the job behind the last one that was sent could not be sent. */
	struct writer_failure unsent;
};

static enum err
bind(struct stride *s, const struct writer_job *job, struct arena *a, struct pg_param **out)
{
	char *id = arena_alloc(a, EVENT_ID_TEXT);
	struct pg_ambient ambient = { .tenant = job->event->tenant,
		.now_us = s->now_us,
		.idempotency_key = job->event->key,
		.accepted_us = job->event->accepted_us };
	struct value *values;
	enum err rc;

	if (id == NULL)
		return writer_no_memory(&s->unsent);
	event_id_text(job->event->id, id);
	ambient.event_id = slice_of(id);
	rc = writer_values(job, a, &values, &s->unsent);
	if (rc != ERR_OK)
		return rc;
	rc = pg_bind_endpoint(job->endpoint, values, &ambient, a, out);
	return rc == ERR_OK ? ERR_OK : writer_no_memory(&s->unsent);
}

/* What must stand before the first statement of ${job}'s endpoint. */
static enum err
send_parse(struct stride *s, const struct pg_statement *statement, const struct writer_job *job,
    uint8_t *before)
{
	const int64_t ms = writer_timeout_ms(job->endpoint);
	enum err rc = ERR_OK;

	if (ms != s->w->set_ms) {
		rc = pg_writer_set_timeout(s->w, ms);
		++*before;
	}
	if (rc == ERR_OK) {
		rc = pg_send_parse(s->w->pg, statement);
		++*before;
	}
	return rc;
}

static enum err
send_job(struct stride *s, size_t i, struct arena *a)
{
	const struct writer_job *job = &s->jobs[i];
	struct pg_statement statement = { .count = job->endpoint->bind_count };
	struct pg_param *params;
	enum err rc;

	arena_reset(a);
	rc = bind(s, job, a, &params);
	if (rc != ERR_OK)
		return rc;
	statement.name = "event";
	statement.sql = job->endpoint->sql.ptr;
	statement.params = params;
	if (i == 0 || job->endpoint != s->jobs[i - 1].endpoint)
		rc = send_parse(s, &statement, job, &s->before[i]);
	if (rc == ERR_OK)
		rc = pg_send_again(s->w->pg, &statement);
	if (rc != ERR_OK)
		pg_writer_explain(s->w, pg_last_fault(s->w->pg), false, &s->unsent);
	return rc;
}

/* Sends until all are sent or one cannot be. */
static enum err
send_jobs(struct stride *s)
{
	struct arena a;
	size_t i = 0;
	enum err rc = ERR_OK;

	arena_init(&a, BIND_BYTES_MAX);
	for (; i < s->count && rc == ERR_OK; i++)
		rc = send_job(s, i, &a);
	arena_free(&a);
	if (rc != ERR_OK)
		s->count = i - 1;
	return rc;
}

static enum err
fetch_job(struct stride *s, size_t i)
{
	struct pg_result *r = NULL;
	enum err rc = ERR_OK;

	for (uint8_t n = 0; n <= s->before[i] && rc == ERR_OK; n++) {
		pg_result_free(&r);
		rc = pg_fetch(s->w->pg, &r);
	}
	if (rc == ERR_OK)
		s->rows_out[i] = pg_affected(r);
	pg_result_free(&r);
	return rc;
}

/* One round trip.  ${s->done} went well. */
static enum err
run_stride(struct stride *s, struct writer_failure *why)
{
	struct pg_call c;
	const int64_t ms = writer_timeout_ms(s->jobs[0].endpoint);
	enum err unsent, rc;

	rc = pg_call_begin(s->w, ms, s->count == 1 ? ms : WRITER_DEADLINE_MS, &c, why);
	if (rc != ERR_OK)
		return rc;
	unsent = send_jobs(s);
	rc = pg_call_go(&c);
	for (size_t i = 0; i < s->count && rc == ERR_OK; i++) {
		rc = fetch_job(s, i);
		s->done += rc == ERR_OK;
	}
	rc = pg_call_end(&c, rc, false, why);
	if (rc == ERR_OK && unsent != ERR_OK)
		*why = s->unsent;
	return rc == ERR_OK ? unsent : rc;
}

static size_t
next_stride(size_t last, int64_t ms)
{
	const size_t wider = ms > 0 ? last * STRIDE_MS / (size_t)ms : STRIDE_MAX;
	const size_t most = last * 4 < STRIDE_MAX ? last * 4 : STRIDE_MAX;

	return wider < 1 ? 1 : wider < most ? wider : most;
}

static enum err
apply_strides(struct pg_writer *w, const struct writer_job *jobs, size_t count, int64_t now_us,
    int64_t until_ms, int64_t *rows, size_t *done_out, struct writer_failure *why)
{
	int64_t begun_ms = clock_mono_ms(), ended_ms;
	enum err rc = ERR_OK;

	for (size_t at = 0; at < count && rc == ERR_OK; begun_ms = ended_ms) {
		struct stride s = { .w = w,
			.jobs = &jobs[at],
			.count = count - at < w->stride ? count - at : w->stride,
			.now_us = now_us,
			.rows_out = &rows[at] };

		if (at > 0 && begun_ms > until_ms) {
			writer_failure_set(why, WRITER_TOO_MUCH, "57014", "the batch's time is up");
			return ERR_TIMEOUT;
		}
		rc = run_stride(&s, why);
		ended_ms = clock_mono_ms();
		at += s.done;
		*done_out = at;
		w->stride = next_stride(w->stride, ended_ms - begun_ms);
	}
	return rc;
}

enum err
pg_writer_apply(void *state, const struct writer_job *jobs, size_t count, int64_t now_us,
    int64_t until_ms, size_t *done_out, struct writer_failure *why)
{
	struct pg_writer *w = state;
	int64_t *rows = arena_alloc(&w->arena, count * sizeof *rows);
	enum err rc;

	if (rows == NULL)
		return writer_no_memory(why);
	rc = apply_strides(w, jobs, count, now_us, until_ms, rows, done_out, why);
	if (rc == ERR_OK && w->wanted && !pg_in_transaction(w->pg)) {
		writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "0A000",
		    "a statement ends the batch's transaction");
		return ERR_UNAVAILABLE;
	}
	return rc == ERR_OK ? pg_writer_note_rows(w, jobs, rows, count, why) : rc;
}
