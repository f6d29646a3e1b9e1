/*
 * The Redis servers of REDIS_URL.
 *
 * A call: a place among the shard's connections, then its guard, then the kept connection or a new one, then what was
 * asked.  The place comes first, so that waiting for one is nobody's fault but ours and no probe is held meanwhile.
 * The lock of a shard guards only its list; connecting, calling and closing are done without it.
 */
#include "service/shards.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/thread.h"
#include "client/redis.h"
#include "client/resolver.h"
#include "service/retries.h"
#include "service/shard_url.h"
#include "telemetry/call_stats.h"
#include "telemetry/span.h"

enum {
	KEEP_MS = 30000, /* an idle connection is closed then */
	LOOK_MS = 100,	 /* how often the thread looks for a probe to send */
	URL_BYTES_MAX = 64 * 1024,
	RETRY_BASE_MS = 2,
};

/* The same on every host: it decides where a key lies. */
static const uint64_t rendezvous_seed = UINT64_C(0x7765697273686172);

struct kept {
	struct redis *redis;
	int64_t since_ms;
};

struct shard {
	struct shard_url url;
	uint64_t seed; /* of its rendezvous score */
	size_t name;   /* in the resolver */
	struct guard guard;
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	struct kept *kept; /* room for max_connections; the last one given back is lent first */
	size_t kept_count, lent_count;
	_Atomic size_t preferred; /* the address that answered last */
};

struct shards {
	int64_t timeout_ms;
	size_t max_connections;
	struct call_table *calls;
	struct retries retries;
	struct arena arena; /* of the urls */
	struct resolver *resolver;
	pthread_t keeper;
	pthread_mutex_t keeper_lock;
	pthread_cond_t keeper_wakes;
	bool keeper_runs, closing;
	size_t count;
	struct shard shards[SHARDS_MAX];
};

_Static_assert((int)SHARDS_MAX == (int)SHARD_URLS_MAX, "a place for every url");

/* What a call does with its connection. */
struct job {
	const struct redis_script *script; /* NULL: a command, in args */
	const struct slice *keys, *args;
	size_t key_count, arg_count;
	struct redis_reply **out;
};

static enum err
run_job(struct redis *r, const struct job *j, int64_t deadline_ms)
{
	if (j->script == NULL)
		return redis_call(r, j->args, j->arg_count, deadline_ms, j->out);
	return redis_eval(
	    r, j->script, j->keys, j->key_count, j->args, j->arg_count, deadline_ms, j->out);
}

/*
 * Connections.
 */
/* A place, and the connection that was kept there, or NULL.  ERR_OVERLOADED: none became free. */
static enum err
place_take(const struct shards *s, struct shard *h, int64_t deadline_ms, struct redis **out)
{
	struct span *wait = NULL;
	enum err rc = ERR_OK;

	*out = NULL;
	(void)pthread_mutex_lock(&h->lock);
	while (h->lent_count >= s->max_connections && clock_mono_ms() < deadline_ms) {
		if (wait == NULL)
			wait = span_begin(SPAN_INTERNAL, "pool.wait");
		(void)thread_wait(&h->given_back, &h->lock, deadline_ms);
	}
	if (h->lent_count >= s->max_connections)
		rc = ERR_OVERLOADED;
	else
		h->lent_count++;
	if (rc == ERR_OK && h->kept_count > 0)
		*out = h->kept[--h->kept_count].redis;
	(void)pthread_mutex_unlock(&h->lock);
	span_end(wait, rc);
	return rc;
}

static void
place_give_back(struct shard *h, struct redis **rp, int64_t now_ms)
{
	if (*rp != NULL && redis_is_dead(*rp))
		redis_close(rp);
	(void)pthread_mutex_lock(&h->lock);
	h->lent_count--;
	if (*rp != NULL)
		h->kept[h->kept_count++] = (struct kept){ *rp, now_ms };
	*rp = NULL;
	(void)pthread_cond_signal(&h->given_back);
	(void)pthread_mutex_unlock(&h->lock);
}

/* One that the server has closed meanwhile says so, and so would all that were kept longer. */
static void
drop_if_loud(struct redis **rp)
{
	if (*rp != NULL && !redis_is_quiet(*rp))
		redis_close(rp);
}

static struct redis_address
address_of(const struct shard *h, const char *numeric_host)
{
	return (struct redis_address){
		.host = numeric_host,
		.port = h->url.port,
		.path = h->url.path,
		.user = h->url.user,
		.password = h->url.password,
		.database = h->url.database,
	};
}

/* Tries the addresses of the name in turn, from the one that answered last, under the one deadline. */
static enum err
dial(const struct shards *s, struct shard *h, int64_t deadline_ms, struct redis **out)
{
	struct resolver_addresses found = { .count = 1 };
	struct redis_address address;
	size_t first, i;
	enum err rc = ERR_UNAVAILABLE;

	*out = NULL;
	if (h->url.path == NULL)
		resolver_look(s->resolver, h->name, &found);
	first = atomic_load_explicit(&h->preferred, memory_order_relaxed);
	for (size_t n = 0; n < found.count && rc == ERR_UNAVAILABLE; n++) {
		i = (first + n) % found.count;
		address = address_of(h, found.text[i]);
		rc = redis_connect(&address, deadline_ms, out);
		if (rc == ERR_OK)
			atomic_store_explicit(&h->preferred, i, memory_order_relaxed);
	}
	return rc;
}

static enum err
dial_and_run(const struct shards *s, struct shard *h, struct redis **rp, const struct job *j,
    int64_t deadline_ms)
{
	enum err rc = ERR_OK;

	if (*rp == NULL)
		rc = dial(s, h, deadline_ms, rp);
	return rc == ERR_OK ? run_job(*rp, j, deadline_ms) : rc;
}

/*
 * A kept connection may have ended without our knowing, which says nothing of the server: once more, with a new one,
 * for what may run twice.  Never after a missed deadline: there is no time left, and a server that stalls wants fewer calls.
 */
static enum err
connect_and_run(const struct shards *s, struct shard *h, struct redis **rp, const struct job *j,
    int64_t deadline_ms)
{
	const bool may_repeat = j->script == NULL || j->script->repeatable;
	bool kept;
	enum err rc;

	drop_if_loud(rp);
	kept = *rp != NULL;
	retries_call(&s->retries, clock_mono_ms());
	rc = dial_and_run(s, h, rp, j, deadline_ms);
	if (rc != ERR_IO || !kept || !may_repeat ||
	    !retries_again(&s->retries, 1, RETRY_BASE_MS, deadline_ms))
		return rc;
	redis_close(rp);
	return dial_and_run(s, h, rp, j, deadline_ms);
}

/* A command is named by its first word, a script by its own name; keys and values are nobody's business. */
static struct span *
span_of(const struct shard *h, const struct job *j)
{
	struct span *span = span_begin(SPAN_CLIENT, "EVALSHA");

	if (span == NULL)
		return NULL;
	if (j->script == NULL) {
		span_name(span, j->args[0]);
		span_str(span, SPAN_KEY_DB_OPERATION_NAME, j->args[0]);
	} else {
		span_name(span, slice_of(j->script->name));
		span_str(span, SPAN_KEY_DB_OPERATION_NAME, SLICE("EVALSHA"));
		span_str(span, SPAN_KEY_DB_STORED_PROCEDURE_NAME, slice_of(j->script->name));
	}
	span_str(span, SPAN_KEY_DB_SYSTEM_NAME, SLICE("redis"));
	span_str(span, SPAN_KEY_SERVER_ADDRESS,
	    slice_of(h->url.path != NULL ? h->url.path : h->url.host));
	if (h->url.path == NULL)
		span_int(span, SPAN_KEY_SERVER_PORT, h->url.port);
	return span;
}

static enum err
call(struct shards *s, size_t shard, const struct job *j, int64_t now_ms)
{
	struct shard *h = &s->shards[shard];
	const int64_t deadline_ms = now_ms + s->timeout_ms;
	struct guard_pass pass;
	struct span *span;
	struct redis *r;
	enum err rc;

	*j->out = NULL;
	if (!shards_is_up(s, shard))
		return ERR_UNAVAILABLE;
	rc = place_take(s, h, deadline_ms, &r);
	if (rc != ERR_OK)
		return rc;
	rc = guard_enter(&h->guard, clock_mono_ms(), &pass);
	if (rc == ERR_OK) {
		span = span_of(h, j);
		rc = connect_and_run(s, h, &r, j, deadline_ms);
		span_end(span, rc);
		now_ms = clock_mono_ms();
		guard_leave(&h->guard, &pass, rc, now_ms);
	}
	place_give_back(h, &r, now_ms);
	return rc;
}

static struct slice
operation_of(const struct job *j)
{
	return j->script != NULL ? slice_of(j->script->name) : j->args[0];
}

static enum call_result
counted_as(enum err rc)
{
	if (rc == ERR_TIMEOUT || rc == ERR_OVERLOADED)
		return CALL_TIMEOUT;
	return rc == ERR_UNAVAILABLE || rc == ERR_IO ? CALL_FAILED : CALL_ANSWERED;
}

/* With the wait for a connection: what the caller lost by it. */
static enum err
counted_call(struct shards *s, size_t shard, const struct job *j, int64_t now_ms)
{
	const bool refused = !shards_is_up(s, shard);
	const int64_t began_ns = clock_mono_ns();
	const enum err rc = call(s, shard, j, now_ms);

	if (s->calls != NULL)
		call_table_count(s->calls, operation_of(j),
		    refused && rc == ERR_UNAVAILABLE ? CALL_REFUSED : counted_as(rc),
		    clock_mono_ns() - began_ns);
	return rc;
}

enum err
shards_eval(struct shards *s, size_t shard, const struct redis_script *script,
    const struct slice *keys, size_t key_count, const struct slice *args, size_t arg_count,
    int64_t now_ms, struct redis_reply **out)
{
	const struct job j = { script, keys, args, key_count, arg_count, out };

	return counted_call(s, shard, &j, now_ms);
}

enum err
shards_call(struct shards *s, size_t shard, const struct slice *argv, size_t argc, int64_t now_ms,
    struct redis_reply **out)
{
	const struct job j = { .args = argv, .arg_count = argc, .out = out };

	return counted_call(s, shard, &j, now_ms);
}

enum err
shards_connect(struct shards *s, size_t shard, int64_t deadline_ms, struct redis **out)
{
	return dial(s, &s->shards[shard], deadline_ms, out);
}

bool
shards_is_up(const struct shards *s, size_t shard)
{
	return guard_is_up(&s->shards[shard].guard);
}

bool
shards_admits(const struct shards *s, size_t shard, int64_t now_ms)
{
	return guard_admits(&s->shards[shard].guard, now_ms);
}

enum err
shards_wait(struct shards *s, int64_t deadline_ms)
{
	return resolver_wait(s->resolver, deadline_ms);
}

/*
 * Which shard.
 */
size_t
shards_count(const struct shards *s)
{
	return s->count;
}

size_t
shards_of(const struct shards *s, struct slice owner)
{
	uint64_t best = 0;
	size_t found = 0;

	if (s->count == 1)
		return 0;
	for (size_t i = 0; i < s->count; i++) {
		const uint64_t score = hash64(s->shards[i].seed, owner.ptr, owner.len);

		if (score > best) {
			best = score;
			found = i;
		}
	}
	return found;
}

const char *
shards_url(const struct shards *s, size_t shard)
{
	return s->shards[shard].url.shown;
}

/*
 * The keeper: probes outside of requests, and closes what lies idle.
 */
static void
probe(const struct shards *s, struct shard *h, int64_t now_ms)
{
	const struct slice ping = SLICE("PING");
	const int64_t deadline_ms = now_ms + s->timeout_ms;
	struct redis_reply *reply = NULL;
	struct redis *r = NULL;
	struct guard_pass pass;
	enum err rc;

	if (guard_probe(&h->guard, now_ms, &pass) != ERR_OK)
		return;
	rc = dial(s, h, deadline_ms, &r);
	if (rc == ERR_OK)
		rc = redis_call(r, &ping, 1, deadline_ms, &reply);
	guard_leave(&h->guard, &pass, rc, clock_mono_ms());
	redis_reply_free(&reply);
	redis_close(&r);
}

/* The one that was kept longest, when that is too long. */
static struct redis *
take_stale(struct shard *h, int64_t now_ms)
{
	struct redis *r = NULL;

	(void)pthread_mutex_lock(&h->lock);
	if (h->kept_count > 0 && h->kept[0].since_ms + KEEP_MS <= now_ms) {
		r = h->kept[0].redis;
		h->kept_count--;
		memmove(h->kept, h->kept + 1, h->kept_count * sizeof *h->kept);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return r;
}

static void
look_after(const struct shards *s, struct shard *h)
{
	struct redis *r;

	probe(s, h, clock_mono_ms());
	while ((r = take_stale(h, clock_mono_ms())) != NULL)
		redis_close(&r);
}

static void *
keep(void *arg)
{
	struct shards *s = arg;

	(void)pthread_mutex_lock(&s->keeper_lock);
	while (!s->closing) {
		(void)pthread_mutex_unlock(&s->keeper_lock);
		for (size_t i = 0; i < s->count; i++)
			look_after(s, &s->shards[i]);
		(void)pthread_mutex_lock(&s->keeper_lock);
		if (!s->closing)
			(void)thread_wait(
			    &s->keeper_wakes, &s->keeper_lock, clock_mono_ms() + LOOK_MS);
	}
	(void)pthread_mutex_unlock(&s->keeper_lock);
	return NULL;
}

static enum err
start_keeper(struct shards *s)
{
	s->keeper_runs = thread_start(THREAD_SMALL_STACK_BYTES, keep, s, &s->keeper);
	return s->keeper_runs ? ERR_OK : ERR_NOMEM;
}

/*
 * Opening and closing.
 */
static enum err
read_urls(struct shards *s, const char *text)
{
	struct shard_url urls[SHARD_URLS_MAX];
	const char *why;
	size_t count;
	const enum err rc = shard_urls_parse(slice_of(text), &s->arena, urls, &count, &why);

	for (size_t i = 0; rc == ERR_OK && i < count; i++) {
		struct shard *h = &s->shards[i];

		h->url = urls[i];
		h->seed = hash64(rendezvous_seed, urls[i].identity, strlen(urls[i].identity));
		h->kept = calloc(s->max_connections, sizeof *h->kept);
		if (h->kept == NULL)
			return ERR_NOMEM;
		thread_lock_init(&h->lock, &h->given_back);
		s->count++;
	}
	return rc;
}

static enum err
open_guards(struct shards *s, const struct shards_options *o)
{
	enum err rc = ERR_OK;
	char name[32]; /* guard_open() measures it; here any number fits */

	for (size_t i = 0; i < s->count && rc == ERR_OK; i++) {
		(void)snprintf(name, sizeof name, "redis-%u", (unsigned)i + 1);
		rc = guard_open(o->guards, name, o->rules, true, &s->shards[i].guard);
	}
	return rc;
}

static enum err
open_resolver(struct shards *s)
{
	const char *names[SHARDS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (s->shards[i].url.host == NULL)
			continue;
		s->shards[i].name = n;
		names[n++] = s->shards[i].url.host;
	}
	return resolver_open(names, n, &s->resolver);
}

enum err
shards_open(const struct shards_options *o, struct shards **out)
{
	struct shards *s = calloc(1, sizeof *s);
	enum err rc;

	*out = NULL;
	if (s == NULL)
		return ERR_NOMEM;
	arena_init(&s->arena, URL_BYTES_MAX);
	thread_lock_init(&s->keeper_lock, &s->keeper_wakes);
	s->timeout_ms = o->timeout_ms;
	s->calls = o->calls;
	s->max_connections = o->max_connections;
	if (o->retries != NULL)
		s->retries = *o->retries;
	rc = read_urls(s, o->urls);
	if (rc == ERR_OK)
		rc = open_guards(s, o);
	if (rc == ERR_OK)
		rc = open_resolver(s);
	if (rc == ERR_OK)
		rc = start_keeper(s);
	if (rc != ERR_OK)
		shards_close(&s);
	*out = s;
	return rc;
}

static void
stop_keeper(struct shards *s)
{
	if (!s->keeper_runs)
		return;
	(void)pthread_mutex_lock(&s->keeper_lock);
	s->closing = true;
	(void)pthread_cond_signal(&s->keeper_wakes);
	(void)pthread_mutex_unlock(&s->keeper_lock);
	(void)pthread_join(s->keeper, NULL); /* at most one probe's deadline for each shard */
}

void
shards_close(struct shards **sp)
{
	struct shards *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	stop_keeper(s);
	resolver_close(&s->resolver);
	for (size_t i = 0; i < s->count; i++) {
		struct shard *h = &s->shards[i];

		for (size_t k = 0; k < h->kept_count; k++)
			redis_close(&h->kept[k].redis);
		(void)pthread_cond_destroy(&h->given_back);
		(void)pthread_mutex_destroy(&h->lock);
	}
	for (size_t i = 0; i < SHARDS_MAX; i++)
		free(s->shards[i].kept);
	(void)pthread_cond_destroy(&s->keeper_wakes);
	(void)pthread_mutex_destroy(&s->keeper_lock);
	arena_free(&s->arena);
	free(s);
}
