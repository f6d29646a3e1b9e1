/*
 * The first-level cache: which shard, which tags, fresh or stale.
 *
 * Behind this file stands l1_shard.c, which keeps records and knows neither time nor
 * tags.  A record's head is its times and the generations of its tags.  The first tag
 * of every copy is the word that l1_purge_all() moves, so a purge of everything is
 * one atomic add too.
 */
#include "policy/l1.h"

#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "policy/l1_shard.h"

enum {
	SHARD_BYTES = 4 << 20, /* wanted; a cache of less is one shard */
	SHARDS_MAX = 1024,
	LINE_BYTES = 64,
	WORD_OF_ALL = 0
};
#define CACHE_BYTES_MIN (UINT64_C(1) << 20)
#define CACHE_BYTES_MAX (UINT64_C(1) << 40)

struct l1 {
	uint64_t seed;
	uint32_t shards; /* a power of two */
	struct shard_layout layout;
	_Alignas(LINE_BYTES) _Atomic uint32_t generation[L1_TAG_WORDS];
};
_Static_assert(sizeof(struct l1) % LINE_BYTES == 0, "the first shard begins a line");

struct tag {
	uint32_t word, generation;
};

struct head {
	struct l1_times times;
	struct tag tags[L1_MAX_TAGS]; /* stored: only those there are */
};
_Static_assert(sizeof(struct head) <= SHARD_HEAD_MAX, "a head is small");

static uint32_t
shards_for(size_t bytes)
{
	uint32_t shards = 1;

	while (shards < SHARDS_MAX && (size_t)shards * 2 * SHARD_BYTES <= bytes)
		shards *= 2;
	return shards;
}

size_t
l1_size(size_t bytes)
{
	uint32_t shards;

	if (bytes < CACHE_BYTES_MIN || bytes > CACHE_BYTES_MAX)
		return 0;
	shards = shards_for(bytes);
	return sizeof(struct l1) + shards * shard_layout_for(bytes / shards).bytes;
}

size_t
l1_max_value_bytes(const struct l1 *l)
{
	return shard_bytes_max(&l->layout);
}

static size_t
shard_offset(const struct l1 *l, uint32_t number)
{
	return sizeof *l + number * l->layout.bytes;
}

static struct shard_view
shard_number(struct l1 *l, uint32_t number)
{
	return shard_at((char *)l + shard_offset(l, number), &l->layout);
}

/* By the hash's upper bits: its lower ones choose the bucket. */
static struct shard_view
shard_for(struct l1 *l, uint64_t hash)
{
	return shard_number(l, (uint32_t)(hash >> 48) & (l->shards - 1));
}

void
l1_init(void *mem, size_t bytes, uint64_t seed)
{
	struct l1 *l = mem;

	memset(l, 0, sizeof *l);
	l->seed = seed;
	l->shards = shards_for(bytes);
	l->layout = shard_layout_for(bytes / l->shards);
	for (uint32_t i = 0; i < l->shards; i++) {
		struct shard_view v = shard_number(l, i);

		shard_init(&v);
	}
}

static uint32_t
tag_word(uint64_t tag_hash)
{
	return (uint32_t)(tag_hash % (L1_TAG_WORDS - 1)) + 1; /* never WORD_OF_ALL */
}

static void
tag_read(const struct l1 *l, uint32_t word, struct l1_tags *out)
{
	out->word[out->count] = word;
	out->generation[out->count++] = atomic_load(&l->generation[word]);
}

void
l1_tags_read(const struct l1 *l, const uint64_t *tag_hashes, size_t count, struct l1_tags *out)
{
	out->count = 0;
	tag_read(l, WORD_OF_ALL, out);
	for (size_t i = 0; i < count && i < L1_MAX_TAGS - 1; i++)
		tag_read(l, tag_word(tag_hashes[i]), out);
	if (count > L1_MAX_TAGS - 1)
		out->count = L1_MAX_TAGS + 1; /* l1_put() refuses what some purge could not reach */
}

void
l1_purge(struct l1 *l, uint64_t tag_hash)
{
	atomic_fetch_add(&l->generation[tag_word(tag_hash)], 1);
}

void
l1_purge_all(struct l1 *l)
{
	atomic_fetch_add(&l->generation[WORD_OF_ALL], 1);
}

static bool
tags_hold(const struct l1 *l, const struct tag *tags, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tags[i].word >= L1_TAG_WORDS ||
		    atomic_load(&l->generation[tags[i].word]) != tags[i].generation)
			return false;
	return true;
}

static enum l1_answer
answer_at(const struct l1_times *t, int64_t now_ms)
{
	if (now_ms < t->fresh_until)
		return L1_FRESH;
	if (now_ms < t->stale_until)
		return L1_STALE;
	return now_ms < t->error_until ? L1_ERROR_ONLY : L1_MISS;
}

static size_t
head_bytes(size_t tags)
{
	return offsetof(struct head, tags) + tags * sizeof(struct tag);
}

/* What the record is good for now; one that is good for nothing is dropped. */
static enum l1_answer
record_answer(const struct l1 *l, struct shard_view *v, uint32_t number, int64_t now_ms,
    struct l1_times *times_out)
{
	union {
		char bytes[SHARD_HEAD_MAX];
		struct head head;
	} u;
	const size_t len = shard_head(v, number, u.bytes);
	enum l1_answer answer = L1_MISS;

	if (len >= head_bytes(0) && len <= head_bytes(L1_MAX_TAGS) &&
	    tags_hold(l, u.head.tags, (len - head_bytes(0)) / sizeof(struct tag)))
		answer = answer_at(&u.head.times, now_ms);
	if (answer == L1_MISS)
		shard_drop(v, number);
	else
		*times_out = u.head.times;
	return answer;
}

enum l1_answer
l1_get(struct l1 *l, struct slice key, int64_t now_ms, int64_t wait_ms, struct arena *a,
    struct slice *value_out, struct l1_times *times_out)
{
	const uint64_t hash = hash64(l->seed, key.ptr, key.len);
	struct shard_view v = shard_for(l, hash);
	enum l1_answer answer = L1_MISS;
	uint32_t number;

	*value_out = (struct slice){ 0 };
	*times_out = (struct l1_times){ 0 };
	if (!shard_hold(&v, wait_ms))
		return L1_BUSY;
	number = shard_find(&v, hash, key);
	if (number != SHARD_NONE)
		answer = record_answer(l, &v, number, now_ms, times_out);
	if (answer != L1_MISS && !shard_value(&v, number, a, value_out))
		answer = L1_MISS;
	shard_release(&v);
	return answer;
}

enum err
l1_put(struct l1 *l, struct slice key, struct slice value, const struct l1_tags *tags,
    const struct l1_times *times, int64_t wait_ms, uint32_t *evicted_out)
{
	const uint64_t hash = hash64(l->seed, key.ptr, key.len);
	struct shard_view v = shard_for(l, hash);
	struct head head = { .times = *times };

	*evicted_out = 0;
	if (key.len > v.bytes_max || value.len > v.bytes_max || tags->count > L1_MAX_TAGS)
		return ERR_TOO_LARGE;
	for (size_t i = 0; i < tags->count; i++)
		head.tags[i] = (struct tag){ tags->word[i], tags->generation[i] };
	if (!tags_hold(l, head.tags, tags->count))
		return ERR_CONFLICT;
	if (!shard_hold(&v, wait_ms))
		return ERR_TIMEOUT;
	*evicted_out = shard_store(
	    &v, hash, (struct slice){ (const char *)&head, head_bytes(tags->count) }, key, value);
	shard_release(&v);
	return ERR_OK;
}

void
l1_stats_read(const struct l1 *l, struct l1_stats *out)
{
	struct shard_stats one;

	*out = (struct l1_stats){
		.bytes_total = (uint64_t)l->shards * l->layout.blocks * SHARD_BLOCK_BYTES,
	};
	for (uint32_t i = 0; i < l->shards; i++) {
		shard_stats_read((const char *)l + shard_offset(l, i), &one);
		out->entries += one.entries;
		out->bytes_used += one.bytes_used;
		out->emptied += one.emptied;
	}
}
