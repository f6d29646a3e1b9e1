/*
 * The reads' cache: what a copy is called, what purges it, who fills it.
 *
 * The decisions live in policy/ (l1, flight); here they are joined to endpoints.
 * Everything that names a copy is made of canonical text, so that two spellings of
 * one parameter are one copy and one tag.
 */
#include "service/cache.h"

#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "http/percent.h"
#include "policy/positions.h"
#include "service/purges.h"

enum {
	KEY_VERSION = 1,
	TEXT_BYTES_MAX = 16 << 20 /* of a key or a tag; no request comes near */
};
_Static_assert(
    (int)ENDPOINT_MAX_TAGS + 1 <= (int)CACHE_MAX_TAGS, "an endpoint's tags and its path");

/* What the statement answers, beside its parameters: another hash, other copies. */
static uint64_t
shape_of(const struct endpoint *e)
{
	const int64_t numbers[] = { e->returns_one, e->max_rows };
	uint64_t h = hash64(KEY_VERSION, e->sql.ptr, e->sql.len);

	h = hash64(h, numbers, sizeof numbers);
	h = hash64(h, e->binds, e->bind_count * sizeof *e->binds);
	for (size_t i = 0; i < e->column_count; i++)
		h = hash64(h ^ e->columns[i].type, e->columns[i].name.ptr, e->columns[i].name.len);
	return h;
}

/* Only where there is `vary:`, so that all other keys stay what they were.  The names too: another header is
 * another question. */
static void
add_vary(const struct endpoint *e, const struct slice *vary, struct strbuf *b)
{
	for (size_t i = 0; i < e->vary_count; i++) {
		const uint32_t bytes[2] = { (uint32_t)e->vary[i].param.len, (uint32_t)vary[i].len };

		strbuf_add_char(b, vary[i].ptr == NULL ? 'v' : 'V');
		strbuf_add(b, bytes, sizeof bytes);
		strbuf_add_slice(b, e->vary[i].param);
		strbuf_add_slice(b, vary[i]);
	}
}

/* Numbers and lengths come first, so that no two different lists of parts give the same bytes. */
static enum err
add_key(const struct endpoint *e, const struct value *values, const struct slice *vary,
    struct slice tenant, struct arena *a, struct strbuf *b)
{
	const uint64_t shape = shape_of(e);
	const uint32_t name_bytes = (uint32_t)e->name.len, count = (uint32_t)e->param_count;
	enum err rc;

	strbuf_add_char(b, KEY_VERSION);
	strbuf_add(b, &shape, sizeof shape);
	strbuf_add(b, &name_bytes, sizeof name_bytes);
	strbuf_add_slice(b, e->name);
	strbuf_add(b, &count, sizeof count);
	for (size_t i = 0; i < e->param_count; i++) {
		rc = value_canonical(&values[i], a, b);
		if (rc != ERR_OK)
			return rc;
	}
	add_vary(e, vary, b);
	strbuf_add_char(b, e->uses_tenant ? 'T' : '-');
	if (e->uses_tenant)
		strbuf_add_slice(b, tenant);
	return b->failed ? ERR_NOMEM : ERR_OK;
}

enum err
cache_key(const struct endpoint *e, const struct value *values, const struct slice *vary,
    struct slice tenant, struct arena *a, struct slice *key_out)
{
	struct strbuf b = STRBUF_INIT(TEXT_BYTES_MAX);
	enum err rc = add_key(e, values, vary, tenant, a, &b);

	*key_out = (struct slice){ 0 };
	if (rc == ERR_OK) {
		*key_out = arena_slice(a, strbuf_slice(&b));
		rc = key_out->ptr == NULL ? ERR_NOMEM : ERR_OK;
	}
	strbuf_free(&b);
	return rc;
}

static bool
is_json(enum value_type t)
{
	return t == VALUE_JSON || t == VALUE_OBJECT || t == VALUE_ARRAY || t == VALUE_ANY;
}

static enum err
add_value(struct strbuf *b, const struct value *v, struct arena *a)
{
	if (v->null)
		return ERR_OK;
	if (is_json(v->type))
		return json_canonical(v->text, a, b);
	strbuf_add_slice(b, v->text);
	return b->failed ? ERR_NOMEM : ERR_OK;
}

static enum err
add_template(
    struct strbuf *b, const struct template *t, const struct value *values, struct arena *a)
{
	enum err rc = ERR_OK;

	for (size_t i = 0; i < t->count && rc == ERR_OK; i++) {
		if (t->parts[i].param < 0)
			strbuf_add_slice(b, t->parts[i].literal);
		else
			rc = add_value(b, &values[t->parts[i].param], a);
	}
	return rc == ERR_OK && b->failed ? ERR_NOMEM : rc;
}

/* What cache_purge_path() makes of the same path. */
static enum err
add_path(struct strbuf *b, const struct endpoint *e, const struct value *values, struct arena *a)
{
	enum err rc = ERR_OK;

	strbuf_add_cstr(b, e->segment_count == 0 ? "path:/" : "path:");
	for (size_t i = 0; i < e->segment_count && rc == ERR_OK; i++) {
		strbuf_add_char(b, '/');
		if (e->segments[i].param < 0)
			strbuf_add_slice(b, e->segments[i].literal);
		else
			rc = add_value(b, &values[e->segments[i].param], a);
	}
	return rc == ERR_OK && b->failed ? ERR_NOMEM : rc;
}

static uint64_t
tag_hash(const struct cache *c, struct slice tag)
{
	return hash64(c->seed, tag.ptr, tag.len);
}

/* One text after the other, each in the same buffer. */
struct tag_walk {
	const struct endpoint *e;
	const struct value *values;
	struct arena *a;
	struct strbuf b;
	size_t at;
};

/* The first is the path; the endpoint's name counts when there are no tags.  False: no more. */
static bool
next_tag(struct tag_walk *w, enum err *rc)
{
	const size_t at = w->at++;

	w->b.len = 0;
	if (at == 0)
		*rc = add_path(&w->b, w->e, w->values, w->a);
	else if (at <= w->e->tag_count)
		*rc = add_template(&w->b, &w->e->tags[at - 1], w->values, w->a);
	else if (at == 1)
		strbuf_add_slice(&w->b, w->e->name);
	else
		return false;
	if (*rc == ERR_OK && w->b.failed)
		*rc = ERR_NOMEM;
	return *rc == ERR_OK;
}

enum err
cache_tags(const struct cache *c, const struct endpoint *e, const struct value *values,
    struct arena *a, uint64_t tags_out[CACHE_MAX_TAGS], size_t *count_out)
{
	struct tag_walk w = { e, values, a, STRBUF_INIT(TEXT_BYTES_MAX), 0 };
	enum err rc = e->tag_count > ENDPOINT_MAX_TAGS ? ERR_TOO_LARGE : ERR_OK;
	size_t n = 0;

	while (rc == ERR_OK && next_tag(&w, &rc))
		tags_out[n++] = tag_hash(c, strbuf_slice(&w.b));
	strbuf_free(&w.b);
	*count_out = rc == ERR_OK ? n : 0;
	return rc;
}

enum err
cache_tag_texts(const struct endpoint *e, const struct value *values, struct arena *a,
    struct slice texts_out[CACHE_MAX_TAGS], size_t *count_out)
{
	struct tag_walk w = { e, values, a, STRBUF_INIT(TEXT_BYTES_MAX), 0 };
	enum err rc = e->tag_count > ENDPOINT_MAX_TAGS ? ERR_TOO_LARGE : ERR_OK;
	size_t n = 0;

	while (rc == ERR_OK && next_tag(&w, &rc)) {
		texts_out[n] = arena_slice(a, strbuf_slice(&w.b));
		if (texts_out[n++].ptr == NULL)
			rc = ERR_NOMEM;
	}
	strbuf_free(&w.b);
	*count_out = rc == ERR_OK ? n : 0;
	return rc;
}

enum l1_answer
cache_lookup(const struct cache *c, struct slice key, int64_t now_ms, int64_t wait_ms,
    struct arena *a, struct cache_hit *hit_out)
{
	struct l1_times times;
	const enum l1_answer answer =
	    l1_get(c->l1, key, now_ms, wait_ms, a, &hit_out->block, &times);

	hit_out->stored_ms = times.stored;
	hit_out->age_ms = now_ms > times.stored ? now_ms - times.stored : 0;
	hit_out->fresh_ms = times.fresh_until - now_ms;
	hit_out->cost_us = times.cost_us;
	if (hit_out->block.ptr == NULL)
		hit_out->age_ms = hit_out->fresh_ms = 0;
	return answer;
}

static void
fill_open(const struct cache *c, struct slice key, struct cache_fill *f)
{
	*f = (struct cache_fill){ .key = key, .flight = hash64(c->seed, key.ptr, key.len) };
}

enum flight_role
cache_join(const struct cache *c, struct slice key, int64_t now_ms, int64_t lease_ms,
    struct cache_fill *out)
{
	enum flight_role role;

	fill_open(c, key, out);
	role = flight_join(c->flights, out->flight, c->member, now_ms, lease_ms, &out->ticket);
	out->leading = role == FLIGHT_LEAD;
	return role;
}

bool
cache_lead(const struct cache *c, struct slice key, int64_t now_ms, int64_t lease_ms,
    struct cache_fill *out)
{
	fill_open(c, key, out);
	out->leading =
	    flight_try_lead(c->flights, out->flight, c->member, now_ms, lease_ms, &out->ticket);
	return out->leading;
}

enum flight_state
cache_look(const struct cache *c, struct cache_fill *f, uint8_t *reason_out)
{
	return flight_look(c->flights, f->flight, &f->ticket, reason_out);
}

bool
cache_take_over(const struct cache *c, struct cache_fill *f, int64_t now_ms, int64_t lease_ms)
{
	f->leading =
	    flight_take_over(c->flights, f->flight, &f->ticket, c->member, now_ms, lease_ms);
	return f->leading;
}

static void
ring_members(const struct cache *c, const uint64_t ring[FLIGHT_MEMBER_WORDS])
{
	for (unsigned m = 0; c->ring != NULL && m < FLIGHT_MEMBERS; m++)
		if ((ring[m / 64] >> m % 64 & 1) != 0)
			c->ring(c->ctx, m);
}

static void
land(const struct cache *c, struct cache_fill *f, enum flight_state outcome, uint8_t reason)
{
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	if (!f->leading)
		return;
	f->leading = false;
	if (flight_land(c->flights, f->flight, &f->ticket, outcome, reason, ring))
		ring_members(c, ring);
}

void
cache_note_tags(const struct cache *c, struct cache_fill *f, const struct endpoint *e,
    const struct value *values, struct arena *a)
{
	uint64_t tags[CACHE_MAX_TAGS];
	size_t count;

	if (cache_tags(c, e, values, a, tags, &count) != ERR_OK) {
		f->tags.count = L1_MAX_TAGS + 1; /* nothing could purge it: l1_put() refuses */
		return;
	}
	l1_tags_read(c->l1, tags, count, &f->tags); /* first: see policy/positions.h */
	f->position = positions_of(c->positions, tags, count);
}

enum l1_answer
cache_begin(const struct cache *c, struct cache_fill *f, const struct endpoint *e,
    const struct value *values, int64_t now_ms, int64_t wait_ms, struct arena *a,
    struct cache_hit *hit_out)
{
	enum l1_answer answer;

	cache_note_tags(c, f, e, values, a);
	answer = cache_lookup(c, f->key, now_ms, wait_ms, a, hit_out);
	if (answer == L1_FRESH && hit_out->stored_ms <= f->replaces_ms) {
		f->replaced_left_ms = hit_out->fresh_ms;
		return L1_STALE;
	}
	if (answer == L1_FRESH)
		land(c, f, FLIGHT_STORED, 0);
	return answer;
}

/* ${start} + ${ms}, both not negative, at most the end of time. */
static int64_t
later(int64_t start, int64_t ms)
{
	return ms > INT64_MAX - start ? INT64_MAX : start + ms;
}

enum err
cache_fill_land(const struct cache *c, struct cache_fill *f, const struct cache_rule *rule,
    struct slice block, uint64_t seen, int64_t now_ms, int64_t wait_ms, uint32_t *evicted_out)
{
	const int64_t fresh_until = later(now_ms, rule->fresh_ms);
	const struct l1_times times = {
		.stored = now_ms,
		.fresh_until = fresh_until,
		.stale_until = later(fresh_until, rule->stale_ms),
		.error_until = later(fresh_until, rule->if_error_ms),
		.cost_us = f->cost_us,
	};

	if (seen >= f->position)
		return cache_copy_land(c, f, &times, block, wait_ms, evicted_out);
	land(c, f, FLIGHT_NOT_STORED, 0);
	return ERR_CONFLICT;
}

enum err
cache_copy_land(const struct cache *c, struct cache_fill *f, const struct l1_times *times,
    struct slice block, int64_t wait_ms, uint32_t *evicted_out)
{
	const enum err rc = l1_put(c->l1, f->key, block, &f->tags, times, wait_ms, evicted_out);

	if (rc == ERR_OK)
		land(c, f, FLIGHT_STORED, 0);
	else
		land(c, f, rc == ERR_CONFLICT ? FLIGHT_GONE : FLIGHT_NOT_STORED, 0);
	return rc;
}

void
cache_fail_land(const struct cache *c, struct cache_fill *f, uint8_t reason)
{
	land(c, f, FLIGHT_FAILED, reason);
}

void
cache_give_up(const struct cache *c, struct cache_fill *f)
{
	land(c, f, FLIGHT_GONE, 0);
}

void
cache_sweep(const struct cache *c)
{
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	flight_sweep(c->flights, c->member, ring);
	ring_members(c, ring);
}

static void
purge_tag(const struct cache *c, struct slice tag, uint64_t position)
{
	const uint64_t hash = tag_hash(c, tag);

	positions_raise(c->positions, hash, position);
	l1_purge(c->l1, hash);
	if (c->purges != NULL)
		purges_add(c->purges, &tag, position);
}

void
cache_purge_tag(const struct cache *c, struct slice tag)
{
	purge_tag(c, tag, 0);
}

enum err
cache_purge_send(const struct cache *c)
{
	return c->purges == NULL ? ERR_OK : purges_send(c->purges);
}

enum err
cache_purge_path(const struct cache *c, struct slice path, struct arena *a, const char **why_out)
{
	struct strbuf b = STRBUF_INIT(TEXT_BYTES_MAX);
	struct slice decoded;
	enum err rc;

	*why_out = "";
	if (path.len == 0 || *path.ptr != '/') {
		*why_out = "a path that does not begin with '/'";
		return ERR_INVALID;
	}
	rc = percent_decode(slice_cut(&path, '?'), false, a, &decoded, why_out);
	if (rc != ERR_OK)
		return rc;
	strbuf_add_cstr(&b, "path:");
	strbuf_add_slice(&b, decoded);
	if (!b.failed)
		cache_purge_tag(c, strbuf_slice(&b));
	rc = b.failed ? ERR_NOMEM : ERR_OK;
	strbuf_free(&b);
	return rc;
}

void
cache_purge_all(const struct cache *c, uint64_t position)
{
	positions_raise_all(c->positions, position);
	l1_purge_all(c->l1);
	if (c->purges != NULL)
		purges_add(c->purges, NULL, position);
}

size_t
cache_purge_event(const struct cache *c, const struct endpoint *e, const struct value *values,
    uint64_t position, struct arena *a)
{
	struct strbuf b = STRBUF_INIT(TEXT_BYTES_MAX);

	for (size_t i = 0; i < e->invalidate_count; i++) {
		b.len = 0;
		if (add_template(&b, &e->invalidates[i], values, a) == ERR_OK) {
			purge_tag(c, strbuf_slice(&b), position);
		} else {
			cache_purge_all(c, position); /* too much rather than too little */
			strbuf_free(&b);	      /* its failure would be the next tag's too */
		}
	}
	strbuf_free(&b);
	return e->invalidate_count;
}
