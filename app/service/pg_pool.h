#ifndef SERVICE_PG_POOL_H
#define SERVICE_PG_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pg;	/* client/pg.h */
struct tickets; /* policy/tickets.h */

/*
 * The connections of this process to several servers, lent to any thread, each with a ticket of the host.
 *
 * A connection is kept when given back, until it has been idle for idle_timeout_ms; while somebody waits for a
 * ticket, only as many as ${share} are kept, so that no process starves another by what it does not use.  Nothing here connects: a
 * lease without a connection is the right to make one.
 */
struct pg_pool;

struct pg_pool_options {
	struct tickets *tickets;
	size_t limit;		 /* of the host: the first so many tickets */
	size_t share;		 /* of this process while others wait */
	int64_t idle_timeout_ms; /* 0: never */
};

struct pg_lease {
	struct pg *pg; /* NULL: to be made by the borrower */
	size_t server; /* the caller's number */
	size_t ticket;
};

/* Who holds tickets: this process; and whether another that does still lives (for tickets_take()). */
uint64_t pg_pool_owner(void);
bool pg_pool_is_alive(uint64_t owner);

enum err pg_pool_open(const struct pg_pool_options *o, struct pg_pool **out);
void pg_pool_close(struct pg_pool **pp); /* all have been given back */

/* Waits for a ticket when there is neither a kept connection to ${server} nor one free.  ERR_OVERLOADED: none came
 * before ${deadline_ms} (monotonic). */
enum err pg_pool_borrow(
    struct pg_pool *p, size_t server, int64_t deadline_ms, struct pg_lease *out);
/* How many this process could have lent at once now: its own, and the tickets that nobody has.  When there are none, and
 * it has less than its share, others are asked for some. */
size_t pg_pool_reach(struct pg_pool *p);
/* What is dead is closed, and the lease is empty afterwards. */
void pg_pool_return(struct pg_pool *p, struct pg_lease *lease);

/* Closes what has been idle too long at ${now_ms}, or what others wait for. */
void pg_pool_expire(struct pg_pool *p, int64_t now_ms);

#endif
