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

/* One rule as the limiter wants it, for this caller. */
struct claim {
	struct limiter_rule rule;
	uint64_t key;
	struct limiter_state state;
};

static size_t
rule_count(const struct endpoint *e)
{
	return e->limit_count < QUOTA_MAX_RULES ? e->limit_count : QUOTA_MAX_RULES;
}

/* A tenant who calls himself 192.0.2.1 does not share a slot with that address. */
static uint64_t
key_of(const struct quota *q, const struct limit_rule *r, const struct quota_caller *who)
{
	const bool by_tenant = r->by != LIMIT_BY_IP && who->tenant.len > 0;
	const struct slice address = r->by == LIMIT_BY_CLIENT ? who->client : who->ip;
	const struct slice name = by_tenant ? who->tenant : address;
	const uint64_t kind[] = { r->seed, by_tenant };

	return hash64(hash64(q->seed, kind, sizeof kind), name.ptr, name.len);
}

static struct claim
claim_of(const struct quota *q, const struct limit_rule *r, const struct quota_caller *who)
{
	const int64_t window_ms = r->window_ms < window_max_ms ? r->window_ms : window_max_ms;

	return (struct claim){
		.rule = { .seed = r->seed,
		    .quota = r->quota,
		    .window_ns = window_ms * ms_ns,
		    .burst = r->burst,
		    .sliding = r->algorithm == LIMIT_SLIDING_WINDOW },
		.key = key_of(q, r, who),
	};
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
give_back(const struct quota *q, const struct endpoint *e, const struct claim *claims, size_t n,
    int64_t now_ns)
{
	for (size_t i = n; i-- > 0;)
		if (!e->limits[i].observe)
			limiter_give_back(
			    q->limiter, &claims[i].rule, claims[i].key, now_ns, &claims[i].state);
}

/* Fills ${claims}; returns how many stand: all, or the index of the one that refused. */
static size_t
take_all(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct claim *claims)
{
	const size_t n = rule_count(e);

	for (size_t i = 0; i < n; i++) {
		struct claim *c = &claims[i];

		if (e->limits[i].observe)
			continue;
		*c = claim_of(q, &e->limits[i], who);
		if (limiter_take(q->limiter, &c->rule, c->key, now_ns, &c->state) != ERR_OK)
			return i;
	}
	return n;
}

/* After a refusal: what the other rules have left. */
static void
look_at_others(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, size_t refused, struct claim *claims)
{
	for (size_t i = 0; i < rule_count(e); i++) {
		struct claim *c = &claims[i];

		if (e->limits[i].observe || i == refused)
			continue;
		if (i > refused)
			*c = claim_of(q, &e->limits[i], who);
		limiter_look(q->limiter, &c->rule, c->key, now_ns, &c->state);
	}
}

static void
observe(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out)
{
	for (size_t i = 0; i < rule_count(e); i++) {
		struct claim c;

		if (!e->limits[i].observe)
			continue;
		c = claim_of(q, &e->limits[i], who);
		if (limiter_take(q->limiter, &c.rule, c.key, now_ns, &c.state) != ERR_OK)
			out->observed++;
		out->overflow = out->overflow || c.state.overflow;
	}
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
		out->remaining[i] = claims[i].state.remaining;
		out->reset_s[i] = seconds_up(claims[i].state.reset_ns);
		out->overflow = out->overflow || claims[i].state.overflow;
		if (is_tighter(e, out, i))
			out->tightest = (int)i;
	}
}

enum err
quota_take(const struct quota *q, const struct endpoint *e, const struct quota_caller *who,
    int64_t now_ns, struct quota_verdict *out)
{
	struct claim claims[QUOTA_MAX_RULES];
	const size_t n = take_all(q, e, who, now_ns, claims);

	*out = (struct quota_verdict){ .refused = -1, .tightest = -1 };
	if (n == rule_count(e)) {
		tell(e, claims, out);
		observe(q, e, who, now_ns, out);
		return ERR_OK;
	}
	give_back(q, e, claims, n, now_ns);
	look_at_others(q, e, who, now_ns, n, claims);
	tell(e, claims, out);
	out->refused = out->tightest = (int)n;
	out->retry_after_s = seconds_up(claims[n].state.retry_after_ns);
	out->reset_s[n] = out->retry_after_s;
	return ERR_LIMITED;
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
