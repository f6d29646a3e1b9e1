#ifndef CLIENT_PG_H
#define CLIENT_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One connection to one PostgreSQL or PgBouncer, by libpq under our own poll loop: a deadline covers connecting and
 * every statement, also against a server that stalls or sends a byte now and then.
 *
 * Always in pipeline mode, so there is one way to talk, and one round trip for any number of statements:
 *
 *   pg_send, pg_send, ... pg_sync        nothing waits for the network
 *   pg_fetch (or pg_stream), one for each statement, in order; then pg_finish
 *
 * What stands before a pg_sync and has no BEGIN of its own is one transaction: an error undoes it, and the
 * statements behind the error are not run (ERR_CONFLICT).  Statements are unnamed and nothing is set at connecting
 * that PgBouncer 1.18 in transaction mode would refuse.
 *
 * For one thread at a time, never to be carried across fork().  A connection that is dead is only to be closed: a
 * late answer would belong to the next statement.  Failures are logged here, at most once a second, unless
 * ${quiet}.  No retry, no fallback, and nothing is cancelled: PQcancel may block, and PgBouncer before 1.21 dies of it.
 */
struct pg;

struct pg_address {
	const char *
	    host; /* as people name it: for messages, and what TLS compares; or the folder of a unix
	                        socket, which begins with '/' */
	const char
	    *numeric; /* the address of ${host}, resolved ahead of need; NULL for a unix socket */
	uint16_t port;
	const char *user, *password, *database; /* NULL: libpq's own (PGPASSFILE and so on) */
	const char *tls_mode, *tls_root;	/* sslmode and sslrootcert; NULL: libpq's own */
};

struct pg_fault {
	/* "08006" for a connection that is lost or has missed the deadline, for the server says nothing then. */
	char sqlstate[6];
	int offset;	   /* byte of the statement, -1 unknown */
	char message[256]; /* the server's own words, one line */
};

/* ${deadline_ms}: monotonic, of connecting, then of what follows until pg_deadline().
 * ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_NOMEM; *${why_out} may be NULL. */
enum err pg_connect(const struct pg_address *a, bool quiet, int64_t deadline_ms, struct pg **out,
    struct pg_fault *why_out);
void pg_close(struct pg **pp); /* never waits; NULL is fine */

void pg_deadline(struct pg *p, int64_t deadline_ms);
bool pg_is_dead(const struct pg *p);
/* Of one that has lain idle: false when the server has ended it meanwhile.  Does not wait. */
bool pg_is_fresh(struct pg *p);
const struct pg_fault *pg_last_fault(const struct pg *p); /* of the last call that failed */

enum pg_oid {		/* of parameters and columns; the server's numbers, fixed in pg_type.dat */
	PG_UNKNOWN = 0, /* a parameter: the server finds out by itself */
	PG_BOOL = 16,
	PG_BYTEA = 17,
	PG_CHAR = 18,
	PG_NAME = 19,
	PG_INT8 = 20,
	PG_INT2 = 21,
	PG_INT4 = 23,
	PG_TEXT = 25,
	PG_OID = 26,
	PG_JSON = 114,
	PG_FLOAT4 = 700,
	PG_FLOAT8 = 701,
	PG_TEXT_ARRAY = 1009,
	PG_INT8_ARRAY = 1016,
	PG_BPCHAR = 1042,
	PG_VARCHAR = 1043,
	PG_DATE = 1082,
	PG_TIMESTAMP = 1114,
	PG_TIMESTAMPTZ = 1184,
	PG_NUMERIC = 1700,
	PG_UUID = 2950,
	PG_JSONB = 3802,
};

struct pg_param {
	struct slice
	    value; /* in the server's text form unless ${binary}; borrowed during pg_send() */
	uint32_t oid;
	bool null, binary;
};

struct pg_statement {
	const char *name; /* for the log, lent until pg_finish() */
	const char *sql;  /* one statement with $1, $2 ... */
	const struct pg_param *params;
	size_t count;
};

/* ERR_INVALID: a text with a NUL inside, which PostgreSQL cannot hold (22021); nothing was sent and the
 * connection is as before.  Anything else: dead. */
enum err pg_send(struct pg *p, const struct pg_statement *s);
/* Asks the server to answer what was sent so far while the rest still runs. */
enum err pg_hurry(struct pg *p);
/*
 * The same in two parts, for a run of equal statements inside one transaction: pg_send_parse() has a result of its
 * own, without rows; then pg_send_again() runs what was parsed with ${s->params}, as often as wanted, until
 * anything else is sent.
 */
enum err pg_send_parse(struct pg *p, const struct pg_statement *s);
enum err pg_send_again(struct pg *p, const struct pg_statement *s);
enum err pg_sync(struct pg *p);

struct pg_result; /* owned by the caller: pg_result_free() */

/*
 * The whole result of the next statement.  All below return, and leave *${out} alone when it is not ERR_OK:
 *   ERR_INVALID      these values: SQLSTATE classes 21 22 23 39 44 54 P0
 *   ERR_TIMEOUT      the deadline (dead), or 57014: the server's own statement_timeout (alive)
 *   ERR_CONFLICT     not run, for a statement before it has failed; pg_last_fault() still is that one's
 *   ERR_UNAVAILABLE  anything else, alive or dead: see SQLSTATE
 */
enum err pg_fetch(struct pg *p, struct pg_result **out); /* ${out} may be NULL */
/* The next row of the next statement (row 0 of *${out}), so that memory does not grow with the answer.
 * *${row_out} false: its end, and *${out} tells the columns all the same. */
enum err pg_stream(struct pg *p, struct pg_result **out, bool *row_out);
/* Reads to the last pg_sync() and drops what nobody fetched.  ERR_OK: the connection is as new. */
enum err pg_finish(struct pg *p);
/* After pg_finish(): a BEGIN has no end yet. */
bool pg_in_transaction(const struct pg *p);

/* send, sync, fetch, finish.  ${out} may be NULL. */
enum err pg_run(struct pg *p, const struct pg_statement *s, struct pg_result **out);
/* Parses and plans only; *${out} has the columns and the parameters' types.  ${s->params}: for their oids. */
enum err pg_describe(struct pg *p, const struct pg_statement *s, struct pg_result **out);

void pg_result_free(struct pg_result **rp);
size_t pg_rows(const struct pg_result *r);
size_t pg_columns(const struct pg_result *r);
const char *pg_column_name(const struct pg_result *r, size_t column);
uint32_t pg_column_oid(const struct pg_result *r, size_t column);
bool pg_is_null(const struct pg_result *r, size_t row, size_t column);
struct slice pg_text(
    const struct pg_result *r, size_t row, size_t column); /* lent; empty when null */
int64_t pg_affected(
    const struct pg_result *r); /* rows inserted, changed, deleted or selected; else 0 */
size_t pg_params(const struct pg_result *r); /* of pg_describe() */
uint32_t pg_param_oid(const struct pg_result *r, size_t param);

#endif
