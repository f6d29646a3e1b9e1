#ifndef SERVICE_CATALOG_H
#define SERVICE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"

struct fault_list;
struct handler_files;
struct router;

/*
 * All endpoints of one moment: checked, routed; never changed after.
 * An exchange holds the snapshot that it began with (a count inside one process only).
 */
struct catalog_options {
	const struct handler_files *files; /* service/handler_files.h */
	/* The databases are PostgreSQL: NAME.sql runs there, unless NAME.postgresql.sql stands beside it and wins;
	 * else they are SQLite. */
	bool postgresql;
	/* Defaults for what a file does not say. */
	int64_t timeout_ms, max_body_bytes;
	uint64_t limit_quota;
	int64_t limit_window_ms;
	enum limit_algorithm limit_algorithm;
	/* The built-in endpoints and the handlers behind SQL files, from handlers/. */
	const struct endpoint *const *built_in;
	size_t built_in_count;
	const struct handler *read_handler, *write_handler;
};

struct catalog {
	const struct endpoint *const *endpoints; /* built-in ones first */
	size_t count;
	const struct router *router;
};

/* ERR_INVALID: every fault is in the list, and nothing is loaded.  Warnings alone do load. */
enum err catalog_load(
    const struct catalog_options *o, struct fault_list *faults, const struct catalog **out);
const struct catalog *catalog_hold(const struct catalog *c);
void catalog_release(const struct catalog **cp);
const struct endpoint *catalog_find(const struct catalog *c, struct slice name); /* or NULL */

#endif
