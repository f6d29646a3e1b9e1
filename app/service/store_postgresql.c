/*
 * Reads from PostgreSQL: parameters in, rows out into a copy block; and what can be said of a statement before it ever
 * runs.
 *
 * One round trip: a preamble that makes the transaction read-only, sets its own statement_timeout and says how far the
 * server is, then the statement, then the sync that ends the transaction.  The preamble's answer is asked for at once, and must come within a
 * part of the deadline: a server that is not there is left while there is time to ask another, however long the
 * statement may take.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "client/pg.h"
#include "http/endpoint.h"
#include "service/db_span.h"
#include "service/pg_bind.h"
#include "service/pg_cell.h"
#include "service/pg_fleet.h"
#include "service/plan_text.h"
#include "service/reading.h"
#include "service/retries.h"
#include "service/sql_text.h"
#include "service/store_driver.h"

enum {
	/* A greeting is connecting and the preamble: a third of what is left, within these. */
	GREETING_LEAST_MS = 200,
	GREETING_MOST_MS = 1000,
	/* The server's own timeout comes before ours, so that the connection lives on. */
	MARGIN_LEAST_MS = 5,
	MARGIN_MOST_MS = 100,
	/* A replica that is only a moment behind is given that moment, once for each call. */
	REPLAY_MS = 100,
	REPLAY_NAP_MS = 4,
	MAX_ROW_BYTES = 64 << 20, /* of one row's decoded bytes */
	MAX_STATEMENT_BYTES = 1 << 20,
	RETRY_BASE_MS = 10,
};

#define PREAMBLE                                                                                   \
	"SELECT set_config('transaction_read_only', 'on', true), "                                 \
	"set_config('statement_timeout', $1, true), " PG_CELL_SETTINGS ", "                        \
	"CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0'::pg_lsn END AS seen"

struct pg_store {
	struct pg_fleet *fleet;
	struct retries retries;
	int64_t timeout_ms;
	size_t max_response_bytes;
	char *measuring; /* the preamble, and how far the server is behind */
};

/* One statement on its way through the servers; ping has no endpoint. */
struct call {
	struct pg_store *store;
	const struct endpoint *e;
	const struct pg_statement *statement;
	int64_t deadline_ms;
	uint64_t at_least;	/* as in store_ambient */
	int64_t replayed_by_ms; /* until when it is waited for */
	struct strbuf *block_out;
	struct strbuf *plan_out; /* not NULL: the statement is an EXPLAIN */
	uint64_t *seen_out;
	bool called;	   /* a server was asked */
	uint32_t failures; /* of those that were asked */
};

/* What became of one turn. */
struct outcome {
	enum err rc;
	bool elsewhere;	    /* another server may answer */
	bool failed;	    /* it was asked in vain: to ask again is a retry */
	bool lags;	    /* nothing was asked of it: it is too far behind */
	enum err for_guard; /* what it says of the server */
};

static bool
begins(const char *sqlstate, const char *const *classes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

/* Reads the failure ${rc} of ${p}, and ends what it leaves open. */
static struct outcome
failure(struct pg *p, enum err rc, bool greeted)
{
	/* Not there, full, going down, or broken: the server's own trouble. */
	static const char *const away[] = { "08", "53", "57P", "58", "XX" };
	/* This server's moment only: a replica cancels what stands in the way of its replay (40001). */
	static const char *const passing[] = { "40", "55" };
	const char *sqlstate = pg_last_fault(p)->sqlstate;
	struct outcome o = { .rc = rc, .for_guard = ERR_OK };

	if (pg_is_dead(p)) {
		o.for_guard = rc;
		/* A statement that was begun has had all the time there was. */
		o.elsewhere = rc != ERR_TIMEOUT || !greeted;
		return o;
	}
	if (begins(sqlstate, away, sizeof away / sizeof *away)) {
		o.for_guard = ERR_UNAVAILABLE;
		o.elsewhere = true;
	} else {
		o.elsewhere = begins(sqlstate, passing, sizeof passing / sizeof *passing);
	}
	(void)pg_finish(p); /* when that fails it is dead, and is not lent again */
	return o;
}

/* ---- The answer ---------------------------------------------------------------- */

/* The columns of the statement in hand, and the row in hand. */
struct columns {
	size_t count;
	uint32_t *oids;
	struct cell *cells;
	struct arena decoded; /* of one row */
};

static enum err
begin_rows(struct reading *r, struct columns *c, const struct pg_result *result, size_t max_bytes)
{
	struct slice *names;
	enum cell_form *forms;

	c->count = pg_columns(result);
	c->oids = arena_alloc(&r->arena, c->count * sizeof *c->oids);
	c->cells = arena_alloc(&r->arena, c->count * sizeof *c->cells);
	names = arena_alloc(&r->arena, c->count * sizeof *names);
	forms = arena_alloc(&r->arena, c->count * sizeof *forms);
	if (r->arena.overflowed)
		return ERR_NOMEM;
	for (size_t i = 0; i < c->count; i++) {
		c->oids[i] = pg_column_oid(result, i);
		names[i] = slice_of(pg_column_name(result, i));
		forms[i] = pg_cell_form(c->oids[i]);
	}
	return reading_begin(r, names, forms, c->count, max_bytes);
}

static enum err
add_row(struct reading *r, struct columns *c, const struct pg_result *result)
{
	if (c->decoded.used_bytes > 0)
		arena_reset(&c->decoded);
	for (size_t i = 0; i < c->count; i++)
		c->cells[i] = pg_cell(
		    c->oids[i], pg_is_null(result, 0, i), pg_text(result, 0, i), &c->decoded);
	return reading_row(r, c->cells);
}

/* *${ours_out}: what is not ERR_OK is a refusal of ours, and not the server's failure. */
static enum err
read_rows(struct reading *r, struct columns *c, struct pg *p, size_t max_bytes, bool *ours_out)
{
	bool row = true, begun = false;
	enum err rc = ERR_OK;

	while (rc == ERR_OK && row) {
		struct pg_result *result = NULL;

		rc = pg_stream(p, &result, &row);
		*ours_out = rc == ERR_OK;
		if (rc == ERR_OK && !begun)
			rc = begin_rows(r, c, result, max_bytes);
		begun = true;
		if (rc == ERR_OK && row)
			rc = add_row(r, c, result);
		pg_result_free(&result);
		if (row && r->e->returns_one)
			break;
	}
	return rc;
}

static enum err
build_answer(const struct call *call, struct pg *p, bool *ours_out)
{
	struct columns columns = { 0 };
	struct reading r;
	enum err rc;

	reading_open(&r, call->e);
	arena_init(&columns.decoded, MAX_ROW_BYTES);
	rc = read_rows(&r, &columns, p, call->store->max_response_bytes, ours_out);
	if (rc == ERR_OK)
		rc = reading_end(&r, call->block_out);
	reading_close(&r);
	arena_free(&columns.decoded);
	return rc;
}

static struct outcome
read_answer(const struct call *call, struct pg_turn *turn)
{
	struct pg *p = turn->lease.pg;
	bool ours = true;
	const enum err rc = build_answer(call, p, &ours);
	enum err end;

	if (rc != ERR_OK && !ours)
		return failure(p, rc, true);
	if (rc != ERR_OK &&
	    rc != ERR_NOT_FOUND) { /* nobody wants to read the rest of what is too large */
		pg_close(&turn->lease.pg);
		return (struct outcome){ .rc = rc, .for_guard = ERR_OK };
	}
	end = pg_finish(p);
	if (end == ERR_OK)
		return (struct outcome){ .rc = rc, .for_guard = ERR_OK };
	if (rc == ERR_OK) /* the transaction did not end well, so nor did the answer */
		strbuf_free(call->block_out);
	return failure(p, end, true);
}

static struct outcome
read_plan(const struct call *call, struct pg *p)
{
	struct pg_result *r = NULL;
	enum err rc = pg_fetch(p, &r);

	for (size_t i = 0; rc == ERR_OK && i < pg_rows(r); i++)
		plan_text_add(call->plan_out, pg_text(r, i, 0));
	pg_result_free(&r);
	if (rc == ERR_OK)
		rc = pg_finish(p);
	if (rc != ERR_OK)
		return failure(p, rc, true);
	return (struct outcome){ .rc = call->plan_out->failed ? ERR_TOO_LARGE : ERR_OK };
}

static struct outcome
drop_answer(struct pg *p)
{
	enum err rc = pg_fetch(p, NULL);

	if (rc == ERR_OK)
		rc = pg_finish(p);
	return rc == ERR_OK ? (struct outcome){ 0 } : failure(p, rc, true);
}

/* ---- One turn ------------------------------------------------------------------ */

static enum err
send_preamble(const struct call *call, struct pg *p, bool measures)
{
	const int64_t left_ms = call->deadline_ms - clock_mono_ms();
	int64_t margin_ms = left_ms / 20;
	char text[I64_BYTES];
	struct pg_param timeout = { .value.ptr = text };
	const struct pg_statement s = { "preamble", measures ? call->store->measuring : PREAMBLE,
		&timeout, 1 };
	enum err rc;

	if (margin_ms < MARGIN_LEAST_MS)
		margin_ms = MARGIN_LEAST_MS;
	if (margin_ms > MARGIN_MOST_MS)
		margin_ms = MARGIN_MOST_MS;
	/* 0 would be none, and above 2^31 it is refused. */
	timeout.value.len = i64_write(left_ms <= margin_ms		? 1
				      : left_ms - margin_ms > INT32_MAX ? INT32_MAX
									: left_ms - margin_ms,
	    text);
	rc = pg_send(p, &s);
	return rc == ERR_OK ? pg_hurry(p) : rc;
}

static enum err
send_statement(const struct call *call, struct pg *p)
{
	const enum err rc = pg_send(p, call->statement);

	return rc == ERR_OK ? pg_sync(p) : rc;
}

/* What the preamble has answered: how far the server is, and, where it was measured, how far behind. */
struct greeting {
	uint64_t seen;
	int64_t behind_ms;
};

static size_t
column_named(const struct pg_result *r, const char *name)
{
	size_t i = 0;

	while (i < pg_columns(r) && strcmp(pg_column_name(r, i), name) != 0)
		i++;
	return i;
}

static struct greeting
greeting_of(const struct pg_result *r, bool measures)
{
	struct greeting g = { .seen = STORE_SEES_ALL };
	const size_t seen = column_named(r, "seen");
	int64_t n = 0;

	if (!pg_is_null(r, 0, seen) && slice_to_i64(pg_text(r, 0, seen), &n) == ERR_OK)
		g.seen = (uint64_t)n;
	if (measures)
		(void)slice_to_i64(pg_text(r, 0, column_named(r, "behind_ms")), &g.behind_ms);
	return g;
}

static enum err
fetch_greeting(struct pg *p, bool measures, struct greeting *out)
{
	struct pg_result *r = NULL;
	const enum err rc = pg_fetch(p, &r);

	if (rc == ERR_OK)
		*out = greeting_of(r, measures);
	pg_result_free(&r);
	return rc;
}

/* Ends the transaction before its statement was sent. */
static enum err
end_early(struct pg *p)
{
	const enum err rc = pg_sync(p);

	return rc == ERR_OK ? pg_finish(p) : rc;
}

static struct outcome
pass_over(struct pg *p)
{
	const enum err rc = end_early(p);

	if (rc != ERR_OK)
		return failure(p, rc, true);
	return (struct outcome){ .rc = ERR_UNAVAILABLE, .elsewhere = true, .lags = true };
}

static bool
is_behind(const struct call *call, const struct greeting *g)
{
	return g->seen < call->at_least;
}

/* It has greeted and is behind: again, in a new transaction, until it has replayed what is to be seen. */
static enum err
wait_for_replay(const struct call *call, struct pg *p, struct greeting *g)
{
	enum err rc = ERR_OK;

	while (rc == ERR_OK && is_behind(call, g) && clock_mono_ms() < call->replayed_by_ms) {
		rc = end_early(p);
		(void)nanosleep(&(struct timespec){ .tv_nsec = REPLAY_NAP_MS * 1000000L }, NULL);
		if (rc == ERR_OK)
			rc = send_preamble(call, p, false);
		if (rc == ERR_OK)
			rc = fetch_greeting(p, false, g);
	}
	return rc;
}

/* Who may not take any answer waits for the preamble before it sends the statement; all others send both at once. */
static struct outcome
talk(const struct call *call, struct pg_turn *turn, bool may_lag)
{
	struct pg_fleet *fleet = call->store->fleet;
	const size_t server = turn->lease.server;
	const bool measures = !may_lag && pg_fleet_measures(fleet, server, clock_mono_ms());
	const bool waits =
	    measures || (!may_lag && !pg_fleet_has_seen(fleet, server, call->at_least));
	struct pg *p = turn->lease.pg;
	struct greeting greeting;
	bool lags;
	enum err rc = send_preamble(call, p, measures);

	if (rc == ERR_OK && !waits)
		rc = send_statement(call, p);
	if (rc == ERR_OK)
		rc = fetch_greeting(p, measures, &greeting);
	if (rc != ERR_OK)
		return failure(p, rc, false);
	pg_deadline(p, call->deadline_ms);
	lags = measures && pg_fleet_lags(fleet, server, greeting.behind_ms);
	if (waits && !lags)
		rc = wait_for_replay(call, p, &greeting);
	if (rc != ERR_OK)
		return failure(p, rc, true);
	pg_fleet_saw(fleet, server, greeting.seen);
	if (waits && (lags || is_behind(call, &greeting)))
		return pass_over(p);
	if (waits)
		rc = send_statement(call, p);
	if (rc != ERR_OK)
		return failure(p, rc, true);
	*call->seen_out = greeting.seen;
	if (call->plan_out != NULL)
		return read_plan(call, p);
	return call->e == NULL ? drop_answer(p) : read_answer(call, turn);
}

/* Until when a server must have greeted; the last one has all the time there is. */
static int64_t
greeting_ms(int64_t deadline_ms, bool last)
{
	const int64_t now_ms = clock_mono_ms();
	int64_t ms = (deadline_ms - now_ms) / 3;

	if (ms < GREETING_LEAST_MS)
		ms = GREETING_LEAST_MS;
	if (ms > GREETING_MOST_MS)
		ms = GREETING_MOST_MS;
	return last || now_ms + ms > deadline_ms ? deadline_ms : now_ms + ms;
}

/* A server failed, and another call may bring the answer: whether it is made. */
static bool
may_ask_again(struct call *call)
{
	return call->plan_out == NULL && retries_again(&call->store->retries, ++call->failures,
					     RETRY_BASE_MS, call->deadline_ms);
}

static enum err
enter(struct call *call, size_t server, bool last, struct pg_turn *out)
{
	const enum err rc = pg_fleet_enter(call->store->fleet, server, call->deadline_ms,
	    greeting_ms(call->deadline_ms, last), out);

	if (out->called && !call->called)
		retries_call(&call->store->retries, clock_mono_ms());
	call->called = call->called || out->called;
	return rc;
}

/* One turn that has a connection, as a span. */
static struct outcome
talk_in_span(const struct call *call, size_t server, struct pg_turn *turn, bool may_lag)
{
	struct span *span = call->e == NULL ? NULL : db_span_begin(call->e);
	struct outcome o;

	pg_fleet_describe(call->store->fleet, server, span);
	o = talk(call, turn, may_lag);
	db_span_end(span, o.rc,
	    o.rc == ERR_OK || turn->lease.pg == NULL ? NULL
						     : pg_last_fault(turn->lease.pg)->sqlstate);
	return o;
}

/* A kept connection may have ended without our knowing, which says nothing of the server: once more, with a new one. */
static struct outcome
ask(struct call *call, size_t server, bool last, bool may_lag)
{
	struct outcome o;
	struct pg_turn turn;
	bool stale;

	for (int tries = 0;; tries++) {
		const enum err rc = enter(call, server, last, &turn);

		if (rc != ERR_OK)
			return (struct outcome){ .rc = rc,
				.elsewhere = rc == ERR_UNAVAILABLE || rc == ERR_TIMEOUT,
				.failed = turn.called };
		o = talk_in_span(call, server, &turn, may_lag);
		o.failed = o.elsewhere && !o.lags;
		stale = turn.kept && o.elsewhere && o.for_guard == ERR_UNAVAILABLE &&
			turn.lease.pg != NULL && pg_is_dead(turn.lease.pg);
		if (call->plan_out != NULL && o.for_guard == ERR_TIMEOUT)
			o.for_guard = ERR_IO; /* it had little time, and nobody waits for it */
		pg_fleet_leave(call->store->fleet, &turn, stale ? ERR_OK : o.for_guard);
		if (!stale || tries > 0)
			return o;
		if (!may_ask_again(call))
			break;
	}
	o.elsewhere = false; /* not there either */
	return o;
}

/* One after another, as long as one that answers may be among them. */
static enum err
ask_all(struct call *call, bool primary_only)
{
	struct pg_plan plan;
	enum err rc = ERR_UNAVAILABLE;

	pg_fleet_plan(call->store->fleet, primary_only, clock_mono_ms(), &plan);
	for (size_t i = 0; i < plan.count; i++) {
		const struct outcome o =
		    ask(call, plan.order[i], i + 1 == plan.count, i >= plan.last_resort);

		if (!o.elsewhere)
			return o.rc;
		if (o.lags)
			pg_plan_postpone(&plan, plan.order[i]);
		rc = o.rc;
		if (clock_mono_ms() >= call->deadline_ms)
			return ERR_TIMEOUT;
		if (o.failed && i + 1 < plan.count && !may_ask_again(call))
			break;
	}
	return rc == ERR_TIMEOUT ? ERR_UNAVAILABLE : rc;
}

/* ${call} has all but its statement: that of its endpoint, behind ${verb}. */
static enum err
bind_and_ask(struct call *call, const char *verb, const struct endpoint *e,
    const struct value *values, const struct store_ambient *ambient)
{
	const struct pg_ambient bound = { .tenant = ambient->tenant, .now_us = ambient->now_us };
	struct pg_param *params = NULL;
	struct arena a;
	const char *name, *sql;
	enum err rc;

	arena_init(&a, MAX_STATEMENT_BYTES);
	name = arena_copy(&a, e->name);
	sql = arena_printf(&a, "%s%.*s", verb, (int)e->sql.len, e->sql.ptr);
	rc = pg_bind_endpoint(e, values, &bound, &a, &params);
	if (rc == ERR_OK && (name == NULL || sql == NULL))
		rc = ERR_NOMEM;
	if (rc == ERR_OK) {
		const struct pg_statement s = { name, sql, params, e->bind_count };

		call->statement = &s;
		rc = ask_all(call, e->read_primary);
	}
	arena_free(&a);
	return rc;
}

static enum err
read_fleet(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out,
    uint64_t *seen_out)
{
	struct call call = { .store = state,
		.e = e,
		.deadline_ms = deadline_ms,
		.at_least = ambient->at_least,
		.replayed_by_ms = clock_mono_ms() + REPLAY_MS,
		.block_out = block_out,
		.seen_out = seen_out };

	return bind_and_ask(&call, "", e, values, ambient);
}

/* Not GENERIC_PLAN, which is PostgreSQL 16's; and the plan for these values is the one that was slow. */
static enum err
explain_fleet(void *state, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *plan_out)
{
	uint64_t seen;
	struct call call = {
		.store = state, .deadline_ms = deadline_ms, .plan_out = plan_out, .seen_out = &seen
	};

	return bind_and_ask(&call, "EXPLAIN (FORMAT JSON) ", e, values, ambient);
}

static enum err
ping_fleet(void *state, int64_t deadline_ms)
{
	static const struct pg_statement s = { .name = "ping", .sql = "SELECT 1" };
	uint64_t seen;
	struct call call = {
		.store = state, .statement = &s, .deadline_ms = deadline_ms, .seen_out = &seen
	};

	return ask_all(&call, false);
}

/* ---- Before it ever runs ------------------------------------------------------- */

static enum err
describe(struct pg *p, const struct endpoint *e, struct slice text, struct arena *a,
    struct pg_result **out)
{
	struct pg_statement s = {
		.name = arena_copy(a, e->name), .sql = arena_copy(a, text), .count = e->bind_count
	};
	struct pg_param *params = NULL;
	const enum err rc = pg_bind_types(e, a, &params);

	s.params = params;
	return rc == ERR_OK && !a->overflowed ? pg_describe(p, &s, out) : ERR_NOMEM;
}

static struct slice *
names_of(const struct pg_result *r, struct arena *a)
{
	struct slice *names = arena_alloc(a, (pg_columns(r) + 1) * sizeof *names);

	for (size_t i = 0; names != NULL && i < pg_columns(r); i++)
		names[i] = slice_of(pg_column_name(r, i));
	return names;
}

/* SQLite's ?1 as PostgreSQL's $1. */
static struct slice
with_dollars(struct slice sql, struct arena *a)
{
	struct strbuf out = STRBUF_INIT(MAX_STATEMENT_BYTES);
	struct sql_scan scan = SQL_SCAN(sql, 1, SQL_SQLITE);
	struct slice text;

	for (;;) {
		const size_t from = scan.at;
		const struct sql_token t = sql_next(&scan);
		const size_t begin = t.kind == SQL_END ? sql.len : (size_t)(t.text.ptr - sql.ptr);

		strbuf_add(&out, sql.ptr + from, begin - from);
		if (t.kind == SQL_END)
			break;
		if (t.kind == SQL_FOREIGN && *t.text.ptr == '?') {
			strbuf_add_cstr(&out, " $");
			strbuf_add(&out, t.text.ptr + 1, t.text.len - 1);
		} else {
			strbuf_add_slice(&out, t.text);
		}
	}
	text = out.failed ? (struct slice){ 0 } : arena_slice(a, strbuf_slice(&out));
	strbuf_free(&out);
	return text;
}

/* Where NAME.sql can be prepared here too, both must have the same columns. */
static void
check_twin(struct pg *p, const struct endpoint *e, const struct slice *names, size_t columns,
    struct arena *a, struct fault_list *faults)
{
	struct pg_result *r = NULL;
	const struct slice *others;
	bool same;

	if (e->twin == NULL || e->twin->sql.ptr == NULL ||
	    describe(p, e->twin, with_dollars(e->twin->sql, a), a, &r) != ERR_OK)
		return;
	others = names_of(r, a);
	same = others != NULL && pg_columns(r) == columns;
	for (size_t i = 0; same && i < columns; i++)
		same = slice_eq(names[i], others[i]);
	if (!same)
		fault_add(faults, e->file, e->sql_line,
		    "the result's columns differ from those of %s, expected the same",
		    e->twin->file);
	pg_result_free(&r);
}

static void
check_described(struct pg *p, const struct endpoint *e, const struct pg_result *r, struct arena *a,
    struct fault_list *faults)
{
	const struct slice *names = names_of(r, a);

	if (http_method_writes(e->method) || names == NULL)
		return;
	reading_check_names(names, pg_columns(r), e, faults);
	check_twin(p, e, names, pg_columns(r), a, faults);
}

/* On the server that is asked first for such a statement. */
static enum err
dial_one(struct pg_store *s, const struct endpoint *e, struct pg **out, struct pg_fault *why)
{
	const int64_t deadline_ms = clock_mono_ms() + s->timeout_ms;
	struct pg_plan plan;

	pg_fleet_wait(s->fleet, deadline_ms);
	pg_fleet_plan(
	    s->fleet, e->read_primary || http_method_writes(e->method), clock_mono_ms(), &plan);
	return pg_fleet_dial(s->fleet, plan.order[0], deadline_ms, out, why);
}

static void
check_fleet(void *state, const struct endpoint *e, struct fault_list *faults)
{
	struct pg_fault why = { .message = "no memory" };
	struct pg_result *r = NULL;
	struct pg *p = NULL;
	struct arena a;

	if (e->sql.ptr == NULL)
		return; /* a built-in one */
	arena_init(&a, 4 * MAX_STATEMENT_BYTES);
	if (dial_one(state, e, &p, &why) != ERR_OK) {
		fault_add(faults, e->file, e->sql_line, "%s, expected a database that can be read",
		    why.message);
	} else if (describe(p, e, e->sql, &a, &r) == ERR_OK) {
		check_described(p, e, r, &a, faults);
	} else {
		const struct pg_fault *f = pg_last_fault(p);

		fault_add(faults, e->file, reading_line(e, f->offset),
		    "%s, expected a statement that PostgreSQL can prepare", f->message);
	}
	pg_result_free(&r);
	pg_close(&p);
	arena_free(&a);
}

/* ---- Opening and closing ------------------------------------------------------- */

static void
close_fleet(void *state)
{
	struct pg_store *s = state;

	pg_fleet_close(&s->fleet);
	free(s->measuring);
	free(s);
}

static enum err
open_fleet(const char *address, const struct store_options *o, void **state_out)
{
	struct pg_store *s = calloc(1, sizeof *s);
	struct strbuf sql = STRBUF_INIT(MAX_STATEMENT_BYTES);
	enum err rc;

	(void)address; /* each server has its own */
	if (s == NULL)
		return ERR_NOMEM;
	s->timeout_ms = o->timeout_ms;
	if (o->retries != NULL)
		s->retries = *o->retries;
	s->max_response_bytes = o->max_response_bytes;
	strbuf_add_cstr(&sql, PREAMBLE ", ");
	strbuf_add_cstr(&sql, pg_fleet_lag_sql);
	strbuf_add_char(&sql, '\0');
	s->measuring = sql.ptr;
	rc = sql.failed ? ERR_NOMEM : pg_fleet_open(o, &s->fleet);
	if (rc == ERR_OK)
		*state_out = s;
	else
		close_fleet(s);
	return rc;
}

static void
expire_fleet(void *state, int64_t now_ms)
{
	struct pg_store *s = state;

	pg_fleet_expire(s->fleet, now_ms);
}

static void
wait_fleet(void *state, int64_t deadline_ms)
{
	struct pg_store *s = state;

	pg_fleet_wait(s->fleet, deadline_ms);
}

static size_t
room_of_fleet(void *state)
{
	const struct pg_store *s = state;

	return pg_fleet_room(s->fleet);
}

const struct store_driver store_driver_postgresql = {
	.schemes = { "postgres:", "postgresql:" },
	.open = open_fleet,
	.close = close_fleet,
	.read = read_fleet,
	.explain = explain_fleet,
	.room = room_of_fleet,
	.check = check_fleet,
	.ping = ping_fleet,
	.expire = expire_fleet,
	.wait = wait_fleet,
};
