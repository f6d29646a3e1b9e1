/*
 * Leased tokens: slots in shared memory, changed by compare-and-swap alone.
 *
 * The word is { name, pause, until, left }.  With tokens left, `until` is the end of the lease and `pause` what
 * follows when they are used up; without, `until` is the end of a refusal.  A word of the past means nothing and may
 * be taken over by any key, but for unused tokens, which wait a moment for who gives them back.
 */
#include "policy/lease.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "base/wide.h"

enum {
	NEIGHBOURS = 8,
	LEFT_BITS = 24,
	UNTIL_BITS = 40,
	PAUSE_BITS = 16,
	UNTIL_SHIFT = LEFT_BITS,
	PAUSE_SHIFT = UNTIL_SHIFT + UNTIL_BITS,
	NAME_SHIFT = PAUSE_SHIFT + PAUSE_BITS,
	NAME_FROM =
	    16, /* bits of the mixed key that the name leaves out: the position tells them */
	AHEAD_MS = 2 * LEASE_MS_MAX, /* further than any word may be: the clock has started again */
	GROWTH = 4,
	SIZE_BITS = 24,
	USAGE_OF = 16, /* of so many slots one is looked at */
};

_Static_assert(LEASE_TOKENS_MAX < 1 << LEFT_BITS, "a lease fits its field");
_Static_assert(LEASE_MS_MAX < 1 << PAUSE_BITS, "a pause fits its field");
_Static_assert(NAME_SHIFT == 64 + NAME_FROM, "a name is what is left of two words");

struct slot {
	union wide_word at;
	_Atomic uint64_t sized; /* { when it was asked for last, ms; how much, SIZE_BITS } */
	_Atomic int64_t asking_until_ms;
	_Atomic uint64_t told;
	_Atomic int64_t reset_ms;
	uint64_t reserved[2];
};

struct leases {
	alignas(64) uint32_t slot_count;
	alignas(64) struct slot slots[];
};

_Static_assert(sizeof(struct slot) == 64, "one cache line");

struct state { /* a word, unpacked */
	uint64_t name, left, pause_ms;
	int64_t until_ms;
};

static wide
pack(const struct state *s)
{
	return (wide)s->name << NAME_SHIFT | (wide)s->pause_ms << PAUSE_SHIFT |
	       (wide)s->until_ms << UNTIL_SHIFT | s->left;
}

static struct state
unpack(wide word)
{
	return (struct state){
		.name = (uint64_t)(word >> NAME_SHIFT),
		.pause_ms = (uint64_t)(word >> PAUSE_SHIFT) & ((1u << PAUSE_BITS) - 1),
		.until_ms =
		    (int64_t)((uint64_t)(word >> UNTIL_SHIFT) & ((UINT64_C(1) << UNTIL_BITS) - 1)),
		.left = (uint64_t)word & ((1u << LEFT_BITS) - 1),
	};
}

/* True while what ${s} says counts. */
static bool
is_now(const struct state *s, int64_t now_ms)
{
	return s->until_ms > now_ms && s->until_ms <= now_ms + AHEAD_MS;
}

size_t
leases_size(uint32_t slots)
{
	if (slots < 64 || slots > 1u << 22 || (slots & (slots - 1)) != 0)
		return 0;
	return sizeof(struct leases) + slots * sizeof(struct slot);
}

void
leases_init(void *mem, uint32_t slots)
{
	struct leases *l = memset(mem, 0, leases_size(slots));

	l->slot_count = slots;
}

/*
 * Finding a key's slot.
 */
struct place {
	uint32_t home, mask;
	uint64_t name;
};

static struct place
place_of(const struct leases *l, uint64_t key)
{
	struct place p = { .mask = l->slot_count - 1 };

	key = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	key ^= key >> 29;
	p.home = (uint32_t)key & p.mask;
	p.name = key >> NAME_FROM;
	if (p.name == 0)
		p.name = 1; /* zero is nobody's */
	return p;
}

static const struct slot *
find(const struct leases *l, const struct place *p)
{
	for (uint32_t i = 0; i < NEIGHBOURS; i++) {
		const struct slot *s = &l->slots[(p->home + i) & p->mask];

		if (atomic_load_explicit(&s->at.half.high, memory_order_relaxed) >> NAME_FROM ==
		    p->name)
			return s;
	}
	return NULL;
}

static struct slot *
find_own(struct leases *l, const struct place *p)
{
	const struct slot *s = find(l, p);

	return s == NULL ? NULL : &l->slots[s - l->slots];
}

/* How much is lost when the slot goes to another key: 0 nothing, 1 a refusal, 2 tokens. */
static int
worth(const struct state *s, int64_t now_ms)
{
	const int64_t grace_ms = s->left > 0 ? LEASE_GRACE_MS : 0;

	if (s->name == 0 || s->until_ms + grace_ms <= now_ms || s->until_ms > now_ms + AHEAD_MS)
		return 0;
	return s->left > 0 ? 2 : 1;
}

/* Once: whoever is overtaken while he claims goes without. */
static struct slot *
claim(struct leases *l, const struct place *p, int64_t now_ms)
{
	struct slot *best = NULL;
	wide best_word = 0;
	int best_worth = 2;

	for (uint32_t i = 0; i < NEIGHBOURS && best_worth > 0; i++) {
		struct slot *s = &l->slots[(p->home + i) & p->mask];
		const wide word = wide_load(&s->at);
		const struct state state = unpack(word);

		if (worth(&state, now_ms) < best_worth) {
			best = s;
			best_word = word;
			best_worth = worth(&state, now_ms);
		}
	}
	if (best == NULL ||
	    !wide_swap(&best->at, best_word, pack(&(struct state){ .name = p->name })))
		return NULL;
	atomic_store_explicit(&best->sized, 0, memory_order_relaxed);
	atomic_store_explicit(&best->asking_until_ms, 0, memory_order_relaxed);
	atomic_store_explicit(&best->told, 0, memory_order_relaxed);
	atomic_store_explicit(&best->reset_ms, 0, memory_order_relaxed);
	return best;
}

static struct slot *
find_or_claim(struct leases *l, uint64_t key, int64_t now_ms, struct place *p)
{
	struct slot *s;

	*p = place_of(l, key);
	s = find_own(l, p);
	return s != NULL ? s : claim(l, p, now_ms);
}

/*
 * Taking.
 */
static uint64_t
size_of(const struct slot *s)
{
	return atomic_load_explicit(&s->sized, memory_order_relaxed) &
	       ((UINT64_C(1) << SIZE_BITS) - 1);
}

static void
view(const struct slot *s, const struct state *state, int64_t now_ms, struct lease_view *out)
{
	*out = (struct lease_view){
		.left = is_now(state, now_ms) ? state->left : 0,
		.until_ms = is_now(state, now_ms) ? state->until_ms : 0,
		.told = atomic_load_explicit(&s->told, memory_order_relaxed),
		.reset_ms = atomic_load_explicit(&s->reset_ms, memory_order_relaxed),
	};
	out->known = out->reset_ms != 0;
}

/* The last token of a lease that was all there was leaves a refusal behind. */
static struct state
without_one(struct state s, int64_t now_ms)
{
	s.left--;
	if (s.left > 0)
		return s;
	s.until_ms = s.pause_ms > 0 ? now_ms + (int64_t)s.pause_ms : 0;
	s.pause_ms = 0;
	return s;
}

static bool
is_asked_for(const struct slot *s, int64_t now_ms)
{
	const int64_t until_ms = atomic_load_explicit(&s->asking_until_ms, memory_order_relaxed);

	return until_ms > now_ms && until_ms <= now_ms + AHEAD_MS;
}

/* A refusal has just ended, and somebody asks already. */
static bool
is_refused_still(const struct slot *s, const struct state *state, int64_t now_ms, int64_t recent_ms)
{
	return state->left == 0 && state->until_ms > 0 && state->until_ms <= now_ms &&
	       now_ms - state->until_ms < recent_ms && is_asked_for(s, now_ms);
}

enum err
lease_take(
    struct leases *l, uint64_t key, int64_t now_ms, int64_t recent_ms, struct lease_view *out)
{
	const struct place p = place_of(l, key);
	struct slot *s = find_own(l, &p);

	*out = (struct lease_view){ 0 };
	while (s != NULL) {
		const wide word = wide_load(&s->at);
		const struct state before = unpack(word);
		struct state after;

		if (before.name != p.name)
			return ERR_NOT_FOUND;
		view(s, &before, now_ms, out);
		if (!is_now(&before, now_ms))
			return is_refused_still(s, &before, now_ms, recent_ms) ? ERR_LIMITED
									       : ERR_NOT_FOUND;
		if (before.left == 0)
			return ERR_LIMITED;
		after = without_one(before, now_ms);
		if (!wide_swap(&s->at, word, pack(&after)))
			continue;
		out->left = after.left;
		out->refill = before.pause_ms == 0 && after.left <= size_of(s) / 2;
		return ERR_OK;
	}
	return ERR_NOT_FOUND;
}

void
lease_look(const struct leases *l, uint64_t key, int64_t now_ms, struct lease_view *out)
{
	const struct place p = place_of(l, key);
	const struct slot *s = find(l, &p);
	struct state state;

	*out = (struct lease_view){ 0 };
	if (s == NULL)
		return;
	state = unpack(wide_load(&s->at));
	if (state.name == p.name)
		view(s, &state, now_ms, out);
}

/*
 * Asking.
 */
uint64_t
lease_want(struct leases *l, uint64_t key, int64_t now_ms, uint64_t max)
{
	struct place p;
	struct slot *s = max > 1 ? find_or_claim(l, key, now_ms, &p) : NULL;
	const struct state state = s == NULL ? (struct state){ 0 } : unpack(wide_load(&s->at));
	const uint64_t left = is_now(&state, now_ms) ? state.left : 0;
	uint64_t last, elapsed_ms, used, want;

	if (s == NULL)
		return 1;
	last = size_of(s);
	elapsed_ms =
	    (uint64_t)now_ms - (atomic_load_explicit(&s->sized, memory_order_relaxed) >> SIZE_BITS);
	used = last > left ? last - left : 1;
	want = used * LEASE_TARGET_MS / (elapsed_ms > 0 ? elapsed_ms : 1);
	if (want > last * GROWTH)
		want = last * GROWTH;
	if (want > LEASE_TOKENS_MAX - left)
		want = LEASE_TOKENS_MAX - left;
	if (want + left > max)
		want = max > left ? max - left : 1;
	if (want == 0)
		want = 1;
	atomic_store_explicit(
	    &s->sized, (uint64_t)now_ms << SIZE_BITS | (left + want), memory_order_relaxed);
	return want;
}

bool
lease_begin_asking(struct leases *l, uint64_t key, int64_t now_ms, int64_t hold_ms)
{
	struct place p;
	struct slot *s = find_or_claim(l, key, now_ms, &p);
	int64_t seen;

	if (s == NULL || is_asked_for(s, now_ms))
		return false;
	seen = atomic_load_explicit(&s->asking_until_ms, memory_order_relaxed);
	if (seen > now_ms && seen <= now_ms + AHEAD_MS)
		return false; /* somebody came between the two looks */
	return atomic_compare_exchange_strong(&s->asking_until_ms, &seen, now_ms + hold_ms);
}

void
lease_end_asking(struct leases *l, uint64_t key)
{
	const struct place p = place_of(l, key);
	struct slot *s = find_own(l, &p);

	if (s != NULL)
		atomic_store_explicit(&s->asking_until_ms, 0, memory_order_relaxed);
}

/*
 * Two grants in one slot.  Tokens of a window that is over have ended, so what still counts is of the window that the
 * new ones are of: their later end is within it.
 */
static void
merge(struct state *s, int64_t now_ms, const struct lease_grant *g, int64_t until_ms)
{
	const bool live = is_now(s, now_ms) && s->left > 0;

	s->left = (live ? s->left : 0) + g->tokens;
	if (s->left > LEASE_TOKENS_MAX)
		s->left = LEASE_TOKENS_MAX;
	if (!live || until_ms > s->until_ms)
		s->until_ms = until_ms;
	s->pause_ms = g->pause_ms < LEASE_MS_MAX ? (uint64_t)g->pause_ms : LEASE_MS_MAX;
}

static int64_t
bounded(int64_t until_ms, int64_t now_ms)
{
	return until_ms < now_ms + LEASE_MS_MAX ? until_ms : now_ms + LEASE_MS_MAX;
}

void
lease_put(struct leases *l, uint64_t key, int64_t now_ms, const struct lease_grant *g)
{
	const int64_t until_ms = bounded(g->until_ms, now_ms);
	struct place p;
	struct slot *s = find_or_claim(l, key, now_ms, &p);

	while (s != NULL && g->tokens > 0 && until_ms > now_ms) {
		const wide word = wide_load(&s->at);
		struct state state = unpack(word);

		merge(&state, now_ms, g, until_ms);
		if (unpack(word).name != p.name || wide_swap(&s->at, word, pack(&state)))
			return;
	}
}

void
lease_refuse(struct leases *l, uint64_t key, int64_t now_ms, int64_t until_ms)
{
	struct place p;
	struct slot *s = find_or_claim(l, key, now_ms, &p);

	while (s != NULL) {
		const wide word = wide_load(&s->at);
		struct state state = unpack(word);

		if (state.name != p.name || (is_now(&state, now_ms) && state.left > 0))
			return;
		state = (struct state){ .name = p.name, .until_ms = bounded(until_ms, now_ms) };
		if (wide_swap(&s->at, word, pack(&state)))
			return;
	}
}

void
lease_tell(struct leases *l, uint64_t key, uint64_t remaining, int64_t reset_ms)
{
	const struct place p = place_of(l, key);
	struct slot *s = find_own(l, &p);

	if (s == NULL)
		return;
	atomic_store_explicit(&s->told, remaining, memory_order_relaxed);
	atomic_store_explicit(&s->reset_ms, reset_ms, memory_order_relaxed);
}

uint64_t
lease_reclaim(struct leases *l, uint64_t key, int64_t now_ms)
{
	const struct place p = place_of(l, key);
	struct slot *s = find_own(l, &p);
	wide word;
	struct state state;

	if (s == NULL)
		return 0;
	word = wide_load(&s->at);
	state = unpack(word);
	if (state.name != p.name || state.left == 0 || is_now(&state, now_ms))
		return 0;
	return wide_swap(&s->at, word, pack(&(struct state){ .name = p.name })) ? state.left : 0;
}

uint64_t
lease_reclaim_early(struct leases *l, uint64_t key)
{
	const struct place p = place_of(l, key);
	struct slot *s = find_own(l, &p);

	while (s != NULL) {
		const wide word = wide_load(&s->at);
		const struct state state = unpack(word);

		if (state.name != p.name || state.left == 0)
			return 0;
		/* Others may be taking tokens meanwhile. */
		if (wide_swap(&s->at, word, pack(&(struct state){ .name = p.name })))
			return state.left;
	}
	return 0;
}

uint32_t
leases_usage(const struct leases *l, int64_t now_ms, uint32_t *used_out)
{
	*used_out = 0;
	for (uint32_t i = 0; i < l->slot_count; i += USAGE_OF) {
		const struct state state = unpack(wide_load(&l->slots[i].at));

		*used_out += is_now(&state, now_ms) ? USAGE_OF : 0;
	}
	return l->slot_count;
}
