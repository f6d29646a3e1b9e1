#ifndef SERVICE_DRAFT_H
#define SERVICE_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/endpoint.h"
#include "http/router.h"
#include "service/sql_text.h"

struct catalog_options;

/*
 * One endpoint file while it is read: what the parts of the parser hand to each other.  Only
 * front_matter.c and its parts (directive*.c, draft_*.c) come in.
 *
 * Every part adds its faults to the list and fills the endpoint; nothing stops at the first fault.
 * Memory that is missing leaves the arena's overflow flag, which front_matter_parse() looks at once,
 * at its end.
 */
enum { DIRECTIVE_MAX = 32, DIRECTIVE_MAX_COLUMNS = 256 };

/* Templates and parameters may stand in any order, so templates are read when all parameters are known. */
struct template_source {
	struct slice text; /* absent: not given */
	unsigned line;
};

/* The endpoint's arrays point in here until all is known. */
struct draft {
	const char *file;
	const struct catalog_options *defaults;
	struct arena *arena;
	struct fault_list *faults;
	struct endpoint *e;
	enum sql_dialect dialect;

	/* The line in hand. */
	unsigned line;
	struct slice word, name, value;

	bool routed;	   /* the route line was good */
	bool unpreparable; /* the statement has a fault that a database would only repeat */
	struct slice route_names[ROUTER_MAX_SEGMENTS];
	size_t route_name_count;
	unsigned first_line[DIRECTIVE_MAX]; /* of each directive that may stand once; 0: not seen */
	struct template_source tags, invalidates, partition;
	unsigned suggestions; /* made so far: each costs memory, a hostile file wants thousands */

	struct param params[ENDPOINT_MAX_PARAMS];
	bool used[ENDPOINT_MAX_PARAMS];
	struct column_rule columns[DIRECTIVE_MAX_COLUMNS];
	struct limit_rule limits[ENDPOINT_MAX_LIMITS];
};

/* Adds a fault at the line in hand. */
#define DRAFT_FAULT(d, ...) fault_add((d)->faults, (d)->file, (d)->line, __VA_ARGS__)

/* For "%.*s": a slice, cut where a message would become a page. */
enum { SHOWN_BYTES = 80 };
#define SHOWN(s) (int)((s).len < SHOWN_BYTES ? (s).len : SHOWN_BYTES), ((s).len == 0 ? "" : (s).ptr)

/* The slice from byte ${from} up to ${to}. */
static inline struct slice
draft_part(struct slice s, size_t from, size_t to)
{
	return (struct slice){ s.ptr + from, to - from };
}

/* `METHOD /path`.  False after a fault; the method is then perhaps not known. */
bool draft_route(struct draft *d, struct slice text);
bool draft_is_route_name(const struct draft *d, struct slice name);

/* Rewrites the one statement in ${text}, which begins on the line in hand, with numbers for names. */
void draft_statement(struct draft *d, struct slice text);
bool draft_binds_tenant(const struct endpoint *e);

/* What a comment line says, without the first blank; false when ${line} is none. */
bool draft_comment(struct slice line, struct slice *out);
/* True when ${comment} is a directive by its form and its word is one that there is. */
bool draft_is_directive(struct slice comment);

/* Reads ${value} of the draft; one for each row of the table in front_matter.c. */
typedef void directive_parser(struct draft *d);

directive_parser directive_param, directive_body, directive_column, directive_returns,
    directive_max_rows, directive_cache, directive_vary, directive_tags, directive_limit,
    directive_auth, directive_priority, directive_read, directive_timeout, directive_idempotency,
    directive_invalidates, directive_max_body, directive_queue, directive_key, directive_cors;

/* Reads the templates of ${source} into the arena; marks their parameters as used. */
void directive_templates(struct draft *d, const struct template_source *source,
    struct template **items_out, size_t *count_out);

/* What follows ${word} and a blank in ${item}; absent when ${item} begins otherwise. */
struct slice directive_after_word(struct slice item, const char *word);

/* Reads a duration with its unit, from 1 ms to ${max_ms} (a year at most); false after a fault, which calls it ${what}. */
bool directive_duration(
    struct draft *d, struct slice text, const char *what, int64_t max_ms, int64_t *out);

/* Resolves `key:`; marks its parameter as used. */
void directive_partition(struct draft *d);

/* What RATE_LIMIT_* say. */
struct limit_rule directive_default_rule(const struct catalog_options *o);

/* What gives two rules of one client two buckets: name and figures, with the endpoint's name. */
uint64_t directive_limit_seed(struct slice endpoint, const struct limit_rule *r);

/* A letter or '_', then letters, digits, '_' and the bytes of ${extra} (may be ""); at most 63 bytes. */
bool directive_is_name(struct slice s, const char *extra);

/* Index of the declared parameter, or -1. */
int directive_find_param(const struct endpoint *e, struct slice name);

/* True for what a statement may use without declaring it; *${source_out} is then which. */
bool directive_ambient(struct slice name, enum bind_source *source_out);

/* " (did you mean x?)" in the arena when a parameter that may be used is near, else "". */
const char *directive_suggest_param(struct draft *d, struct slice name);

#endif
