#ifndef RUNTIME_SUPERVISOR_H
#define RUNTIME_SUPERVISOR_H

#include <stdbool.h>

#include "base/err.h"

struct config;

/*
 * `weir serve`: binds the sockets, keeps the workers and the consumer running, answers the admin socket.
 *
 * It touches no request, so it can stay up for ever.  A child that has done work is replaced at once, one that dies
 * before its first answer after a growing delay; one without a heartbeat for 10 s is killed.  Children end with
 * it, however it ends.  HUP reads settings and endpoint files anew; USR2 does so with the binary that stands under our own
 * binary's path by now, and at the end becomes that binary.  systemd may give the sockets (the first is WEIR_LISTEN, the
 * second WEIR_ADMIN_LISTEN), and is told when it is ready.
 */
struct fault_list;
struct handover;

struct supervisor_options {
	const struct config *config;
	const struct handover *inherited; /* from the binary before this one; lent; NULL: nobody */
	int files_fd; /* the endpoint files, checked (service/handler_files.h); lent; -1: none */
	/* For HUP and USR2, see runtime/reload.h. */
	enum err (*load)(
	    void *ctx, struct fault_list *faults, struct config **out, int *files_fd_out);
	void *load_ctx;
	bool consumer;	     /* false: --no-consumer */
	const char *program; /* NULL: this one, /proc/self/exe */
};

/* Returns when told to stop (TERM, INT: fast; QUIT: graceful).  Exit code: 0 stopped; 1 could not, for example
 * another one is running on the same state folder; 78 the sockets cannot be bound as configured. */
int supervisor_run(const struct supervisor_options *o);

#endif
