#ifndef RUNTIME_HANDOVER_H
#define RUNTIME_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "runtime/pool.h"

/*
 * What a supervisor leaves to the binary that takes its place by exec: same process, so same pid, children, sockets and
 * locks; all that is to be told is which is which.  It goes in one variable of the environment, as text that later
 * versions will still read:
 *
 *   WEIR_HANDOVER=1 <listen> <admin> <lock> <lifeline read> <lifeline write> <given> <pid>:<w|c>:<stays 0, leaves 1> ...
 */
#define HANDOVER_NAME "WEIR_HANDOVER"

struct handover {
	int listen_fd, admin_fd; /* listening sockets */
	int lock_fd;		 /* serve.lock, held */
	int lifeline[2];
	int given;		/* how many of the sockets are systemd's */
	struct child *children; /* pid, kind and leaving count; owned */
	size_t child_count;
};

/* Notes the children of ${p} and its lifeline; the caller fills the rest.  ERR_NOMEM. */
enum err handover_of(const struct pool *p, struct handover *out);
void handover_free(struct handover *h);

/* Becomes ${program}, with the arguments that this process was started with.  Returns only when that failed: nothing has
 * changed then. */
enum err handover_exec(const struct handover *h, const char *program);

/* Was this process handed something over?  Takes it out of the environment.  ERR_NOT_FOUND: no; ERR_INVALID: what is
 * there is nothing that can be taken. */
enum err handover_take(struct handover *out);

/* For tests: the text, and back. */
enum err handover_parse(const char *text, struct handover *out);

#endif
