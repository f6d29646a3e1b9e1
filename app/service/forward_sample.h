#ifndef SERVICE_FORWARD_SAMPLE_H
#define SERVICE_FORWARD_SAMPLE_H

#include <stddef.h>

struct kafka_place;

/*
 * What a sample of the partitions says later: is everything applied that Kafka held then?
 *
 * Pure.  ${then} and ${now} are what kafka_places() gave at the two moments, in any order.
 */
enum forward_verdict {
	FORWARD_SAMPLE_WAITS,
	FORWARD_SAMPLE_APPLIED, /* or removed from Kafka by its own rules: nobody will apply it */
	FORWARD_SAMPLE_VOID	/* a partition is gone, or is shorter: its topic was made anew */
};
enum forward_verdict forward_sample_judge(const struct kafka_place *then, size_t then_count,
    const struct kafka_place *now, size_t now_count);

#endif
