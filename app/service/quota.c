/*
 * Limits of an endpoint, client by client: which slots a request needs, what a refusal undoes, and how
 * the caller is told.
 *
 * How a limit counts: policy/limiter.  Headers are built here on every request, so they go into one
 * piece of the arena, without printf.
 */
#include "service/quota.h"

#include "base/hash.h"
#include "http/endpoint.h"
#include "http/response.h"
#include "http/structured_field.h"
#include "policy/limiter.h"

_Static_assert((int)QUOTA_MAX_RULES == (int)ENDPOINT_MAX_LIMITS, "a verdict on each rule");

static const int64_t ms_ns = 1000000, second_ns = 1000000000;
static const int64_t window_max_ms = INT64_C(1) << 42; /* 139 years, and still some ns in 63 bits */

enum {
	FIGURE_BYTES = 20,
	RULE_BYTES = 32, /* of one rule in one field, beside its name and two figures */
	LEGACY_FIELDS = 3,
};

/* One rule for this caller, as limiter and fleet want it. */
struct claim {
	struct fleet_key key;
	struct fleet_taken got; /* without a fleet only its state */
	bool taken;
};

static size_t
rule_count(const struct endpoint *e)
{
	return e->limit_count < QUOTA_MAX_RULES ? e->limit_count : QUOTA_MAX_RULES;
}

/* A tenant who calls himself 192.0.2.1 does not share a slot with that address. */
static void
name_caller(const struct quota *q, const struct limit_rule *r, const struct quota_caller *who,
    struct fleet_key *k)
{
	const bool by_tenant = r->by != LIMIT_BY_IP && who->tenant.len > 0;
	const struct slice address = r->by == LIMIT_BY_CLIENT ? who->client : who->ip;
	const uint64_t kind[] = { r->seed, by_tenant };

	k->by_tenant = by_tenant;
	k->name = by_tenant ? who->tenant : address;
	k->key = hash64(hash64(q->seed, kind, sizeof kind), k->name.ptr, k->name.len);
}

static void
claim_make(const struct quota *q, const struct limit_rule *r, const struct quota_caller *who,
    struct claim *out)
{
	const int64_t window_ms = r->window_ms < window_max_ms ? r->window_ms : window_max_ms;

	out->key.rule = (struct limiter_rule){ .seed = r->seed,
		.quota = r->quota,
		.window_ns = window_ms * ms_ns,
		.burst = r->burst,
		.sliding = r->algorithm == LIMIT_SLIDING_WINDOW };
	name_caller(q, r, who, &out->key);
	out->taken = false;
}

static enum err
claim_take(const struct quota *q, struct claim *c, int64_t now_ns, bool may_ask)
{
	const struct fleet_key *k = &c->key;
	const enum err rc = q->fleet == NULL
				? limiter_take(q->limiter, &k->rule, k->key, now_ns, &c->got.state)
				: fleet_take(q->fleet, k, now_ns, may_ask, &c->got);

	c->taken = rc == ERR_OK;
	return rc;
}

static void
claim_give_back(const struct quota *q, struct claim *c, int64_t now_ns)
{
	const struct fleet_key *k = &c->key;

	if (!c->taken)
		return;
	c->taken = false;
	if (q->fleet == NULL)
		limiter_give_back(q->limiter, &k->rule, k->key, now_ns, &c->got.state);
	else
		fleet_give_back(q->fleet, k, now_ns, &c->got);
}

static void
claim_look(const struct quota *q, struct claim *c, int64_t now_ns)
{
	const struct fleet_key *k = &c->key;

	if (q->fleet == NULL)
		limiter_look(q->limiter, &k->rule, k->key, now_ns, &c->got.state);
	else
		fleet_look(q->fleet, k, now_ns, &c->got.state);
}

static int64_t
seconds_up(int64_t ns)
{
	return ns / second_ns + (ns % second_ns > 0);
}

/* The most that can be left. */
static uint64_t
capacity(const struct limit_rule *r)
{
	return r->algorithm == LIMIT_SLIDING_WINDOW ? r->quota : r->burst;
}

static void
give_back(const struct quota *q, const struct endpoint *e, struct claim *claims, int64_t now_ns)
{
	for (size_t i = rule_count(e); i-- > 0;)
		if (!e->limits[i].observe)
			claim_give_back(q, &claims[i], now_ns);
}

/*
 * Fills ${claims} with the rules that refuse; *${at_out} is the one that did.  A rule for which Redis would have to
 * be asked is passed over: should a later one refuse anyway, nobody need be asked.
 */
static enum err
take_all(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, bool may_ask, struct claim *claims, size_t *at_out)
{
	enum err all = ERR_OK;

	*at_out = rule_count(e);
	for (size_t i = 0; i < rule_count(e); i++) {
		enum err rc;

		if (e->limits[i].observe)
			continue;
		claim_make(q, &e->limits[i], who, &claims[i]);
		if (all != ERR_OK && all != ERR_CONFLICT)
			continue; /* made, so that what is left can be told */
		rc = claim_take(q, &claims[i], now_ns, may_ask);
		if (rc != ERR_OK)
			all = rc;
		if (rc == ERR_LIMITED)
			*at_out = i;
	}
	return all;
}

/* After a refusal: what the other rules have left. */
static void
look_at_others(const struct quota *q, const struct endpoint *e, int64_t now_ns, size_t refused,
    struct claim *claims)
{
	for (size_t i = 0; i < rule_count(e); i++)
		if (!e->limits[i].observe && i != refused)
			claim_look(q, &claims[i], now_ns);
}

/* ERR_CONFLICT: one must ask Redis, nothing is counted yet.  Otherwise ERR_OK, for nobody is refused here. */
static enum err
observe(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, bool may_ask, struct quota_verdict *out)
{
	struct claim claims[QUOTA_MAX_RULES];

	for (size_t i = 0; i < rule_count(e); i++) {
		struct claim *c = &claims[i];
		enum err rc;

		if (!e->limits[i].observe)
			continue;
		claim_make(q, &e->limits[i], who, c);
		rc = claim_take(q, c, now_ns, may_ask);
		if (rc == ERR_CONFLICT) {
			for (size_t n = i; n-- > 0;)
				if (e->limits[n].observe)
					claim_give_back(q, &claims[n], now_ns);
			return rc;
		}
		out->observed += rc == ERR_LIMITED;
		out->observed_rules |= (unsigned)(rc == ERR_LIMITED) << i;
		out->overflow = out->overflow || c->got.state.overflow;
	}
	return ERR_OK;
}

/* Is the share that rule ${i} has left smaller than that of the tightest so far? */
static bool
is_tighter(const struct endpoint *e, const struct quota_verdict *v, size_t i)
{
	const size_t t = (size_t)v->tightest; /* figures are at most 10^9, so products fit */

	return v->tightest == -1 || v->remaining[i] * capacity(&e->limits[t]) <
					v->remaining[t] * capacity(&e->limits[i]);
}

static void
tell(const struct endpoint *e, const struct claim *claims, struct quota_verdict *out)
{
	for (size_t i = 0; i < rule_count(e); i++) {
		if (e->limits[i].observe)
			continue;
		out->remaining[i] = claims[i].got.state.remaining;
		out->reset_s[i] = seconds_up(claims[i].got.state.reset_ns);
		out->overflow = out->overflow || claims[i].got.state.overflow;
		if (is_tighter(e, out, i))
			out->tightest = (int)i;
	}
}

static void
refuse(const struct quota *q, const struct endpoint *e, int64_t now_ns, size_t at,
    struct claim *claims, struct quota_verdict *out)
{
	give_back(q, e, claims, now_ns);
	look_at_others(q, e, now_ns, at, claims);
	tell(e, claims, out);
	out->refused = out->tightest = (int)at;
	out->retry_after_s = seconds_up(claims[at].got.state.retry_after_ns);
	out->reset_s[at] = out->retry_after_s;
}

static enum err
take(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, bool may_ask, struct quota_verdict *out)
{
	struct claim claims[QUOTA_MAX_RULES];
	size_t at;
	enum err rc = take_all(q, e, who, now_ns, may_ask, claims, &at);

	*out = (struct quota_verdict){ .refused = -1, .tightest = -1 };
	if (rc == ERR_LIMITED) {
		refuse(q, e, now_ns, at, claims, out);
		return rc;
	}
	if (rc == ERR_OK) {
		tell(e, claims, out);
		rc = observe(q, e, who, now_ns, may_ask, out);
	}
	if (rc != ERR_OK)
		give_back(q, e, claims, now_ns);
	return rc;
}

enum err
quota_take(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out)
{
	return take(q, e, who, now_ns, false, out);
}

enum err
quota_ask(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out)
{
	return take(q, e, who, now_ns, true, out);
}

void
quota_explain(const struct quota *q, const struct limit_rule *rule, const struct quota_caller *who,
    int64_t now_ns, struct quota_explained *out)
{
	struct claim c;

	*out = (struct quota_explained){ .shared = q->fleet != NULL };
	claim_make(q, rule, who, &c);
	claim_look(q, &c, now_ns);
	out->name = c.key.name;
	out->by_tenant = c.key.by_tenant;
	out->here = c.got.state;
	if (q->fleet == NULL)
		return;
	fleet_explain(q->fleet, &c.key, now_ns, &out->fleet);
	if (out->fleet.lease_max > 1)
		out->error = out->fleet.lease_max * out->fleet.hosts;
}

/*
 * A strbuf inside the arena.  Its bound is its capacity, so it neither grows nor moves, and is not
 * freed.
 */
static struct strbuf
buffer_for(const struct endpoint *e, struct arena *a)
{
	size_t size = LEGACY_FIELDS * FIGURE_BYTES + 1;
	char *bytes;

	for (size_t i = 0; i < rule_count(e); i++)
		size += 2 * (2 * e->limits[i].name.len + 2 * FIGURE_BYTES + RULE_BYTES);
	bytes = arena_alloc(a, size);
	return (
	    struct strbuf){ .ptr = bytes, .cap = size, .max = size - 1, .failed = bytes == NULL };
}

static void
add_figure(struct strbuf *b, const char *name, uint64_t figure)
{
	strbuf_add_cstr(b, name);
	strbuf_add_i64(b, (int64_t)figure);
}

/* Hands what was written since ${from} to the response. */
static void
flush(struct strbuf *b, size_t from, const char *name, struct arena *a, struct response *r)
{
	if (!b->failed)
		response_header(r, a, name, (struct slice){ b->ptr + from, b->len - from });
}

static void
add_name(struct strbuf *b, size_t from, const struct limit_rule *r)
{
	if (b->len > from)
		strbuf_add(b, ", ", 2);
	sf_add_string(b, r->name);
}

static void
header_policy(const struct endpoint *e, struct strbuf *b, struct arena *a, struct response *r)
{
	const size_t from = b->len;

	for (size_t i = 0; i < rule_count(e); i++) {
		const struct limit_rule *rule = &e->limits[i];

		if (rule->observe)
			continue;
		add_name(b, from, rule);
		add_figure(b, ";q=", rule->quota);
		add_figure(
		    b, ";w=", (uint64_t)(rule->window_ms / 1000 + (rule->window_ms % 1000 > 0)));
	}
	flush(b, from, "RateLimit-Policy", a, r);
}

static void
header_left(const struct quota_verdict *v, const struct endpoint *e, struct strbuf *b,
    struct arena *a, struct response *r)
{
	const size_t from = b->len;

	for (size_t i = 0; i < rule_count(e); i++) {
		if (e->limits[i].observe)
			continue;
		add_name(b, from, &e->limits[i]);
		add_figure(b, ";r=", v->remaining[i]);
		add_figure(b, ";t=", (uint64_t)v->reset_s[i]);
	}
	flush(b, from, "RateLimit", a, r);
}

static void
header_legacy(
    const char *name, uint64_t figure, struct strbuf *b, struct arena *a, struct response *r)
{
	const size_t from = b->len;

	add_figure(b, "", figure);
	flush(b, from, name, a, r);
}

void
quota_headers(
    const struct quota_verdict *v, const struct endpoint *e, struct arena *a, struct response *r)
{
	struct strbuf b;
	size_t t;

	if (v->tightest < 0)
		return;
	t = (size_t)v->tightest;
	b = buffer_for(e, a);
	header_policy(e, &b, a, r);
	header_left(v, e, &b, a, r);
	header_legacy("X-RateLimit-Limit", capacity(&e->limits[t]), &b, a, r);
	header_legacy("X-RateLimit-Remaining", v->remaining[t], &b, a, r);
	header_legacy("X-RateLimit-Reset", (uint64_t)v->reset_s[t], &b, a, r);
}
