#ifndef RUNTIME_CONSUMER_H
#define RUNTIME_CONSUMER_H

#include <stdint.h>

#include "base/err.h"

struct catalog;
struct runtime;

/*
 * Whoever holds flock(state/consumer.lock) is the host's consumer: a child of `weir serve`, `weir consume`, or
 * a thread of one worker where no supervisor lives.  All others wait for it, for its holder may be killed.
 */
struct consumer;

/* Starts a thread that waits for the lock, then applies events.  ${rt} is lent until
 * consumer_stop() and has a segment, a member slot, a catalog and a queue. */
enum err consumer_start(struct runtime *rt, struct consumer **out);
void consumer_stop(struct consumer **cp); /* the batch in hand is finished; free(NULL) is fine */

/* From now on it looks events up in ${catalog}, which it holds as long as it needs to. */
void consumer_catalog(struct consumer *c, const struct catalog *catalog);

/* Applies what waits and returns, in the calling thread; begins nothing more after ${most_ms}.  ERR_CONFLICT: another consumer is at work;
 * ERR_UNAVAILABLE: the database cannot take events now, they stay. */
enum err consumer_drain(struct runtime *rt, int64_t most_ms);

/*
 * The consumer's place, for others that write to the database (migrate, dead letters, an importer).  A
 * consumer that holds the lock sees within a second that somebody wants it (flock(state/consumer.want)),
 * steps aside after its batch, and comes back when it is released.
 */
struct consumer_place {
	int want_fd, lock_fd;
};
#define CONSUMER_PLACE_NONE ((struct consumer_place){ -1, -1 })

enum err consumer_place_take(
    int state_dir_fd, int64_t wait_ms, struct consumer_place *out); /* ERR_CONFLICT */
void consumer_place_give(struct consumer_place *p);

#endif
