/*
 * From the words of a snapshot to the signals of a formula.
 */
#include "runtime/scaling.h"

#include "runtime/snapshot.h"

enum { MICRO = 1000000, MS_PER_S = 1000, STATE_FRESH_MS = 15000 };

int64_t
scaling_lag_ms(const struct snapshot *s)
{
	int64_t behind = 0;

	if (s->forwarder.state == FORWARD_NONE)
		return s->spool_known ? s->spool_oldest_ms : HISTORY_UNKNOWN;
	for (size_t i = 0; i < s->forwarder.lag_count; i++)
		behind += s->forwarder.lags[i].behind;
	if (behind <= 0)
		return 0;
	/* What Kafka held then is applied, so the first that is not came later. */
	return s->forwarder.confirmed_us == 0 || s->forwarder.confirmed_us > s->now_us
		   ? HISTORY_UNKNOWN
		   : (s->now_us - s->forwarder.confirmed_us) / 1000;
}

/* A spool of this host alone is emptied by this host alone: no other one would help. */
static double
lag_that_others_help_s(const struct snapshot *s)
{
	const int64_t lag_ms = scaling_lag_ms(s);

	return s->forwarder.state == FORWARD_NONE || lag_ms < 0 ? -1 : (double)lag_ms / MS_PER_S;
}

static const struct history_row *
newest(const struct snapshot *s)
{
	const struct history_row *row =
	    s->history_count == 0 ? NULL : &s->history[s->history_count - 1];

	return row == NULL || s->now_ms - row->at_ms > STATE_FRESH_MS || row->at_ms > s->now_ms
		   ? NULL
		   : row;
}

static void
state_of(const struct history_row *row, struct capacity_state *out)
{
	const int64_t reason = row->values[HISTORY_CAPACITY_REASON];

	out->smoothed = (double)row->values[HISTORY_CAPACITY_SMOOTHED] / MICRO;
	out->ratio = (double)row->values[HISTORY_CAPACITY] / MICRO;
	out->reason = reason < 0 || reason >= CAPACITY_REASON__COUNT ? CAPACITY_LANES
								     : (enum capacity_reason)reason;
}

void
scaling_reckon(struct snapshot *s)
{
	const struct snapshot_sums sum = snapshot_sum(s);
	const struct history_row *last = newest(s);
	const struct capacity_signals signals = { .busy = sum.activity.busy,
		.waiting = sum.activity.waiting,
		.threads = sum.activity.threads_max,
		.shed = (double)s->window.counted[HISTORY_SHED],
		.requests = (double)s->window.counted[HISTORY_REQUESTS],
		.lag_s = lag_that_others_help_s(s) };
	struct capacity_state before;

	if (last != NULL)
		state_of(last, &before);
	capacity_step(last == NULL ? NULL : &before, &signals,
	    last == NULL ? 0 : s->now_ms - last->at_ms, &s->capacity);
	s->row.values[HISTORY_CAPACITY] = (int64_t)(s->capacity.ratio * MICRO);
	s->row.values[HISTORY_CAPACITY_SMOOTHED] = (int64_t)(s->capacity.smoothed * MICRO);
	s->row.values[HISTORY_CAPACITY_REASON] = s->capacity.reason;
}
