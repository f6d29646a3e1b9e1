/*
 * Whose request it is, by its API key.
 *
 * What is shared by the host is a table of answers and two words: since when the database could not be asked,
 * and who tries again until when.  Each is one atomic word or proves itself, so a process may die anywhere.
 */
#include "service/tenant.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "policy/key_cache.h"
#include "policy/limiter.h"
#include "service/api_key.h"
#include "service/ledger.h"

enum {
	SLOTS = 8192,	       /* good keys that are remembered, and as many others: 3 MiB */
	TRUST_MS = 1000,       /* a good key, without asking: a revoked one ends within this */
	AHEAD_MS = 500,	       /* from then on one request asks again behind its reply, */
	ASK_AHEAD_MS = 400,    /* for so long: a stall is known before anybody would have to wait */
	LEASE_MS = 500,	       /* that one may be killed */
	REFUSED_MS = 10000,    /* a key that is not good */
	GRACE_MS = 15 * 60000, /* a key that was good, while the database cannot be asked */
	ASK_MS = 1000,	       /* one question; also the pause after one that failed */
	CLOCK_SLACK_MS = 100,  /* another process's `now` may be a little later than ours */
};

/* Refused keys of one address: a limit of this server, not of an endpoint. */
static const struct limiter_rule failures = {
	.seed = UINT64_C(0x7765697220617574), .quota = 10, .window_ns = 1000000000, .burst = 20
};

struct tenant_shared {
	_Atomic int64_t unasked_since_ms; /* 0: the database answers */
	_Atomic int64_t next_try_ms;	  /* not before, while it does not */
	alignas(64) unsigned char cache[];
};

static const char not_known[] = "the API key is not known, or was revoked";

size_t
tenant_shared_size(void)
{
	return sizeof(struct tenant_shared) + key_cache_size(SLOTS);
}

void
tenant_shared_init(void *mem, uint64_t seed)
{
	struct tenant_shared *s = mem;

	atomic_store(&s->unasked_since_ms, 0);
	atomic_store(&s->next_try_ms, 0);
	key_cache_init(s->cache, SLOTS, seed);
}

static struct key_cache *
cache_of(const struct tenants *t)
{
	return (struct key_cache *)(void *)t->shared->cache;
}

/*
 * Failures of an address.
 */
static int64_t
seconds_up(int64_t ns)
{
	return ns <= 1000000000 ? 1 : (ns + 999999999) / 1000000000;
}

static void
note_wait(const struct limiter_state *s, struct tenant_check *c)
{
	c->retry_after_s = seconds_up(s->retry_after_ns);
}

/* Has this address failed so often that nothing more is looked up for it? */
static bool
is_shut_out(const struct tenants *t, int64_t now_ns, struct tenant_check *c)
{
	struct limiter_state left;

	limiter_look(t->limiter, &failures, c->address, now_ns, &left);
	note_wait(&left, c);
	return left.remaining == 0;
}

static enum tenant_verdict
refuse(struct tenants *t, int64_t now_ns, const char *why, struct tenant_check *c)
{
	struct limiter_state left;

	c->why = why;
	if (limiter_take(t->limiter, &failures, c->address, now_ns, &left) == ERR_OK)
		return TENANT_REFUSED;
	note_wait(&left, c);
	return TENANT_LIMITED;
}

/*
 * A database that cannot be asked.
 */
static bool
is_unasked(const struct tenants *t)
{
	return atomic_load(&t->shared->unasked_since_ms) != 0;
}

/* True for one request of the host a second: it tries. */
static bool
may_try(struct tenants *t, int64_t now_ms)
{
	int64_t next_ms = atomic_load(&t->shared->next_try_ms);

	if (next_ms > now_ms && next_ms <= now_ms + ASK_MS)
		return false;
	return atomic_compare_exchange_strong(&t->shared->next_try_ms, &next_ms, now_ms + ASK_MS);
}

static void
note_unasked(struct tenants *t, int64_t now_ms, enum err why)
{
	int64_t since_ms = 0;

	atomic_store(&t->shared->next_try_ms, now_ms + ASK_MS);
	if (atomic_compare_exchange_strong(&t->shared->unasked_since_ms, &since_ms, now_ms))
		log_warn("api_keys_unasked", LOG_ERR("error", why),
		    LOG_STR("so", "keys that were good stay good for 15 minutes, others get 503"));
}

static void
note_asked(struct tenants *t, int64_t now_ms)
{
	int64_t since_ms = atomic_load(&t->shared->unasked_since_ms);

	if (since_ms != 0 &&
	    atomic_compare_exchange_strong(&t->shared->unasked_since_ms, &since_ms, 0))
		log_info("api_keys_asked_again", LOG_INT("after_ms", now_ms - since_ms));
}

/*
 * Looking.
 */
static bool
is_younger(const struct key_entry *e, int64_t now_ms, int64_t ms)
{
	const int64_t age_ms = now_ms - e->asked_ms;

	return age_ms >= -CLOCK_SLACK_MS && age_ms < ms;
}

static enum tenant_verdict
known(const struct key_entry *e, struct tenant_check *c)
{
	memcpy(c->bytes, e->tenant, e->tenant_len);
	c->tenant = (struct slice){ c->bytes, e->tenant_len };
	return TENANT_KNOWN;
}

/* A key that was good when it was asked about last: while that counts, nobody waits. */
static enum tenant_verdict
look_at_good(struct tenants *t, const struct key_entry *e, int64_t now_ms, struct tenant_check *c)
{
	const bool away = is_unasked(t);

	if (!is_younger(e, now_ms, away ? GRACE_MS : TRUST_MS))
		return !away || may_try(t, now_ms) ? TENANT_ASK : TENANT_UNASKED;
	if (away)
		c->again = may_try(t, now_ms);
	else
		c->again = !is_younger(e, now_ms, AHEAD_MS) &&
			   key_cache_claim(cache_of(t), c->digest, now_ms, LEASE_MS);
	return known(e, c);
}

/* A key of which nothing is known, or nothing any more. */
static enum tenant_verdict
look_at_stranger(struct tenants *t, int64_t now_ns, struct tenant_check *c)
{
	if (is_shut_out(t, now_ns, c))
		return TENANT_LIMITED;
	c->stranger = true;
	return !is_unasked(t) || may_try(t, now_ns / 1000000) ? TENANT_ASK : TENANT_UNASKED;
}

enum tenant_verdict
tenant_look(struct tenants *t, struct slice authorization, struct slice x_api_key, struct slice ip,
    int64_t now_ns, struct tenant_check *out)
{
	const int64_t now_ms = now_ns / 1000000;
	struct slice key;
	struct key_entry e;
	enum err rc;

	memset(out, 0, offsetof(struct tenant_check, bytes));
	rc = api_key_sent(authorization, x_api_key, &key, &out->id, &out->why);
	if (rc == ERR_NOT_FOUND)
		return TENANT_NO_KEY;
	out->address = hash64(t->seed ^ failures.seed, ip.ptr, ip.len);
	if (rc != ERR_OK)
		return refuse(t, now_ns, out->why, out);
	api_key_digest(key, out->digest);
	key_cache_find(cache_of(t), out->digest, &e);
	if (e.state == KEY_GOOD)
		return look_at_good(t, &e, now_ms, out);
	if (e.state == KEY_BAD && is_younger(&e, now_ms, REFUSED_MS))
		return refuse(t, now_ns, not_known, out);
	return look_at_stranger(t, now_ns, out);
}

/*
 * Asking.
 */

/* It could not be asked: what was good may still be, others are not judged. */
static enum tenant_verdict
stand_in(struct tenants *t, int64_t now_ms, struct tenant_check *c)
{
	struct key_entry e;

	key_cache_find(cache_of(t), c->digest, &e);
	if (e.state == KEY_GOOD && is_younger(&e, now_ms, GRACE_MS))
		return known(&e, c);
	return TENANT_UNASKED;
}

/* The answer is there: it counts from when it was asked for. */
static enum tenant_verdict
settle(struct tenants *t, int64_t now_ns, bool good, const struct api_key_found *row,
    struct tenant_check *c)
{
	struct key_entry e = { .state = good ? KEY_GOOD : KEY_BAD, .asked_ms = now_ns / 1000000 };

	if (good) {
		e.tenant_len = row->tenant_len;
		memcpy(e.tenant, row->tenant, row->tenant_len);
	}
	key_cache_keep(cache_of(t), c->digest, &e);
	if (!good)
		return refuse(t, now_ns, not_known, c);
	return known(&e, c);
}

/* Others may have asked while this one waited for a lane. */
static bool
was_asked_meanwhile(struct tenants *t, int64_t now_ms, struct tenant_check *c)
{
	struct key_entry e;

	key_cache_find(cache_of(t), c->digest, &e);
	if (e.state != KEY_GOOD || !is_younger(&e, now_ms, AHEAD_MS))
		return false;
	(void)known(&e, c);
	return true;
}

enum tenant_verdict
tenant_ask(struct tenants *t, int64_t now_ns, int64_t deadline_ms, struct tenant_check *c)
{
	const int64_t now_ms = now_ns / 1000000, longest_ms = c->again ? ASK_AHEAD_MS : ASK_MS;
	struct api_key_found row;
	enum err rc;

	if (was_asked_meanwhile(t, now_ms, c))
		return TENANT_KNOWN;
	if (c->stranger && is_shut_out(t, now_ns, c)) /* by those that were before it */
		return TENANT_LIMITED;
	if (deadline_ms > now_ms + longest_ms)
		deadline_ms = now_ms + longest_ms;
	c->looked_up = true;
	rc = ledger_key(t->ledger, c->id, deadline_ms, &row);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND) {
		note_unasked(t, now_ms, rc);
		return stand_in(t, now_ms, c);
	}
	note_asked(t, now_ms);
	return settle(t, now_ns,
	    rc == ERR_OK && digest_equal(row.digest, c->digest) && !row.revoked, &row, c);
}

uint32_t
tenant_usage(const struct tenant_shared *s, uint32_t *used_out)
{
	return key_cache_usage((const struct key_cache *)(const void *)s->cache, used_out);
}
