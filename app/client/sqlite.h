#ifndef CLIENT_SQLITE_H
#define CLIENT_SQLITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One SQLite connection with a deadline on every operation and a cache of prepared statements.
 *
 * For one thread at a time.  A deadline covers the wait for another connection's lock and the running of
 * a statement (looked at every thousand steps of SQLite's machine, so some 10 us late); it cannot end a
 * disk that hangs.  Failures are logged here, at most once a second, unless ${quiet}; nothing is
 * retried.  Never to be carried across fork().
 */
struct sqlite;
struct sqlite_statement;

enum sqlite_mode {
	/* Reads a file that another process may write: never creates, changes, or checkpoints it. */
	SQLITE_FOR_READS,
	/* Makes the file when there is none (mode 0600); WAL, every commit on disk, foreign keys on.  At most
	 * one such connection of all processes: SQLite 3.40 has a checkpoint race between them. */
	SQLITE_FOR_WRITES,
	/* An empty database in memory, to prepare statements in. */
	SQLITE_FOR_CHECKS
};

struct sqlite_options {
	const char *path; /* of the file */
	enum sqlite_mode mode;
	bool quiet;
	int64_t
	    deadline_ms; /* monotonic; of opening, then of what follows until sqlite_deadline() */
	int64_t
	    max_value_bytes; /* of one text or blob, also inside a statement; 0: SQLite's own bound */
};

enum sqlite_fault_kind {
	SQLITE_FAULT_NONE,
	SQLITE_FAULT_VALUE, /* these values: a constraint, a wrong type, a function that refuses them */
	SQLITE_FAULT_MOMENT, /* busy, locked, full, I/O, memory, cannot be opened: may pass */
	SQLITE_FAULT_DEPLOYMENT, /* a statement or schema that does not fit, or rights: nobody's values */
	SQLITE_FAULT_TIMEOUT, /* the deadline */
	SQLITE_FAULT_BROKEN   /* corrupt, or no database at all */
};

struct sqlite_fault {
	enum sqlite_fault_kind kind;
	char sqlstate[6];  /* the nearest SQLSTATE, such as "23000"; "00000" for none */
	int code;	   /* SQLite's extended result code */
	int offset;	   /* byte of the statement, -1 unknown */
	char message[256]; /* SQLite's own words */
};

/* ERR_UNAVAILABLE: see *${why_out} (may be NULL).  A missing file is found here, a file that is no database
 * by the first statement that reads it. */
enum err sqlite_open(
    const struct sqlite_options *o, struct sqlite **out, struct sqlite_fault *why_out);
void sqlite_close(struct sqlite **dbp);

/* For all that follows on this connection; monotonic. */
void sqlite_deadline(struct sqlite *db, int64_t deadline_ms);

/* Of the last call that failed. */
const struct sqlite_fault *sqlite_last_fault(const struct sqlite *db);

/* Statements without parameters or rows, such as BEGIN IMMEDIATE; several, separated by ';'. */
enum err sqlite_exec(struct sqlite *db, const char *sql);
bool sqlite_in_transaction(const struct sqlite *db);
int64_t sqlite_changes(const struct sqlite *db); /* rows of the last INSERT, UPDATE or DELETE */

/*
 * Prepares ${sql}, or takes it prepared from the cache (by ${name} and the bytes of ${sql}, 256 of them).
 * Not NUL-terminated; one statement.  ${name} is for the log.  Until sqlite_give(), nobody else may take it.
 * After ERR_OK a change of the schema is SQLite's business: it prepares again by itself.
 *
 * This and sqlite_step(): ERR_INVALID (VALUE), ERR_UNAVAILABLE (MOMENT, DEPLOYMENT, BROKEN), ERR_TIMEOUT.
 */
enum err sqlite_take(
    struct sqlite *db, struct slice name, struct slice sql, struct sqlite_statement **out);
void sqlite_give(struct sqlite_statement **sp); /* ends its run, forgets its values; NULL is fine */

/* Placeholder ?${index}, from 1.  Bytes are borrowed until sqlite_give().  What cannot be bound is told by
 * the next sqlite_step(). */
void sqlite_bind_null(struct sqlite_statement *s, int index);
void sqlite_bind_integer(struct sqlite_statement *s, int index, int64_t value);
void sqlite_bind_real(struct sqlite_statement *s, int index, double value);
void sqlite_bind_text(struct sqlite_statement *s, int index, struct slice value);
void sqlite_bind_blob(struct sqlite_statement *s, int index, struct slice value);

/* Runs to the next row, or to the end. */
enum err sqlite_step(struct sqlite_statement *s, bool *row_out);
/* Ends the run and keeps the values bound, to run again. */
void sqlite_rewind(struct sqlite_statement *s);

int sqlite_columns(const struct sqlite_statement *s);
const char *sqlite_column_name(const struct sqlite_statement *s, int column);
const char *sqlite_column_type(
    const struct sqlite_statement *s, int column); /* declared; NULL: an expression */
bool sqlite_is_readonly(const struct sqlite_statement *s);

enum sqlite_kind {
	SQLITE_KIND_NULL,
	SQLITE_KIND_INTEGER,
	SQLITE_KIND_REAL,
	SQLITE_KIND_TEXT,
	SQLITE_KIND_BLOB
};

/* What the open row holds; bytes are borrowed until the next step, rewind or give. */
struct sqlite_cell {
	enum sqlite_kind kind;
	int64_t integer;
	double real;
	struct slice bytes; /* of text and blobs; text may be ill-formed UTF-8 */
};
struct sqlite_cell sqlite_cell(struct sqlite_statement *s, int column);

#endif
