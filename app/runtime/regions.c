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

/* A region is always the same, or follows the options or the seeds. */
struct region {
	const char *name;
	uint32_t version; /* to be raised when its layout changes and its size does not */
	size_t field;	  /* of struct regions: where its address goes */
	size_t bytes;	  /* 0: size() or size_for() tells */
	size_t (*size)(void);
	void (*init)(
	    void *mem); /* none at all: zeros, as a new segment has them, are its beginning */
	size_t (*size_for)(const struct regions_options *o);
	void (*init_for)(
	    void *mem, const struct regions_options *o, const struct region_seeds *seeds);
};

static void
seeds_init(void *mem)
{
	rand_bytes(mem, sizeof(struct region_seeds));
}

static void
endpoints_init(void *mem)
{
	endpoint_stats_init(mem, clock_mono_ms());
}

static void
calls_init(void *mem)
{
	call_table_init(mem);
}

static size_t
slots_size(void)
{
	return limiter_size(LIMITER_SLOTS);
}

static void
slots_init(void *mem)
{
	limiter_init(mem, LIMITER_SLOTS);
}

static size_t
flights_size(void)
{
	return flight_size(FLIGHT_SLOTS);
}

static void
flights_init(void *mem)
{
	flight_init(mem, FLIGHT_SLOTS);
}

static uint32_t
lease_slots(const struct regions_options *o)
{
	return o->fleet ? LEASE_SLOTS : LEASE_SLOTS_ALONE;
}

static size_t
leases_size_for(const struct regions_options *o)
{
	return leases_size(lease_slots(o));
}

static void
leases_init_for(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)seeds;
	leases_init(mem, lease_slots(o));
}

static size_t
copies_size_for(const struct regions_options *o)
{
	return l1_size((size_t)o->cache_bytes);
}

static void
copies_init_for(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	l1_init(mem, (size_t)o->cache_bytes, seeds->l1);
}

static size_t
spool_size_for(const struct regions_options *o)
{
	return queue_shared_size(o->spool_bytes);
}

static void
spool_init_for(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)seeds;
	queue_shared_init(mem, o->spool_bytes);
}

static void
keys_init_for(void *mem, const struct regions_options *o, const struct region_seeds *seeds)
{
	(void)o;
	tenant_shared_init(mem, seeds->keys);
}

#define AT(f) .field = offsetof(struct regions, f)

/* The seeds come first: others are made from them. */
static const struct region table[] = {
	{ "seeds", 1, AT(seeds), .bytes = sizeof(struct region_seeds), .init = seeds_init },
	{ "scoreboard", 1, AT(scoreboard), .size = scoreboard_size, .init = scoreboard_init },
	{ "endpoints", 1, AT(endpoints), .size = endpoint_stats_size, .init = endpoints_init },
	{ "limits", 1, AT(limits), .size = limit_stats_size, .init = limit_stats_init },
	{ "redis calls", 1, AT(redis_calls), .bytes = sizeof(struct call_table),
	    .init = calls_init },
	{ "activity", 2, AT(activity), .size = activity_size, .init = activity_init },
	{ "history", 1, AT(history), .size = history_size, .init = history_init },
	{ "limiter", 1, AT(limiter), .size = slots_size, .init = slots_init },
	{ "leases", 1, AT(leases), .size_for = leases_size_for, .init_for = leases_init_for },
	{ "fleet", 1, AT(fleet), .size = fleet_shared_size, .init = fleet_shared_init },
	{ "l1", 2, AT(l1), .size_for = copies_size_for, .init_for = copies_init_for },
	{ "flights", 1, AT(flights), .size = flights_size, .init = flights_init },
	{ "guards", 2, AT(guards), .size = guards_size, .init = guards_init },
	{ "retries", 1, AT(retries), .size = retries_size, .init = retries_init },
	{ "read tickets", 1, AT(read_tickets), .size = tickets_size, .init = tickets_init },
	{ "write tickets", 1, AT(write_tickets), .size = tickets_size, .init = tickets_init },
	{ "concurrency", 1, AT(concurrencies), .size = concurrencies_size,
	    .init = concurrencies_init },
	{ "fair share", 1, AT(fair_share), .size = fair_share_size, .init = fair_share_init },
	{ "queue", 2, AT(queue), .size_for = spool_size_for, .init_for = spool_init_for },
	{ "purges", 1, AT(purges), .size = purges_shared_size, .init = purges_shared_init },
	{ "positions", 1, AT(positions), .size = positions_size, .init = positions_init },
	{ "ingest", 1, AT(ingest), .bytes = sizeof(struct ingest_shared) },
	{ "forward", 2, AT(forward), .bytes = sizeof(struct forward_shared) },
	{ "plans", 1, AT(plans), .bytes = sizeof(struct pace) },
	{ "api keys", 1, AT(tenants), .size = tenant_shared_size, .init_for = keys_init_for },
};

#undef AT

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

static size_t
size_of(const struct region *r, const struct regions_options *o)
{
	if (r->bytes != 0)
		return r->bytes;
	return r->size != NULL ? r->size() : r->size_for(o);
}

static enum err
lay_out(const struct regions_options *o, struct layout *out)
{
	struct strbuf text = STRBUF_INIT(4096);
	enum err rc = ERR_OK;

	out->bytes = 0;
	for (size_t i = 0; i < REGIONS; i++) {
		const size_t size = size_of(&table[i], o);

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
		void *at = region_of(mem, f->layout, i);

		if (table[i].init != NULL)
			table[i].init(at);
		if (table[i].init_for != NULL)
			table[i].init_for(at, f->o, mem);
		if (table[i].init_for == spool_init_for)
			spool = at;
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
		.keep = o->keep,
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
