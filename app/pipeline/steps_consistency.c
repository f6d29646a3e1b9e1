/*
 * Read your writes: a read that sends back the tokens of its writes is not answered from a copy that is
 * older than they are, and is told when one of them is not applied yet.
 */
#include "service/consistency.h"

#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/store.h"

/* By how much the clocks of two hosts may differ: one notes when a write was applied, another when it kept a copy. */
enum { CLOCK_SKEW_US = 2000000 };

enum step_result
step_consistency(struct exchange *x)
{
	struct consistency wanted;

	if (x->endpoint->method != HTTP_GET || x->endpoint->sql.ptr == NULL)
		return STEP_NEXT;
	if (x->request.consistency.ptr == NULL && x->request.cookie.ptr == NULL)
		return STEP_NEXT;
	if (consistency_parse(x->request.consistency, x->request.cookie, &wanted) != ERR_OK)
		return answer_error(x, 400,
		    "X-Weir-Consistency: expected at most 8 tokens of 202 answers, separated by "
		    "commas");
	if (wanted.count == 0)
		return STEP_NEXT;
	x->must_show = arena_alloc(&x->arena, sizeof *x->must_show);
	if (x->must_show == NULL)
		return answer_problem(x, &(struct problem){ .status = 503, .retry_after_s = 1 });
	*x->must_show = wanted;
	return STEP_NEXT;
}

/* A copy's age counts from when it was kept; its query began before that, at most a timeout ago. */
bool
consistency_allows(struct exchange *x, int64_t age_ms)
{
	const int64_t begun_us = x->start_us - (age_ms + x->endpoint->timeout_ms) * 1000;
	struct consistency *c = x->must_show;

	return store_look(x->env->store, c, x->deadline_ms) == ERR_OK && c->missing == 0 &&
	       begun_us > c->applied_us + CLOCK_SKEW_US;
}

bool
consistency_is_pending(const struct exchange *x)
{
	return x->must_show != NULL && x->source == SOURCE_DATABASE && x->must_show->missing > 0;
}
