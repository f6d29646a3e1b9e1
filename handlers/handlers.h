#ifndef HANDLERS_HANDLERS_H
#define HANDLERS_HANDLERS_H

#include "pipeline/handler.h"

/*
 * All handlers.  Only main() includes this; everybody below meets handlers as pointers.
 */
extern const struct handler handler_health;
extern const struct handler handler_operations;
extern const struct handler handler_sql_read;
extern const struct handler handler_sql_write;

extern const struct handler_set handlers;

#endif
