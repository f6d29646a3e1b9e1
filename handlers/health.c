/*
 * GET /api/v1/health: this worker takes requests and answers them.  Whether what stands behind it
 * is well is /ready's business, on the admin socket.
 */
#include "handlers/handlers.h"
#include "http/response.h"

static enum handler_result
health_run(struct handler_call *call)
{
	call->response->status = 200;
	response_header(call->response, call->arena, "Content-Type", SLICE("application/json"));
	response_header(call->response, call->arena, "Cache-Control", SLICE("no-store"));
	call->response->body = SLICE("{\"status\":\"ok\"}");
	return HANDLER_RESPONSE;
}

const struct handler handler_health = {
	.name = "health", .lane = HANDLER_INLINE, .run = health_run
};
