#ifndef SERVICE_FRONT_MATTER_H
#define SERVICE_FRONT_MATTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"

struct catalog_options;
struct fault_list;

/*
 * One endpoint file: comment lines, then one SQL statement.
 *
 * The directives are one table in front_matter.c (name, form, default, parser), from which the README's
 * table is generated; a directive that is not in it is an error that suggests the nearest.
 */

enum { FRONT_MATTER_MAX_BYTES = 256 * 1024, FRONT_MATTER_DEFAULT_ROWS = 10000 };

/*
 * Parses ${text} of ${file}; all faults go to the list.  Its name is the file's: NAME.postgresql.sql is for
 * PostgreSQL, NAME.sql for what ${defaults} say.
 *
 * ERR_INVALID when there was an error; what the file says well is then in ${out} all the same, so that more
 * faults can be found: an absent route or statement is one that was bad.  ERR_NOMEM: the arena is full.
 */
enum err front_matter_parse(struct slice text, const char *file,
    const struct catalog_options *defaults, struct arena *a, struct endpoint *out,
    struct fault_list *faults);

/* Gives ${e} the one rule that holds where no line says a limit. */
void front_matter_default_limit(
    const struct catalog_options *defaults, struct arena *a, struct endpoint *e);

/* The directives as rows for the documentation. */
struct directive_doc {
	const char *name, *form, *fallback, *help;
	bool later; /* refused: "comes with a later version" */
};
const struct directive_doc *front_matter_docs(size_t *count_out);

/*
 * For an endpoint without a file: whoever may send one of the writes in ${list} may use it too.  Credentials only when
 * all of those take them.  NULL when no write is open to pages, or the arena is full.
 */
const struct cors_rule *front_matter_cors_of_writes(
    const struct endpoint *const *list, size_t count, struct arena *a);

#endif
