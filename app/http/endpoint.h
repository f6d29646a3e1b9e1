#ifndef HTTP_ENDPOINT_H
#define HTTP_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "http/value.h"

/*
 * One row of the route table: what an endpoint file says, checked and typed.  Built once
 * (service/front_matter.h, or handlers/ for the built-in ones), then never changed; owned by
 * the catalog snapshot whose arena holds every slice and array.
 */
struct handler; /* pipeline/handler.h */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_OPTIONS,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_METHOD__COUNT
};

enum limit_by { LIMIT_BY_CLIENT, LIMIT_BY_TENANT, LIMIT_BY_IP };
enum limit_algorithm { LIMIT_TOKEN_BUCKET, LIMIT_SLIDING_WINDOW };

struct limit_rule {
	struct slice name; /* policy name in headers; "default" when the line gave none */
	uint64_t quota;	   /* N, 1..10^9 (sliding window: ..1048575) */
	int64_t window_ms; /* per this long */
	uint64_t burst;	   /* bucket size; N unless said */
	enum limit_by by;
	enum limit_algorithm algorithm;
	bool observe;  /* count, never refuse */
	uint64_t seed; /* hash of endpoint name, rule name and figures: keys of rules never meet */
};

struct cache_rule {
	bool on;
	int64_t fresh_ms, stale_ms,
	    if_error_ms; /* stale and if-error count from the end of fresh */
};

/* A request header that the answers vary by. */
struct vary_header {
	struct slice name;  /* as the file says it, for `Vary` */
	struct slice param; /* as the front server passes it: HTTP_ACCEPT_LANGUAGE */
};

/* Pages of which other origins may use an endpoint (`cors:`). */
struct cors_rule {
	bool any;	       /* "*" */
	bool credentials;      /* never with any */
	struct slice *origins; /* as browsers send them: https://app.example.com */
	size_t origin_count;
	struct slice headers; /* the value of Access-Control-Allow-Headers */
	struct slice max_age; /* seconds, of Access-Control-Max-Age */
};

/* A tag or key template: literal parts and parameter indexes, alternating. */
struct template_part {
	struct slice literal; /* used when param == -1 */
	int param;	      /* index into params */
};
struct template
{
	struct template_part *parts;
	size_t count;
};

enum endpoint_priority { PRIORITY_NORMAL, PRIORITY_CRITICAL, PRIORITY_BULK };

enum auth_rule { AUTH_NONE, AUTH_OPTIONAL, AUTH_REQUIRED };

/* Where a statement's placeholder number i+1 comes from. */
enum bind_source {
	BIND_PARAM,
	BIND_TENANT,
	BIND_NOW,
	BIND_EVENT_ID,
	BIND_IDEMPOTENCY_KEY,
	BIND_ACCEPTED_AT
};
struct bind {
	enum bind_source source;
	int param; /* BIND_PARAM: index into params */
	/* PostgreSQL, 1: it only stands before IS NULL, where nothing else says a type.  No bool: cache.c hashes
	 * the bytes of this struct, which so has no padding. */
	unsigned null_test;
};

/* The declared JSON type of a result column. */
struct column_rule {
	struct slice name;
	enum value_type type;
};

/* One segment of the route: a literal, or a parameter. */
struct route_segment {
	struct slice literal; /* absent when a parameter */
	int param;	      /* index into params, -1 for a literal */
};

struct endpoint {
	struct slice name; /* unique; the file name without .sql */
	const char *file;  /* NULL for a built-in one */
	uint64_t name_hash;
	int index; /* position in the catalog, 0.. */
	const struct handler *handler;

	enum http_method method; /* never HEAD or OPTIONS */
	struct slice route;	 /* as written: /api/v1/countries/:code */
	struct route_segment *segments;
	size_t segment_count;
	struct slice description;

	struct param *params; /* path first, then query or body, in order of declaration */
	size_t param_count;
	struct column_rule *columns;
	size_t column_count;

	struct slice sql;  /* placeholders as ?1 ?2 ... or $1 $2 ...; absent for a built-in one */
	bool postgresql;   /* the statement is PostgreSQL's, with $1; else SQLite's, with ?1 */
	unsigned sql_line; /* where the statement begins */
	const struct endpoint
	    *twin; /* NAME.postgresql.sql in force: NAME.sql beside it; else NULL */
	struct bind *binds;
	size_t bind_count;

	bool returns_one;
	int64_t max_rows;
	int64_t timeout_ms;
	int64_t max_body_bytes;
	struct cache_rule cache;
	struct vary_header *vary;
	size_t vary_count;
	const struct cors_rule *cors; /* NULL: none */
	bool cors_of_writes;	      /* built-in: pages that may send a write may use it */
	struct template *tags;
	size_t tag_count;
	struct template *invalidates;
	size_t invalidate_count;
	struct limit_rule *limits;
	size_t limit_count;
	enum auth_rule auth;
	bool uses_tenant;  /* the statement binds :tenant, or auth is not none: varies by tenant */
	bool key_optional; /* idempotency: optional */
	bool read_primary; /* read: primary */
	enum endpoint_priority priority;
	bool never_shed;   /* health */
	const char *topic; /* queue: where its writes go; NULL: KAFKA_TOPIC */
	struct slice
	    partition_param; /* key: the parameter that orders them; absent: the idempotency key */
};

enum {
	ENDPOINT_MAX_PARAMS = 64,
	ENDPOINT_MAX_TAGS = 14,
	ENDPOINT_MAX_LIMITS = 8,
	ENDPOINT_MAX_VARY = 4,
	ENDPOINT_MAX_ORIGINS = 32
};

const char *http_method_name(enum http_method m);
bool http_method_parse(struct slice word, enum http_method *out);
static inline bool
http_method_writes(enum http_method m)
{
	return m >= HTTP_POST;
}

#endif
