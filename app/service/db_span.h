#ifndef SERVICE_DB_SPAN_H
#define SERVICE_DB_SPAN_H

#include "base/err.h"
#include "service/sql_text.h"

struct endpoint;
struct span;

/*
 * A span for one statement of an endpoint file, by OpenTelemetry's conventions for databases: named by verb and table
 * ("SELECT countries"), with the statement's text as the file has it.  Its values are parameters, so none is in there.
 * NULL, and nothing is looked at, when nobody records.  Cost otherwise: a scan of the statement.
 */
struct span *db_span_begin(const struct endpoint *e);

/* ${sqlstate} NULL or "": none.  A read that found nothing (ERR_NOT_FOUND) has not failed. */
void db_span_end(struct span *s, enum err result, const char *sqlstate);

#endif
