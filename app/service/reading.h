#ifndef SERVICE_READING_H
#define SERVICE_READING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "service/copy.h"
#include "service/rows.h"

struct endpoint;
struct fault_list;

/*
 * The rows of one running statement on their way into a copy: what every kind of database does alike.
 *
 *   reading_open, reading_begin (columns), reading_row for each row, reading_end; always reading_close
 *
 * For one thread; `arena` is the driver's too, for what must live as long as the statement runs.  What is refused is
 * logged here, flood-safe, with the endpoint's file.
 */
struct reading {
	const struct endpoint *e;
	struct copy_builder copy;
	bool begun;
	size_t columns;
	enum cell_form *forms;
	struct arena arena;
	struct arena scratch; /* reset after each cell */
};

void reading_open(struct reading *r, const struct endpoint *e);

/* ${forms}: by the database's types; `column` lines win.  ERR_UNAVAILABLE: a name that is no UTF-8; ERR_NOMEM. */
enum err reading_begin(struct reading *r, const struct slice *names, const enum cell_form *forms,
    size_t columns, size_t max_bytes);
/* ERR_TOO_LARGE: more than max-rows, or more bytes than ${max_bytes} of reading_begin(). */
enum err reading_row(struct reading *r, const struct cell *cells);
/* ERR_NOT_FOUND: returns: one, and no row. */
enum err reading_end(struct reading *r, struct strbuf *block_out);
void reading_close(struct reading *r);

/*
 * Before it ever runs.
 */
/* No name twice, and each `column` line's is there. */
void reading_check_names(
    const struct slice *names, size_t columns, const struct endpoint *e, struct fault_list *faults);
/* The line of the file that byte ${offset} of the statement stands on. */
unsigned reading_line(const struct endpoint *e, int offset);

#endif
