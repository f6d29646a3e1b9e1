/*
 * Purges that every host hears of: the hearing.
 *
 *   WAITING --purges.lock--> for each shard:  AWAY --connected, SUBSCRIBE--> LISTENS --`last` compared--> IN STEP
 *                                              ^                                |
 *                                              +---- closed, or not our bytes --+
 *
 * Who holds the place may be stopped: once its beat is a second old the others listen too, until it beats again or
 * the place is free.  Several that hear the same are no harm: what is known is told by `last` in the segment.
 *
 * A message says what `last` was before it, so one that went missing is noticed by the next; and once a second `last` is
 * read, for a connection may be dead without having been closed.
 */
#include "service/purges.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/wake.h"
#include "client/redis.h"
#include "policy/l1.h"
#include "policy/positions.h"
#include "service/purges_room.h"

enum {
	PIECE_MS = 100,	   /* of waiting: a stop is seen as soon */
	PLACE_MS = 500,	   /* between tries for the lock */
	SILENT_MS = 1000,  /* a holder that beats less often is stopped */
	AGAIN_MS = 200,	   /* between tries to connect */
	COMPARE_MS = 1000, /* between looks at `last`, and at what is owed */
	MESSAGES_A_TURN = 1000,
};

/* Reads `last`, and begins it where it is missing. */
static const struct redis_script last_script = { .name = "purge-last",
	.repeatable = true,
	.text = "local last = redis.call('HGET', KEYS[1], 'last')\n"
		"if not last then\n"
		"  local time = redis.call('TIME')\n"
		"  last = string.format('%.0f', time[1] * 1000000 + time[2])\n"
		"  redis.call('HSET', KEYS[1], 'last', last)\n"
		"end\n"
		"return last\n" };

struct ear {
	struct redis *r; /* NULL: away */
	int64_t tried_ms, compared_ms;
	int64_t suspect; /* a `last` that no message has told of yet */
	bool in_step;	 /* has been compared since it was connected */
	bool said;	 /* that it is away */
};

struct listening {
	struct purges *p;
	struct ear ears[SHARDS_MAX];
	size_t count;
};

static const char *
name_of(const struct purges *p, size_t i)
{
	return shards_url(p->o.shards, i);
}

/* Something was missed: nobody knows what. */
static void
drop_all(struct purges *p, size_t i, int64_t last, const char *why)
{
	l1_purge_all(p->o.l1);
	if (atomic_exchange(&p->rows[i]->last, last) == 0)
		return; /* a new segment: it has missed nothing that anybody needs to know of */
	log_info("purges_missed", LOG_STR("shard", name_of(p, i)), LOG_STR("why", why),
	    LOG_STR("then", "every copy of this host is dropped"));
}

static void
ear_close(struct listening *l, size_t i)
{
	struct ear *e = &l->ears[i];

	if (!e->said)
		log_warn("purges_unheard", LOG_STR("shard", name_of(l->p, i)),
		    LOG_STR("then", "copies of this host live on until it is back"));
	e->said = true;
	e->in_step = false;
	redis_close(&e->r);
}

/*
 * Messages.
 */
static void
purge_tags(struct purges *p, struct slice tags, uint64_t position)
{
	while (tags.len > 0) {
		struct slice tag = { 0 };
		uint64_t hash;
		int64_t n;

		if (slice_to_i64(slice_cut(&tags, ':'), &n) != ERR_OK || n < 0 ||
		    (uint64_t)n >= tags.len || tags.ptr[n] != ',') {
			positions_raise_all(p->o.positions, position);
			l1_purge_all(p->o.l1); /* "!", or not ours */
			return;
		}
		tag = (struct slice){ tags.ptr, (size_t)n };
		hash = hash64(p->o.seed, tag.ptr, tag.len);
		positions_raise(p->o.positions, hash, position);
		l1_purge(p->o.l1, hash);
		tags.ptr += n + 1;
		tags.len -= (size_t)n + 1;
	}
}

/* "2 BEFORE LAST POSITION TAGS"; whatever it is, nothing purged lives on. */
void
purges_hear(struct purges *p, size_t i, struct slice text)
{
	_Atomic int64_t *known = &p->rows[i]->last;
	const struct slice version = slice_cut(&text, ' ');
	const struct slice before_text = slice_cut(&text, ' ');
	const struct slice last_text = slice_cut(&text, ' ');
	const struct slice position_text = slice_cut(&text, ' ');
	int64_t before, last, position;

	if (!slice_eq_cstr(version, "2") || slice_to_i64(before_text, &before) != ERR_OK ||
	    slice_to_i64(last_text, &last) != ERR_OK ||
	    slice_to_i64(position_text, &position) != ERR_OK || position < 0) {
		l1_purge_all(p->o.l1);
		return;
	}
	if (last <= atomic_load(known))
		return; /* it was compared already, or another of this host has heard it */
	purge_tags(p, text, (uint64_t)position); /* before anybody is told that it is known */
	if (!atomic_compare_exchange_strong(known, &before, last) && before < last)
		drop_all(p, i, last, "a message is missing");
}

static bool
is_message(const struct redis_reply *r)
{
	return redis_reply_count(r) == 3 &&
	       slice_eq_cstr(redis_reply_text(redis_reply_at(r, 0)), "message");
}

static void
hear_all(struct listening *l, size_t i)
{
	struct ear *e = &l->ears[i];
	struct redis_reply *r = NULL;
	enum err rc = ERR_OK;

	for (int n = 0; n < MESSAGES_A_TURN && rc == ERR_OK; n++) {
		rc = redis_message(e->r, clock_mono_ms(), &r);
		if (rc == ERR_OK && is_message(r))
			purges_hear(l->p, i, redis_reply_text(redis_reply_at(r, 2)));
		redis_reply_free(&r);
	}
	if (redis_is_dead(e->r))
		ear_close(l, i);
}

/*
 * Comparing.
 */
static enum err
read_last(struct listening *l, size_t i, int64_t now_ms, int64_t *out)
{
	const struct slice key = SLICE(PURGES_GENERATIONS);
	struct redis_reply *r = NULL;
	enum err rc = shards_eval(l->p->o.shards, i, &last_script, &key, 1, NULL, 0, now_ms, &r);

	*out = redis_reply_integer(r);
	if (rc == ERR_OK && *out <= 0)
		rc = ERR_UNAVAILABLE;
	redis_reply_free(&r);
	return rc;
}

/* `last` went back: Redis has come back with an old state, whose copies do not know of newer purges. */
static void
purge_old_state(struct listening *l, size_t i, int64_t last, int64_t now_ms)
{
	drop_all(l->p, i, last, "Redis has gone back in time");
	(void)purges_tell(l->p, i, NULL, positions_newest(l->p->o.positions), SLICE("!"), now_ms);
}

/* True: compared.  A message may still be on its way, so only what is missing the second time is missed. */
static bool
compare(struct listening *l, size_t i, int64_t now_ms)
{
	struct ear *e = &l->ears[i];
	_Atomic int64_t *known = &l->p->rows[i]->last;
	int64_t last;

	e->compared_ms = now_ms;
	if (read_last(l, i, now_ms, &last) != ERR_OK)
		return false;
	if (last < atomic_load(known))
		purge_old_state(l, i, last, now_ms);
	else if (e->in_step && e->suspect > atomic_load(known))
		drop_all(l->p, i, last, "its connection is dead");
	else if (!e->in_step && last != atomic_load(known))
		drop_all(l->p, i, last, "this host was away");
	e->suspect = last;
	return true;
}

static void
ear_open(struct listening *l, size_t i, int64_t now_ms)
{
	const struct slice argv[] = { SLICE("SUBSCRIBE"), slice_of(l->p->channels[i]) };
	struct ear *e = &l->ears[i];
	const int64_t until_ms = now_ms + l->p->o.timeout_ms;
	struct redis_reply *r = NULL;
	enum err rc = shards_connect(l->p->o.shards, i, until_ms, &e->r);

	e->tried_ms = now_ms;
	if (rc == ERR_OK)
		rc = redis_call(e->r, argv, 2, until_ms, &r);
	if (rc == ERR_OK && redis_reply_type(r) != REDIS_ARRAY)
		rc = ERR_UNAVAILABLE;
	redis_reply_free(&r);
	if (rc != ERR_OK)
		ear_close(l, i);
}

/* From now on what comes is heard; what came before is compared. */
static void
ear_look(struct listening *l, size_t i, int64_t now_ms)
{
	struct ear *e = &l->ears[i];

	if (e->r == NULL && now_ms - e->tried_ms >= AGAIN_MS)
		ear_open(l, i, now_ms);
	if (e->r == NULL || (e->in_step && now_ms - e->compared_ms < COMPARE_MS) ||
	    now_ms - e->compared_ms < AGAIN_MS)
		return;
	if (!compare(l, i, now_ms) || e->in_step)
		return;
	e->in_step = true;
	if (e->said)
		log_info("purges_heard", LOG_STR("shard", name_of(l->p, i)));
	e->said = false;
}

/*
 * What is owed.  Moved to `taken` first, where the next listener finds it should this one die; what is owed
 * meanwhile is told the next time.
 */
static void
pay(struct listening *l, size_t i, int64_t now_ms)
{
	struct purges_row *row = l->p->rows[i];
	uint64_t slots[PURGES_WORDS];

	if (!purges_are_owed(l->p, i) || !shards_is_up(l->p->o.shards, i))
		return;
	for (size_t w = 0; w < PURGES_WORDS; w++) {
		const uint64_t owed = atomic_load(&row->owed[w]);

		slots[w] = atomic_fetch_or(&row->taken[w], owed) | owed;
		atomic_fetch_and(&row->owed[w], ~owed);
	}
	/* Which tags these were nobody knows any more: all copies of all hosts' L1 go. */
	if (purges_tell(l->p, i, slots, positions_newest(l->p->o.positions), SLICE("!"), now_ms) !=
	    ERR_OK)
		return;
	for (size_t w = 0; w < PURGES_WORDS; w++)
		atomic_store(&row->taken[w], 0);
	purges_unmark(l->p);
	log_info("purge_told", LOG_STR("shard", name_of(l->p, i)));
}

/* Nobody knows what the last life of this host could not tell whom. */
static void
inherit_debts(struct purges *p)
{
	if (!purges_marked(p))
		return;
	for (size_t i = 0; i < shards_count(p->o.shards); i++)
		if (atomic_load(&p->rows[i]->last) ==
		    0) /* a new segment: it has never heard of it */
			purges_owe(p, i, NULL);
}

static void
wait_for_messages(struct listening *l)
{
	struct pollfd fds[SHARDS_MAX];

	for (size_t i = 0; i < l->count; i++)
		fds[i] = (struct pollfd){ .fd = l->ears[i].r == NULL ? -1 : redis_fd(l->ears[i].r),
			.events = POLLIN };
	if (poll(fds, (nfds_t)l->count, PIECE_MS) <= 0)
		return;
	for (size_t i = 0; i < l->count; i++)
		if (fds[i].revents != 0)
			hear_all(l, i);
}

/* ${place}: we hold it, and pay what is owed. */
static void
turn(struct listening *l, bool place)
{
	const int64_t now_ms = clock_mono_ms();

	if (place)
		atomic_store(&l->p->o.shared->beat_ms, now_ms);
	for (size_t i = 0; i < l->count; i++) {
		ear_look(l, i, now_ms);
		if (place)
			pay(l, i, now_ms);
	}
	wait_for_messages(l);
}

static bool
holder_is_silent(const struct purges *p)
{
	return clock_mono_ms() - atomic_load(&p->o.shared->beat_ms) > SILENT_MS;
}

static void
close_all(struct listening *l)
{
	for (size_t i = 0; i < l->count; i++) {
		redis_close(&l->ears[i].r);
		l->ears[i] = (struct ear){ .r = NULL };
	}
}

/* True: the place is ours, or has become so. */
static bool
take_place(struct purges *p, int *fd, int64_t *tried_ms)
{
	const int64_t now_ms = clock_mono_ms();

	if (*fd != -1)
		return true;
	if (now_ms - *tried_ms < PLACE_MS)
		return false;
	*tried_ms = now_ms;
	if (lock_file(p->o.state_dir_fd, "purges.lock", LOCK_EXCLUSIVE, 0, fd) != ERR_OK)
		return false;
	inherit_debts(p);
	return true;
}

static void *
run(void *arg)
{
	struct purges *p = arg;
	struct listening l = { .p = p, .count = shards_count(p->o.shards) };
	int64_t tried_ms = -PLACE_MS;
	int fd = -1;

	while (atomic_load(&p->stop) == 0) {
		const bool place = take_place(p, &fd, &tried_ms);

		if (place || holder_is_silent(p)) {
			turn(&l, place);
			continue;
		}
		close_all(&l);
		wake_wait(&p->stop, 0, PLACE_MS);
	}
	close_all(&l);
	lock_file_release(&fd);
	return NULL;
}

enum err
purges_listen(struct purges *p)
{
	p->listening = thread_start(0, run, p, &p->listener);
	return p->listening ? ERR_OK : ERR_NOMEM;
}
