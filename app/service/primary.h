#ifndef SERVICE_PRIMARY_H
#define SERVICE_PRIMARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/guard.h"

struct pg; /* client/pg.h, as all below */
struct pg_fault;
struct pg_result;
struct pg_statement;

/*
 * The PostgreSQL that writes go to: where it is, and the guard `primary` before it.  One of a process; any thread
 * may connect through it.  Its name is resolved by a thread of its own, never by who connects.
 */
struct primary;

struct primary_options {
	const char *url;       /* postgres://...; lent during the call */
	int64_t timeout_ms;    /* DB_TIMEOUT: of connecting, and of one statement of weir's own */
	struct guards *guards; /* in the segment; NULL: no guard, for commands that join none */
	const struct breaker_rules *rules; /* with guards */
	struct tickets *tickets; /* of connections that write, in the segment; NULL: none needed */
	size_t host_connections; /* DB_WRITE_POOL_MAX */
};

/* Who calls.  A request is not the one that finds out whether a server that was away is back, and leaves the last
 * connection of the host to the consumer. */
enum primary_caller { PRIMARY_CONSUMER, PRIMARY_REQUEST };

/* A connection, with its ticket. */
struct primary_link {
	struct pg *pg; /* NULL: none */
	size_t ticket;
};

/* Connects to nothing yet.  ERR_INVALID: the url; ERR_FULL: no row is left for a guard; ERR_NOMEM. */
enum err primary_open(const struct primary_options *o, struct primary **out);
void primary_close(struct primary **pp); /* no connection is left */
/* Until the name has been looked up once, at most until ${deadline_ms} (monotonic): for who begins with a call. */
void primary_wait(const struct primary *p, int64_t deadline_ms);
int64_t primary_timeout_ms(const struct primary *p);

/* pg_connect() through the guard, within timeout_ms and ${deadline_ms} (monotonic); quiet.  ERR_OVERLOADED: all
 * connections of the host are in use. */
enum err primary_connect(struct primary *p, enum primary_caller who, int64_t deadline_ms,
    struct primary_link *out, struct pg_fault *why_out);
void primary_hang_up(const struct primary *p, struct primary_link *link); /* fine without one */

/*
 * Calls through the guard.  Between primary_enter() and primary_leave() statements are sent, one pg_sync(), and
 * fetched.  ERR_UNAVAILABLE from primary_enter(): do not call, the breaker is open; *${why_out} says so.
 * primary_leave() reads to the end, and returns ${rc} or the first failure after it.
 */
struct primary_call {
	const struct guard *guard;
	struct pg *pg;
	struct guard_pass pass;
};
enum err primary_enter(const struct primary *p, enum primary_caller who, struct pg *pg,
    int64_t deadline_ms, struct primary_call *out, struct pg_fault *why_out);
enum err primary_leave(struct primary_call *c, enum err rc, struct pg_fault *why_out);

/* A request's call of one statement; *${out} is the caller's. */
enum err primary_ask(const struct primary *p, struct pg *pg, const struct pg_statement *s,
    int64_t deadline_ms, struct pg_result **out, struct pg_fault *why_out);

#endif
