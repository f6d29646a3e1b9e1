#ifndef RUNTIME_ERRAND_H
#define RUNTIME_ERRAND_H

#include <stdbool.h>

#include "base/err.h"

struct cgi; /* client/cgi.h */
struct config;
struct fault_list;
struct handler_set; /* pipeline/handler.h */
struct web_root;    /* service/web_root.h */

/*
 * One request in a process of its own: plain CGI.
 *
 * The pipeline is the same, and so is all that is shared; only nobody else is in hand here, so one thread runs every step, and waits
 * where a worker would park.  The segment stays behind, or each request would begin with full limits and an empty cache.
 */
struct errand_options {
	const struct config *config;
	const struct handler_set *handlers;
	struct web_root *web_root;
	struct cgi *cgi;
	const char *const *environment;
	struct fault_list *faults;
};

/* Answers, and lets go of the front; then what the request leaves behind (a refresh) is done.  *${waiting_out}: writes wait to be
 * applied.  ERR_*: nothing was answered; the faults say why. */
enum err errand_run(const struct errand_options *o, bool *waiting_out);

/* The answer when nothing else can be answered. */
void errand_apologise(struct cgi *cgi, const char *const *environment);

#endif
