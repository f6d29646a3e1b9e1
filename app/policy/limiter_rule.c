/*
 * What a request costs: token bucket (GCRA, ITU-T I.371) and sliding window.
 *
 * Bucket.  The state is the theoretical arrival time, the moment at which the bucket is full again.
 * It counts in units of 1/quota ns, for then the time of one token, window/quota ns, is a whole
 * number of units (window_ns) and 3/s is three a second for ever, without a rounding that adds up.
 * Above 2^19 the unit is 2^-19 ns and a token's time is rounded up.
 *
 * Window.  The state is { index of the window, count of the one before, count of this one }.  The
 * estimate is the older count, weighed by how much of it still lies in the last window_ns, and the
 * newer one.
 */
#include "policy/limiter_rule.h"

enum { CLOCK_BITS = 59, UNIT_BITS = 19, FULL_BITS = 79, COUNT_BITS = 20 };

_Static_assert(CLOCK_BITS + UNIT_BITS < FULL_BITS && FULL_BITS < (int)LIMITER_STATE_BITS,
    "now and a whole bucket together fit a state");
_Static_assert(LIMITER_WINDOW_MAX < 1 << COUNT_BITS, "a count fits its field");

static const wide count_mask = ((wide)1 << COUNT_BITS) - 1;
static const uint64_t clock_max_ns = ((uint64_t)1 << CLOCK_BITS) - 1;
static const int64_t forever_ns = (int64_t)1 << 62;

uint64_t
limiter_clock(int64_t now_ns)
{
	if (now_ns < 0)
		return 0;
	return (uint64_t)now_ns < clock_max_ns ? (uint64_t)now_ns : clock_max_ns;
}

static wide
divide_up(wide n, wide by)
{
	return n / by + (n % by != 0);
}

static int64_t
clamp_ns(wide ns)
{
	return ns < (wide)forever_ns ? (int64_t)ns : forever_ns;
}

struct bucket {
	wide per_ns; /* units in a nanosecond */
	wide token;  /* units that one token takes to come */
	wide full;   /* units that a whole bucket takes to come */
	wide now;
	wide lead; /* until it is full again */
};

/* Must depend on the rule alone: states outlive the call that made them. */
static void
bucket_units(const struct limiter_rule *r, struct bucket *b)
{
	const wide limit = (wide)1 << FULL_BITS;
	const wide window = (wide)r->window_ns;

	b->per_ns = r->quota < (uint64_t)1 << UNIT_BITS ? r->quota : (wide)1 << UNIT_BITS;
	b->token = divide_up(window * b->per_ns, r->quota);
	b->full = b->token * r->burst;
	if (b->full < limit)
		return;
	b->per_ns = 1; /* the bucket takes decades to fill: whole ns are fine enough */
	b->token = divide_up(window, r->quota);
	b->full = b->token * r->burst;
	if (b->full >= limit)
		b->full = limit - 1;
}

static struct bucket
bucket_read(const struct limiter_rule *r, wide state, uint64_t now_ns)
{
	struct bucket b;

	bucket_units(r, &b);
	b.now = now_ns * b.per_ns;
	b.lead = state > b.now ? state - b.now : 0;
	if (b.lead > b.full + LIMITER_STALE_NS * b.per_ns)
		b.lead = 0;
	return b;
}

static void
bucket_tell(const struct bucket *b, struct limiter_state *out)
{
	const wide after = b->lead + b->token;

	*out = (struct limiter_state){
		.remaining = b->lead < b->full ? (uint64_t)((b->full - b->lead) / b->token) : 0,
		.reset_ns = clamp_ns(divide_up(b->lead, b->per_ns)),
		.retry_after_ns =
		    after > b->full ? clamp_ns(divide_up(after - b->full, b->per_ns)) : 0,
	};
}

static void
bucket_take(const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_step *out)
{
	struct bucket b = bucket_read(r, state, now_ns);

	out->admitted = b.lead + b.token <= b.full;
	if (out->admitted)
		b.lead += b.token;
	out->next = out->admitted ? b.now + b.lead : state;
	out->busy_until_ns = (uint64_t)clamp_ns(divide_up(b.now + b.lead, b.per_ns));
	out->reach_ns = (uint64_t)clamp_ns(divide_up(b.full, b.per_ns));
	bucket_tell(&b, &out->told);
	if (out->admitted)
		out->told.retry_after_ns = 0;
}

struct window {
	uint64_t length_ns, limit;
	uint64_t index;
	uint64_t previous, current;
	uint64_t left_ns;  /* of this window; also how much of the previous one still counts */
	uint64_t ahead_ns; /* by how much `now` lies before this window: it is an old one */
};

static wide
window_pack(uint64_t index, uint64_t previous, uint64_t current)
{
	return (wide)index << 2 * COUNT_BITS | (wide)previous << COUNT_BITS | current;
}

static struct window
window_read(const struct limiter_rule *r, wide state, uint64_t now_ns)
{
	const uint64_t length = (uint64_t)r->window_ns;
	const uint64_t index = (uint64_t)(state >> 2 * COUNT_BITS), here = now_ns / length;
	const uint64_t previous = (uint64_t)(state >> COUNT_BITS & count_mask);
	const uint64_t current = (uint64_t)(state & count_mask);
	struct window w = { .length_ns = length, .limit = r->quota, .index = here };

	w.left_ns = length - now_ns % length;
	if (index > here && (wide)index * length - now_ns <= LIMITER_STALE_NS) {
		w.index = index;
		w.ahead_ns = index * length - now_ns;
		w.left_ns = length;
	}
	if (index == w.index) {
		w.previous = previous;
		w.current = current;
	} else if (index + 1 == w.index) {
		w.previous = current;
	}
	return w;
}

/*
 * When will previous * (left part) / length + current + 1 <= limit hold?  Now, later in this window
 * as the older count fades, or in the next one, where this one's count does.
 */
static wide
window_wait_ns(const struct window *w)
{
	const uint64_t fading = w->current < w->limit ? w->previous : w->current;
	const uint64_t steady = w->current < w->limit ? w->current : 0;
	const uint64_t left = w->current < w->limit ? w->left_ns : w->length_ns;
	const wide before = w->current < w->limit ? 0 : w->left_ns;
	const wide room = (wide)(w->limit - steady - 1) * w->length_ns;

	if ((wide)fading * left <= room) /* never so for the next window: there fading >= limit */
		return 0;
	return before + (left - (uint64_t)(room / fading)) + w->ahead_ns;
}

static void
window_tell(const struct window *w, struct limiter_state *out)
{
	const wide room = (wide)w->limit * w->length_ns;
	const wide used = (wide)w->previous * w->left_ns + (wide)w->current * w->length_ns;

	*out = (struct limiter_state){
		.remaining = used < room ? (uint64_t)((room - used) / w->length_ns) : 0,
		.reset_ns = clamp_ns((wide)w->left_ns + w->ahead_ns),
		.retry_after_ns = clamp_ns(window_wait_ns(w)),
	};
}

static void
window_take(const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_step *out)
{
	struct window w = window_read(r, state, now_ns);

	out->admitted = window_wait_ns(&w) == 0;
	if (out->admitted)
		w.current++;
	out->next = out->admitted ? window_pack(w.index, w.previous, w.current) : state;
	out->busy_until_ns = (uint64_t)clamp_ns(((wide)w.index + 2) * w.length_ns);
	out->reach_ns = (uint64_t)clamp_ns((wide)w.length_ns * 2);
	window_tell(&w, &out->told);
	if (out->admitted)
		out->told.retry_after_ns = 0;
}

/* The count may have become the previous window's since; later than that it counts no more. */
static wide
window_give_back(const struct limiter_rule *r, wide state, uint64_t taken_ns)
{
	const uint64_t taken = taken_ns / (uint64_t)r->window_ns;
	const uint64_t index = (uint64_t)(state >> 2 * COUNT_BITS);

	if (index == taken && (state & count_mask) > 0)
		return state - 1;
	if (index == taken + 1 && (state >> COUNT_BITS & count_mask) > 0)
		return state - ((wide)1 << COUNT_BITS);
	return state;
}

void
limiter_rule_take(
    const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_step *out)
{
	if (r->sliding)
		window_take(r, state, now_ns, out);
	else
		bucket_take(r, state, now_ns, out);
}

void
limiter_rule_look(
    const struct limiter_rule *r, wide state, uint64_t now_ns, struct limiter_state *out)
{
	if (r->sliding) {
		const struct window w = window_read(r, state, now_ns);

		window_tell(&w, out);
	} else {
		const struct bucket b = bucket_read(r, state, now_ns);

		bucket_tell(&b, out);
	}
}

wide
limiter_rule_give_back(const struct limiter_rule *r, wide state, uint64_t taken_ns)
{
	struct bucket b;

	if (r->sliding)
		return window_give_back(r, state, taken_ns);
	bucket_units(r, &b);
	return state > b.token ? state - b.token : 0;
}
