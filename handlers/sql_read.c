/*
 * A GET file: runs its statement and hands the answer on as a copy block.
 */
#include "handlers/handlers.h"
#include "service/consistency.h"
#include "service/store.h"

static struct problem
read_problem(enum err rc)
{
	struct problem p = problem_of(rc);

	/* The values passed every declared check, and the database still would not have them. */
	if (rc == ERR_INVALID)
		p = PROBLEM(400, "the database refused these values");
	if (rc == ERR_NOT_FOUND)
		p = PROBLEM(404, "there is no such row");
	if (rc == ERR_TOO_LARGE)
		p = PROBLEM(500, "the answer is larger than this server allows");
	return p;
}

static enum handler_result
sql_read_run(struct handler_call *call)
{
	struct store_ambient ambient = {
		.tenant = call->tenant, .now_us = call->now_us, .at_least = call->at_least
	};
	enum err rc;

	if (call->must_show != NULL) {
		consistency_wait(call->must_show, call->ledger, call->deadline_ms, call->arena);
		if (call->must_show->position > ambient.at_least)
			ambient.at_least = call->must_show->position;
	}
	rc = store_read(call->store, call->endpoint, call->values, &ambient, call->deadline_ms,
	    &call->block, &call->seen);
	if (rc == ERR_OK)
		return HANDLER_BLOCK;
	call->problem = read_problem(rc);
	call->failure = rc;
	return HANDLER_PROBLEM;
}

const struct handler handler_sql_read = {
	.name = "sql_read", .lane = HANDLER_BLOCKING, .run = sql_read_run
};
