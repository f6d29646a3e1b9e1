#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include "base/err.h"

struct config;
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
};
int worker_run(const struct worker_options *o); /* exit code */

/*
 * The admin socket in the supervisor's own loop is the same reactor with other routes: see supervisor.c.
 */

#endif
