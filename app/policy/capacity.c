/*
 * The formula of the header, and a filter with a dead band.
 */
#include "policy/capacity.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

static const double share_in_use = 0.75, lag_bound_s = 30;
static const double least = 0.1, most = 4, dead_band = 0.1;
static const double rise_ms = 10000, fall_ms = 120000;

static const char *const reason_names[CAPACITY_REASON__COUNT] = {
	[CAPACITY_LANES] = "lanes",
	[CAPACITY_SHED] = "shed",
	[CAPACITY_LAG] = "lag",
};

const char *
capacity_reason_name(enum capacity_reason r)
{
	return r < CAPACITY_REASON__COUNT ? reason_names[r] : reason_names[CAPACITY_LANES];
}

static double
within_bounds(double ratio)
{
	return fmax(least, fmin(most, ratio));
}

/* All shed: whatever the bound is, for nobody knows how much was not even sent. */
static double
wanted_for_shed(const struct capacity_signals *s)
{
	const double served = s->requests - s->shed;

	if (s->requests <= 0 || s->shed <= 0)
		return 0;
	return served <= 0 ? most : s->requests / served / share_in_use;
}

double
capacity_wanted(const struct capacity_signals *s, enum capacity_reason *reason_out)
{
	const double wanted[CAPACITY_REASON__COUNT] = {
		[CAPACITY_LANES] =
		    s->threads <= 0 ? 0 : (s->busy + s->waiting) / (share_in_use * s->threads),
		[CAPACITY_SHED] = wanted_for_shed(s),
		[CAPACITY_LAG] = s->lag_s < 0 ? 0 : s->lag_s / lag_bound_s,
	};
	enum capacity_reason reason = CAPACITY_LANES;

	for (int r = 0; r < CAPACITY_REASON__COUNT; r++)
		if (wanted[r] > wanted[reason])
			reason = (enum capacity_reason)r;
	*reason_out = reason;
	return within_bounds(wanted[reason]);
}

void
capacity_step(const struct capacity_state *before, const struct capacity_signals *s,
    int64_t elapsed_ms, struct capacity_state *after)
{
	enum capacity_reason reason;
	const double wanted = capacity_wanted(s, &reason);
	struct capacity_state next;

	if (before == NULL) {
		*after = (struct capacity_state){ wanted, wanted, reason };
		return;
	}
	next = *before;
	next.smoothed += (wanted - next.smoothed) *
			 -expm1(-(double)elapsed_ms / (wanted > next.smoothed ? rise_ms : fall_ms));
	if (fabs(next.smoothed - next.ratio) > dead_band) {
		/* It falls because of what still wants the most, and rises because of what wants more. */
		next.ratio = next.smoothed;
		next.reason = reason;
	}
	*after = next;
}
