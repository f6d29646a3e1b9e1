#ifndef SERVICE_SQL_TEXT_H
#define SERVICE_SQL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/*
 * SQL as text: as much of its lexical grammar as is needed to find the parameters, the end and the
 * verb of a statement without touching what stands in literals, quoted names and comments.
 *
 * Pure; nothing is allocated; every call moves forward, so a scan of n bytes costs O(n).  Text is
 * UTF-8 without NUL.  Sources: SQLite "tokenize.c" rules (sqlite.org/lang.html), PostgreSQL manual 4.1.
 */
enum sql_dialect { SQL_SQLITE, SQL_POSTGRESQL };

enum sql_token_kind {
	SQL_END,
	SQL_WORD, /* keyword or plain name */
	SQL_NUMBER,
	SQL_STRING,  /* '...', and in PostgreSQL E'...' and $tag$...$tag$ */
	SQL_QUOTED,  /* a name in quotes of any kind */
	SQL_COMMENT, /* -- to the end of its line, or between slash and star */
	SQL_PARAM,   /* :name */
	SQL_FOREIGN, /* a placeholder in another form: ? ?1 @x $1 :1 */
	SQL_CAST,    /* :: */
	SQL_SEMICOLON,
	SQL_OPEN,    /* ( */
	SQL_CLOSE,   /* ) */
	SQL_OTHER,   /* one byte of anything else */
	SQL_UNCLOSED /* a literal, name or comment that the text ends inside */
};

struct sql_token {
	enum sql_token_kind kind;
	struct slice text; /* borrowed, with its quotes or colon */
	unsigned line;	   /* where it begins */
};

struct sql_scan {
	struct slice text;
	size_t at;
	unsigned line;
	enum sql_dialect dialect;
};

#define SQL_SCAN(sql, first_line, d)                                                               \
	((struct sql_scan){ .text = (sql), .line = (first_line), .dialect = (d) })

struct sql_token sql_next(struct sql_scan *s);
struct sql_token sql_next_code(struct sql_scan *s); /* passes over comments */

/* The word that says what the statement does: the first one, or after WITH the one behind its last
 * list entry.  Absent when there is none. */
struct slice sql_verb(struct slice sql, enum sql_dialect d);

/* True when an INSERT, UPDATE, DELETE or MERGE stands in parentheses (PostgreSQL allows it after AS). */
bool sql_changes_inside(struct slice sql, enum sql_dialect d);

#endif
