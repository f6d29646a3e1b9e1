#ifndef RUNTIME_LEADERS_H
#define RUNTIME_LEADERS_H

#include <stdbool.h>

#include "policy/flight.h"

struct reactor;
struct scoreboard;
struct leader;

/*
 * The death of others, noticed at once: a pidfd for each member that leads a flight somebody here waits for.
 */
struct leaders {
	struct reactor *reactor;
	const struct scoreboard *scoreboard;
	unsigned self; /* our own member slot: never watched */
	void (*died)(void *ctx, unsigned member);
	void *ctx;
	struct leader *watched[FLIGHT_MEMBERS];
};

/* False: ${member} is dead already.  True when it cannot be watched: then the lease's deadline tells. */
bool leaders_watch(struct leaders *l, unsigned member);
void leaders_close(struct leaders *l);

#endif
