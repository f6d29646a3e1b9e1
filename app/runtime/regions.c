/*
 * What lies in the shared segment, and where.
 *
 * The maker fills every region before anybody sees the segment; the spool's hints are rebuilt then, for
 * a hint that is missing would let an accepted key in twice.
 */
#include "runtime/regions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/str.h"
#include "client/shm.h"
#include "policy/concurrency.h"
#include "policy/fair_share.h"
#include "policy/flight.h"
#include "policy/l1.h"
#include "policy/lease.h"
#include "policy/limiter.h"
#include "policy/pace.h"
#include "policy/positions.h"
#include "policy/tickets.h"
#include "service/fleet.h"
#include "service/forward.h"
#include "service/guard.h"
#include "service/ingest.h"
#include "service/purges.h"
#include "service/queue.h"
#include "service/retries.h"
#include "service/tenant.h"
#include "telemetry/activity.h"
#include "telemetry/call_stats.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/history.h"
#include "telemetry/limit_stats.h"
#include "telemetry/scoreboard.h"

enum {
	LIMITER_SLOTS = 1 << 18,
	LEASE_SLOTS = 1 << 16,
	LEASE_SLOTS_ALONE = 64,
	FLIGHT_SLOTS = 4096,
	LAYOUT_SEED = 0x77656972,
	JOIN_WAIT_MS = 60000, /* the maker may be reading millions of keys */
	ALIGN_BYTES = 64,     /* cache lines are not shared by two regions */
};

struct region {
	const char *name;
	uint32_t version; /* to be raised when its layout changes and its size does not */
	size_t (*size)(const struct regions_options *o);
	void (*init)(void *mem, const struct regions_options *o, const struct region_seeds *seeds);
	size_t field; /* of struct regions: where its address goes */
};

static size_t
seeds_size(const struct regions_options *o)
{
	(void)o;
	return sizeof(struct region_seeds);
}

static void
seeds_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	rand_bytes(mem, sizeof(struct region_seeds));
}

static size_t
members_size(const struct regions_options *o)
{
	(void)o;
	return scoreboard_size();
}

static void
members_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	scoreboard_init(mem);
}

static size_t
endpoints_size(const struct regions_options *o)
{
	(void)o;
	return endpoint_stats_size();
}

static void
endpoints_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	endpoint_stats_init(mem, clock_mono_ms());
}

static size_t
decisions_size(const struct regions_options *o)
{
	(void)o;
	return limit_stats_size();
}

static void
decisions_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	limit_stats_init(mem);
}

static size_t
calls_size(const struct regions_options *o)
{
	(void)o;
	return sizeof(struct call_table);
}

static void
calls_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	call_table_init(mem);
}

static size_t
activity_region_size(const struct regions_options *o)
{
	(void)o;
	return activity_size();
}

static void
activity_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	activity_init(mem);
}

static size_t
history_region_size(const struct regions_options *o)
{
	(void)o;
	return history_size();
}

static void
history_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	history_init(mem);
}

static size_t
limits_size(const struct regions_options *o)
{
	(void)o;
	return limiter_size(LIMITER_SLOTS);
}

static void
limits_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	limiter_init(mem, LIMITER_SLOTS);
}

static uint32_t
lease_slots(const struct regions_options *o)
{
	return o->fleet ? LEASE_SLOTS : LEASE_SLOTS_ALONE;
}

static size_t
leases_region_size(const struct regions_options *o)
{
	return leases_size(lease_slots(o));
}

static void
leases_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)seeds;
	leases_init(mem, lease_slots(o));
}

static size_t
fleet_size(const struct regions_options *o)
{
	(void)o;
	return fleet_shared_size();
}

static void
fleet_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	fleet_shared_init(mem);
}

static size_t
copies_size(const struct regions_options *o)
{
	return l1_size((size_t)o->cache_bytes);
}

static void
copies_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	l1_init(mem, (size_t)o->cache_bytes, seeds->l1);
}

static size_t
flights_size(const struct regions_options *o)
{
	(void)o;
	return flight_size(FLIGHT_SLOTS);
}

static void
flights_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	flight_init(mem, FLIGHT_SLOTS);
}

static size_t
guards_region_size(const struct regions_options *o)
{
	(void)o;
	return guards_size();
}

static void
guards_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	guards_init(mem);
}

static size_t
retries_region_size(const struct regions_options *o)
{
	(void)o;
	return retries_size();
}

static void
retries_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	retries_init(mem);
}

static size_t
spool_size(const struct regions_options *o)
{
	return queue_shared_size(o->spool_bytes);
}

static void
spool_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)seeds;
	queue_shared_init(mem, o->spool_bytes);
}

static size_t
purges_size(const struct regions_options *o)
{
	(void)o;
	return purges_shared_size();
}

static void
purges_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	purges_shared_init(mem);
}

static size_t
positions_region_size(const struct regions_options *o)
{
	(void)o;
	return positions_size();
}

static void
positions_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	positions_init(mem);
}

static size_t
ingest_size(const struct regions_options *o)
{
	(void)o;
	return sizeof(struct ingest_shared);
}

static void
leave_zeroed(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)
	    mem; /* a new segment is zeroed, which is a consumer or forwarder that does nothing, or plans
		      * that were never asked for */
	(void)o;
	(void)seeds;
}

static size_t
keys_size(const struct regions_options *o)
{
	(void)o;
	return tenant_shared_size();
}

static void
keys_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	tenant_shared_init(mem, seeds->keys);
}

static size_t
forward_size(const struct regions_options *o)
{
	(void)o;
	return sizeof(struct forward_shared);
}

static size_t
plans_size(const struct regions_options *o)
{
	(void)o;
	return sizeof(struct pace);
}

static size_t
tickets_region_size(const struct regions_options *o)
{
	(void)o;
	return tickets_size();
}

static void
tickets_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	tickets_init(mem);
}

static size_t
concurrency_region_size(const struct regions_options *o)
{
	(void)o;
	return concurrencies_size();
}

static void
concurrency_region_init(
    void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	concurrencies_init(mem);
}

static size_t
fair_share_region_size(const struct regions_options *o)
{
	(void)o;
	return fair_share_size();
}

static void
fair_share_region_init(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	(void)seeds;
	fair_share_init(mem);
}

/* The seeds come first: the others are made from them. */
static const struct region table[] = {
	{ "seeds", 1, seeds_size, seeds_init, offsetof(struct regions, seeds) },
	{ "scoreboard", 1, members_size, members_init, offsetof(struct regions, scoreboard) },
	{ "endpoints", 1, endpoints_size, endpoints_init, offsetof(struct regions, endpoints) },
	{ "limits", 1, decisions_size, decisions_init, offsetof(struct regions, limits) },
	{ "redis calls", 1, calls_size, calls_init, offsetof(struct regions, redis_calls) },
	{ "activity", 1, activity_region_size, activity_region_init,
	    offsetof(struct regions, activity) },
	{ "history", 1, history_region_size, history_region_init,
	    offsetof(struct regions, history) },
	{ "limiter", 1, limits_size, limits_init, offsetof(struct regions, limiter) },
	{ "leases", 1, leases_region_size, leases_region_init, offsetof(struct regions, leases) },
	{ "fleet", 1, fleet_size, fleet_init, offsetof(struct regions, fleet) },
	{ "l1", 2, copies_size, copies_init, offsetof(struct regions, l1) },
	{ "flights", 1, flights_size, flights_init, offsetof(struct regions, flights) },
	{ "guards", 2, guards_region_size, guards_region_init, offsetof(struct regions, guards) },
	{ "retries", 1, retries_region_size, retries_region_init,
	    offsetof(struct regions, retries) },
	{ "read tickets", 1, tickets_region_size, tickets_region_init,
	    offsetof(struct regions, read_tickets) },
	{ "write tickets", 1, tickets_region_size, tickets_region_init,
	    offsetof(struct regions, write_tickets) },
	{ "concurrency", 1, concurrency_region_size, concurrency_region_init,
	    offsetof(struct regions, concurrencies) },
	{ "fair share", 1, fair_share_region_size, fair_share_region_init,
	    offsetof(struct regions, fair_share) },
	{ "queue", 2, spool_size, spool_init, offsetof(struct regions, queue) },
	{ "purges", 1, purges_size, purges_init, offsetof(struct regions, purges) },
	{ "positions", 1, positions_region_size, positions_region_init,
	    offsetof(struct regions, positions) },
	{ "ingest", 1, ingest_size, leave_zeroed, offsetof(struct regions, ingest) },
	{ "forward", 1, forward_size, leave_zeroed, offsetof(struct regions, forward) },
	{ "plans", 1, plans_size, leave_zeroed, offsetof(struct regions, plans) },
	{ "api keys", 1, keys_size, keys_init, offsetof(struct regions, tenants) },
};

enum { REGIONS = sizeof table / sizeof *table };

struct layout {
	size_t offset[REGIONS]; /* from the memory behind the segment's header */
	size_t bytes;		/* of all regions */
	uint64_t hash;
};

struct filling {
	const struct regions_options *o;
	const struct layout *layout;
};

static enum err
lay_out(const struct regions_options *o, struct layout *out)
{
	struct strbuf text = STRBUF_INIT(4096);
	enum err rc = ERR_OK;

	out->bytes = 0;
	for (size_t i = 0; i < REGIONS; i++) {
		const size_t size = table[i].size(o);

		if (size == 0)
			rc = ERR_INVALID;
		out->offset[i] = out->bytes;
		out->bytes += (size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
		strbuf_addf(&text, "%s %" PRIu32 " %zu\n", table[i].name, table[i].version, size);
	}
	if (text.failed)
		rc = ERR_NOMEM;
	else
		out->hash = hash64(LAYOUT_SEED, text.ptr, text.len);
	strbuf_free(&text);
	return rc;
}

static enum err
rebuild_hints(const struct regions_options *o, struct queue_shared *shared)
{
	const struct queue_options options = {
		.state_dir_fd = o->state_dir_fd,
		.state_dir = o->state_dir,
		.max_bytes = o->spool_bytes,
		.key_ttl_ms = o->key_ttl_ms,
		.shared = shared,
	};
	struct queue *q;
	enum err rc = queue_open(&options, &q);

	if (rc == ERR_OK) {
		rc = queue_rebuild_hints(q);
		queue_close(&q);
	}
	if (rc != ERR_OK)
		log_error(
		    "spool_hints_failed", LOG_STR("state_dir", o->state_dir), LOG_ERR("error", rc));
	return rc == ERR_FULL ? ERR_IO : rc; /* full is the disk, not the segment */
}

static void *
region_of(void *mem, const struct layout *l, size_t i)
{
	return (char *)mem + l->offset[i];
}

static enum err
fill(void *ctx, void *mem)
{
	const struct filling *f = ctx;
	struct queue_shared *spool = NULL;

	for (size_t i = 0; i < REGIONS; i++) {
		table[i].init(region_of(mem, f->layout, i), f->o, mem);
		if (table[i].init == spool_init)
			spool = region_of(mem, f->layout, i);
	}
	return rebuild_hints(f->o, spool);
}

static void
point(struct regions *r, const struct layout *l)
{
	for (size_t i = 0; i < REGIONS; i++) {
		void *const at = region_of(shm_memory(r->shm), l, i);

		memcpy((char *)r + table[i].field, &at, sizeof at);
	}
}

enum err
regions_open(const struct regions_options *o, struct regions **out)
{
	struct regions *r = calloc(1, sizeof *r);
	struct layout layout;
	struct filling filling = { o, &layout };
	enum err rc = r == NULL ? ERR_NOMEM : lay_out(o, &layout);
	struct shm_options options = {
		.state_dir_fd = o->state_dir_fd,
		.state_dir = o->state_dir,
		.path = o->path,
		.wait_ms = JOIN_WAIT_MS,
		.join_only = o->join_only,
		.fill = fill,
		.ctx = &filling,
	};

	*out = NULL;
	if (rc == ERR_OK) {
		options.layout_hash = layout.hash;
		options.size_bytes = SHM_HEADER_BYTES + layout.bytes;
		rc = shm_open_segment(&options, &r->shm);
	}
	if (rc != ERR_OK) {
		free(r);
		return rc;
	}
	point(r, &layout);
	*out = r;
	return ERR_OK;
}

void
regions_close(struct regions **rp)
{
	struct regions *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	shm_close(&r->shm);
	free(r);
}
