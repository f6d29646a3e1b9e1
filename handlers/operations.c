/*
 * GET /api/v1/operations/:event_id: what became of an accepted write.
 *
 * The spool knows what waits on this host, the key table of the write database what is finished, Redis what another
 * host has accepted.  The spool is asked first: it forgets an event only after the table knows it, so the other order
 * could miss both.  When one that might know cannot be asked, the answer is 503, never 404.
 */
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "handlers/handlers.h"
#include "http/response.h"
#include "service/event.h"
#include "service/idempotency.h"
#include "service/ledger.h"
#include "service/queue.h"

enum { BODY_BYTES_MAX = 16384 }; /* the reason is cut to far less when it is stored */

struct state {
	struct slice status, reason, tenant;
	int64_t accepted_us, finished_us, rows;
};

static void
add_time(struct strbuf *b, const char *name, int64_t us)
{
	char text[CLOCK_RFC3339_BYTES];

	if (us > 0)
		strbuf_addf(b, ",\"%s\":\"%s\"", name, clock_rfc3339(us, text));
}

static enum handler_result
answer(struct handler_call *call, const struct state *s)
{
	const bool applied = slice_eq_cstr(s->status, "applied");
	struct response *r = call->response;
	struct strbuf body = STRBUF_INIT(BODY_BYTES_MAX);

	strbuf_add_cstr(&body, "{\"eventId\":");
	strbuf_add_json(&body, call->values[0].text);
	strbuf_add_cstr(&body, ",\"status\":");
	strbuf_add_json(&body, s->status);
	add_time(&body, "acceptedAt", s->accepted_us);
	add_time(&body, applied ? "appliedAt" : "failedAt", s->finished_us);
	if (applied)
		strbuf_addf(&body, ",\"rows\":%lld", (long long)s->rows);
	/* An anonymous caller may have guessed the key: the reason may quote what was written. */
	if (s->reason.len > 0 && call->tenant.len > 0) {
		strbuf_add_cstr(&body, ",\"reason\":");
		strbuf_add_json(&body, s->reason);
	}
	strbuf_add_char(&body, '}');
	r->status = 200;
	response_header(r, call->arena, "Content-Type", SLICE("application/json"));
	response_header(r, call->arena, "Cache-Control", SLICE("no-store"));
	if (!body.failed)
		r->body = arena_slice(call->arena, strbuf_slice(&body));
	strbuf_free(&body);
	if (r->body.ptr != NULL)
		return HANDLER_RESPONSE;
	call->problem = problem_of(ERR_NOMEM);
	return HANDLER_PROBLEM;
}

/* Neither applied nor waiting here; ${spool}: whether the spool could say so. */
static enum err
find_elsewhere(struct handler_call *call, const uint8_t *id, enum err spool, struct state *s)
{
	enum err rc = ERR_NOT_FOUND;

	*s = (struct state){ .status = SLICE("accepted"), .tenant = call->tenant };
	if (call->idempotency != NULL)
		rc = idempotency_find(
		    call->idempotency, call->tenant, id, clock_mono_ms(), &s->accepted_us);
	return rc == ERR_NOT_FOUND && spool != ERR_NOT_FOUND ? ERR_UNAVAILABLE : rc;
}

/* ERR_OK, ERR_NOT_FOUND, or ERR_UNAVAILABLE: a store that might know cannot be asked. */
static enum err
find(struct handler_call *call, const uint8_t *id, struct state *s)
{
	struct operation op = { 0 };
	struct queue_record rec = { 0 };
	const enum err spool = queue_find(call->queue, id, call->arena, &rec);
	const enum err table =
	    operation_find(call->ledger, id, call->deadline_ms, call->arena, &op);

	if (table == ERR_OK) {
		*s = (struct state){ .status = op.state,
			.reason = op.reason,
			.tenant = op.tenant,
			.accepted_us = rec.accepted_us,
			.finished_us = op.at_us,
			.rows = op.rows };
		return ERR_OK;
	}
	if (spool == ERR_OK && rec.applied_us == 0) {
		*s = (struct state){ .status = SLICE("accepted"),
			.tenant = rec.tenant,
			.accepted_us = rec.accepted_us };
		return ERR_OK;
	}
	if (table != ERR_NOT_FOUND)
		return ERR_UNAVAILABLE; /* what another host has accepted may be applied by now */
	return find_elsewhere(call, id, spool, s);
}

static enum handler_result
operations_run(struct handler_call *call)
{
	uint8_t id[EVENT_ID_BYTES];
	struct state s = { 0 };
	enum err rc = event_id_parse(call->values[0].text, id);

	if (rc == ERR_OK)
		rc = find(call, id, &s);
	if (rc == ERR_OK && !slice_eq(s.tenant, call->tenant))
		rc = ERR_NOT_FOUND; /* another tenant's */
	if (rc == ERR_OK)
		return answer(call, &s);
	call->problem = rc == ERR_NOT_FOUND || rc == ERR_INVALID
			    ? PROBLEM(404, "there is no such operation")
			    : problem_of(ERR_UNAVAILABLE);
	return HANDLER_PROBLEM;
}

const struct handler handler_operations = {
	.name = "operations", .lane = HANDLER_BLOCKING, .run = operations_run
};
