/*
 * Answers on API keys in shared memory.
 *
 * A slot is plain words, read and written one by one (relaxed atomics): a reader takes a copy and believes
 * it when the proof in it is that of the copy.  There is nothing to hold and nothing to mend.  The proof is a
 * fast hash under a seed that nobody outside knows; what it must tell apart is whole from torn, and two torn
 * halves agree by chance once in 2^128.
 */
#include "policy/key_cache.h"

#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum {
	SLOTS_MIN = 8,
	SLOTS_MAX = 1 << 20,
	NEIGHBOURS = 8, /* slots in which a key may lie */
	DIGEST_WORDS = KEY_CACHE_DIGEST_BYTES / 8,
	TAIL_WORDS = (1 + KEY_CACHE_TENANT_MAX) / 8,
	STATE_BITS = 2,
};

/* One cache line.  ${said} is when << STATE_BITS | state; zero: never written. */
struct head {
	_Atomic uint64_t proof[2];
	_Atomic uint64_t said;
	_Atomic uint64_t digest[DIGEST_WORDS];
	_Atomic uint64_t lease; /* apart from the proof: who asks again has until then, ms */
};
_Static_assert(sizeof(struct head) == 64, "one cache line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no lock behind the atomics");

/* The tenant, with its length in the first byte. */
struct tail {
	_Atomic uint64_t words[TAIL_WORDS];
};

struct key_cache {
	uint64_t seed;
	uint32_t count; /* slots of each table */
	uint32_t reserved[13];
	struct head
	    heads[]; /* ${count} of keys that were good, ${count} of others, then ${count} tails */
};
_Static_assert(sizeof(struct key_cache) == 64, "heads begin on a cache line");

/* What a slot says, copied out, in the order in which it is hashed. */
struct copy {
	uint64_t seed, said;
	uint64_t digest[DIGEST_WORDS];
	uint64_t tail[TAIL_WORDS]; /* zero where there is none */
};

/* Where a key may lie in one of the two tables. */
struct hood {
	struct head *heads;
	struct tail *tails; /* NULL: the table of others */
	uint32_t home, mask;
};

size_t
key_cache_size(uint32_t slots)
{
	if (slots < SLOTS_MIN || slots > SLOTS_MAX || (slots & (slots - 1)) != 0)
		return 0;
	return sizeof(struct key_cache) + slots * (2 * sizeof(struct head) + sizeof(struct tail));
}

void
key_cache_init(void *mem, uint32_t slots, uint64_t seed)
{
	struct key_cache *c = memset(mem, 0, key_cache_size(slots));

	c->seed = seed;
	c->count = slots;
}

static struct hood
hood_of(const struct key_cache *shared, const uint8_t *digest, bool good)
{
	struct key_cache *c = (struct key_cache *)(uintptr_t)shared;
	struct hood h = { .heads = c->heads, .mask = c->count - 1 };

	/* Not the digest's own bits: who invents keys could choose whom they drive out. */
	h.home = (uint32_t)hash64(c->seed, digest, KEY_CACHE_DIGEST_BYTES) & h.mask;
	if (good)
		h.tails = (struct tail *)(void *)(c->heads + 2 * (size_t)c->count);
	else
		h.heads += c->count;
	return h;
}

static uint32_t
hood_slot(const struct hood *h, uint32_t nth)
{
	return (h->home + nth) & h->mask;
}

static uint64_t
word(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void
set_word(_Atomic uint64_t *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

/* Copies slot ${i} out.  False: it is another key's, empty, or torn. */
static bool
slot_read(const struct hood *h, uint32_t i, const uint64_t digest[DIGEST_WORDS], uint64_t seed,
    struct copy *out)
{
	const struct head *head = &h->heads[i];
	struct hash128 proof;

	if (word(&head->said) == 0 || word(&head->digest[0]) != digest[0])
		return false;
	*out = (struct copy){ .seed = seed, .said = word(&head->said) };
	for (size_t k = 0; k < DIGEST_WORDS; k++)
		out->digest[k] = word(&head->digest[k]);
	for (size_t k = 0; h->tails != NULL && k < TAIL_WORDS; k++)
		out->tail[k] = word(&h->tails[i].words[k]);
	proof = hash128(out, sizeof *out);
	return word(&head->proof[0]) == proof.lo && word(&head->proof[1]) == proof.hi &&
	       memcmp(out->digest, digest, sizeof out->digest) == 0;
}

static void
slot_write(const struct hood *h, uint32_t i, const struct copy *copy)
{
	const struct hash128 proof = hash128(copy, sizeof *copy);
	struct head *head = &h->heads[i];

	set_word(&head->proof[0], proof.lo);
	set_word(&head->proof[1], proof.hi);
	set_word(&head->said, copy->said);
	for (size_t k = 0; k < DIGEST_WORDS; k++)
		set_word(&head->digest[k], copy->digest[k]);
	for (size_t k = 0; h->tails != NULL && k < TAIL_WORDS; k++)
		set_word(&h->tails[i].words[k], copy->tail[k]);
	set_word(&head->lease, 0);
}

static int64_t
said_ms(uint64_t said)
{
	return (int64_t)(said >> STATE_BITS);
}

/* The key's slot, the latest when two processes made one at once; *${copy_out} is what it says. */
static bool
hood_find(const struct hood *h, const uint8_t *digest, uint64_t seed, uint32_t *slot_out,
    struct copy *copy_out)
{
	uint64_t words[DIGEST_WORDS];
	bool found = false;
	struct copy copy;

	memcpy(words, digest, sizeof words);
	for (uint32_t nth = 0; nth < NEIGHBOURS; nth++) {
		const uint32_t i = hood_slot(h, nth);

		if (!slot_read(h, i, words, seed, &copy) ||
		    (found && said_ms(copy.said) <= said_ms(copy_out->said)))
			continue;
		found = true;
		*slot_out = i;
		*copy_out = copy;
	}
	return found;
}

/* The slot that was written longest ago; an empty one was written never. */
static uint32_t
hood_oldest(const struct hood *h)
{
	uint32_t oldest = hood_slot(h, 0);

	for (uint32_t nth = 1; nth < NEIGHBOURS; nth++) {
		const uint32_t i = hood_slot(h, nth);

		if (word(&h->heads[i].said) < word(&h->heads[oldest].said))
			oldest = i;
	}
	return oldest;
}

static void
entry_of(const struct copy *c, struct key_entry *out)
{
	const uint8_t *tail = (const uint8_t *)c->tail;

	out->state = (enum key_state)(c->said & ((1u << STATE_BITS) - 1));
	out->asked_ms = said_ms(c->said);
	out->tenant_len = tail[0];
	memcpy(out->tenant, tail + 1, out->tenant_len);
}

static struct copy
copy_of(const struct key_cache *c, const uint8_t *digest, const struct key_entry *e)
{
	struct copy copy = { .seed = c->seed,
		.said = (uint64_t)e->asked_ms << STATE_BITS | (uint64_t)e->state };
	uint8_t *tail = (uint8_t *)copy.tail;

	memcpy(copy.digest, digest, sizeof copy.digest);
	if (e->state == KEY_GOOD) {
		tail[0] = (uint8_t)e->tenant_len;
		memcpy(tail + 1, e->tenant, tail[0]);
	}
	return copy;
}

void
key_cache_find(
    const struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES], struct key_entry *out)
{
	const struct hood good = hood_of(c, digest, true), other = hood_of(c, digest, false);
	struct copy copy;
	uint32_t slot;

	out->state = KEY_UNSEEN;
	if (hood_find(&good, digest, c->seed, &slot, &copy) ||
	    hood_find(&other, digest, c->seed, &slot, &copy))
		entry_of(&copy, out);
}

void
key_cache_keep(
    struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES], const struct key_entry *e)
{
	struct hood h = hood_of(c, digest, true);
	const struct copy copy = copy_of(c, digest, e);
	struct copy there;
	uint32_t slot;
	bool found = hood_find(&h, digest, c->seed, &slot, &there);

	/* A key that was good and is not any more stays where it was, so that its old answer is gone. */
	if (!found && e->state == KEY_BAD) {
		h = hood_of(c, digest, false);
		found = hood_find(&h, digest, c->seed, &slot, &there);
	}
	if (found && said_ms(there.said) > e->asked_ms)
		return;
	slot_write(&h, found ? slot : hood_oldest(&h), &copy);
}

bool
key_cache_claim(struct key_cache *c, const uint8_t digest[KEY_CACHE_DIGEST_BYTES], int64_t now_ms,
    int64_t lease_ms)
{
	const struct hood h = hood_of(c, digest, true);
	struct copy copy;
	uint64_t until;
	uint32_t slot;

	if (!hood_find(&h, digest, c->seed, &slot, &copy))
		return true;
	until = word(&h.heads[slot].lease);
	/* One that lies further ahead than any lease is from before a restart of the clock. */
	if (until > (uint64_t)now_ms && until <= (uint64_t)(now_ms + lease_ms))
		return false;
	return atomic_compare_exchange_strong(
	    &h.heads[slot].lease, &until, (uint64_t)(now_ms + lease_ms));
}

uint32_t
key_cache_usage(const struct key_cache *c, uint32_t *used_out)
{
	*used_out = 0;
	for (uint32_t i = 0; i < 2 * c->count; i++)
		*used_out += word(&c->heads[i].proof[0]) != 0;
	return 2 * c->count;
}
