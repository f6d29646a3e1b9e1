#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "client/kafka.h"
#include "policy/breaker.h"
#include "service/cache.h"
#include "service/cache_l2.h"
#include "service/quota.h"
#include "service/tenant.h"
#include "service/topics.h"
#include "service/writer.h"

/*
 * What one process holds, built once after exec from the config: the wiring, and nothing else.
 * Every part is opened by one function here and given back by runtime_close(), in reverse.
 */
struct catalog;
struct config;
struct fault_list;
struct fleet;
struct guards;
struct exporter; /* service/exporter.h */
struct forward_shared;
struct idempotency;
struct handler_files;
struct handler_set; /* pipeline/handler.h */
struct ingest_shared;
struct ledger;
struct metrics_exporter; /* service/metrics_exporter.h */
struct queue;
struct regions;
struct scoreboard;
struct shards;
struct store;

enum runtime_need {	     /* bits: what this process is going to use */
	RUNTIME_SEGMENT = 1, /* join or make the shared segment */
	RUNTIME_MEMBER = 2,  /* take a scoreboard slot and a doorbell */
	RUNTIME_CATALOG = 4,
	RUNTIME_STORE = 8,
	RUNTIME_QUEUE = 16,
	RUNTIME_REDIS = 64,	/* the shards of REDIS_URL, when it is set; needs RUNTIME_SEGMENT */
	RUNTIME_DATABASE = 128, /* the write database; connects to nothing yet */
	RUNTIME_KEEP = 1024,	/* the segment stays when we leave it last */
	RUNTIME_KEYS = 256,	/* API keys; needs RUNTIME_SEGMENT and RUNTIME_DATABASE */
	RUNTIME_TRACES = 512,	/* the exporters of OTLP, when the settings want them */
	RUNTIME_JOIN =
	    32 /* only look: make neither state folder nor segment; ERR_NOT_FOUND without a
	                       * fault when there is none */
};

enum { RUNTIME_INSTANCE_BYTES = 96 };

/* The write database, as it is opened by who writes or looks at it. */
struct database {
	struct writer_options options;
	struct primary *primary; /* NULL: SQLite */
};

struct runtime {
	const struct config *config; /* lent */
	int state_dir_fd;
	struct regions *regions;
	struct scoreboard *scoreboard;
	struct ingest_shared *ingest;
	struct guards *guards;
	struct forward_shared *forward;
	unsigned member; /* our scoreboard slot */
	struct doorbell *doorbell;
	const struct catalog *catalog;
	struct store *store;
	struct database database;
	struct ledger *ledger; /* of it */
	struct queue *queue;
	struct purges *purges;		 /* NULL: no Redis */
	struct idempotency *idempotency; /* NULL: no Redis */
	struct l2 l2;			 /* of use only with shards */
	struct shards *shards;		 /* NULL: limits and cache are in shared memory only */
	struct fleet *fleet;		 /* NULL likewise */
	struct kafka_options kafka;	 /* when KAFKA_BROKERS is set */
	struct topics topics;
	char kafka_instance[RUNTIME_INSTANCE_BYTES]; /* of this state folder: static membership */
	struct exporter *exporter;		     /* NULL: none is wanted */
	struct metrics_exporter *metrics_exporter;   /* the same */
	struct cache cache;
	struct quota quota;
	struct tenants tenants;
};

/* ${kind}: enum member_kind, for RUNTIME_MEMBER.  ${handlers}: for RUNTIME_CATALOG, else NULL; lent for the
 * process's life.  On failure every fault is in the list and nothing is left open.  Not to be moved
 * afterwards. */
enum err runtime_open(const struct config *c, const struct handler_set *handlers, unsigned needs,
    int kind, struct fault_list *faults, struct runtime *out);
void runtime_close(struct runtime *r);

/* The write database as the settings tell it, for who holds no runtime; ${c} is lent.  Connects to nothing yet.
 * ${regions} NULL: without guard and tickets, for who has joined no segment.  Not to be moved while open. */
enum err runtime_database_open(
    const struct config *c, const struct regions *regions, struct database *out);
void runtime_database_close(struct database *d);

/* The rules of every breaker, as the settings have them. */
struct breaker_rules runtime_breaker_rules(const struct config *c);

/* The bytes of the endpoint files, as they are in the folders now.  What cannot be read is in the list, and ERR_OK. */
enum err runtime_files(
    const struct config *c, struct fault_list *faults, struct handler_files *out);
/* The endpoint files alone, as RUNTIME_CATALOG would load them.  ${files} NULL: those of the supervisor that has started us,
 * or, without one, what is in the folders now. */
enum err runtime_catalog(const struct config *c, const struct handler_set *handlers,
    const struct handler_files *files, struct fault_list *faults, const struct catalog **out);

#endif
