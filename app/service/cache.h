#ifndef SERVICE_CACHE_H
#define SERVICE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"
#include "policy/flight.h"
#include "policy/l1.h"

struct positions; /* policy/positions.h */
struct purges;

/*
 * The reads' cache as the pipeline uses it: keys, tags, L1, and one query for all who miss.
 *
 *   cache_key      cache_lookup  --fresh, stale--> answer (stale: cache_lead() for a refresh)
 *                      | miss, busy, error-only
 *                  cache_join    --WAIT--> park; rung: cache_look()
 *                      | LEAD, ALONE       leader died: cache_take_over(); STORED, GONE: look up again
 *                  cache_begin   --fresh--> answer: another flight had just landed
 *                      | anything else
 *                  the query     --failed--> cache_fail_land()
 *                      |         --not tried--> cache_give_up()
 *                  cache_fill_land
 *
 * Times are monotonic milliseconds.  ${wait_ms}: how long a shard's lock may be waited for; 0 on a reactor.
 * Any thread may call; a struct cache_fill belongs to one.
 */
struct cache {
	struct l1 *l1;
	struct positions *positions; /* of the database, when its tags were purged */
	struct purges *purges;	     /* NULL: this host is alone */
	struct flights *flights;
	uint64_t seed;				  /* the segment's */
	unsigned member;			  /* our scoreboard slot */
	void (*ring)(void *ctx, unsigned member); /* wakes that member; NULL: nobody to wake */
	void *ctx;
};

/* A flight that this request leads or waits for, and what its copy will carry. */
struct cache_fill {
	struct slice key;	     /* lent */
	uint64_t flight;	     /* the key's hash */
	struct flight_ticket ticket; /* .leader, .deadline_ms: whom to watch, until when */
	bool leading;		     /* true until landed or given up */
	struct l1_tags tags;	     /* as they stood before the query */
	/* A copy that shows less than this is older than a purge of its tags (service/store.h). */
	uint64_t position;
	/* An early refresh: a copy that was stored then is to be replaced, though it is fresh; 0: none is. */
	int64_t replaces_ms;
	int64_t replaced_left_ms; /* how long that one is fresh; cache_begin() sets it */
	uint32_t cost_us;	  /* cache_fill_land(): what the query has taken */
};

struct cache_hit {
	struct slice block; /* in the arena; absent when nothing was found */
	int64_t stored_ms;  /* monotonic */
	int64_t age_ms;
	int64_t fresh_ms; /* left; negative: over since */
	uint32_t cost_us; /* what making it has taken; 0: not known */
};

/*
 * Endpoint, parameters in canonical form, the values of its `vary:` headers (one for each, in order; absent: not
 * sent; ${vary} may be NULL when it has none), and the tenant where the endpoint varies by it; in the arena.
 * Two requests have the same key only when they ask the same thing of the same statement: an endpoint file
 * that was changed does not read the copies of the old one.  ERR_NOMEM, ERR_TOO_LARGE.
 */
enum err cache_key(const struct endpoint *e, const struct value *values, const struct slice *vary,
    struct slice tenant, struct arena *a, struct slice *key_out);

/* Hashes of the copy's tags: the endpoint's `tags:` (its name when there is none) with the parameters'
 * canonical text, and `path:` with its path.  Tenants share tags. */
enum { CACHE_MAX_TAGS = L1_MAX_TAGS - 1 };
enum err cache_tags(const struct cache *c, const struct endpoint *e, const struct value *values,
    struct arena *a, uint64_t tags_out[CACHE_MAX_TAGS], size_t *count_out);

/* Their texts, in the arena, and the same in every process of every host: for what lies in Redis. */
enum err cache_tag_texts(const struct endpoint *e, const struct value *values, struct arena *a,
    struct slice texts_out[CACHE_MAX_TAGS], size_t *count_out);

enum l1_answer cache_lookup(const struct cache *c, struct slice key, int64_t now_ms,
    int64_t wait_ms, struct arena *a, struct cache_hit *hit_out);

/* ${lease_ms}: longer than the query may take; after it another may lead. */
enum flight_role cache_join(const struct cache *c, struct slice key, int64_t now_ms,
    int64_t lease_ms, struct cache_fill *out);
bool cache_lead(const struct cache *c, struct slice key, int64_t now_ms, int64_t lease_ms,
    struct cache_fill *out);

/* For a waiter.  FAILED: *${reason_out} is what the leader gave cache_fail_land(). */
enum flight_state cache_look(const struct cache *c, struct cache_fill *f, uint8_t *reason_out);
/* The leader is dead, or its lease is over: true when we lead now. */
bool cache_take_over(const struct cache *c, struct cache_fill *f, int64_t now_ms, int64_t lease_ms);

/*
 * Right before the query, on its lane: notes the tags' generations, then looks once more, for between this
 * request's miss and its lead another flight may have landed.  L1_FRESH: answer that, there is nothing to
 * query, and the flight has landed.  One that is to be replaced is said to be L1_STALE.  Else query; what was found may be answered if that fails
 * (L1_STALE, L1_ERROR_ONLY).
 */
enum l1_answer cache_begin(const struct cache *c, struct cache_fill *f, const struct endpoint *e,
    const struct value *values, int64_t now_ms, int64_t wait_ms, struct arena *a,
    struct cache_hit *hit_out);

/*
 * Stores the answer under the endpoint's `cache:` and lands the flight.  Errors are those of l1_put() and
 * concern the copy only; the answer is good.  ERR_CONFLICT: a purge came during the query, the waiters
 * look and join anew; or the answer, which shows what was committed up to ${seen}, is older than one: each waiter
 * queries for itself.
 */
enum err cache_fill_land(const struct cache *c, struct cache_fill *f, const struct cache_rule *rule,
    struct slice block, uint64_t seen, int64_t now_ms, int64_t wait_ms, uint32_t *evicted_out);

/* The same for a copy that another host has made, under its own times. */
enum err cache_copy_land(const struct cache *c, struct cache_fill *f, const struct l1_times *times,
    struct slice block, int64_t wait_ms, uint32_t *evicted_out);
/* Notes the generations anew: what is fetched from now on is as new as that. */
void cache_note_tags(const struct cache *c, struct cache_fill *f, const struct endpoint *e,
    const struct value *values, struct arena *a);

/* The query failed, also for the waiters; nothing is stored.  ${reason} is theirs to read (an enum err). */
void cache_fail_land(const struct cache *c, struct cache_fill *f, uint8_t reason);
/* The query was never tried: one of the waiters shall.  Fine, and nothing, when we do not lead. */
void cache_give_up(const struct cache *c, struct cache_fill *f);

/* Once, after the process has got its member slot: frees the flights of the slot's last, dead owner. */
void cache_sweep(const struct cache *c);

/* Purges take effect at once in all processes of the host; what is being queried now is not kept.  Other hosts are told
 * by cache_purge_send(), once for many: without Redis there is nobody to tell, and it is ERR_OK.
 * ERR_UNAVAILABLE: not all could be told; the rest will be when it answers again.  ${position}: what a replica must have
 * replayed to show what the purge is for; 0: no matter (by hand, or SQLite). */
enum err cache_purge_send(const struct cache *c);
void cache_purge_tag(const struct cache *c, struct slice tag);
/* All copies of that path, whatever their query parameters and tenants.  Parameters in it are written in
 * canonical form (7, not 007).  ERR_INVALID: *${why_out}; ERR_NOMEM. */
enum err cache_purge_path(
    const struct cache *c, struct slice path, struct arena *a, const char **why_out);
void cache_purge_all(const struct cache *c, uint64_t position);
/* The `invalidates:` of a write that was applied.  Returns how many tags; when the text of one
 * cannot be made (no memory), everything is purged instead. */
size_t cache_purge_event(const struct cache *c, const struct endpoint *e,
    const struct value *values, uint64_t position, struct arena *a);

#endif
