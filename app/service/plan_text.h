#ifndef SERVICE_PLAN_TEXT_H
#define SERVICE_PLAN_TEXT_H

#include "base/str.h"

/*
 * PostgreSQL's EXPLAIN (FORMAT JSON) as it may be logged: on one line, and without the values of parameters, which a plan
 * shows as literals in its conditions.  In every text of the JSON a literal in quotes becomes '?', and a number that stands
 * for itself ?.  Names, costs and rows stay.  Pure; any bytes are fine.
 */
void plan_text_add(struct strbuf *out, struct slice json);

#endif
