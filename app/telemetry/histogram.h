#ifndef TELEMETRY_HISTOGRAM_H
#define TELEMETRY_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How long things take: a log-linear histogram of relaxed atomic words, in shared memory or not.
 *
 * Each doubling of the time is cut into 8 buckets of equal width, so a quantile is wrong by 6.25 % at most;
 * below 8 us a bucket is one microsecond wide.  A bucket holds what is above its lower edge and not above
 * its upper one, so cumulative counts at an edge are exact.  All zero is empty.  There is no count of its
 * own: it is the sum of the buckets, so the two never differ, whenever a recorder dies.
 */
enum {
	HISTOGRAM_STEPS = 8,	 /* buckets of a doubling */
	HISTOGRAM_BUCKETS = 200, /* the last takes all above 62.9 s */
};

struct histogram {
	_Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum_ns;
};

/* What was read of one or more of them. */
struct histogram_view {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	uint64_t count, sum_ns;
};

/* ${took_ns} < 1 counts as 1.  Two relaxed additions. */
void histogram_record(struct histogram *h, int64_t took_ns);

size_t histogram_bucket(int64_t took_ns);
uint64_t histogram_upper_us(size_t bucket); /* its upper edge; the last has none: UINT64_MAX */

/* Adds ${h} to ${sum}, which begins as all zero. */
void histogram_add(const struct histogram *h, struct histogram_view *sum);
/* How many took ${edge_us} at most: exact for an upper edge of a bucket, as every power of two is. */
uint64_t histogram_at_most(const struct histogram_view *v, uint64_t edge_us);
/* In nanoseconds, interpolated inside its bucket; 0 when nothing was recorded.  ${q}: 0 to 1. */
int64_t histogram_quantile_ns(const struct histogram_view *v, double q);

#endif
