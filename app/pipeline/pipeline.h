#ifndef PIPELINE_PIPELINE_H
#define PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/address.h"
#include "pipeline/exchange.h"

struct catalog;
struct endpoint_stats; /* telemetry/endpoint_stats.h */
struct exporter;       /* service/exporter.h */
struct fair_share;
struct front_clocks;
struct ledger;
struct limit_stats; /* telemetry/limit_stats.h */
struct scoreboard;
struct slow_log; /* service/slow_log.h */
struct tenants;
struct web_root; /* service/web_root.h */

/*
 * The order of the steps.  Runs an exchange as far as the calling thread may: inline steps on the reactor,
 * blocking ones on a lane.
 */
struct pipeline_env {
	const struct catalog *catalog; /* of this moment; an exchange holds the one it began with */
	struct cache *cache;
	const struct l2 *l2; /* NULL: no Redis */
	struct quota *quota;
	struct queue *queue;
	struct idempotency *idempotency; /* NULL: no Redis */
	struct store *store;
	struct tenants *tenants; /* service/tenant.h */
	struct scoreboard *scoreboard;
	struct endpoint_stats *endpoints;
	struct limit_stats *limits;
	unsigned member;
	struct exporter *exporter; /* NULL: no traces are exported */
	int64_t slow_ns;	   /* a request that takes longer is slow; none is: INT64_MAX */
	struct slow_log *slow_log; /* NULL: none is kept */
	bool ignores_traces;	   /* a caller's traceparent is not continued */
	struct ledger *ledger;
	struct web_root *web_root; /* NULL: the front hands out nothing of ours */
	struct slice base_path;
	bool base_path_set; /* else the front's SCRIPT_NAME folder */
	const struct cidr *trusted;
	size_t trusted_count;
	int64_t idempotency_ttl_ms;
	size_t arena_max_bytes;	       /* of one exchange: body, answer and what is made of them */
	struct fair_share *fair_share; /* policy/fair_share.h; NULL: all are equal */
	uint64_t client_seed;
	struct front_clocks *fronts; /* policy/admission.h; of the reactor's thread */
	uint32_t max_in_hand;
	const _Atomic uint32_t *in_hand; /* exchanges of this process */
	/* Called by the committer when a parked write is done: hands ${x} back to its reactor. */
	void (*resume)(struct exchange *x);
};

enum pipeline_where { PIPELINE_ON_REACTOR, PIPELINE_ON_LANE };

enum pipeline_result {
	PIPELINE_DONE,	   /* x->response is ready to be written */
	PIPELINE_BLOCKING, /* the next step needs a lane, and room at the database if x->calls */
	PIPELINE_BODY,	   /* the next step reads a large body: a lane, at most half of them */
	PIPELINE_INLINE,   /* on a lane: the next step belongs to the reactor */
	/* x->wait says for what; x->deadline_ms is when to give up, but for a turn: x->wake_ms is when to run again */
	PIPELINE_PARKED
};

enum pipeline_result pipeline_run(struct exchange *x, enum pipeline_where where);

/* It is not worth the work: answers 503, or an old copy where one may stand in; unless an answer is there and only waits
 * for the body to be read. */
void pipeline_shed(struct exchange *x, enum shed_reason why);
/* A parked exchange whose deadline has passed.  False: keep it as an orphan until its item is done. */
bool pipeline_expire(struct exchange *x);
/* The exchange's leader is known to be dead. */
void pipeline_leader_died(struct exchange *x);
/* False: the flight that ${x} is parked for still flies, under the same leader and lease.  Cheap: some loads. */
bool pipeline_has_news(struct exchange *x, int64_t now_ms);

/* After the reply was written, or could not be, or nobody was left to read one: metrics and log line. */
void pipeline_finish(struct exchange *x);

/* How important ${e} is, for its counters: enum endpoint_class (telemetry/endpoint_stats.h). */
int pipeline_class(const struct endpoint *e);

/* Makes ${into} (initialised, unused) the refresh of what ${x} served stale.  False: somebody does it
 * already, or no memory. */
bool pipeline_refresh(const struct exchange *x, struct exchange *into);

/* The same for ${x}'s ask_again: ${into} will ask the database about its API key.  False: no memory. */
bool pipeline_ask_again(const struct exchange *x, struct exchange *into);

/* The same for ${x}'s explain: ${into} will ask the database how it ran the statement, and write ${x}'s line in the slow log.
 * False: none was asked for lately enough, or no memory; then pipeline_slow() writes it, without. */
bool pipeline_explain(const struct exchange *x, struct exchange *into);
void pipeline_slow(struct exchange *x);

void exchange_init(struct exchange *x, const struct pipeline_env *env);
void exchange_reset(
    struct exchange *x); /* ready for the next request; keeps the arena's first block */
void exchange_clear(struct exchange *x); /* frees what it holds */

#endif
