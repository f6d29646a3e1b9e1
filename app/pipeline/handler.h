#ifndef PIPELINE_HANDLER_H
#define PIPELINE_HANDLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"
#include "http/problem.h"

struct consistency;
struct idempotency;
struct ledger;
struct queue;
struct queue_item;
struct response;
struct store;

/*
 * What stands behind an endpoint.  A handler knows what one request means; caching, limits, retries and the
 * front server are not its business.  The table of handlers is in handlers/handlers.c and is handed
 * down by main(): nothing below includes it.
 */
enum handler_lane {
	HANDLER_INLINE,	 /* on the reactor: must not block */
	HANDLER_BLOCKING /* on a lane's thread */
};

enum handler_result {
	HANDLER_BLOCK,	  /* a read: call->block holds a copy block (service/copy.h) */
	HANDLER_RESPONSE, /* call->response is filled */
	HANDLER_PROBLEM,  /* call->problem tells what went wrong */
	HANDLER_PARKED	  /* call->item was submitted; run() is called again when it is done */
};

/* One call: everything is lent until the exchange ends. */
struct handler_call {
	const struct endpoint *endpoint;
	const struct value *values; /* one for each endpoint->params */
	struct slice tenant;	    /* empty: nobody is authenticated */
	int64_t now_us;		    /* wall */
	int64_t deadline_ms;	    /* monotonic, of this call */
	struct arena *arena;
	struct store *store;
	struct queue *queue;
	struct idempotency *idempotency; /* NULL: no Redis */
	struct ledger *ledger;		 /* for operations */
	struct slice base_path;		 /* put back in Location */
	struct queue_item *item;	 /* a write, ready to be submitted */
	bool resumed;			 /* the item is done */
	struct consistency *must_show;	 /* what a read is to show, or NULL; the store fills it */
	uint64_t at_least;		 /* a read's answer is to show this (service/store.h) */

	struct strbuf block;	   /* out; the exchange frees it */
	uint64_t seen;		   /* out, with it: what it shows (service/store.h) */
	struct response *response; /* out */
	struct problem problem;	   /* out */
	enum err
	    failure; /* out, with the problem of a read: what others who wait for it are told */
};

struct handler {
	const char *name;
	enum handler_lane lane;
	enum handler_result (*run)(struct handler_call *call);
};

/* All that main() knows of handlers/. */
struct handler_set {
	const struct handler *sql_read, *sql_write;
	const struct endpoint *const *built_in;
	size_t built_in_count;
};

#endif
