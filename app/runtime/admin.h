#ifndef RUNTIME_ADMIN_H
#define RUNTIME_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct reactor;
struct response;
struct runtime;
struct snapshot; /* runtime/snapshot.h */

/*
 * The admin socket: /live, /ready, /status and /metrics, answered by the supervisor itself, so also when every worker is busy.
 */
struct admin_facts {
	unsigned workers_up; /* have joined and beat */
	bool stopping;
	bool segment_gone;
	bool consumer_stopped; /* a bad deployment: it waits before an event that it cannot apply */
	char consumer_reason[192];
	int64_t oldest_waiting_s; /* age of the first event that is not applied; 0: none waits */
	bool spool_unknown;	  /* it could not be asked */
};

/* Fills all but the first two from the segment and the spool. */
void admin_look(const struct runtime *rt, struct admin_facts *f);

/* Pure.  ERR_NOT_FOUND: another path (the response says so too); ERR_NOMEM. */
enum err admin_answer(
    const struct admin_facts *f, struct slice path, struct arena *a, struct response *out);

/* The same, /status and /metrics, over FastCGI, on a reactor of the supervisor.  ${facts} and ${rt} are lent and may change. */
struct admin {
	const struct admin_facts *facts;
	const struct runtime *rt; /* for /status and /metrics */
	struct snapshot *snapshot;
	struct reactor *reactor;
};
enum err admin_open(const struct admin_facts *facts, const struct runtime *rt, struct admin *out);
void admin_close(struct admin *a);

#endif
