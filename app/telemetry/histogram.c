/*
 * Log-linear buckets.  The index is that of the number of whole microseconds below the time: what took
 * exactly 8 us lies below the edge at 8 us.
 */
#include "telemetry/histogram.h"

enum { STEP_BITS = 3, NS_PER_US = 1000 };

_Static_assert(HISTOGRAM_STEPS == 1 << STEP_BITS, "a power of two");

size_t
histogram_bucket(int64_t took_ns)
{
	const uint64_t us = took_ns < 1 ? 0 : ((uint64_t)took_ns - 1) / NS_PER_US;
	size_t exponent, i;

	if (us < HISTOGRAM_STEPS)
		return (size_t)us;
	exponent = 63 - (size_t)__builtin_clzll(us);
	i = (exponent - STEP_BITS + 1) * HISTOGRAM_STEPS +
	    (size_t)(us >> (exponent - STEP_BITS) & (HISTOGRAM_STEPS - 1));
	return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

static uint64_t
lower_us(size_t bucket)
{
	const size_t doubling = bucket / HISTOGRAM_STEPS, step = bucket % HISTOGRAM_STEPS;

	return doubling == 0 ? step : (uint64_t)(HISTOGRAM_STEPS + step) << (doubling - 1);
}

uint64_t
histogram_upper_us(size_t bucket)
{
	return bucket + 1 < HISTOGRAM_BUCKETS ? lower_us(bucket + 1) : UINT64_MAX;
}

void
histogram_record(struct histogram *h, int64_t took_ns)
{
	const uint64_t ns = took_ns < 1 ? 1 : (uint64_t)took_ns;

	atomic_fetch_add_explicit(&h->bucket[histogram_bucket(took_ns)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

void
histogram_add(const struct histogram *h, struct histogram_view *sum)
{
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		const uint64_t n = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);

		sum->bucket[i] += n;
		sum->count += n;
	}
	sum->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
}

uint64_t
histogram_at_most(const struct histogram_view *v, uint64_t edge_us)
{
	uint64_t n = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS && histogram_upper_us(i) <= edge_us; i++)
		n += v->bucket[i];
	return n;
}

int64_t
histogram_quantile_ns(const struct histogram_view *v, double q)
{
	const double rank = q * (double)v->count;
	uint64_t below = 0;

	if (v->count == 0)
		return 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		const uint64_t in = v->bucket[i];
		const double lower = (double)lower_us(i) * NS_PER_US;

		if (in == 0 || (double)(below + in) < rank) {
			below += in;
			continue;
		}
		if (i + 1 == HISTOGRAM_BUCKETS)
			return (int64_t)lower;
		return (int64_t)(lower + ((double)histogram_upper_us(i) * NS_PER_US - lower) *
					     (rank - (double)below) / (double)in);
	}
	return (int64_t)lower_us(HISTOGRAM_BUCKETS - 1) * NS_PER_US;
}
