/*
 * Idempotency keys in Redis.
 *
 *   weir:key:<tenant>:<event id>   "1 c <fingerprint> <host>"          claimed
 *                                  "1 a <fingerprint> <accepted, us>"  accepted
 *
 * The tenant is in the key, for an event id is no secret: who asks for another tenant's finds nothing.
 */
#include "service/idempotency.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/thread.h"
#include "client/redis.h"
#include "service/shards.h"

enum {
	BATCH = 128, /* keys of one call: well within its time */
	SETTLES_MAX = 16384,
	HELD_AGAIN_MS = 20,
	HELD_MAX_MS = 1000,  /* then 409 */
	KEY_BYTES_MAX = 512, /* a tenant has at most 255 */
	FINGERPRINT_TEXT = 2 * EVENT_FINGERPRINT_BYTES + 1,
	NUMBER_BYTES = 24,
	ARGS_OF_KEY = 4,
};

/*
 * KEYS; ARGV host, then for each key: what to do, fingerprint, ms to live, accepted_us.
 *   c  claim: "ours", "held", "other", or when it was accepted
 *   s  settle as accepted    r  give the claim back
 */
static const struct redis_script keys_script = { .name = "keys",
	.text = "local said = {}\n"
		"for i, key in ipairs(KEYS) do\n"
		"  local what, print, ms, at = unpack(ARGV, 4 * i - 2, 4 * i + 1)\n"
		"  local stands = redis.call('GET', key) or ''\n"
		"  local kind, was, who = string.match(stands, '^1 ([ac]) (%x+) (%S+)$')\n"
		"  local ours = kind == 'c' and who == ARGV[1]\n"
		"  said[i] = 'ours'\n"
		"  if what == 'c' then\n"
		"    if not kind or ours then\n"
		"      redis.call('SET', key, '1 c ' .. print .. ' ' .. ARGV[1], 'PX', ms)\n"
		"    elseif kind == 'c' then said[i] = 'held'\n"
		"    elseif was == print then said[i] = who\n"
		"    else said[i] = 'other' end\n"
		"  elseif what == 's' and kind ~= 'a' then\n"
		"    redis.call('SET', key, '1 a ' .. print .. ' ' .. at, 'PX', ms)\n"
		"  elseif what == 'r' and ours then\n"
		"    redis.call('DEL', key)\n"
		"  end\n"
		"end\n"
		"return said\n" };

/* What became of an event; its own memory, for the exchange is gone by then. */
struct settle {
	struct settle *next;
	uint8_t id[EVENT_ID_BYTES], fingerprint[EVENT_FINGERPRINT_BYTES];
	int64_t accepted_us;
	struct slice tenant; /* behind this struct */
};

struct claims {
	struct idempotency_claim *head, **tail;
};

struct waiting {
	struct claims claims;
	struct settle *settles, **settles_tail;
};

struct idempotency {
	struct idempotency_options o;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* of all down to the next blank line */
	pthread_cond_t wakes;
	struct waiting waiting[SHARDS_MAX];
	size_t settle_count;
	bool stopping;

	struct claims held; /* the thread's own: to be asked again */
};

/* One call: settles first, for a claim may be for the same key. */
struct batch {
	size_t shard, count, settle_count;
	struct settle *settles;
	struct idempotency_claim *claims[BATCH];
	char keys_text[BATCH][KEY_BYTES_MAX];
	char prints[BATCH][FINGERPRINT_TEXT];
	char numbers[BATCH][2][NUMBER_BYTES];
	struct slice keys[BATCH], args[1 + ARGS_OF_KEY * BATCH];
};

/*
 * Lists.
 */
static void
claims_init(struct claims *c)
{
	c->head = NULL;
	c->tail = &c->head;
}

static void
claims_add(struct claims *c, struct idempotency_claim *one)
{
	one->next = NULL;
	*c->tail = one;
	c->tail = &one->next;
}

static struct idempotency_claim *
claims_take(struct claims *c)
{
	struct idempotency_claim *one = c->head;

	if (one == NULL)
		return NULL;
	c->head = one->next;
	if (c->head == NULL)
		c->tail = &c->head;
	return one;
}

/*
 * A batch.
 */
static size_t
shard_of(const struct idempotency *i, struct slice tenant, const uint8_t id[EVENT_ID_BYTES])
{
	const struct slice nobody = { (const char *)id, EVENT_ID_BYTES };

	return shards_of(i->o.shards, tenant.len > 0 ? tenant : nobody);
}

/* Absent: a tenant that no request can have. */
static struct slice
key_of(struct slice tenant, const uint8_t id[EVENT_ID_BYTES], char text[KEY_BYTES_MAX])
{
	static const char prefix[] = "weir:key:";
	char *at = text;

	if (sizeof prefix + tenant.len + 1 + EVENT_ID_TEXT > KEY_BYTES_MAX)
		return (struct slice){ 0 };
	memcpy(at, prefix, sizeof prefix - 1);
	at += sizeof prefix - 1;
	if (tenant.len > 0)
		memcpy(at, tenant.ptr, tenant.len);
	at += tenant.len;
	*at++ = ':';
	event_id_text(id, at);
	return slice_of(text);
}

static struct slice
number(int64_t n, char text[NUMBER_BYTES])
{
	return (struct slice){ text, i64_write(n, text) };
}

static void
add_key(struct batch *b, const char *what, struct slice key,
    const uint8_t fingerprint[EVENT_FINGERPRINT_BYTES], int64_t ms, int64_t accepted_us)
{
	const size_t n = b->count++;
	struct slice *args = &b->args[1 + ARGS_OF_KEY * n];

	hex_encode(fingerprint, EVENT_FINGERPRINT_BYTES, b->prints[n]);
	b->keys[n] = key;
	args[0] = slice_of(what);
	args[1] = slice_of(b->prints[n]);
	args[2] = number(ms, b->numbers[n][0]);
	args[3] = number(accepted_us, b->numbers[n][1]);
}

static void
add_settle(struct idempotency *i, struct batch *b, const struct settle *s)
{
	const struct slice key = key_of(s->tenant, s->id, b->keys_text[b->count]);

	add_key(b, s->accepted_us != 0 ? "s" : "r", key, s->fingerprint, i->o.key_ttl_ms,
	    s->accepted_us);
}

static void
add_claim(struct batch *b, struct idempotency_claim *c)
{
	const struct event *ev = c->event;

	b->claims[b->count] = c;
	add_key(b, "c", key_of(ev->tenant, ev->id, b->keys_text[b->count]), ev->fingerprint,
	    c->lease_ms, 0);
}

/* Under the lock; nothing is sent here. */
static void
take(struct idempotency *i, size_t shard, struct batch *b)
{
	struct waiting *w = &i->waiting[shard];
	struct settle **end = &b->settles;
	struct idempotency_claim *c;

	b->shard = shard;
	b->count = 0;
	b->settles = w->settles;
	for (; b->count < BATCH && *end != NULL; end = &(*end)->next)
		add_settle(i, b, *end);
	w->settles = *end;
	*end = NULL;
	if (w->settles == NULL)
		w->settles_tail = &w->settles;
	b->settle_count = b->count;
	i->settle_count -= b->count;
	while (b->count < BATCH && (c = claims_take(&w->claims)) != NULL)
		add_claim(b, c);
}

static void
say(struct idempotency *i, struct idempotency_claim *c, struct slice said)
{
	const int64_t now_ms = clock_mono_ms();

	c->outcome = IDEMPOTENCY_OURS;
	if (slice_eq_cstr(said, "held") && now_ms < c->until_ms) {
		c->again_ms = now_ms + HELD_AGAIN_MS;
		claims_add(&i->held, c);
		return;
	}
	if (slice_eq_cstr(said, "held"))
		c->outcome = IDEMPOTENCY_HELD;
	else if (slice_eq_cstr(said, "other"))
		c->outcome = IDEMPOTENCY_MISMATCH;
	else if (slice_to_i64(said, &c->accepted_us) == ERR_OK)
		c->outcome = IDEMPOTENCY_ACCEPTED;
	c->done(c);
}

/* Whatever does not come back as it should leaves the decision to the spool. */
static void
ask(struct idempotency *i, struct batch *b)
{
	struct redis_reply *r = NULL;
	struct settle *s, *next;

	b->args[0] = slice_of(i->o.host);
	(void)shards_eval(i->o.shards, b->shard, &keys_script, b->keys, b->count, b->args,
	    1 + ARGS_OF_KEY * b->count, clock_mono_ms(), &r);
	for (size_t n = b->settle_count; n < b->count; n++)
		say(i, b->claims[n], redis_reply_text(redis_reply_at(r, n)));
	for (s = b->settles; s != NULL; s = next) {
		next = s->next;
		free(s);
	}
	redis_reply_free(&r);
}

/*
 * The thread.
 */
static bool
has_work(const struct idempotency *i)
{
	for (size_t s = 0; s < shards_count(i->o.shards); s++)
		if (i->waiting[s].claims.head != NULL || i->waiting[s].settles != NULL)
			return true;
	return false;
}

/* Under the lock: sleeps until there is work, or the first of those that are held is due. */
static void
sleep_until_due(struct idempotency *i)
{
	if (i->held.head == NULL)
		(void)pthread_cond_wait(&i->wakes, &i->lock);
	else
		(void)thread_wait(&i->wakes, &i->lock, i->held.head->again_ms);
}

/* Under the lock.  They were held in the order of their times. */
static void
ask_held_again(struct idempotency *i, int64_t now_ms)
{
	while (i->held.head != NULL && (i->stopping || now_ms >= i->held.head->again_ms)) {
		struct idempotency_claim *c = claims_take(&i->held);

		claims_add(&i->waiting[c->shard].claims, c);
	}
}

static bool
wait_for_work(struct idempotency *i)
{
	bool goes_on;

	(void)pthread_mutex_lock(&i->lock);
	ask_held_again(i, clock_mono_ms());
	while (!has_work(i) && !i->stopping) {
		sleep_until_due(i);
		ask_held_again(i, clock_mono_ms());
	}
	goes_on = has_work(i);
	(void)pthread_mutex_unlock(&i->lock);
	return goes_on;
}

static void *
run(void *arg)
{
	struct idempotency *i = arg;
	struct batch *b = malloc(sizeof *b);

	while (b != NULL && wait_for_work(i)) {
		for (size_t s = 0; s < shards_count(i->o.shards); s++) {
			(void)pthread_mutex_lock(&i->lock);
			take(i, s, b);
			(void)pthread_mutex_unlock(&i->lock);
			if (b->count > 0)
				ask(i, b);
		}
	}
	free(b);
	return NULL;
}

enum err
idempotency_open(const struct idempotency_options *o, struct idempotency **out)
{
	struct idempotency *i = calloc(1, sizeof *i);

	*out = i;
	if (i == NULL)
		return ERR_NOMEM;
	i->o = *o;
	claims_init(&i->held);
	for (size_t s = 0; s < SHARDS_MAX; s++) {
		claims_init(&i->waiting[s].claims);
		i->waiting[s].settles_tail = &i->waiting[s].settles;
	}
	thread_lock_init(&i->lock, &i->wakes);
	return ERR_OK;
}

enum err
idempotency_start(struct idempotency *i)
{
	i->started = thread_start(0, run, i, &i->thread);
	return i->started ? ERR_OK : ERR_NOMEM;
}

void
idempotency_close(struct idempotency **ip)
{
	struct idempotency *i = *ip;

	if (i == NULL)
		return;
	*ip = NULL;
	if (i->started) {
		(void)pthread_mutex_lock(&i->lock);
		i->stopping = true;
		(void)pthread_cond_signal(&i->wakes);
		(void)pthread_mutex_unlock(&i->lock);
		(void)pthread_join(i->thread, NULL);
	}
	(void)pthread_cond_destroy(&i->wakes);
	(void)pthread_mutex_destroy(&i->lock);
	free(i);
}

bool
idempotency_claim(struct idempotency *i, struct idempotency_claim *c)
{
	const int64_t now_ms = clock_mono_ms();
	bool taken = false;

	c->shard = shard_of(i, c->event->tenant, c->event->id);
	c->until_ms = now_ms + HELD_MAX_MS;
	if (!shards_admits(i->o.shards, c->shard, now_ms))
		return false;
	(void)pthread_mutex_lock(&i->lock);
	if (i->started && !i->stopping) {
		taken = true;
		claims_add(&i->waiting[c->shard].claims, c);
		(void)pthread_cond_signal(&i->wakes);
	}
	(void)pthread_mutex_unlock(&i->lock);
	return taken;
}

void
idempotency_settle(struct idempotency *i, const struct event *ev, int64_t accepted_us)
{
	struct settle *s = malloc(sizeof *s + ev->tenant.len);
	const size_t shard = shard_of(i, ev->tenant, ev->id);

	if (s == NULL)
		return;
	*s = (struct settle){ .accepted_us = accepted_us,
		.tenant = { (char *)(s + 1), ev->tenant.len } };
	memcpy(s->id, ev->id, sizeof s->id);
	memcpy(s->fingerprint, ev->fingerprint, sizeof s->fingerprint);
	if (ev->tenant.len > 0)
		memcpy(s + 1, ev->tenant.ptr, ev->tenant.len);
	(void)pthread_mutex_lock(&i->lock);
	if (i->started && !i->stopping && i->settle_count < SETTLES_MAX) {
		*i->waiting[shard].settles_tail = s;
		i->waiting[shard].settles_tail = &s->next;
		i->settle_count++;
		(void)pthread_cond_signal(&i->wakes);
		s = NULL;
	}
	(void)pthread_mutex_unlock(&i->lock);
	free(s); /* the claim ends by itself */
}

enum err
idempotency_find(struct idempotency *i, struct slice tenant, const uint8_t id[EVENT_ID_BYTES],
    int64_t now_ms, int64_t *accepted_us_out)
{
	char text[KEY_BYTES_MAX];
	const struct slice argv[] = { SLICE("GET"), key_of(tenant, id, text) };
	struct redis_reply *r = NULL;
	enum err rc = shards_call(i->o.shards, shard_of(i, tenant, id), argv, 2, now_ms, &r);
	struct slice rest = redis_reply_text(r);
	const struct slice version = slice_cut(&rest, ' '), kind = slice_cut(&rest, ' ');

	(void)slice_cut(&rest, ' '); /* the fingerprint */
	if (rc == ERR_OK && redis_reply_type(r) == REDIS_ERROR)
		rc = ERR_UNAVAILABLE;
	else if (rc == ERR_OK && !(slice_eq_cstr(version, "1") && slice_eq_cstr(kind, "a") &&
				     slice_to_i64(rest, accepted_us_out) == ERR_OK))
		rc = ERR_NOT_FOUND;
	redis_reply_free(&r);
	return rc;
}
