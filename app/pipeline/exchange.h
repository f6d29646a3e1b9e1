#ifndef PIPELINE_EXCHANGE_H
#define PIPELINE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"
#include "http/router.h"
#include "pipeline/handler.h"
#include "policy/waiting.h"
#include "service/cache.h"
#include "service/copy.h"
#include "service/event.h"
#include "service/queue.h"
#include "service/quota.h"
#include "telemetry/span.h"
#include "telemetry/trace.h"

struct catalog;
struct consistency;
struct exchange;
struct idempotency_claim;
struct l2_fill;
struct slow_line; /* service/slow_log.h */
struct pipeline_env;
struct tenant_check; /* service/tenant.h */

/*
 * One request in hand.  Owned by exactly one thread at any moment (reactor, lane or committer) and
 * handed over, never shared; only ${gone} may be set by another.
 */

/* What the pipeline asks of whoever carries the bytes. */
struct transport {
	/* Reads the body to its end and keeps at most ${cap} bytes; *${total_out} counts all.  ERR_TOO_LARGE: no
	 * end is in sight. */
	enum err (*body)(struct exchange *x, char *out, size_t cap, size_t *total_out);
};

/* What a parked exchange waits for. */
enum exchange_wait {
	EXCHANGE_RUNS,
	EXCHANGE_WAITS_CLAIM, /* a second at most; nobody can hurry it */
	EXCHANGE_WAITS_QUEUE,
	EXCHANGE_WAITS_FLIGHT,
	EXCHANGE_WAITS_TURN /* until wake_ms, then it looks again */
};

/* How a read was answered, for Cache-Status and the log. */
enum exchange_source {
	SOURCE_NONE,
	SOURCE_DATABASE,
	SOURCE_FRESH,
	SOURCE_L2,
	SOURCE_STALE,
	SOURCE_COLLAPSED,
	SOURCE_IF_ERROR
};

struct exchange {
	const struct pipeline_env *env;
	const struct transport *transport; /* NULL: a refresh in the background, nobody to answer */
	void *owner;			   /* the transport's connection */
	/* In a mailbox; apart from the next two, for a committer may post while the reactor still lists it as parked. */
	struct exchange *mail_next;
	struct exchange *next, **prev; /* lists of the reactor */
	struct arena arena;
	size_t step; /* next row of the pipeline */
	enum exchange_wait wait;
	bool asks_lane;	   /* the step in hand goes on where it may block */
	_Atomic bool gone; /* the front has closed the connection */
	bool orphan;	   /* answered already; kept only until the queue lets go of its item */

	/* The request. */
	const struct catalog *catalog;
	const char *const *envp;
	bool body_is_large, body_taken;
	struct request request;
	struct route_match *route;
	const struct endpoint *endpoint;
	struct value *values;
	struct slice fields;
	struct slice tenant, ip;    /* who calls; tenant empty when nobody is authenticated */
	struct tenant_check *check; /* of the API key; NULL: none was sent */
	struct trace_context trace;
	struct span_recorder spans;	 /* of what it spent its time on; in its arena */
	int64_t start_ns, start_us;	 /* monotonic, wall */
	int64_t answered_ns;		 /* monotonic: the answer stood ready; 0: none does */
	int64_t deadline_ms;		 /* monotonic, of the whole request */
	int64_t handed_ns;		 /* when it was handed to a lane */
	int64_t parked_ns;		 /* since when it is parked; 0: it is not */
	int64_t lane_wait_ns, handle_ns; /* spent waiting for one, and in the handler */
	struct slice base_path;		 /* was taken off the path */
	uint64_t front;			 /* which front server brought it; 0: one on this host */
	int64_t lost_us; /* was gone when it was seen: in the front's queue, and in ours */
	enum shed_reason shed;
	struct waiter waiter; /* in the queue before the lane */
	bool calls;	      /* what is next is a call to the database: it needs room there */
	bool asked;	      /* its client's share was charged, with asked_us */
	int64_t asked_us;
	uint64_t client; /* a hash: tenant, else address; with asked */

	/* What steps have taken and finish gives back. */
	struct quota_verdict quota;
	bool quota_known;
	struct slice key; /* of the cache; absent: not to be kept */
	struct cache_fill fill;
	struct consistency *must_show; /* writes that a read is to show, or NULL */
	struct l2_fill *l2;	       /* NULL: Redis was not asked, or cannot keep this */
	int64_t l2_began_ms;	       /* the first look; 0: none yet */
	int64_t wake_ms;	       /* monotonic, with EXCHANGE_WAITS_TURN */
	int64_t dead_leader;	       /* member known to be dead, -1 none */
	struct handler_call call;
	struct event event;
	struct idempotency_claim *claim; /* NULL: Redis was not asked */
	struct queue_item item;
	bool decided; /* item.outcome, by another host */

	/* The answer. */
	enum exchange_source source;
	struct slice block;	  /* a copy block: call.block's bytes or the arena's */
	struct slice spare_block; /* an error-only copy, should the database fail */
	int64_t age_ms, spare_age_ms;
	bool stored;	     /* what the handler gave is in the cache now */
	bool refresh;	     /* stale was served, or what will be soon */
	int64_t replaces_ms; /* that one is still fresh: see service/cache.h */
	bool ask_again;	     /* about the API key, behind the reply */
	struct response response;
	int64_t slow_us;	/* took longer than WEIR_SLOW: so long; else 0 */
	bool explain;		/* its line waits for a plan, behind the reply */
	struct slow_line *slow; /* what was left behind for that; NULL: nothing */
};

#endif
