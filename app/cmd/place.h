#ifndef CMD_PLACE_H
#define CMD_PLACE_H

#include "runtime/config.h"
#include "runtime/consumer.h"
#include "runtime/exit_code.h"

/*
 * The consumer's place, for commands that write to the database: exactly one process does that.
 */
struct place {
	int state_dir_fd;
	struct consumer_place locks;
};

/* Waits up to 30 s for a running consumer to step aside; says why not. */
enum exit_code place_take(const struct config *c, struct place *out);
void place_give(struct place *p); /* also after a failure */

#endif
