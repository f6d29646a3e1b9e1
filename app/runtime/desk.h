#ifndef RUNTIME_DESK_H
#define RUNTIME_DESK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pipeline/pipeline.h"
#include "runtime/leaders.h"
#include "runtime/mailbox.h"
#include "runtime/reactor.h"

struct activity_row;
struct doorbell;
struct lane;
struct held; /* an exchange and where it is: desk.c */
struct scoreboard;

/*
 * A worker's desk: every exchange in hand, wherever it is.
 *
 *   reactor --request--> RUNS --needs a lane--> LANE --mailbox--> RUNS --done--> reactor_reply()
 *                          |
 *                          +--parked--> QUEUE  --mailbox (committer)--> RUNS
 *                          +--parked--> FLIGHT --doorbell, pidfd, timer--> RUNS
 *                          +--parked--> TURN   --timer--> RUNS
 *
 * All of it is the reactor's thread's, but for an exchange that is on a LANE; a committer only posts.
 */
struct desk {
	const struct pipeline_env *env;
	struct reactor *reactor; /* made here */
	struct lane *lane;
	struct mailbox mailbox;
	struct doorbell *doorbell; /* lent */
	struct leaders leaders;
	struct source mail, bell;
	struct exchange *flights; /* parked, waiting for one */
	struct exchange *look_at; /* of them: the next to look at; NULL: nothing has happened */
	bool look_again;	  /* something has happened since the look began */
	struct timer look;
	struct timer sweep; /* of those that wait for a lane, while there are some */
	bool sweeps;
	struct exchange *pool; /* idle */
	size_t threads,
	    refreshing; /* of the lane; refreshes and plans that it is to make behind replies */
	size_t pool_count, out_count; /* not idle: in hand, refreshing behind a reply, or orphans */
	_Atomic uint32_t in_hand;
	struct held *oldest, *newest;  /* in hand, in the order in which they came */
	struct activity_row *activity; /* lent */
};

struct desk_options {
	const struct pipeline_env *env; /* its resume is desk_resume, its in_hand ours */
	struct doorbell *doorbell;
	struct scoreboard *scoreboard;
	unsigned member;
	size_t threads;
	struct activity_row *activity; /* ours, in the segment */
};

enum err desk_open(const struct desk_options *o, struct desk *out);
void desk_close(struct desk *d); /* what is on a lane is waited for */

void desk_resume(struct exchange *x); /* pipeline_env.resume */
uint32_t desk_in_hand(const struct desk *d);
/* Says in the segment what is in hand and where: a look at every exchange. */
void desk_publish(const struct desk *d);
bool desk_is_empty(const struct desk *d); /* no exchange is anywhere: desk_close() will not wait */

#endif
