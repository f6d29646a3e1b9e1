#ifndef SERVICE_SLOW_LOG_H
#define SERVICE_SLOW_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct pace; /* policy/pace.h */

/*
 * The slow log: one line for each request that took longer than WEIR_SLOW, in a file of its own or in the log.
 *
 * It says what the time was spent on and how the database meant to run the statement, and nothing that a client sent: no
 * path, no value of a parameter.  A plan is asked for at most once a minute for each endpoint and once a second on the
 * whole host, for asking costs the database something just when it is slow.
 */
struct slow_log;

/* ${file} NULL: the log.  ${plans}: of the host, in the segment; lent.  ERR_IO: the file cannot be opened. */
enum err slow_log_open(const char *file, struct pace *plans, struct slow_log **out);
void slow_log_close(struct slow_log **lp);
void slow_log_reopen(struct slow_log *l); /* USR1; keeps the old file on failure.  NULL is fine. */

/* True: the caller may ask for a plan of the statement of the endpoint with that hash, now. */
bool slow_log_may_explain(struct slow_log *l, uint64_t endpoint_hash, int64_t now_ms);

struct slow_line {
	struct slice request_id, trace_id, method, route, endpoint;
	int status; /* 0: nobody was left to answer */
	int64_t took_us;
	const char *source;
	struct slice params; /* names and types, as slow_params() makes them */
	struct slice spans;
	struct slice plan; /* absent: none was asked for, or it did not come */
};

/* Any thread. */
void slow_log_write(struct slow_log *l, const struct slow_line *line);

#endif
