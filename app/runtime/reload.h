#ifndef RUNTIME_RELOAD_H
#define RUNTIME_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/roll.h"

struct config;
struct fault_list;

/*
 * New settings, new endpoint files, a new binary, without a lost request: what is new is checked whole, then the
 * workers are replaced (runtime/roll.h); when it is refused, or goes back, everything stays as it was.
 *
 * What lies under all processes together cannot change without a restart: the state folder, the sockets, and the sizes
 * of the shared segment.
 */
struct reload_options {
	const struct config *config; /* of the start; lent */
	int files_fd;		     /* likewise: the endpoint files; lent; -1: none */
	/* Reads settings and endpoint files anew; what comes out is the caller's.  NULL: there is nothing to reload from.
	 * ERR_INVALID: every fault is in the list. */
	enum err (*load)(
	    void *ctx, struct fault_list *faults, struct config **out, int *files_fd_out);
	void *ctx;
	const char *program; /* what children run now; lent */
};

struct reload {
	struct reload_options o;
	struct config *config, *next_config; /* NULL: that of the start; none */
	struct generation generations[2];
	char **environments[2]; /* theirs, owned */
	unsigned current;
	bool upgrades; /* the roll in hand is to another binary */
	bool again;    /* asked for while one was in hand */
	struct roll roll;
};

enum err reload_open(const struct reload_options *o, struct reload *out);
void reload_close(struct reload *r); /* also of a zeroed one */

const struct config *reload_config(const struct reload *r);
const struct generation *reload_generation(const struct reload *r);
bool reload_is_going_on(const struct reload *r);

/* ${program} NULL: the same one.  What is wrong is logged, and printed on stderr. */
void reload_begin(struct reload *r, struct pool *p, const char *program, int64_t now_ms);
/* As roll_step(), often while it is going on.  ROLL_DONE: the new settings are reload_config(). */
enum roll_result reload_step(
    struct reload *r, struct pool *p, const struct pool_board *b, int64_t now_ms);

#endif
