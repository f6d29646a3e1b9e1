#ifndef PIPELINE_STEP_H
#define PIPELINE_STEP_H

#include "base/err.h"
#include "pipeline/exchange.h"

struct problem;

/*
 * What the rooms of the pipeline share: the steps behind the table in pipeline.c, and how one ends an
 * exchange.  Not for anybody above.
 */
enum step_result {
	STEP_NEXT,
	STEP_ANSWERED, /* x->response is filled */
	STEP_BLOCKS, /* it must wait for a server: it runs again, on a lane, with x->asks_lane set */
	STEP_PARKED  /* x->wait says for what; the same step runs again */
};

/* steps.c: what every request goes through. */
enum step_result step_read(struct exchange *x);
enum step_result step_web_root(struct exchange *x);
enum step_result step_route(struct exchange *x);
enum step_result step_admit(struct exchange *x);
enum step_result step_body(struct exchange *x);
enum step_result step_bind(struct exchange *x);
enum step_result step_limit(struct exchange *x);

/* What ${m} on the request's path would meet, base path and all; as router_match(). */
enum err route_match(struct exchange *x, enum http_method m, struct route_match *out);

/* cors.c: whether answers of ${e} differ by who asks, the headers of an answer, and of a preflight. */
bool cors_varies(const struct endpoint *e);
void cors_complete(struct exchange *x);
void cors_preflight(struct exchange *x);

/* steps_consistency.c */
enum step_result step_consistency(struct exchange *x);
/* Whether a copy that was made ${age_ms} ago shows all that the read asks for; on a lane. */
bool consistency_allows(struct exchange *x, int64_t age_ms);
bool consistency_is_pending(
    const struct exchange *x); /* the answer lacks a write that was asked for */
/* steps_authenticate.c */
enum step_result step_authenticate(struct exchange *x);

/* steps_write.c */
enum step_result step_replay(struct exchange *x);
enum step_result step_claim(struct exchange *x);
void write_give_up(struct exchange *x); /* nothing was accepted: its claim goes */

/* steps_cache.c */
enum step_result step_lookup(struct exchange *x);
enum step_result step_recheck(struct exchange *x);
enum step_result step_keep(struct exchange *x);
int64_t cache_lease_ms(const struct exchange *x); /* how long a fill of it may take */

/* steps_l2.c */
enum step_result step_fetch(struct exchange *x);
/* On a lane: what step_fetch() has taken is given back, with the answer to be kept or without. */
void l2_keep(struct exchange *x);
void l2_give_up(struct exchange *x);

/* slow.c */
bool slow_may_be(
    const struct exchange *x); /* cheap; false: it was answered without waiting for anything */
void slow_finish(struct exchange *x, int64_t end_ns); /* after the reply */
void slow_end(
    struct exchange *x); /* what was left behind for a plan writes its line, with it or without */
enum step_result step_explain(struct exchange *x);

/* exchange.c: what the statement is given, into ${to}'s own arena. */
bool exchange_copy_values(struct exchange *to, const struct exchange *from);

/* steps_handle.c */
enum step_result step_handle(struct exchange *x);

/* tell.c: what a trace says of ${x}, when it is exported at all; only with an exporter. */
void tell(struct exchange *x, int64_t end_ns);

/* pipeline.c: the row of a step, where what is done in the background begins. */
size_t pipeline_step(enum step_result (*run)(struct exchange *x));

/* answer.c */
enum step_result answer_problem(struct exchange *x, const struct problem *p);
enum step_result answer_error(struct exchange *x, int status, const char *detail);
/* 503 with a Retry-After that differs from the others'. */
enum step_result answer_shed(struct exchange *x, enum shed_reason why);
/* From x->block: 200 or 304, projected to x->fields. */
enum step_result answer_block(struct exchange *x);
/* The headers that every answer has. */
void answer_complete(struct exchange *x);
const char *answer_source_name(enum exchange_source s); /* for the log: "l1", "stale" ... */

#endif
