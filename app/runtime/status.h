#ifndef RUNTIME_STATUS_H
#define RUNTIME_STATUS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct arena;
struct response;
struct snapshot;

/*
 * GET /status, of a snapshot: a page for browsers, `?json` for programs, text for curl; `?full` says more.
 */
enum status_form { STATUS_TEXT, STATUS_JSON, STATUS_PAGE };

/* What ${query} asks for by name, else what ${accept} names: a range with a star names nothing, so curl gets text. */
enum status_form status_form_of(struct slice query, struct slice accept, bool *full_out);

/* The page needs no snapshot: it asks for `?json` itself, and ${s} may be NULL.  ERR_NOMEM: ${out} is not to be sent. */
enum err status_answer(const struct snapshot *s, enum status_form form, bool full, struct arena *a,
    struct response *out);

#endif
