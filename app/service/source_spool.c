/*
 * The spool as the consumer's source: without Kafka, what a host accepted it applies itself.
 */
#include <stdlib.h>

#include "service/event.h"
#include "service/queue.h"
#include "service/source.h"

struct spool_source {
	struct source source;
	struct queue *queue;
};

static struct queue *
queue_of(const struct source *s)
{
	return ((const struct spool_source *)s)->queue;
}

static enum err
spool_read(
    struct source *s, size_t max, struct arena *a, struct event **events_out, size_t *count_out)
{
	return queue_read(queue_of(s), max, a, events_out, count_out);
}

static enum err
spool_acknowledge(struct source *s, const struct event *events, size_t count, int64_t now_us)
{
	return queue_acknowledge(queue_of(s), events[count - 1].seq, now_us);
}

/* The table of the database is all there is. */
static void
spool_bury(struct source *s, const struct event *ev, const struct writer_failure *reason)
{
	(void)s;
	(void)ev;
	(void)reason;
}

static void
spool_wait_buried(struct source *s)
{
	(void)s;
}

/* The log is in the order of the commits, which is nearly that of acceptance. */
static int64_t
spool_oldest_us(const struct source *s, const struct event *events, size_t count)
{
	(void)s;
	(void)count;
	return events[0].accepted_us;
}

static void
spool_wait(struct source *s, int64_t timeout_ms)
{
	queue_wait(queue_of(s), timeout_ms);
}

static bool
spool_is_drained(const struct source *s)
{
	(void)s;
	return true;
}

static void
spool_close(struct source *s)
{
	free(s);
}

static const struct source_driver driver = {
	.name = "spool",
	.read = spool_read,
	.acknowledge = spool_acknowledge,
	.bury = spool_bury,
	.wait_buried = spool_wait_buried,
	.oldest_us = spool_oldest_us,
	.wait = spool_wait,
	.is_drained = spool_is_drained,
	.close = spool_close,
};

enum err
source_spool_open(struct queue *q, struct source **out)
{
	struct spool_source *s = calloc(1, sizeof *s);

	*out = NULL;
	if (s == NULL)
		return ERR_NOMEM;
	*s = (struct spool_source){ { &driver }, q };
	*out = &s->source;
	return ERR_OK;
}
