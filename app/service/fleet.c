/*
 * Limits that all hosts share: what is taken from the host's lease, when Redis is asked, and what happens when it does
 * not answer.
 *
 * The clock of a lease is this host's, read before Redis was asked: so a window's tokens never outlive their window.
 */
#include "service/fleet.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rand.h"
#include "policy/lease.h"
#include "service/fleet_keeper.h"
#include "service/quota_redis.h"
#include "service/shards.h"

enum {
	BUCKET_LEASE_MS = 1000, /* an unused token of a bucket goes back after this */
	BATCH_MS =
	    10, /* at the limit, Redis is asked for what so long brings, not token by token */
	RECENT_MS_MAX = 1000,
	ASKING_SLACK_MS = 200, /* beside the call itself, for who waits in the keeper's queue */
	KEY_BYTES = 320,
};

static const int64_t ms_ns = 1000000, forever_ns = INT64_C(1) << 62;

struct fleet_shared {
	_Alignas(64) char host[QUOTA_HOST_BYTES]; /* who we are among the hosts; written once */
	_Atomic uint64_t hosts;			  /* last seen, this one included; 0 none yet */
	_Atomic int64_t beat_ms;		  /* when the next heartbeat is due */
	_Atomic uint32_t down[SHARDS_MAX];	  /* as it was said in the log */
};

struct fleet {
	struct fleet_options o;
	struct fleet_keeper *keeper;
};

size_t
fleet_shared_size(void)
{
	return sizeof(struct fleet_shared);
}

void
fleet_shared_init(void *mem)
{
	struct fleet_shared *s = memset(mem, 0, sizeof *s);
	uint8_t bytes[QUOTA_HOST_BYTES / 2];
	char hex[QUOTA_HOST_BYTES + 1];

	rand_bytes(bytes, sizeof bytes);
	hex_encode(bytes, sizeof bytes, hex);
	memcpy(s->host, hex, sizeof s->host);
}

uint64_t
fleet_hosts(const struct fleet_shared *s)
{
	return atomic_load_explicit(&s->hosts, memory_order_relaxed);
}

/*
 * What a rule comes to.
 */
static uint64_t
capacity(const struct limiter_rule *r)
{
	return r->sliding ? r->quota : r->burst;
}

static uint64_t
lease_max(const struct limiter_rule *r)
{
	const uint64_t share = capacity(r) / FLEET_SHARE;

	if (share < 1)
		return 1;
	return share < LEASE_TOKENS_MAX ? share : LEASE_TOKENS_MAX;
}

/* How long ${tokens} take to come, at most ${max_ms}, at least 1. */
static int64_t
time_of(const struct limiter_rule *r, uint64_t tokens, int64_t max_ms)
{
	const double ms = (double)r->window_ns / 1e6 / (double)r->quota * (double)tokens;

	if (ms < 1)
		return 1;
	return ms < (double)max_ms ? (int64_t)ms : max_ms;
}

/* While one asks for the next token, all others that come then are still over the limit. */
static int64_t
recent_ms(const struct limiter_rule *r)
{
	const int64_t token_ms = time_of(r, 1, RECENT_MS_MAX);

	return token_ms > BATCH_MS ? token_ms : BATCH_MS;
}

static int64_t
ms_up(int64_t us)
{
	return us / 1000 + (us % 1000 > 0);
}

/* At the limit: when to ask again. */
static int64_t
pause_of(const struct limiter_rule *r, const struct quota_grant *g)
{
	const int64_t retry = ms_up(g->retry_us), batch = time_of(r, lease_max(r), BATCH_MS);

	return retry > batch ? retry : batch;
}

/*
 * The name in Redis: "weir:limit:<rule>:t:acme"; the rule's seed is the same on every host.
 */
static struct quota_bucket
bucket_of(const struct fleet *f, const struct fleet_key *k, char text[KEY_BYTES])
{
	const int n = snprintf(text, KEY_BYTES, "weir:limit:%016llx:%c:%.*s",
	    (unsigned long long)k->rule.seed, k->by_tenant ? 't' : 'a', (int)k->name.len,
	    k->name.ptr == NULL ? "" : k->name.ptr);

	return (struct quota_bucket){
		.shard = shards_of(f->o.shards, k->name),
		.key = { text, n < KEY_BYTES ? (size_t)n : KEY_BYTES - 1 },
		.quota = k->rule.quota,
		.window_us = k->rule.window_ns / 1000,
		.burst = k->rule.burst,
		.sliding = k->rule.sliding,
	};
}

/*
 * What is told.
 */
static int64_t
ns_until(int64_t until_ms, int64_t now_ns)
{
	if (until_ms >= forever_ns / ms_ns)
		return forever_ns;
	return until_ms * ms_ns > now_ns ? until_ms * ms_ns - now_ns : 0;
}

static void
tell(const struct fleet_key *k, const struct lease_view *v, int64_t now_ns,
    struct limiter_state *out)
{
	const uint64_t known = v->left + v->told, most = capacity(&k->rule);

	*out = (struct limiter_state){
		.remaining = known < most ? known : most,
		.reset_ns = ns_until(v->reset_ms, now_ns),
	};
}

static void
tell_refused(const struct fleet_key *k, const struct lease_view *v, int64_t now_ns,
    struct limiter_state *out)
{
	const int64_t wait_ns = ns_until(v->until_ms, now_ns);

	tell(k, v, now_ns, out);
	out->remaining = 0;
	out->retry_after_ns = wait_ns > 0 ? wait_ns : ms_ns;
}

/*
 * Without Redis.
 */
static uint64_t
hosts_seen(const struct fleet *f)
{
	const uint64_t n = fleet_hosts(f->o.shared);

	return n > 0 ? n : 1;
}

static int64_t
times(int64_t window_ns, uint64_t n)
{
	return (uint64_t)window_ns < (uint64_t)forever_ns / n ? window_ns * (int64_t)n : forever_ns;
}

/* The rule of this host's share, which is a rule of its own: other figures, other states, another slot. */
static struct limiter_rule
share_of(const struct limiter_rule *r, uint64_t hosts)
{
	struct limiter_rule share = *r;

	share.seed = hash64(r->seed, &hosts, sizeof hosts);
	if (!r->sliding) {
		share.window_ns = times(r->window_ns, hosts);
		share.burst = r->burst > hosts ? r->burst / hosts : 1;
	} else if (r->quota >= hosts) {
		share.quota = r->quota / hosts;
	} else {
		share.quota = 1;
		share.window_ns = times(r->window_ns, (hosts + r->quota - 1) / r->quota);
	}
	return share;
}

static uint64_t
share_key(const struct fleet_key *k, uint64_t hosts)
{
	return hash64(k->key, &hosts, sizeof hosts);
}

static enum err
take_without_redis(
    struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct fleet_taken *out)
{
	struct limiter_rule share;

	out->hosts = hosts_seen(f);
	switch (f->o.on_failure) {
	case FLEET_OPEN:
		out->from = FLEET_FREE;
		out->state = (struct limiter_state){ .remaining = capacity(&k->rule) };
		return ERR_OK;
	case FLEET_CLOSED:
		return ERR_UNAVAILABLE;
	case FLEET_LOCAL:
		break;
	}
	out->from = FLEET_FROM_SHARE;
	share = share_of(&k->rule, out->hosts);
	return limiter_take(f->o.limiter, &share, share_key(k, out->hosts), now_ns, &out->state);
}

/*
 * Asking Redis.
 */
struct asked {
	struct quota_grant grant;
	int64_t before_ms, until_ms; /* until: of the tokens */
};

static enum err
ask(struct fleet *f, const struct fleet_key *k, uint64_t want, struct asked *out)
{
	char text[KEY_BYTES];
	const struct quota_bucket b = bucket_of(f, k, text);
	enum err rc;

	out->before_ms = clock_mono_ms();
	rc = quota_redis_take(f->o.shards, &b, want, out->before_ms, &out->grant);
	out->until_ms =
	    out->before_ms + (k->rule.sliding ? out->grant.reset_us / 1000 : BUCKET_LEASE_MS);
	return rc;
}

/* What of a window is not used is lost with it; what of a bucket is not, its bucket shall have again. */
static void
owe(struct fleet *f, const struct fleet_key *k, int64_t until_ms)
{
	if (!k->rule.sliding && f->keeper != NULL)
		(void)fleet_keeper_owe(f->keeper, k, until_ms);
}

/* Puts what Redis gave, but for ${used}, where the host's requests find it. */
static void
learn(struct fleet *f, const struct fleet_key *k, const struct asked *a, uint64_t used)
{
	const struct quota_grant *g = &a->grant;
	const int64_t now_ms = clock_mono_ms();
	const struct lease_grant lease = {
		.tokens = g->granted - used,
		.until_ms = a->until_ms,
		.pause_ms = g->remaining == 0 ? pause_of(&k->rule, g) : 0,
	};

	if (lease.tokens > 0) {
		lease_put(f->o.leases, k->key, now_ms, &lease);
		owe(f, k, a->until_ms);
	} else if (g->remaining == 0) {
		lease_refuse(f->o.leases, k->key, now_ms, a->before_ms + lease.pause_ms);
	}
	lease_tell(f->o.leases, k->key, g->remaining, a->before_ms + g->reset_us / 1000);
}

static enum err
answer(const struct fleet_key *k, const struct asked *a, int64_t now_ns, struct fleet_taken *out)
{
	const struct quota_grant *g = &a->grant;
	const struct lease_view v = {
		.left = g->granted > 0 ? g->granted - 1 : 0,
		.told = g->remaining,
		.until_ms = a->before_ms + pause_of(&k->rule, g),
		.reset_ms = a->before_ms + ms_up(g->reset_us),
	};

	out->from = FLEET_FROM_LEASE;
	out->until_ms = a->until_ms;
	if (g->granted == 0) {
		tell_refused(k, &v, now_ns, &out->state);
		return ERR_LIMITED;
	}
	tell(k, &v, now_ns, &out->state);
	return ERR_OK;
}

/* Who asks first asks for a lease; those who cannot wait for that, each for his own token. */
static enum err
ask_and_take(struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct fleet_taken *out)
{
	const int64_t now_ms = clock_mono_ms();
	const bool first =
	    lease_begin_asking(f->o.leases, k->key, now_ms, f->o.timeout_ms + ASKING_SLACK_MS);
	const uint64_t want =
	    first ? lease_want(f->o.leases, k->key, now_ms, lease_max(&k->rule)) : 1;
	struct asked a;
	const enum err rc = ask(f, k, want, &a);

	if (rc == ERR_OK)
		learn(f, k, &a, a.grant.granted > 0);
	if (first)
		lease_end_asking(f->o.leases, k->key);
	return rc == ERR_OK ? answer(k, &a, now_ns, out) : take_without_redis(f, k, now_ns, out);
}

/* Ahead of need; who is to do it has already said that he asks. */
static void
refill(void *ctx, const struct fleet_key *k)
{
	struct fleet *f = ctx;
	struct asked a;

	if (ask(f, k, lease_want(f->o.leases, k->key, clock_mono_ms(), lease_max(&k->rule)), &a) ==
	    ERR_OK)
		learn(f, k, &a, 0);
	lease_end_asking(f->o.leases, k->key);
}

static void
order_refill(struct fleet *f, const struct fleet_key *k, int64_t now_ms)
{
	if (f->keeper == NULL || lease_max(&k->rule) == 1 ||
	    !shards_is_up(f->o.shards, shards_of(f->o.shards, k->name)) ||
	    !lease_begin_asking(f->o.leases, k->key, now_ms, f->o.timeout_ms + ASKING_SLACK_MS))
		return;
	if (!fleet_keeper_refill(f->keeper, k))
		lease_end_asking(f->o.leases, k->key);
}

enum err
fleet_take(struct fleet *f, const struct fleet_key *k, int64_t now_ns, bool may_ask,
    struct fleet_taken *out)
{
	const int64_t now_ms = now_ns / ms_ns;
	struct lease_view v;
	const enum err rc = lease_take(f->o.leases, k->key, now_ms, recent_ms(&k->rule), &v);

	*out = (struct fleet_taken){ .from = FLEET_FROM_LEASE, .until_ms = v.until_ms };
	if (rc == ERR_OK) {
		tell(k, &v, now_ns, &out->state);
		if (v.refill)
			order_refill(f, k, now_ms);
		return ERR_OK;
	}
	if (rc == ERR_LIMITED) {
		tell_refused(k, &v, now_ns, &out->state);
		return ERR_LIMITED;
	}
	if (!shards_is_up(f->o.shards, shards_of(f->o.shards, k->name)))
		return take_without_redis(f, k, now_ns, out);
	return may_ask ? ask_and_take(f, k, now_ns, out) : ERR_CONFLICT;
}

void
fleet_give_back(
    struct fleet *f, const struct fleet_key *k, int64_t now_ns, const struct fleet_taken *taken)
{
	const int64_t now_ms = now_ns / ms_ns;
	struct lease_grant one = { .tokens = 1 };
	struct limiter_rule share;

	switch (taken->from) {
	case FLEET_FREE:
		return;
	case FLEET_FROM_SHARE:
		share = share_of(&k->rule, taken->hosts);
		limiter_give_back(
		    f->o.limiter, &share, share_key(k, taken->hosts), now_ns, &taken->state);
		return;
	case FLEET_FROM_LEASE:
		one.until_ms = k->rule.sliding ? taken->until_ms : now_ms + BUCKET_LEASE_MS;
		lease_put(f->o.leases, k->key, now_ms, &one);
		owe(f, k, one.until_ms);
		return;
	}
}

void
fleet_look(struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct limiter_state *out)
{
	struct lease_view v;

	lease_look(f->o.leases, k->key, now_ns / ms_ns, &v);
	if (v.until_ms > 0 && v.left == 0)
		tell_refused(k, &v, now_ns, out);
	else if (v.known)
		tell(k, &v, now_ns, out);
	else
		*out = (struct limiter_state){ .remaining = capacity(&k->rule) };
}

/*
 * On the keeper's thread.
 */
static void
give_back(struct fleet *f, const struct fleet_key *k, uint64_t tokens, int64_t now_ms)
{
	char text[KEY_BYTES];
	const struct quota_bucket b = bucket_of(f, k, text);

	if (tokens > 0) /* else used, or the lease goes on and who renewed it owes it */
		(void)quota_redis_give_back(f->o.shards, &b, tokens, now_ms);
}

static void
settle(void *ctx, const struct fleet_key *k)
{
	struct fleet *f = ctx;
	const int64_t now_ms = clock_mono_ms();

	give_back(f, k, lease_reclaim(f->o.leases, k->key, now_ms), now_ms);
}

/*
 * When this process ends, nobody else of the host knows what it owes.  So it takes also what still runs: a sibling
 * that wants more asks.  All calls together have the budget of one.
 */
static bool
leave(void *ctx, const struct fleet_key *k, int64_t closing_ms)
{
	struct fleet *f = ctx;

	if (clock_mono_ms() >= closing_ms + f->o.timeout_ms)
		return false;
	if (shards_is_up(f->o.shards, shards_of(f->o.shards, k->name)))
		give_back(f, k, lease_reclaim_early(f->o.leases, k->key), closing_ms);
	return true;
}

/* One process of the host at a time, and on every shard, for any of them may be the one that is left. */
static void
beat(struct fleet *f, int64_t now_ms)
{
	struct fleet_shared *s = f->o.shared;
	int64_t due_ms = atomic_load(&s->beat_ms);
	uint64_t most = 0, hosts;

	if (due_ms > now_ms && due_ms <= now_ms + QUOTA_BEAT_MS)
		return;
	if (!atomic_compare_exchange_strong(&s->beat_ms, &due_ms, now_ms + QUOTA_BEAT_MS))
		return;
	for (size_t i = 0; i < shards_count(f->o.shards); i++)
		if (quota_redis_beat(f->o.shards, i, s->host, clock_mono_ms(), &hosts) == ERR_OK &&
		    hosts > most)
			most = hosts;
	if (most > 0)
		atomic_store(&s->hosts, most);
}

static void
say_changes(struct fleet *f)
{
	static const char *const decisions[] = { [FLEET_LOCAL] = "this host's share",
		[FLEET_OPEN] = "all admitted",
		[FLEET_CLOSED] = "503" };

	for (size_t i = 0; i < shards_count(f->o.shards); i++) {
		const bool down = !shards_is_up(f->o.shards, i);
		uint32_t said = !down;

		if (!atomic_compare_exchange_strong(&f->o.shared->down[i], &said, down))
			continue;
		if (down)
			log_warn("limits_without_redis", LOG_INT("shard", i + 1),
			    LOG_STR("until_it_answers", decisions[f->o.on_failure]),
			    LOG_INT("hosts", hosts_seen(f)));
		else
			log_info("limits_by_redis_again", LOG_INT("shard", i + 1));
	}
}

static void
tick(void *ctx, int64_t now_ms)
{
	struct fleet *f = ctx;

	say_changes(f);
	beat(f, now_ms);
}

enum err
fleet_open(const struct fleet_options *o, struct fleet **out)
{
	struct fleet *f = calloc(1, sizeof *f);
	const struct fleet_keeper_options keeper = {
		.ctx = f, .refill = refill, .settle = settle, .tick = tick, .leave = leave
	};
	enum err rc = ERR_OK;

	*out = NULL;
	if (f == NULL)
		return ERR_NOMEM;
	f->o = *o;
	if (o->background)
		rc = fleet_keeper_open(&keeper, &f->keeper);
	if (rc != ERR_OK)
		free(f);
	else
		*out = f;
	return rc;
}

void
fleet_close(struct fleet **fp)
{
	struct fleet *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	fleet_keeper_close(&f->keeper);
	free(f);
}

void
fleet_explain(struct fleet *f, const struct fleet_key *k, int64_t now_ns, struct fleet_view *out)
{
	const int64_t now_ms = now_ns / ms_ns;
	const struct limiter_rule share = share_of(&k->rule, hosts_seen(f));
	struct lease_view v;
	struct asked a;

	lease_look(f->o.leases, k->key, now_ms, &v);
	*out = (struct fleet_view){
		.shard = shards_of(f->o.shards, k->name),
		.lease_max = lease_max(&k->rule),
		.hosts = hosts_seen(f),
		.leased = v.left,
		.leased_ms = v.left > 0 ? v.until_ms - now_ms : 0,
		.refused_ms = v.left == 0 && v.until_ms > now_ms ? v.until_ms - now_ms : 0,
		.asked = ask(f, k, 0, &a),
		.remaining = a.grant.remaining,
		.reset_us = a.grant.reset_us,
		.retry_us = a.grant.retry_us,
	};
	limiter_look(f->o.limiter, &share, share_key(k, out->hosts), now_ns, &out->share);
}
