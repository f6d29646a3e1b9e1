#ifndef SERVICE_PG_FLEET_H
#define SERVICE_PG_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/guard.h"
#include "service/pg_pool.h"
#include "service/pg_url.h"

struct pg;	 /* client/pg.h */
struct pg_fault; /* client/pg.h */
struct span;
struct store_options; /* service/store.h */

/*
 * The servers that reads are answered from: the replicas of DB_READ_URL and the primary, which one is asked next,
 * and a connection to it.
 *
 *   a plan names the servers in the order in which they are to be asked:
 *     replicas that keep up, at random; the primary; replicas that lag, for an old answer is better than none
 *   a turn is one call to one of them: enter (a ticket, the guard, a connection), talk, leave
 *
 * A server that missed a deadline is suspended for the whole host (service/guard.h); a thread of this module probes it
 * outside of any request.  Names are resolved by another, never by a request.  How far a replica is behind is measured once
 * a second by whoever reads from it.  Any thread may call.
 */
struct pg_fleet;

enum { PG_SERVERS_MAX = PG_URLS_MAX + 1 };

/* ERR_INVALID: the urls; ERR_FULL: no row is left for a guard; ERR_NOMEM. */
enum err pg_fleet_open(const struct store_options *o, struct pg_fleet **out);
void pg_fleet_close(struct pg_fleet **fp);		     /* no turn is going on */
void pg_fleet_wait(struct pg_fleet *f, int64_t deadline_ms); /* as store_wait() */
void pg_fleet_expire(struct pg_fleet *f, int64_t now_ms);

struct pg_plan {
	size_t order[2 * PG_SERVERS_MAX];
	size_t count;
	size_t last_resort; /* from here on a replica may lag */
};

void pg_fleet_plan(struct pg_fleet *f, bool primary_only, int64_t now_ms, struct pg_plan *out);
/* ${server} was found to lag: it is asked again when all others have failed. */
void pg_plan_postpone(struct pg_plan *plan, size_t server);

struct pg_turn {
	struct pg_lease lease;
	struct guard_pass pass;
	int64_t begun_ns; /* the call, when it counts as one; 0: a probe */
	bool kept;	  /* the connection was not made for this turn: it may have ended unseen */
	bool called;	  /* the server was asked for something, if only for a connection */
};

/*
 * *${out} says in any case whether the server was called.  ERR_OVERLOADED: no connection became free before ${deadline_ms}; ERR_UNAVAILABLE, ERR_TIMEOUT: the server is away, or was
 * found so before.  Otherwise the turn has a connection, whose deadline is ${connect_ms}.
 */
enum err pg_fleet_enter(struct pg_fleet *f, size_t server, int64_t deadline_ms, int64_t connect_ms,
    struct pg_turn *out);
/* ${result}: as guard_leave() wants it. */
void pg_fleet_leave(struct pg_fleet *f, struct pg_turn *turn, enum err result);

/* Says in ${s} which server that is. */
void pg_fleet_describe(const struct pg_fleet *f, size_t server, struct span *s);
/* As store_room(): of all servers that are there. */
size_t pg_fleet_room(const struct pg_fleet *f);

/* A connection beside pool, tickets and guard, that logs nothing; the caller closes it. */
enum err pg_fleet_dial(struct pg_fleet *f, size_t server, int64_t deadline_ms, struct pg **out,
    struct pg_fault *why_out);

/* True when it is this caller's turn to measure ${server}: once a second, a replica. */
bool pg_fleet_measures(struct pg_fleet *f, size_t server, int64_t now_ms);
/* A column, behind_ms, that says how many ms a server is behind: 0 for a primary. */
extern const char pg_fleet_lag_sql[];
/* Notes it; true when that is too far. */
bool pg_fleet_lags(struct pg_fleet *f, size_t server, int64_t behind_ms);

/* Notes how far ${server} has come (service/store.h), and whether it is known to have come as far as ${position}. */
void pg_fleet_saw(struct pg_fleet *f, size_t server, uint64_t position);
bool pg_fleet_has_seen(const struct pg_fleet *f, size_t server, uint64_t position);

#endif
