/*
 * Hints: event id -> sequence number, in fixed shared memory.
 *
 * Two buckets for an id, hashed under a seed that nobody outside knows, so
 * that neither chance nor intent fills one while the table has room.
 */
#include "service/queue_hints.h"

#include <string.h>

#include "base/hash.h"
#include "base/rand.h"
#include "service/queue.h"

enum { BYTES_PER_WORD = 128 };

static const uint64_t tag_mask = (1u << HINT_TAG_BITS) - 1;
static const uint64_t seq_mask = (1ull << HINT_SEQ_BITS) - 1;

static uint64_t
bucket_count(int64_t max_bytes)
{
	const uint64_t bytes = max_bytes > 0 ? (uint64_t)max_bytes : 0;

	return bytes / BYTES_PER_WORD / HINT_BUCKET_WORDS + 2;
}

size_t
queue_shared_size(int64_t max_bytes)
{
	return sizeof(struct queue_shared) +
	       bucket_count(max_bytes) * HINT_BUCKET_WORDS * sizeof(uint64_t);
}

void
queue_shared_init(void *mem, int64_t max_bytes)
{
	struct queue_shared *s = mem;

	memset(mem, 0, queue_shared_size(max_bytes));
	s->bucket_count = bucket_count(max_bytes);
	rand_bytes(&s->seed, sizeof s->seed);
}

static uint64_t
hash_of(const struct queue_shared *s, const uint8_t *id)
{
	return hash64(s->seed, id, EVENT_ID_BYTES);
}

/* Never 0, so that a word of 0 is an empty one. */
static uint64_t
tag_of(uint64_t hash)
{
	const uint64_t tag = hash & tag_mask;

	return tag == 0 ? 1 : tag;
}

/* The first word of bucket 0 or 1 of ${hash}. */
static size_t
bucket_at(const struct queue_shared *s, uint64_t hash, unsigned which)
{
	const uint64_t half = which == 0 ? hash >> 32 : (hash ^ hash >> 20) & UINT32_MAX;

	return (half * s->bucket_count >> 32) * HINT_BUCKET_WORDS; /* a fair share of 2^32 */
}

/* The number that a word means, near the end of the range; outside of the range: none. */
static bool
seq_of(uint64_t word, struct hint_range range, uint64_t *seq_out)
{
	*seq_out = range.last - ((range.last - (word >> HINT_TAG_BITS)) & seq_mask);
	return (word != 0) & (*seq_out >= range.first) & (*seq_out <= range.last);
}

struct hint_walk
hint_walk(const struct queue_shared *s, const uint8_t id[EVENT_ID_BYTES], struct hint_range range)
{
	return (struct hint_walk){ .shared = s, .hash = hash_of(s, id), .range = range };
}

bool
hint_next(struct hint_walk *w, uint64_t *seq_out)
{
	const uint64_t tag = tag_of(w->hash);

	for (; w->bucket < 2; w->bucket++, w->at = 0) {
		const _Atomic uint64_t *words =
		    &w->shared->words[bucket_at(w->shared, w->hash, w->bucket)];

		while (w->at < HINT_BUCKET_WORDS) {
			const uint64_t word =
			    atomic_load_explicit(&words[w->at++], memory_order_relaxed);

			if ((word & tag_mask) == tag && seq_of(word, w->range, seq_out))
				return true;
		}
	}
	return false;
}

/* A bucket as an insertion finds it. */
struct vacancy {
	unsigned room, at; /* words that are free, and one of them */
	bool there;	   /* the word itself is there already */
};

/* No branch on what the words hold: free and used ones come in no order, and a guess is wrong half the time. */
static struct vacancy
look(const _Atomic uint64_t *words, uint64_t wanted, struct hint_range range)
{
	struct vacancy v = { 0 };
	uint64_t held, seq;
	unsigned used;

	for (unsigned at = 0; at < HINT_BUCKET_WORDS; at++) {
		held = atomic_load_explicit(&words[at], memory_order_relaxed);
		used = seq_of(held, range, &seq);
		v.there |= held == wanted;
		v.room += 1 - used;
		v.at += (at - v.at) * (1 - used);
	}
	return v;
}

void
hint_insert(
    struct queue_shared *s, const uint8_t id[EVENT_ID_BYTES], uint64_t seq, struct hint_range range)
{
	const uint64_t hash = hash_of(s, id);
	const uint64_t wanted = (seq & seq_mask) << HINT_TAG_BITS | tag_of(hash);
	_Atomic uint64_t *first = &s->words[bucket_at(s, hash, 0)];
	_Atomic uint64_t *second = &s->words[bucket_at(s, hash, 1)];
	const struct vacancy a = look(first, wanted, range), b = look(second, wanted, range);

	if (a.there || b.there)
		return;
	/* Into the emptier one: so the table fills evenly. */
	if (a.room + b.room == 0)
		atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
	else if (a.room >= b.room)
		atomic_store_explicit(&first[a.at], wanted, memory_order_relaxed);
	else
		atomic_store_explicit(&second[b.at], wanted, memory_order_relaxed);
}
