/*
 * Where the states of rate limits lie: slots in shared memory, found, claimed and reused without a
 * lock by processes that may be killed or stopped at any instruction.
 *
 * A slot's word holds { name, state } and is changed only by a 16-byte compare-and-swap; name is the
 * key's upper 47 bits and a PENDING bit.  The position tells most of the other bits: in 2^18 slots two
 * keys are taken for one with a chance of about 2^-59.  What a state means: limiter_rule.c.
 *
 * Reuse.  busy_until is raised before the word is changed, so at every moment it covers the state in
 * the word.  Who reuses a slot reads the word first, busy_until second, and then swaps that very word:
 * had the state moved on in between, the swap would fail.  A raise whose swap fails or never comes (its
 * process died) only delays reuse.  A slot rests one more second after busy_until, so that a caller
 * whose `now` is a little old does not find its bucket gone before it was full by its own time.
 *
 * Claiming.  Two processes that meet a new key at once may choose different slots (one became free
 * between their looks); two buckets for one key would double its tokens.  So a claim has two stages:
 *
 *        reusable --claim--> PENDING, with a number used once --promote--> LIVE (first token taken)
 *                               |
 *                               +--dropped by anybody who promotes another slot for this key--> free
 *
 * Whoever promotes must, after he saw the PENDING word, look through the rest of the neighbourhood:
 * a LIVE slot of the key, or an earlier PENDING one, wins (he drops his and starts again); later
 * PENDING ones he drops.  Then at most one slot of a key is LIVE.  For suppose slots A and B both are,
 * and A's PENDING word was written first.  It stood until A was promoted.  B's promoter looked at A
 * after B's PENDING word was written, so after A's: he saw A PENDING and dropped it (then A's promoter
 * failed: the number is not used twice), or gave up B; or he saw it LIVE and gave up B.  (Had A been
 * reused by then, it would not be LIVE.)  A PENDING word carries no token and has no owner: anybody may
 * promote it, so a claimer's death holds up nobody.
 */
#include "policy/limiter.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "base/wide.h"
#include "policy/limiter_rule.h"

enum { NEIGHBOURS = 16, OVERFLOW_SLOTS = 4096, NAME_SHIFT = LIMITER_STATE_BITS, TAG_SHIFT = 17 };

enum { USAGE_LINES = 16, SLOTS_A_LINE = 2 }; /* of which one line is looked at */

static const uint64_t pending_bit = 1;
static const uint64_t rest_ns = 1000000000;
static const int64_t second_ns = 1000000000;
static const wide state_mask = ((wide)1 << NAME_SHIFT) - 1;

struct slot {
	union wide_word at;
	_Atomic uint64_t busy_until_ns;
	_Atomic uint64_t reach_ns; /* how far ahead of now any rule here may put busy_until */
};

struct limiter {
	uint32_t slot_count;
	_Atomic uint64_t claims; /* numbers for PENDING words */
	alignas(64) struct slot overflow[OVERFLOW_SLOTS];
	struct slot slots[];
};

_Static_assert(sizeof(struct slot) == 32 && alignof(struct slot) == 16, "two slots a cache line");
_Static_assert(sizeof(struct limiter) % 64 == 0, "slots begin on a cache line");

size_t
limiter_size(uint32_t slots)
{
	if (slots < 1024 || slots > 1u << 24 || (slots & (slots - 1)) != 0)
		return 0;
	return sizeof(struct limiter) + slots * sizeof(struct slot);
}

void
limiter_init(void *mem, uint32_t slots)
{
	struct limiter *l = memset(mem, 0, limiter_size(slots));

	l->slot_count = slots;
}

static wide
word_of(uint64_t name, wide state)
{
	return (wide)name << NAME_SHIFT | (state & state_mask);
}

static uint64_t
word_name(wide word)
{
	return (uint64_t)(word >> NAME_SHIFT);
}

/* The slots in which a key may lie, in the order in which everybody looks at them. */
struct hood {
	struct slot *slots;
	uint32_t home, mask;
	uint64_t name; /* of the key when LIVE */
};

/* The key is mixed, for a caller's hash may be weak in some bits (a mix that loses nothing). */
static struct hood
hood_of(struct slot *slots, uint32_t count, uint64_t key)
{
	struct hood h = { .slots = slots, .mask = count - 1 };

	key = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	key ^= key >> 29;
	h.home = (uint32_t)key & h.mask;
	h.name = key >> TAG_SHIFT << 1;
	if (h.name == 0)
		h.name = 2; /* zero is nobody's */
	return h;
}

static struct hood
hood_of_key(struct limiter *l, uint64_t key)
{
	return hood_of(l->slots, l->slot_count, key);
}

static struct hood
hood_of_rule(struct limiter *l, const struct limiter_rule *r)
{
	return hood_of(l->overflow, OVERFLOW_SLOTS, r->seed);
}

static struct slot *
hood_slot(const struct hood *h, unsigned i)
{
	return &h->slots[(h->home + i) & h->mask];
}

static uint64_t
slot_name(const struct slot *s)
{
	return atomic_load(&s->at.half.high) >> (NAME_SHIFT - 64);
}

/* Only after ${name} was read from the slot. */
static bool
slot_is_reusable(const struct slot *s, uint64_t name, uint64_t now_ns)
{
	const uint64_t busy = atomic_load(&s->busy_until_ns);

	if (name == 0 || busy + rest_ns <= now_ns)
		return true;
	/* No rule here can have put it so far ahead: the clock has started again. */
	return busy > now_ns + atomic_load(&s->reach_ns) + LIMITER_STALE_NS;
}

/*
 * Before the word is changed.  A busy_until from before a reboot is replaced, also downwards, and
 * nobody takes it for enough: so it is never lowered under a state that rests on it.
 */
static void
slot_raise(struct slot *s, const struct limiter_step *step, uint64_t now_ns)
{
	uint64_t reach = atomic_load(&s->reach_ns), busy = atomic_load(&s->busy_until_ns);

	while (reach < step->reach_ns)
		if (atomic_compare_exchange_weak(&s->reach_ns, &reach, step->reach_ns))
			reach = step->reach_ns;
	while (busy < step->busy_until_ns || busy > now_ns + reach + LIMITER_STALE_NS)
		if (atomic_compare_exchange_weak(&s->busy_until_ns, &busy, step->busy_until_ns))
			break;
}

enum seat_kind { SEAT_NONE, SEAT_REUSABLE, SEAT_PENDING, SEAT_LIVE };

struct seat {
	enum seat_kind kind;
	struct slot *slot;
};

/* The key's LIVE slot, else its first PENDING one, else the first that may be reused. */
static struct seat
hood_find(const struct hood *h, uint64_t now_ns)
{
	struct seat best = { SEAT_NONE, NULL };

	for (unsigned i = 0; i < NEIGHBOURS; i++) {
		struct slot *s = hood_slot(h, i);
		const uint64_t name = slot_name(s);

		if (name == h->name)
			return (struct seat){ SEAT_LIVE, s };
		if (name == (h->name | pending_bit)) {
			if (best.kind != SEAT_PENDING)
				best = (struct seat){ SEAT_PENDING, s };
		} else if (best.kind == SEAT_NONE && slot_is_reusable(s, name, now_ns)) {
			best = (struct seat){ SEAT_REUSABLE, s };
		}
	}
	return best;
}

/* True when no other slot of the key goes before ${mine}; PENDING ones behind it are dropped. */
static bool
hood_is_mine(const struct hood *h, const struct slot *mine)
{
	const uint64_t pending = h->name | pending_bit;
	bool behind = false;

	for (unsigned i = 0; i < NEIGHBOURS; i++) {
		struct slot *s = hood_slot(h, i);
		const uint64_t name = slot_name(s);
		wide word;

		if (s == mine)
			behind = true;
		else if (name == h->name || (name == pending && !behind))
			return false;
		if (s == mine || name != pending)
			continue;
		word = wide_load(&s->at);
		if (word_name(word) != pending || !wide_swap(&s->at, word, 0))
			return false; /* it moved on: look again */
	}
	return true;
}

/* The first stage; how it went shows at the next look. */
static void
slot_claim(struct limiter *l, const struct hood *h, struct slot *s, const struct limiter_rule *r,
    uint64_t now_ns)
{
	const wide word = wide_load(&s->at);
	struct limiter_step first;
	uint64_t number;

	if (!slot_is_reusable(s, word_name(word), now_ns))
		return;
	limiter_rule_take(r, 0, now_ns, &first);
	slot_raise(s, &first, now_ns);
	number = atomic_fetch_add(&l->claims, 1);
	(void)wide_swap(&s->at, word, word_of(h->name | pending_bit, number));
}

enum outcome { TRY_AGAIN, TAKEN, REFUSED, NO_SEAT };

/* From a LIVE slot, or a PENDING one that becomes LIVE by it. */
static enum outcome
seat_take(const struct hood *h, const struct seat *seat, const struct limiter_rule *r,
    uint64_t now_ns, struct limiter_state *out)
{
	const bool live = seat->kind == SEAT_LIVE;
	const wide word = wide_load(&seat->slot->at);
	struct limiter_step step;

	if (word_name(word) != (live ? h->name : h->name | pending_bit))
		return TRY_AGAIN;
	if (!live && !hood_is_mine(h, seat->slot)) {
		(void)wide_swap(&seat->slot->at, word, 0);
		return TRY_AGAIN;
	}
	limiter_rule_take(r, live ? word & state_mask : 0, now_ns, &step);
	*out = step.told;
	if (!step.admitted)
		return REFUSED;
	slot_raise(seat->slot, &step, now_ns);
	return wide_swap(&seat->slot->at, word, word_of(h->name, step.next)) ? TAKEN : TRY_AGAIN;
}

/* Ends: whoever must try again was overtaken by somebody who got on. */
static enum outcome
hood_take(struct limiter *l, const struct hood *h, const struct limiter_rule *r, uint64_t now_ns,
    struct limiter_state *out)
{
	enum outcome rc = TRY_AGAIN;

	while (rc == TRY_AGAIN) {
		const struct seat seat = hood_find(h, now_ns);

		if (seat.kind == SEAT_NONE)
			rc = NO_SEAT;
		else if (seat.kind == SEAT_REUSABLE)
			slot_claim(l, h, seat.slot, r, now_ns);
		else
			rc = seat_take(h, &seat, r, now_ns, out);
	}
	return rc;
}

enum err
limiter_take(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns,
    struct limiter_state *out)
{
	const struct hood own = hood_of_key(l, key), shared = hood_of_rule(l, r);
	const uint64_t now = limiter_clock(now_ns);
	enum outcome got = hood_take(l, &own, r, now, out);

	if (got == NO_SEAT) {
		got = hood_take(l, &shared, r, now, out);
		if (got ==
		    NO_SEAT) /* 16 rules overflow around this one: doubt is not for the client */
			*out = (struct limiter_state){ .reset_ns = second_ns,
				.retry_after_ns = second_ns };
		out->overflow = true;
	}
	return got == TAKEN ? ERR_OK : ERR_LIMITED;
}

void
limiter_give_back(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns,
    const struct limiter_state *taken)
{
	const struct hood h = taken->overflow ? hood_of_rule(l, r) : hood_of_key(l, key);
	const uint64_t now = limiter_clock(now_ns);

	for (;;) {
		const struct seat seat = hood_find(&h, now);
		wide word, next;

		if (seat.kind != SEAT_LIVE)
			return; /* reused, so the bucket was full, so the token is back */
		word = wide_load(&seat.slot->at);
		next = limiter_rule_give_back(r, word & state_mask, now);
		if (word_name(word) == h.name &&
		    wide_swap(&seat.slot->at, word, word_of(h.name, next)))
			return;
	}
}

static bool
hood_look(
    const struct hood *h, const struct limiter_rule *r, uint64_t now_ns, struct limiter_state *out)
{
	const struct seat seat = hood_find(h, now_ns);
	const wide word = seat.kind == SEAT_LIVE ? wide_load(&seat.slot->at) : 0;

	limiter_rule_look(r, word_name(word) == h->name ? word & state_mask : 0, now_ns, out);
	return seat.kind != SEAT_NONE;
}

void
limiter_look(struct limiter *l, const struct limiter_rule *r, uint64_t key, int64_t now_ns,
    struct limiter_state *out)
{
	const struct hood own = hood_of_key(l, key), shared = hood_of_rule(l, r);
	const uint64_t now = limiter_clock(now_ns);

	if (hood_look(&own, r, now, out))
		return;
	(void)hood_look(&shared, r, now, out);
	out->overflow = true;
}

uint32_t
limiter_usage(const struct limiter *l, int64_t now_ns, uint32_t *used_out)
{
	const uint64_t now = limiter_clock(now_ns);
	uint32_t used = 0;

	for (uint32_t i = 0; i < l->slot_count; i += USAGE_LINES * SLOTS_A_LINE)
		for (uint32_t k = 0; k < SLOTS_A_LINE; k++) {
			const struct slot *s = &l->slots[i + k];

			used += !slot_is_reusable(s, slot_name(s), now);
		}
	*used_out = used * USAGE_LINES;
	return l->slot_count;
}
