#ifndef POLICY_CAPACITY_H
#define POLICY_CAPACITY_H

#include <stdint.h>

/*
 * How much capacity a host wants, as one number for whoever scales: 1 is what it has, 2 twice as much.
 *
 * Each signal gives a ratio, and the largest one counts, with its name as the reason:
 *
 *   lanes   (busy + waiting) / (0.75 * threads)     so that a quarter is left for peaks
 *   shed    1 / (0.75 * (1 - shed / requests))      who sheds is full, and cannot see what more would come
 *   lag     lag / 30 s                              events in Kafka that wait for a consumer, which another host helps
 *
 * between 0.1 and 4.  It is smoothed by time, not by calls: it rises with a time constant of 10 s and falls with one of
 * 120 s, for a host too few costs requests and one too many only money.  What is told follows the smoothed ratio only
 * when they are more than 0.1 apart, so a ratio that trembles tells nobody to do and undo.
 * Pure: time is an argument, and the state is the caller's.
 */
enum capacity_reason { CAPACITY_LANES, CAPACITY_SHED, CAPACITY_LAG, CAPACITY_REASON__COUNT };
const char *capacity_reason_name(enum capacity_reason r);

struct capacity_signals {
	double busy, waiting, threads; /* threads 0: not known */
	double shed, requests;	       /* of the last seconds */
	double lag_s; /* negative: not known, or nothing that another host could help */
};

struct capacity_state {
	double smoothed, ratio; /* ratio is what is told */
	enum capacity_reason reason;
};

/* What the signals want at this moment, and why. */
double capacity_wanted(const struct capacity_signals *s, enum capacity_reason *reason_out);

/* ${after} ${elapsed_ms} later than ${before}; both may be the same.  ${before} NULL: this is the first look. */
void capacity_step(const struct capacity_state *before, const struct capacity_signals *s,
    int64_t elapsed_ms, struct capacity_state *after);

#endif
