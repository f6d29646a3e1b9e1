/*
 * Reasons and their words, and the time that was lost before a request was seen.
 */
#include "policy/admission.h"

enum { RETRY_SPREAD_S = 4 };

static const struct word {
	const char *name, *detail;
} words[SHED__COUNT] = {
	[SHED_NONE] = { "none", "" },
	[SHED_IN_HAND] = { "in_hand", "too many requests are in hand" },
	[SHED_QUEUE_FULL] = { "queue_full", "too many requests are waiting" },
	[SHED_QUEUE_WAIT] = { "queue_wait", "this waited too long to be worth an answer" },
	[SHED_CONCURRENCY] = { "concurrency", "there is more to do than can be done in time" },
	[SHED_TENANT_SHARE] = { "tenant_share",
	    "there is more to do than can be done in time, and most of it was asked from here" },
	[SHED_PRIORITY] = { "priority", "more important requests come first at the moment" },
	[SHED_DEADLINE] = { "deadline", "there was no time left to answer this" },
	[SHED_ABANDONED] = { "abandoned", "nobody waits for this any more" },
};

const char *
shed_reason_name(enum shed_reason r)
{
	return words[r].name;
}

const char *
shed_reason_detail(enum shed_reason r)
{
	return words[r].detail;
}

int64_t
admission_retry_after_s(uint64_t random)
{
	return 1 + (int64_t)(random % RETRY_SPREAD_S);
}

/* Its clock, or the place of the one that was not heard of for the longest time. */
static struct front_clock *
clock_of(struct front_clocks *c, uint64_t front, int64_t now_ms)
{
	struct front_clock *oldest = &c->at[0];

	for (size_t i = 0; i < FRONTS_MAX; i++) {
		if (c->at[i].front == front)
			return &c->at[i];
		if (c->at[i].heard_ms < oldest->heard_ms)
			oldest = &c->at[i];
	}
	*oldest = (struct front_clock){
		.front = front, .began_ms = now_ms, .smallest_us = INT64_MAX, .before_us = INT64_MAX
	};
	return oldest;
}

/* Two windows: the smallest difference is never forgotten before it is a minute old. */
static int64_t
smallest_us(struct front_clock *f, int64_t difference_us, int64_t now_ms)
{
	if (now_ms - f->began_ms >= FRONT_WINDOW_MS) {
		f->before_us =
		    now_ms - f->began_ms < 2 * FRONT_WINDOW_MS ? f->smallest_us : INT64_MAX;
		f->smallest_us = INT64_MAX;
		f->began_ms = now_ms;
	}
	f->heard_ms = now_ms;
	if (difference_us < f->smallest_us)
		f->smallest_us = difference_us;
	return f->smallest_us < f->before_us ? f->smallest_us : f->before_us;
}

int64_t
front_clocks_lost_us(
    struct front_clocks *c, uint64_t front, int64_t start_us, int64_t seen_us, int64_t now_ms)
{
	int64_t lost_us = seen_us - start_us;

	if (start_us <= 0)
		return 0;
	if (front != 0)
		lost_us -= smallest_us(clock_of(c, front, now_ms), lost_us, now_ms);
	return lost_us < 0 || lost_us > LOST_MOST_MS * INT64_C(1000) ? 0 : lost_us;
}
