/*
 * One shard of the first-level cache: a robust lock over blocks of 512 bytes.
 *
 * A record is a chain of blocks: head, key, value.  Its entry, found through the
 * hash index and standing in the SIEVE queue, has the number of its first block,
 * so there is nothing to allocate but blocks.  Number 0 is "none".
 *
 * Two guards.  A holder that died inside leaves EOWNERDEAD, and the next one empties
 * the shard.  And every number read from the segment is checked before use, every
 * walk bounded.
 */
#include "policy/l1_shard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/err.h"
#include "base/lock.h"

enum {
	BLOCK_BYTES = SHARD_BLOCK_BYTES,
	LARGEST_SHARE = 4, /* a value takes at most 1/4 of a shard */
	LOCK_TRIES = 100,
	LINE_BYTES = 64,
	NONE = SHARD_NONE
};

struct shard {
	pthread_mutex_t lock; /* guards all of the shard; the atomics are also read without it */
	_Atomic uint32_t entries, used;
	_Atomic uint64_t emptied;
	uint32_t untouched; /* this block and those above were never used since it was emptied */
	uint32_t returned;  /* first of the chain of blocks that were given back */
	uint32_t newest, oldest, hand;
};

struct shard_entry {
	uint64_t hash;
	uint32_t chained;      /* next in its bucket */
	uint32_t newer, older; /* neighbours in the queue */
	uint32_t key_bytes, value_bytes;
	uint16_t head_bytes;
	bool visited; /* since the hand came by */
};
_Static_assert(sizeof(struct shard_entry) == 32, "two to a cache line");
_Static_assert((int)SHARD_HEAD_MAX <= (int)BLOCK_BYTES, "a head lies in its first block");

static size_t
round_up(size_t bytes)
{
	return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

/* Arrays by block number have one more, for number 0 is none. */
struct shard_layout
shard_layout_for(size_t bytes)
{
	struct shard_layout lay = { .blocks = (uint32_t)(bytes / BLOCK_BYTES), .buckets = 1 };
	const size_t numbers = (size_t)lay.blocks + 1;

	while (lay.buckets <= lay.blocks / 2)
		lay.buckets *= 2;
	lay.buckets_at = round_up(sizeof(struct shard));
	lay.next_at = lay.buckets_at + lay.buckets * sizeof(uint32_t);
	lay.entries_at = round_up(lay.next_at + numbers * sizeof(uint32_t));
	lay.data_at = round_up(lay.entries_at + numbers * sizeof(struct shard_entry));
	lay.bytes = lay.data_at + numbers * BLOCK_BYTES;
	return lay;
}

size_t
shard_bytes_max(const struct shard_layout *lay)
{
	return (size_t)lay->blocks * BLOCK_BYTES / LARGEST_SHARE;
}

struct shard_view
shard_at(void *mem, const struct shard_layout *lay)
{
	char *base = mem;

	return (struct shard_view){
		.s = mem,
		.buckets = (uint32_t *)(base + lay->buckets_at),
		.next = (uint32_t *)(base + lay->next_at),
		.entries = (struct shard_entry *)(base + lay->entries_at),
		.data = base + lay->data_at,
		.block_count = lay->blocks,
		.bucket_count = lay->buckets,
		.bytes_max = shard_bytes_max(lay),
	};
}

/* Only the index and a few words: blocks and entries that nothing leads to need no cleaning. */
static void
make_empty(struct shard_view *v)
{
	struct shard *s = v->s;

	memset(v->buckets, 0, v->bucket_count * sizeof *v->buckets);
	s->entries = 0;
	s->used = 0;
	s->untouched = 1;
	s->returned = s->newest = s->oldest = s->hand = NONE;
	v->damaged = false;
}

static void
lose(struct shard_view *v)
{
	make_empty(v);
	v->s->emptied++;
}

void
shard_init(struct shard_view *v)
{
	memset(v->s, 0, sizeof *v->s);
	(void)robust_init(&v->s->lock); /* cannot fail: Linux has robust shared mutexes */
	make_empty(v);
}

bool
shard_hold(struct shard_view *v, int64_t wait_ms)
{
	enum err rc = robust_try(&v->s->lock);

	for (unsigned i = 1; rc == ERR_CONFLICT && i < LOCK_TRIES; i++) {
		lock_pause();
		rc = robust_try(&v->s->lock);
	}
	if (rc == ERR_CONFLICT && wait_ms != 0)
		rc = robust_lock(&v->s->lock, wait_ms);
	if (rc == ERR_MISMATCH) {
		lose(v);
		rc = ERR_OK;
	}
	return rc == ERR_OK;
}

void
shard_release(struct shard_view *v)
{
	if (v->damaged)
		lose(v);
	robust_unlock(&v->s->lock);
}

/* Every number passes here between the segment and its use. */
static bool
number_good(struct shard_view *v, uint32_t number)
{
	if (number != NONE && number <= v->block_count)
		return true;
	v->damaged = true;
	return false;
}

static struct shard_entry *
entry_at(struct shard_view *v, uint32_t number)
{
	struct shard_entry *e;

	if (!number_good(v, number))
		return NULL;
	e = &v->entries[number];
	if (e->head_bytes <= SHARD_HEAD_MAX && e->key_bytes <= v->bytes_max &&
	    e->value_bytes <= v->bytes_max)
		return e;
	v->damaged = true;
	return NULL;
}

static uint32_t
blocks_of(const struct shard_entry *e)
{
	const size_t bytes = (size_t)e->head_bytes + e->key_bytes + e->value_bytes;

	return (uint32_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
}

/* Where in a chain of blocks we are. */
struct cursor {
	uint32_t block;
	size_t at;
};

/* ${at} bytes behind the record's beginning. */
static struct cursor
cursor_at(struct shard_view *v, uint32_t number, size_t at)
{
	struct cursor c = { .block = number, .at = at };

	for (; c.at > BLOCK_BYTES && number_good(v, c.block); c.at -= BLOCK_BYTES)
		c.block = v->next[c.block];
	return c;
}

/* The next bytes that lie together, at most ${want} (> 0); NULL: the chain is damaged. */
static char *
cursor_next(struct shard_view *v, struct cursor *c, size_t want, size_t *got_out)
{
	char *p;

	if (c->at >= BLOCK_BYTES) {
		c->block = number_good(v, c->block) ? v->next[c->block] : NONE;
		c->at = 0;
	}
	if (!number_good(v, c->block))
		return NULL;
	p = v->data + (size_t)c->block * BLOCK_BYTES + c->at;
	*got_out = want < BLOCK_BYTES - c->at ? want : BLOCK_BYTES - c->at;
	c->at += *got_out;
	return p;
}

static bool
cursor_write(struct shard_view *v, struct cursor *c, struct slice bytes)
{
	size_t got;

	for (; bytes.len > 0; bytes.ptr += got, bytes.len -= got) {
		char *to = cursor_next(v, c, bytes.len, &got);

		if (to == NULL)
			return false;
		memcpy(to, bytes.ptr, got);
	}
	return true;
}

static bool
cursor_read(struct shard_view *v, struct cursor *c, char *to, size_t len)
{
	size_t got;

	for (; len > 0; to += got, len -= got) {
		const char *from = cursor_next(v, c, len, &got);

		if (from == NULL)
			return false;
		memcpy(to, from, got);
	}
	return true;
}

static bool
cursor_equals(struct shard_view *v, struct cursor *c, struct slice want)
{
	size_t got;

	for (; want.len > 0; want.ptr += got, want.len -= got) {
		const char *p = cursor_next(v, c, want.len, &got);

		if (p == NULL || memcmp(p, want.ptr, got) != 0)
			return false;
	}
	return true;
}

/* A chain of ${count} blocks; NONE: damaged (the caller has made room). */
static uint32_t
chain_take(struct shard_view *v, uint32_t count)
{
	uint32_t first = NONE;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t block = v->s->returned;

		if (block == NONE)
			block = v->s->untouched++;
		else if (number_good(v, block))
			v->s->returned = v->next[block];
		if (!number_good(v, block))
			return NONE;
		v->next[block] = first;
		first = block;
	}
	v->s->used += count;
	return first;
}

static void
chain_give(struct shard_view *v, uint32_t first, uint32_t count)
{
	uint32_t last = first;

	for (uint32_t i = 1; i < count && number_good(v, last); i++)
		last = v->next[last];
	if (!number_good(v, last))
		return;
	if (count > v->s->used) {
		v->damaged = true;
		return;
	}
	v->next[last] = v->s->returned;
	v->s->returned = first;
	v->s->used -= count;
}

static void
queue_push(struct shard_view *v, uint32_t number)
{
	struct shard_entry *e = &v->entries[number];
	struct shard_entry *second = v->s->newest == NONE ? NULL : entry_at(v, v->s->newest);

	e->newer = NONE;
	e->older = v->s->newest;
	v->s->newest = number;
	if (second != NULL)
		second->newer = number;
	else
		v->s->oldest = number;
}

static void
queue_unlink(struct shard_view *v, const struct shard_entry *e, uint32_t number)
{
	struct shard_entry *newer = e->newer == NONE ? NULL : entry_at(v, e->newer);
	struct shard_entry *older = e->older == NONE ? NULL : entry_at(v, e->older);

	if (v->s->hand == number)
		v->s->hand = e->newer;
	if (newer != NULL)
		newer->older = e->older;
	else
		v->s->newest = e->older;
	if (older != NULL)
		older->newer = e->newer;
	else
		v->s->oldest = e->newer;
}

static uint32_t *
bucket_of(struct shard_view *v, uint64_t hash)
{
	return &v->buckets[hash & (v->bucket_count - 1)];
}

uint32_t
shard_find(struct shard_view *v, uint64_t hash, struct slice key)
{
	uint32_t number = *bucket_of(v, hash);

	for (uint32_t steps = 0; number != NONE && steps <= v->s->entries; steps++) {
		const struct shard_entry *e = entry_at(v, number);
		struct cursor c;

		if (e == NULL)
			return NONE;
		c = (struct cursor){ .block = number, .at = e->head_bytes };
		if (e->hash == hash && e->key_bytes == key.len && cursor_equals(v, &c, key))
			return number;
		number = e->chained;
	}
	if (number != NONE)
		v->damaged = true; /* longer than there are entries: a loop */
	return NONE;
}

static void
index_unlink(struct shard_view *v, const struct shard_entry *e, uint32_t number)
{
	uint32_t *link = bucket_of(v, e->hash);

	for (uint32_t steps = 0; *link != number && steps <= v->s->entries; steps++) {
		struct shard_entry *before = entry_at(v, *link);

		if (before == NULL)
			return;
		link = &before->chained;
	}
	if (*link == number)
		*link = e->chained;
	else
		v->damaged = true;
}

void
shard_drop(struct shard_view *v, uint32_t number)
{
	const struct shard_entry *e = entry_at(v, number);

	if (e == NULL)
		return;
	index_unlink(v, e, number);
	queue_unlink(v, e, number);
	chain_give(v, number, blocks_of(e));
	v->s->entries--;
}

/*
 * SIEVE: the hand goes from the oldest to the newest and around, takes the mark off what was visited,
 * and evicts the first that was not.  What is visited keeps its place: a hit moves nothing.
 */
static bool
sieve_evict(struct shard_view *v)
{
	uint32_t number = v->s->hand != NONE ? v->s->hand : v->s->oldest;

	for (uint64_t steps = 0; steps <= 2 * (uint64_t)v->s->entries; steps++) {
		struct shard_entry *e = entry_at(v, number);

		if (e == NULL)
			return false;
		if (!e->visited) {
			v->s->hand = e->newer;
			shard_drop(v, number);
			return !v->damaged;
		}
		e->visited = false;
		number = e->newer != NONE ? e->newer : v->s->oldest;
	}
	v->damaged = true;
	return false;
}

static uint32_t
make_room(struct shard_view *v, uint32_t blocks)
{
	uint32_t evicted = 0;

	while (v->block_count - v->s->used < blocks && sieve_evict(v))
		evicted++;
	if (v->damaged)
		lose(v); /* which also makes room */
	return evicted;
}

size_t
shard_head(struct shard_view *v, uint32_t number, char head_out[SHARD_HEAD_MAX])
{
	const struct shard_entry *e = entry_at(v, number);

	if (e == NULL)
		return 0;
	memcpy(head_out, v->data + (size_t)number * BLOCK_BYTES, e->head_bytes);
	return e->head_bytes;
}

bool
shard_value(struct shard_view *v, uint32_t number, struct arena *a, struct slice *value_out)
{
	struct shard_entry *e = entry_at(v, number);
	struct cursor c;
	char *copy;

	if (e == NULL)
		return false;
	copy = arena_alloc(a, e->value_bytes);
	c = cursor_at(v, number, (size_t)e->head_bytes + e->key_bytes);
	if (copy == NULL || !cursor_read(v, &c, copy, e->value_bytes))
		return false;
	e->visited = true;
	*value_out = (struct slice){ .ptr = copy, .len = e->value_bytes };
	return true;
}

static bool
record_add(struct shard_view *v, const struct shard_entry *e, struct slice head, struct slice key,
    struct slice value)
{
	const uint32_t number = chain_take(v, blocks_of(e));
	struct cursor c = { .block = number };

	if (number == NONE || !cursor_write(v, &c, head) || !cursor_write(v, &c, key) ||
	    !cursor_write(v, &c, value))
		return false;
	v->entries[number] = *e;
	v->entries[number].chained = *bucket_of(v, e->hash);
	*bucket_of(v, e->hash) = number;
	queue_push(v, number);
	v->s->entries++;
	return !v->damaged;
}

uint32_t
shard_store(
    struct shard_view *v, uint64_t hash, struct slice head, struct slice key, struct slice value)
{
	const uint32_t old = shard_find(v, hash, key);
	const struct shard_entry e = {
		.hash = hash,
		.key_bytes = (uint32_t)key.len,
		.value_bytes = (uint32_t)value.len,
		.head_bytes = (uint16_t)head.len,
		.visited = old != NONE && v->entries[old].visited, /* a refresh is no new record */
	};
	uint32_t evicted;

	if (old != NONE)
		shard_drop(v, old);
	evicted = make_room(v, blocks_of(&e));
	if (!record_add(v, &e, head, key, value)) {
		lose(v);
		(void)record_add(v, &e, head, key, value); /* an empty shard has room */
	}
	return evicted;
}

void
shard_stats_read(const void *mem, struct shard_stats *out)
{
	const struct shard *s = mem;

	out->entries = s->entries;
	out->bytes_used = (uint64_t)s->used * BLOCK_BYTES;
	out->emptied = s->emptied;
}
