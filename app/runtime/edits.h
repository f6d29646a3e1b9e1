#ifndef RUNTIME_EDITS_H
#define RUNTIME_EDITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/handler_files.h"

struct catalog;
struct config;
struct fault_list;
struct handler_set; /* pipeline/handler.h */

/*
 * Endpoint files that somebody edits while a worker runs that no supervisor tells of it.
 *
 * A file that is broken counts as it was when it last was good.  The state folder remembers those versions (`endpoints.good`), since
 * under mod_fcgid no process lives long: one that starts while a file is broken serves what the others serve.
 * One that never was good is left out; but where nothing has ever worked, at the first start, every fault counts.
 */
struct edits {
	const struct config *config;	    /* lent */
	const struct handler_set *handlers; /* lent */
	struct handler_files good;	    /* what the catalog of now was made of */
	uint64_t stamp;
	bool kept; /* the state folder has them */
};

/* Reads the folders; what is broken is said in the log.  ERR_INVALID: at the first start; the faults are in the list.  ERR_NOMEM. */
enum err edits_open(const struct config *c, const struct handler_set *handlers,
    struct fault_list *faults, struct edits *out);
void edits_close(struct edits *e); /* also of a zeroed one */

/* The catalog after what has changed since the last look; NULL: nothing, or nothing of it is good.  What is broken is logged once.
 * Costs one look at each file. */
const struct catalog *edits_look(struct edits *e);

/* Remembers what is good in the state folder, once for each change. */
void edits_keep(struct edits *e, int state_dir_fd);
void edits_keep_at(struct edits *e, const char *state_dir);

#endif
