#ifndef RUNTIME_SUPERVISOR_H
#define RUNTIME_SUPERVISOR_H

#include <stdbool.h>

struct config;

/*
 * `weir serve`: binds the sockets, keeps the workers and the consumer running, answers the admin socket.
 *
 * It touches no request, so it can stay up for ever.  A child that has done work is replaced at once, one that dies
 * before its first answer after a growing delay; one without a heartbeat for 10 s is killed.  Children end with
 * it, however it ends.
 */
struct supervisor_options {
	const struct config *config;
	bool consumer;	     /* false: --no-consumer */
	const char *program; /* NULL: this one, /proc/self/exe */
};

/* Returns when told to stop (TERM, INT: fast; QUIT: graceful).  Exit code: 0 stopped; 1 could not, for example
 * another one is running on the same state folder; 78 the sockets cannot be bound as configured. */
int supervisor_run(const struct supervisor_options *o);

#endif
