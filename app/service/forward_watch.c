/*
 * How far the consumers are.
 *
 * One sample at a time: what Kafka holds now, and up to which number this spool was forwarded by
 * then.  When the group has committed all of it, everything in the spool up to that number is applied, on whatever
 * host; so the spool keeps its rule that a key ages from when it was applied, without being told by each consumer.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/forward.h"
#include "service/forward_sample.h"
#include "service/queue.h"
#include "service/topics.h"

enum {
	PLACES_MAX = 4096,
	VOID_LOOKS = 10, /* a broker that has just begun may not know all of its topics yet */
};

struct forward_watch {
	struct forward_watch_options o;
	struct kafka_consumer *looker; /* NULL: to be opened */
	struct kafka_place places[PLACES_MAX], sample[PLACES_MAX];
	size_t count, sampled;
	bool has_sample;
	unsigned void_looks; /* in a row */
	int64_t sample_us;
	uint64_t sample_seq, acknowledged_seq;
};

static void
show_lags(struct forward_watch *w)
{
	struct forward_shared *s = w->o.shared;
	const size_t n = w->count < FORWARD_LAGS ? w->count : FORWARD_LAGS;

	for (size_t i = 0; i < n; i++) {
		struct forward_lag *lag = &s->lags[i];

		(void)snprintf(lag->topic, sizeof lag->topic, "%.63s", w->places[i].topic);
		atomic_store(&lag->partition, w->places[i].partition);
		atomic_store(&lag->high, w->places[i].high);
		atomic_store(&lag->committed, w->places[i].committed);
	}
	atomic_store(&s->lag_count, (uint32_t)n);
}

static void
confirm(struct forward_watch *w)
{
	if (w->sample_seq > w->acknowledged_seq &&
	    queue_acknowledge(w->o.queue, w->sample_seq, clock_wall_us()) != ERR_OK)
		return; /* said; the same sample is confirmed again */
	w->acknowledged_seq = w->sample_seq;
	atomic_store(&w->o.shared->confirmed_us, w->sample_us);
	w->has_sample = false;
}

/* ${seq} and ${now_us} were read before the brokers were asked, so the sample holds at least that much. */
static void
take_sample(struct forward_watch *w, uint64_t seq, int64_t now_us)
{
	memcpy(w->sample, w->places, w->count * sizeof *w->sample);
	w->sampled = w->count;
	w->sample_seq = seq;
	w->sample_us = now_us;
	w->has_sample = true;
	w->void_looks = 0;
}

static void
judge(struct forward_watch *w)
{
	switch (forward_sample_judge(w->sample, w->sampled, w->places, w->count)) {
	case FORWARD_SAMPLE_WAITS:
		w->void_looks = 0;
		break;
	case FORWARD_SAMPLE_APPLIED:
		confirm(w);
		break;
	case FORWARD_SAMPLE_VOID:
		w->has_sample = ++w->void_looks < VOID_LOOKS;
		break;
	}
}

static bool
open_looker(struct forward_watch *w)
{
	const struct kafka_consumer_options o = { .common = *w->o.kafka, .group = w->o.group };

	return w->looker != NULL || kafka_consumer_open(&o, &w->looker) == ERR_OK;
}

void
forward_watch_step(struct forward_watch *w, int64_t timeout_ms)
{
	const uint64_t seq = queue_forwarded_seq(w->o.queue);
	const int64_t now_us = clock_wall_us();

	if (!open_looker(w) || kafka_places(w->looker, w->o.topics->names, w->o.topics->count,
				   timeout_ms, w->places, PLACES_MAX, &w->count) != ERR_OK)
		return;
	show_lags(w);
	if (w->has_sample)
		judge(w);
	if (!w->has_sample)
		take_sample(w, seq, now_us);
}

enum err
forward_watch_open(const struct forward_watch_options *o, struct forward_watch **out)
{
	struct forward_watch *w = calloc(1, sizeof *w);

	*out = w;
	if (w == NULL)
		return ERR_NOMEM;
	w->o = *o;
	return ERR_OK;
}

void
forward_watch_close(struct forward_watch **wp)
{
	struct forward_watch *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	kafka_consumer_close(&w->looker, 0);
	free(w);
}
