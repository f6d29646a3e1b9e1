/*
 * A sample of the partitions, judged.  Apart from who takes it, so that it can be tried without a broker.
 */
#include "service/forward_sample.h"

#include <string.h>

#include "client/kafka.h"

static const struct kafka_place *
find(const struct kafka_place *places, size_t count, const struct kafka_place *of)
{
	for (size_t i = 0; i < count; i++)
		if (places[i].partition == of->partition && strcmp(places[i].topic, of->topic) == 0)
			return &places[i];
	return NULL;
}

static enum forward_verdict
judge_one(const struct kafka_place *then, const struct kafka_place *now)
{
	if (then->high <= then->low)
		return FORWARD_SAMPLE_APPLIED; /* it was empty */
	if (now == NULL || now->high < then->high)
		return FORWARD_SAMPLE_VOID;
	return now->committed >= then->high || now->low >= then->high ? FORWARD_SAMPLE_APPLIED
								      : FORWARD_SAMPLE_WAITS;
}

enum forward_verdict
forward_sample_judge(const struct kafka_place *then, size_t then_count,
    const struct kafka_place *now, size_t now_count)
{
	enum forward_verdict all = FORWARD_SAMPLE_APPLIED, one;

	for (size_t i = 0; i < then_count && all != FORWARD_SAMPLE_VOID; i++) {
		one = judge_one(&then[i], find(now, now_count, &then[i]));
		if (one != FORWARD_SAMPLE_APPLIED)
			all = one;
	}
	return all;
}
