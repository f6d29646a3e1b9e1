#ifndef SERVICE_FLEET_KEEPER_H
#define SERVICE_FLEET_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/fleet.h"

/*
 * The thread behind struct fleet: what is to be asked ahead of need, what is to be given back when its lease has
 * ended, and a look around at every tick.  Private to fleet.c.
 */
struct fleet_keeper;

struct fleet_keeper_options {
	void *ctx;
	/* On the keeper's thread, and may block. */
	void (*refill)(void *ctx, const struct fleet_key *key);
	void (*settle)(void *ctx, const struct fleet_key *key);
	void (*tick)(void *ctx, int64_t now_ms);
	/* In fleet_keeper_close(), for each that is still owed, in order; false: no time is left for more. */
	bool (*leave)(void *ctx, const struct fleet_key *key, int64_t closing_ms);
};

enum { FLEET_TICK_MS = 100 };

enum err fleet_keeper_open(const struct fleet_keeper_options *o, struct fleet_keeper **out);
/* Waits for the call that is going on; what leave() is told is when the closing began. */
void fleet_keeper_close(struct fleet_keeper **kp);

/* Copies ${key}.  False: too much is waiting. */
bool fleet_keeper_refill(struct fleet_keeper *k, const struct fleet_key *key);
/* Not before ${due_ms}; those of one keeper come due in the order in which they are owed. */
bool fleet_keeper_owe(struct fleet_keeper *k, const struct fleet_key *key, int64_t due_ms);

#endif
