/*
 * A POST, PUT, PATCH or DELETE file: accepted when it is durable in the spool, applied later by
 * the consumer.  Called twice: to submit, and when the committer is done.
 */
#include "base/str.h"
#include "handlers/handlers.h"
#include "http/response.h"
#include "service/consistency.h"
#include "service/event.h"
#include "service/queue.h"

enum { RETRY_SECONDS = 1, COOKIE_SECONDS = 60 };

static enum handler_result
problem(struct handler_call *call, int status, const char *detail)
{
	call->problem = PROBLEM(status, detail);
	if (status == 503)
		call->problem.retry_after_s = RETRY_SECONDS;
	return HANDLER_PROBLEM;
}

/* The token with which the client's next reads show this write; also as a cookie, for who keeps one. */
static void
header_token(struct handler_call *call, const char *id)
{
	struct response *r = call->response;

	response_headerf(r, call->arena, "X-Weir-Consistency", "%s", id);
	response_headerf(r, call->arena, "Set-Cookie",
	    CONSISTENCY_COOKIE "=%s; Path=%.*s/; Max-Age=%d; HttpOnly; SameSite=Lax", id,
	    (int)call->base_path.len, call->base_path.len > 0 ? call->base_path.ptr : "",
	    COOKIE_SECONDS);
}

static enum handler_result
accepted(struct handler_call *call, bool replayed)
{
	const struct event *ev = call->item->event;
	struct response *r = call->response;
	struct strbuf body = STRBUF_INIT(4096);
	char id[EVENT_ID_TEXT];

	event_id_text(ev->id, id);
	strbuf_add_cstr(&body, "{\"status\":\"accepted\",\"eventId\":");
	strbuf_add_json(&body, ev->key);
	strbuf_add_char(&body, '}');
	r->status = 202;
	response_header(r, call->arena, "Content-Type", SLICE("application/json"));
	response_header(r, call->arena, "Cache-Control", SLICE("no-store"));
	response_headerf(r, call->arena, "Location", "%.*s/api/v1/operations/%s",
	    (int)call->base_path.len, call->base_path.len > 0 ? call->base_path.ptr : "", id);
	response_headerf(r, call->arena, "Retry-After", "%d", RETRY_SECONDS);
	header_token(call, id);
	if (replayed)
		response_header(r, call->arena, "Idempotent-Replayed", SLICE("true"));
	r->body = arena_slice(call->arena, strbuf_slice(&body));
	strbuf_free(&body);
	return r->body.ptr == NULL ? problem(call, 503, "out of memory") : HANDLER_RESPONSE;
}

static enum handler_result
finished(struct handler_call *call)
{
	switch (call->item->outcome) {
	case QUEUE_ACCEPTED:
		return accepted(call, false);
	case QUEUE_REPLAYED:
		return accepted(call, true);
	case QUEUE_MISMATCH:
		return problem(call, 422, "this Idempotency-Key was used with other parameters");
	case QUEUE_FULL:
		return problem(call, 503, "the queue is full; nothing was accepted");
	case QUEUE_FAILED:
		break;
	}
	return problem(call, 503, "the queue cannot store this now; nothing was accepted");
}

static enum handler_result
sql_write_run(struct handler_call *call)
{
	enum err rc;

	if (call->resumed)
		return finished(call);
	rc = queue_submit(call->queue, call->item);
	if (rc == ERR_OK)
		return HANDLER_PARKED;
	return problem(call, 503,
	    rc == ERR_OVERLOADED ? "too many writes are waiting; nothing was accepted"
				 : "the queue takes no writes now; nothing was accepted");
}

const struct handler handler_sql_write = {
	.name = "sql_write", .lane = HANDLER_INLINE, .run = sql_write_run
};
