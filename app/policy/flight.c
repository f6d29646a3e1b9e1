/*
 * Single flight over shared memory.
 *
 * A slot is one cache line: { key, control }, changed together by one 16-byte
 * compare-and-swap, and a bit for each waiting member.  A key may live in any
 * of the eight slots of its neighbourhood.  No step holds anything that a
 * killed or stopped process would have to give back.
 *
 * Why two processes that join the same new key in two different slots are not
 * both leaders.  Who finds no flight first CLAIMs a slot, then reads the seven
 * others, and only then swaps CLAIMED for FLYING:
 *
 *   another is FLYING for the key                 withdraw: it leads
 *   another is CLAIMED for it, with a lower number   withdraw: it has precedence
 *   another is CLAIMED for it, with a higher number  erase that claim by a swap
 *
 * Suppose slots A and B were both FLYING for one key at some moment, and let B
 * be the one whose claim came later.  From its claim to that moment A has held
 * the key without a gap (a take-over swaps in place).  B's owner read A after its
 * own claim, so after A's: it saw A FLYING, and withdrew; or CLAIMED, and withdrew
 * or erased A; or its erasing swap failed because A had begun to fly, and it read
 * again.  Each contradicts the assumption.  (Swaps and loads are sequentially
 * consistent; a deadline plays no part in it.)
 *
 * A claim belongs to nobody yet: no waiter hangs on it, and who meets a claim that
 * does not move (its owner is dead or stopped) claims the slot anew, with the next
 * serial number, so that the owner's own swap fails.
 */
#include "policy/flight.h"

#include <stdatomic.h>
#include <string.h>

#include "base/lock.h"
#include "base/wide.h"

enum {
	SLOTS_MIN = 8,
	SLOTS_MAX = 1 << 20,
	NEIGHBOURS = 8,
	ROUNDS_MAX = 10000,  /* of one join; each lost round means that another moved */
	PATIENCE = 64,	     /* looks at another's claim before it counts as abandoned */
	PATIENCE_GROWS = 10, /* doublings, so that two thieves do not take turns for ever */
	WORD_MEMBERS = 48, /* bits of a waiters word; its upper 16 are the serial they belong to */
	WAITER_WORDS = 6
};

/* CLAIMED is FLYING not yet confirmed; from STORED on the slot is free to be reused. */
enum slot_state { SLOT_FREE, SLOT_CLAIMED, SLOT_FLYING, SLOT_STORED, SLOT_NOT_STORED, SLOT_FAILED };

/* control: state, leader, serial, and the deadline (ms, modulo 2^37: four years) or the reason. */
enum { LEADER_AT = 3, SERIAL_AT = 11, DETAIL_AT = 27 };
#define DETAIL_MASK ((UINT64_C(1) << (64 - DETAIL_AT)) - 1)

struct pair {
	uint64_t key, control;
};

struct slot {
	union {
		union wide_word both;
		struct {
			_Atomic uint64_t key, control;
		} half;
	} pair;
	_Atomic uint64_t waiters[WAITER_WORDS];
};
_Static_assert(sizeof(struct slot) == 64, "one cache line");
_Static_assert((int)FLIGHT_MEMBERS <= WAITER_WORDS * WORD_MEMBERS, "a bit for each member");

struct flights {
	uint32_t count;
	uint32_t reserved[15];
	struct slot slots[];
};

/* Who comes, and for how long it would lead. */
struct comer {
	unsigned member;
	int64_t now_ms, lease_ms;
};

static wide
pair_bits(struct pair p)
{
	wide bits;

	_Static_assert(sizeof bits == sizeof p, "a pair fills the swap");
	memcpy(&bits, &p, sizeof bits);
	return bits;
}

static bool
slot_swap(struct slot *s, struct pair seen, struct pair next)
{
	return wide_swap(&s->pair.both, pair_bits(seen), pair_bits(next));
}

/* Both halves of one moment: the control of a slot never comes back with another key. */
static struct pair
slot_read(const struct slot *s)
{
	struct pair p;

	do {
		p.control = atomic_load(&s->pair.half.control);
		p.key = atomic_load(&s->pair.half.key);
	} while (p.control != atomic_load(&s->pair.half.control));
	return p;
}

static struct pair
pair_make(uint64_t key, enum slot_state state, unsigned leader, uint32_t serial, int64_t detail)
{
	return (struct pair){
		.key = key,
		.control = (uint64_t)state | (uint64_t)(leader % FLIGHT_MEMBERS) << LEADER_AT |
			   (uint64_t)(serial & 0xffff) << SERIAL_AT | (uint64_t)detail << DETAIL_AT,
	};
}

static enum slot_state
pair_state(struct pair p)
{
	return (enum slot_state)(p.control & 7);
}

static unsigned
pair_leader(struct pair p)
{
	return p.control >> LEADER_AT & (FLIGHT_MEMBERS - 1);
}

static uint32_t
pair_serial(struct pair p)
{
	return p.control >> SERIAL_AT & 0xffff;
}

/* The lease's deadline, of all moments that look the same the one nearest to ${near_ms}. */
static int64_t
pair_deadline(struct pair p, int64_t near_ms)
{
	const uint64_t ahead = ((p.control >> DETAIL_AT) - (uint64_t)near_ms) & DETAIL_MASK;

	return near_ms + (int64_t)ahead - (ahead > DETAIL_MASK / 2 ? (int64_t)DETAIL_MASK + 1 : 0);
}

static bool
lease_is_over(struct pair p, int64_t now_ms)
{
	return pair_deadline(p, now_ms) <= now_ms;
}

size_t
flight_size(uint32_t slots)
{
	if (slots < SLOTS_MIN || slots > SLOTS_MAX || (slots & (slots - 1)) != 0)
		return 0;
	return sizeof(struct flights) + slots * sizeof(struct slot);
}

void
flight_init(void *mem, uint32_t slots)
{
	struct flights *f = mem;

	memset(f, 0, flight_size(slots));
	f->count = slots;
}

/* Where ${key} may come down, best last. */
enum place_kind {
	PLACE_NONE,	 /* another key's flight */
	PLACE_ABANDONED, /* another key's, but its lease is over */
	PLACE_OPEN,	 /* free or landed */
	PLACE_OWN,	 /* this key's last flight, landed */
	PLACE_CLAIMED,	 /* somebody is about to lead for this key */
	PLACE_OVER,	 /* this key's flight, its lease is over */
	PLACE_FLYING	 /* this key's flight */
};

struct place {
	enum place_kind kind;
	uint32_t slot;
	struct pair seen;
};

static enum place_kind
place_kind(struct pair p, uint64_t key, int64_t now_ms)
{
	const enum slot_state state = pair_state(p);

	if (state != SLOT_CLAIMED && state != SLOT_FLYING)
		return p.key == key && state != SLOT_FREE ? PLACE_OWN : PLACE_OPEN;
	if (p.key != key)
		return lease_is_over(p, now_ms) ? PLACE_ABANDONED : PLACE_NONE;
	if (state == SLOT_CLAIMED)
		return PLACE_CLAIMED;
	return lease_is_over(p, now_ms) ? PLACE_OVER : PLACE_FLYING;
}

static uint32_t
neighbourhood(const struct flights *f, uint64_t key)
{
	return (uint32_t)key & (f->count - 1) & ~(uint32_t)(NEIGHBOURS - 1);
}

static struct place
best_place(const struct flights *f, uint64_t key, int64_t now_ms)
{
	const uint32_t first = neighbourhood(f, key);
	struct place best = { .kind = PLACE_NONE };

	for (uint32_t i = first; i < first + NEIGHBOURS; i++) {
		const struct pair p = slot_read(&f->slots[i]);
		const enum place_kind kind = place_kind(p, key, now_ms);

		if (kind > best.kind)
			best = (struct place){ .kind = kind, .slot = i, .seen = p };
	}
	return best;
}

/* True when the claim at ${place} has not moved for a while: its owner is stopped or dead. */
static bool
claim_rests(const struct flights *f, const struct place *place, unsigned round)
{
	const unsigned doublings = round < PATIENCE_GROWS ? round : PATIENCE_GROWS;
	const _Atomic uint64_t *control = &f->slots[place->slot].pair.half.control;

	for (unsigned i = 0; i < (unsigned)PATIENCE << doublings; i++) {
		if (atomic_load(control) != place->seen.control)
			return false;
		lock_pause();
	}
	return true;
}

/* With ${mine} claimed: may it fly?  Erases claims of less precedence (see the door plate). */
static bool
claim_stands(struct flights *f, uint64_t key, uint32_t mine)
{
	const uint32_t first = neighbourhood(f, key);
	uint32_t i = first;

	while (i < first + NEIGHBOURS) {
		const struct pair p = slot_read(&f->slots[i]);
		const enum slot_state state = pair_state(p);
		const bool rival =
		    i != mine && p.key == key && (state == SLOT_CLAIMED || state == SLOT_FLYING);

		if (rival && (state == SLOT_FLYING || i < mine))
			return false;
		if (!rival ||
		    slot_swap(&f->slots[i], p, pair_make(0, SLOT_FREE, 0, pair_serial(p), 0)))
			i++; /* else it has just moved: look at it again */
	}
	return true;
}

static struct flight_ticket
ticket_of(uint32_t slot, struct pair p, int64_t near_ms)
{
	return (struct flight_ticket){
		.slot = slot,
		.serial = pair_serial(p),
		.leader = pair_leader(p),
		.deadline_ms = pair_deadline(p, near_ms),
	};
}

static bool
claim(struct flights *f, uint64_t key, const struct place *place, const struct comer *who,
    struct flight_ticket *out)
{
	struct slot *s = &f->slots[place->slot];
	const uint32_t serial = pair_serial(place->seen) + 1;
	const int64_t deadline_ms = who->now_ms + who->lease_ms;
	const struct pair claimed = pair_make(key, SLOT_CLAIMED, who->member, serial, deadline_ms);
	const struct pair flying = pair_make(key, SLOT_FLYING, who->member, serial, deadline_ms);

	if (!slot_swap(s, place->seen, claimed))
		return false;
	if (claim_stands(f, key, place->slot) && slot_swap(s, claimed, flying)) {
		*out = ticket_of(place->slot, flying, deadline_ms);
		return true;
	}
	(void)slot_swap(s, claimed, pair_make(0, SLOT_FREE, 0, serial, 0));
	return false;
}

/* The flight goes on under another leader: same serial, so that its waiters keep their bits. */
static bool
take_over(struct slot *s, struct pair seen, const struct comer *who, struct flight_ticket *t)
{
	const int64_t deadline_ms = who->now_ms + who->lease_ms;
	const struct pair next =
	    pair_make(seen.key, SLOT_FLYING, who->member, pair_serial(seen), deadline_ms);

	if (!slot_swap(s, seen, next))
		return false;
	t->serial = pair_serial(next);
	t->leader = who->member;
	t->deadline_ms = deadline_ms;
	return true;
}

static bool
still_flies(const struct slot *s, uint64_t key, uint32_t serial)
{
	const struct pair p = slot_read(s);

	return p.key == key && pair_state(p) == SLOT_FLYING && pair_serial(p) == serial;
}

/*
 * Sets our bit.  The word says whose waiters it holds: an older flight's are replaced, a newer one's
 * cannot be, for the slot is looked at between the load and the swap.  So nobody ever has to clear
 * the bits, and a late leader can take none that are not its own.
 */
static bool
wait_for(struct slot *s, uint64_t key, uint32_t serial, unsigned member)
{
	_Atomic uint64_t *word = &s->waiters[member / WORD_MEMBERS];
	const uint64_t bit = UINT64_C(1) << member % WORD_MEMBERS;
	uint64_t seen = atomic_load(word), next;

	do {
		if (!still_flies(s, key, serial))
			return false;
		next = seen >> WORD_MEMBERS == serial ? seen : (uint64_t)serial << WORD_MEMBERS;
	} while (!atomic_compare_exchange_weak(word, &seen, next | bit));
	return still_flies(s, key, serial);
}

static void
collect_waiters(const struct slot *s, uint32_t serial, uint64_t ring_out[FLIGHT_MEMBER_WORDS])
{
	for (unsigned member = 0; member < FLIGHT_MEMBERS; member++) {
		const uint64_t word = atomic_load(&s->waiters[member / WORD_MEMBERS]);

		if (word >> WORD_MEMBERS == serial && (word >> member % WORD_MEMBERS & 1) != 0)
			ring_out[member / 64] |= UINT64_C(1) << member % 64;
	}
}

/* ${waits} false: only to lead; FLIGHT_WAIT then means that somebody else does. */
static enum flight_role
come(
    struct flights *f, uint64_t key, const struct comer *who, bool waits, struct flight_ticket *out)
{
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		const struct place p = best_place(f, key, who->now_ms);
		struct slot *s = &f->slots[p.slot];

		if (p.kind == PLACE_NONE)
			break;
		*out = ticket_of(p.slot, p.seen, who->now_ms);
		if (p.kind == PLACE_FLYING) {
			if (!waits || wait_for(s, key, out->serial, who->member))
				return FLIGHT_WAIT;
		} else if (p.kind == PLACE_OVER) {
			if (take_over(s, p.seen, who, out))
				return FLIGHT_LEAD;
		} else if (p.kind != PLACE_CLAIMED || claim_rests(f, &p, round)) {
			if (claim(f, key, &p, who, out))
				return FLIGHT_LEAD;
		}
	}
	*out = (struct flight_ticket){ .slot = UINT32_MAX };
	return FLIGHT_ALONE;
}

enum flight_role
flight_join(struct flights *f, uint64_t key, unsigned member, int64_t now_ms, int64_t lease_ms,
    struct flight_ticket *out)
{
	const struct comer who = { member % FLIGHT_MEMBERS, now_ms, lease_ms };

	return come(f, key, &who, true, out);
}

bool
flight_try_lead(struct flights *f, uint64_t key, unsigned member, int64_t now_ms, int64_t lease_ms,
    struct flight_ticket *out)
{
	const struct comer who = { member % FLIGHT_MEMBERS, now_ms, lease_ms };

	return come(f, key, &who, false, out) == FLIGHT_LEAD;
}

enum flight_state
flight_look(const struct flights *f, uint64_t key, struct flight_ticket *t, uint8_t *reason_out)
{
	struct pair p;

	*reason_out = 0;
	if (t->slot >= f->count)
		return FLIGHT_GONE;
	p = slot_read(&f->slots[t->slot]);
	if (p.key != key || pair_serial(p) != t->serial)
		return FLIGHT_GONE;
	switch (pair_state(p)) {
	case SLOT_FLYING:
		*t = ticket_of(t->slot, p, t->deadline_ms);
		return FLIGHT_FLYING;
	case SLOT_STORED:
		return FLIGHT_STORED;
	case SLOT_NOT_STORED:
		return FLIGHT_NOT_STORED;
	case SLOT_FAILED:
		*reason_out = (uint8_t)(p.control >> DETAIL_AT);
		return FLIGHT_FAILED;
	case SLOT_FREE:
	case SLOT_CLAIMED:
		break;
	}
	return FLIGHT_GONE;
}

/* What the slot holds while ${t}'s leader leads. */
static struct pair
flying_pair(uint64_t key, const struct flight_ticket *t)
{
	return pair_make(key, SLOT_FLYING, t->leader, t->serial, t->deadline_ms);
}

bool
flight_take_over(struct flights *f, uint64_t key, struct flight_ticket *t, unsigned member,
    int64_t now_ms, int64_t lease_ms)
{
	const struct comer who = { member % FLIGHT_MEMBERS, now_ms, lease_ms };

	return t->slot < f->count && take_over(&f->slots[t->slot], flying_pair(key, t), &who, t);
}

static struct pair
landed_pair(uint64_t key, const struct flight_ticket *t, enum flight_state outcome, uint8_t reason)
{
	switch (outcome) {
	case FLIGHT_STORED:
		return pair_make(key, SLOT_STORED, t->leader, t->serial, 0);
	case FLIGHT_FAILED:
		return pair_make(key, SLOT_FAILED, t->leader, t->serial, reason);
	case FLIGHT_NOT_STORED:
		return pair_make(key, SLOT_NOT_STORED, t->leader, t->serial, 0);
	case FLIGHT_FLYING:
	case FLIGHT_GONE:
		break;
	}
	return pair_make(0, SLOT_FREE, 0, t->serial, 0);
}

bool
flight_land(struct flights *f, uint64_t key, const struct flight_ticket *t,
    enum flight_state outcome, uint8_t reason, uint64_t ring_out[FLIGHT_MEMBER_WORDS])
{
	memset(ring_out, 0, FLIGHT_MEMBER_WORDS * sizeof *ring_out);
	if (t->slot >= f->count || !slot_swap(&f->slots[t->slot], flying_pair(key, t),
				       landed_pair(key, t, outcome, reason)))
		return false;
	collect_waiters(&f->slots[t->slot], t->serial, ring_out);
	return true;
}

void
flight_sweep(struct flights *f, unsigned member, uint64_t ring_out[FLIGHT_MEMBER_WORDS])
{
	memset(ring_out, 0, FLIGHT_MEMBER_WORDS * sizeof *ring_out);
	for (uint32_t i = 0; i < f->count; i++) {
		struct slot *s = &f->slots[i];
		const struct pair p = slot_read(s);
		const enum slot_state state = pair_state(p);

		if ((state == SLOT_CLAIMED || state == SLOT_FLYING) && pair_leader(p) == member &&
		    slot_swap(s, p, pair_make(0, SLOT_FREE, 0, pair_serial(p), 0)))
			collect_waiters(s, pair_serial(p), ring_out);
	}
}

uint32_t
flight_usage(const struct flights *f, uint32_t *flying_out)
{
	*flying_out = 0;
	for (uint32_t i = 0; i < f->count; i++) {
		const enum slot_state state = pair_state(slot_read(&f->slots[i]));

		*flying_out += state == SLOT_CLAIMED || state == SLOT_FLYING;
	}
	return f->count;
}
