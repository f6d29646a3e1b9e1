#ifndef SERVICE_STORE_H
#define SERVICE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/value.h"

struct breaker_rules;
struct concurrencies;
struct endpoint;
struct fault_list;
struct guards;
struct retries;
struct tickets;

/*
 * The read database, whatever it is: a driver behind one door.
 *
 * Connections are opened on demand and kept until store_expire() finds them idle too long.  Any thread may call; a
 * call blocks at most until its deadline.
 */
struct store;

struct store_options {
	const char
	    *url; /* sqlite:PATH, or postgres://... (service/pg_url.h), several of them: replicas */
	int64_t timeout_ms;
	int64_t idle_timeout_ms; /* an unused connection is closed after this; 0: never */
	size_t
	    max_connections; /* of this process; PostgreSQL: what it keeps while others wait for one */
	size_t max_response_bytes;
	/* What follows is for servers only. */
	const char
	    *primary_url;   /* stands in for replicas, and answers `read: primary`; NULL: none */
	int64_t max_lag_ms; /* a replica further behind is asked only when nobody else answers */
	struct tickets *tickets; /* policy/tickets.h; NULL: this store's own */
	size_t host_connections; /* that many of the tickets */
	struct guards *guards;	 /* service/guard.h; NULL: this store's own */
	const struct breaker_rules *rules;
	const struct retries *retries; /* service/retries.h; NULL: nothing bounds them.  Copied. */
	/* How many calls each database is given (policy/concurrency.h); NULL: as many as there are. */
	struct concurrencies *concurrencies;
	unsigned member;     /* who counts there */
	uint32_t most_calls; /* of the host */
};

/* What statements may use beside their own parameters. */
struct store_ambient {
	struct slice tenant; /* empty, never absent */
	int64_t now_us;	     /* wall */
	/* What was committed up to this position shall be seen: a replica that has not replayed it is asked only when
	 * nobody else answers, as one that lags.  0: whatever a replica shows. */
	uint64_t at_least;
};

/* Positions: PostgreSQL's WAL, in bytes (an LSN as a number). */
#define STORE_SEES_ALL UINT64_MAX /* a primary, or SQLite */

enum err store_open(const struct store_options *o, struct store **out);
void store_close(struct store **sp);

/*
 * Runs a read endpoint's statement and builds the answer as a copy block (service/copy.h).
 *   ERR_NOT_FOUND    returns: one, and no row
 *   ERR_TOO_LARGE    over max-rows or WEIR_MAX_RESPONSE
 *   ERR_TIMEOUT      deadline
 *   ERR_UNAVAILABLE  database away, or its schema is not there yet (missing table)
 *   ERR_OVERLOADED   every connection that the host may have is in use
 *   ERR_INVALID      the statement failed on these values
 * The failure is logged here (client/), flood-safe; ${block_out} is freed by the caller on ERR_OK, and the answer
 * shows all that was committed up to *${seen_out} (may be NULL), perhaps more.
 */
enum err store_read(struct store *s, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *block_out,
    uint64_t *seen_out);

/* How many store_read() this process may have going on at once now, so that none of them only waits for the others; at
 * least 1.  A server that is away is no reason to wait. */
size_t store_room(struct store *s);

/*
 * Checks one endpoint's statement.  Without a database (${s} NULL): syntax, and whether a GET writes, in
 * an empty one.  With one: prepares it there; a missing table or column is then an error too.
 */
void store_check(struct store *s, const struct endpoint *e, struct fault_list *faults);

/*
 * How the database means to run ${e}'s statement with these values, as text without any of them; the statement is
 * not run.  Appends to ${plan_out}, which the caller frees.  Logged here when it fails; ERR_NOT_FOUND: this database cannot tell.
 */
enum err store_explain(struct store *s, const struct endpoint *e, const struct value *values,
    const struct store_ambient *ambient, int64_t deadline_ms, struct strbuf *plan_out);

/* Closes the connections that nobody has used for idle_timeout_ms; monotonic.  Called now and then. */
void store_expire(struct store *s, int64_t now_ms);

/* Cheap "is it there": opens or reuses a connection and runs SELECT 1. */
enum err store_ping(struct store *s, int64_t deadline_ms);

/* Waits until the names of all servers have been looked up once, for who begins; no read ever waits for that. */
void store_wait(struct store *s, int64_t deadline_ms);

#endif
