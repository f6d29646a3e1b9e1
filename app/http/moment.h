#ifndef HTTP_MOMENT_H
#define HTTP_MOMENT_H

#include "base/err.h"
#include "base/str.h"

/*
 * Dates and timestamps as RFC 3339 writes them, in the proleptic Gregorian calendar, years 0001 to
 * 9999 (what both SQLite and PostgreSQL can hold).  Pure.  Both: ERR_INVALID; then *${why_out} is
 * NULL or constant text that says more, such as " in the calendar", fit to follow "a date such as
 * 2026-11-24".
 */
enum { MOMENT_BYTES = 28 }; /* "2026-11-24T04:09:44.123456Z" and NUL */

/* YYYY-MM-DD, a day that exists. */
enum err moment_check_date(struct slice s, const char **why_out);

/*
 * RFC 3339 §5.6 date-time, with its offset, as UTC: YYYY-MM-DDTHH:MM:SS[.ffffff]Z.  The fraction is
 * cut (not rounded) after six digits and loses trailing zeros.  A leap second (:60) is refused: the
 * databases have no place for it.
 */
enum err moment_to_utc(struct slice s, char out[MOMENT_BYTES], const char **why_out);

#endif
