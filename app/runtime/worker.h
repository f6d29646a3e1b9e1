#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include "base/err.h"

struct config;
struct edits; /* runtime/edits.h */
struct fault_list;
struct pipeline_env; /* pipeline/pipeline.h */
struct runtime;
struct web_root;    /* service/web_root.h */
struct handler_set; /* pipeline/handler.h */

/*
 * One worker process on the listening FastCGI socket at ${listen_fd}: reactor, lanes, committer, and, where no
 * supervisor lives, the consumer as a thread when consumer.lock is free.
 *
 * Returns when told to stop: TERM/INT finish what is in hand (bounded by 5 s), QUIT drains (accepts nothing
 * new, answers kept connections until they are idle, at most WEIR_DRAIN), USR1 reopens the log, HUP steps back for a
 * moment, so that a new worker gets its share of the requests.  Ends at
 * once when the supervisor's end of ${supervisor_fd} (-1: none) closes.
 */
enum { WORKER_IN_HAND_MAX = 16384 }; /* requests of one process, wherever they wait */

struct worker_options {
	const struct config *config;
	const struct handler_set *handlers; /* for runtime_open() */
	int listen_fd;
	int supervisor_fd;
	/* Of a worker without a supervisor; NULL else. */
	struct edits *edits; /* what the catalog of ${config} was made of, and how that changes */
	struct web_root *web_root;
	struct fault_list *faults; /* what kept it from starting; what else it says is in the log */
};

enum worker_end {
	WORKER_TOLD,	      /* to stop, or its supervisor is gone */
	WORKER_FAILED,	      /* did not start: what it needs is not to be had */
	WORKER_MISCONFIGURED, /* did not start: the faults say why */
	WORKER_AGAIN /* all is well, but what it stood on is not there any more: start again */
};
enum worker_end worker_run(const struct worker_options *o);

/* What the pipeline sees of ${rt}, which is lent; in_hand, resume and web_root are the caller's to fill in. */
void worker_pipeline(const struct config *c, struct runtime *rt, struct pipeline_env *out);

/*
 * The admin socket in the supervisor's own loop is the same reactor with other routes: see supervisor.c.
 */

#endif
