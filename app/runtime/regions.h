#ifndef RUNTIME_REGIONS_H
#define RUNTIME_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct endpoint_stats;
struct activity;
struct call_table;
struct concurrencies;
struct fair_share;
struct fleet_shared;
struct flights;
struct guards;
struct forward_shared;
struct history;
struct ingest_shared;
struct l1;
struct leases;
struct limit_stats;
struct limiter;
struct positions;
struct purges_shared;
struct queue_shared;
struct scoreboard;
struct shm;
struct pace;
struct tenant_shared;
struct tickets;

/*
 * What lies in the shared segment, one table (regions.c): to add a region, add a row.  The layout hash covers
 * every row's name, version and size, so processes that would lay it out otherwise never meet.
 */
struct region_seeds { /* random, made with the segment */
	uint64_t limiter, l1, cache, keys;
};

struct regions {
	struct shm *shm;
	const struct region_seeds *seeds;
	struct scoreboard *scoreboard;
	struct endpoint_stats *endpoints;
	struct limit_stats *limits;
	struct call_table *redis_calls;
	struct activity *activity;
	struct history *history;
	struct limiter *limiter;
	struct leases *leases; /* tiny without a fleet */
	struct fleet_shared *fleet;
	struct l1 *l1;
	struct flights *flights;
	struct guards *guards;
	struct purges_shared *purges;
	struct positions *positions;
	struct tickets *read_tickets, *write_tickets;
	struct concurrencies *concurrencies;
	struct fair_share *fair_share;
	struct queue_shared *queue;
	struct ingest_shared *ingest;
	struct tenant_shared *tenants;
	struct forward_shared *forward;
	void *retries; /* service/retries.h */
	struct pace *plans;
};

struct regions_options {
	int state_dir_fd;
	const char *state_dir; /* as the user named it; absolute */
	const char *path;      /* WEIR_SHM or NULL */
	int64_t cache_bytes, spool_bytes;
	int64_t key_ttl_ms;
	bool fleet; /* REDIS_URL is set */
	bool keep;  /* as of shm_options */
	bool join_only;
};

/* Joins or makes the segment.  Errors as shm_open_segment(); the maker also rebuilds the spool's hints. */
enum err regions_open(const struct regions_options *o, struct regions **out);
void regions_close(struct regions **rp);

#endif
