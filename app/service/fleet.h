#ifndef SERVICE_FLEET_H
#define SERVICE_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "policy/limiter.h"

struct leases;
struct shards;

/*
 * Limits that all hosts of a fleet share: the bucket is in Redis, and this host takes leases of its tokens.
 *
 * A lease is at most one hundredth of the limit (FLEET_SHARE), at least one token, and as large as the rate seen
 * asks for; so what was admitted never exceeds what the buckets gave, and inside one window hosts may be
 * apart by the leases that are out: one hundredth for each host.  Limits below two hundred are exact and cost one
 * call a request.  A hot key costs a call for each half lease, by a thread of this module, ahead of need.  "Over
 * the limit until T" is remembered in the segment, so refused requests cost nothing.
 *
 * While a shard does not answer, its clients are limited as on_failure says.  Any thread may call.
 */
struct fleet;

enum { FLEET_SHARE = 100 };

enum fleet_on_failure { /* in the order of RATE_LIMIT_ON_REDIS_FAILURE's words */
	FLEET_LOCAL,	/* this host's share: the limit divided by the hosts last seen */
	FLEET_OPEN,
	FLEET_CLOSED
};

/* In the segment. */
size_t fleet_shared_size(void);
void fleet_shared_init(void *mem);
struct fleet_shared;
uint64_t fleet_hosts(const struct fleet_shared *s); /* last seen, this one included; 0 none yet */

struct fleet_options {
	struct shards *shards;
	struct leases *leases;
	struct limiter *limiter;
	struct fleet_shared *shared;
	enum fleet_on_failure on_failure;
	int64_t timeout_ms; /* REDIS_TIMEOUT */
	bool background;    /* false: a command that only looks; no thread, and this is no host */
};

enum err fleet_open(const struct fleet_options *o, struct fleet **out);
/* Gives back what this process owes of its leases, as far as timeout_ms carries; the rest is lost to the clients. */
void fleet_close(struct fleet **fp);

/* What is limited: a client under a rule. */
struct fleet_key {
	struct limiter_rule rule;
	uint64_t key;	   /* in this host's segment */
	struct slice name; /* the tenant or address; lent for the length of a call */
	bool by_tenant;
};

struct fleet_taken {
	enum { FLEET_FROM_LEASE, FLEET_FROM_SHARE, FLEET_FREE } from;
	struct limiter_state state;
	int64_t until_ms; /* of the window that a leased token counts in */
	uint64_t hosts;	  /* by which this host's share was divided */
};

/*
 * One token.  ERR_OK, ERR_LIMITED (out->state tells when), ERR_UNAVAILABLE (FLEET_CLOSED), or, unless ${may_ask},
 * ERR_CONFLICT: Redis must be asked, come again with ${may_ask} where blocking is allowed.
 */
enum err fleet_take(struct fleet *f, const struct fleet_key *k, int64_t now_ns, bool may_ask,
    struct fleet_taken *out);
/* As limiter_give_back(), to this host's lease. */
void fleet_give_back(
    struct fleet *f, const struct fleet_key *k, int64_t now_ns, const struct fleet_taken *taken);
/* What this host knows. */
void fleet_look(
    struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct limiter_state *out);

/* For `weir limit explain`. */
struct fleet_view {
	size_t shard;
	uint64_t lease_max;	       /* of this host, and so the error that it may add */
	uint64_t hosts;		       /* last seen */
	uint64_t leased;	       /* here, of this key */
	int64_t leased_ms, refused_ms; /* for how long yet; 0 none */
	enum err asked;		       /* what Redis said; the rest counts when ERR_OK */
	uint64_t remaining;
	int64_t reset_us, retry_us;
	struct limiter_state share; /* of the fallback */
};
void fleet_explain(
    struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct fleet_view *out);

#endif
