#ifndef TELEMETRY_ENDPOINT_STATS_H
#define TELEMETRY_ENDPOINT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "telemetry/histogram.h"
#include "telemetry/names.h"

/*
 * What each endpoint answers: statuses, where answers came from, how long they took.
 *
 * A region of the segment, over all workers of the host: a row is claimed by the endpoint's name, the first
 * 128 have one of their own, the rest counts as `other`, and what reached no endpoint as `none`.  Recording
 * is some relaxed additions in one of 8 shards, so that workers do not pull at one cache line.  Counts
 * belong to nobody, so they outlive who made them and never go back.  Once a second somebody keeps a copy of
 * them (endpoint_stats_tick), so that rates and quantiles of the last seconds need no scraper.
 */
struct endpoint_stats;

enum endpoint_class { ENDPOINT_NORMAL, ENDPOINT_CRITICAL, ENDPOINT_BULK, ENDPOINT_CLASS__COUNT };
extern const char *const endpoint_class_names[ENDPOINT_CLASS__COUNT];

/* Where an answer came from. */
enum served_from {
	SERVED_NOT_READ, /* a write, an error, a built-in endpoint */
	SERVED_DATABASE,
	SERVED_L1,
	SERVED_L2,
	SERVED_STALE,
	SERVED_COLLAPSED, /* from another request's fill */
	SERVED_IF_ERROR,  /* stale, because the database failed */
	SERVED__COUNT
};
extern const char *const served_from_names[SERVED__COUNT];

/* The statuses that weir answers with; the last stands for all others. */
enum { ENDPOINT_CODES = 24 };
extern const int endpoint_codes[ENDPOINT_CODES]; /* 0 at the end: others */

enum {
	ENDPOINT_ROW_NONE = NAMES_ROWS,
	ENDPOINT_ROW_OTHER,
	ENDPOINT_ROWS,
	ENDPOINT_RECENT_MAX_S = 14,
	ENDPOINT_EDGES = 18, /* of the buckets that are shown; above the last is one more */
};
/* In microseconds, doubling from 128 us to 16.8 s. */
uint64_t endpoint_edge_us(size_t edge);

size_t endpoint_stats_size(void);
void endpoint_stats_init(void *mem, int64_t now_ms); /* aligned to 64 bytes */

struct endpoint_sample {
	uint64_t key;	   /* a hash of the name; 0: no endpoint was reached */
	struct slice name; /* bounded: that of the catalog */
	enum endpoint_class class;
	int status; /* 0: nobody was left to be answered, counted as 499 */
	enum served_from served;
	int64_t took_ns;
	const uint8_t *trace_id; /* 16 bytes when the trace is sampled: an exemplar; or NULL */
	int64_t wall_us;	 /* when it began */
};

/* ${member}: the caller's slot, which only chooses the shard. */
void endpoint_stats_record(
    struct endpoint_stats *e, unsigned member, const struct endpoint_sample *s);

/* What requests wait for before they are worked on. */
enum endpoint_queue {
	ENDPOINT_QUEUE_LISTEN, /* to be accepted and read: by the front server's own clock */
	ENDPOINT_QUEUE_LANE,   /* a thread that may block */
	ENDPOINT_QUEUE__COUNT
};
extern const char *const endpoint_queue_names[ENDPOINT_QUEUE__COUNT];
void endpoint_stats_waited(
    struct endpoint_stats *e, unsigned member, enum endpoint_queue q, int64_t waited_ns);
/* Adds to ${sum}, which begins as all zero. */
void endpoint_stats_waits(
    const struct endpoint_stats *e, enum endpoint_queue q, struct histogram_view *sum);

/* So that an endpoint is seen before its first request. */
void endpoint_stats_claim(
    struct endpoint_stats *e, uint64_t key, struct slice name, enum endpoint_class class);

/* Keeps the counts of this second when the newest copy is ${patience_s} (1 or more) seconds old.  Else one load; but then
 * it reads all, up to 2 MiB. */
void endpoint_stats_tick(struct endpoint_stats *e, int64_t now_ms, int64_t patience_s);

struct endpoint_view {
	char name[NAME_BYTES];
	enum endpoint_class class;
	uint64_t codes[ENDPOINT_CODES], served[SERVED__COUNT];
	uint64_t requests; /* of all codes */
	struct histogram_view took;
};

/* All since the segment was made.  False: the row is free.  Rows: 0 to ENDPOINT_ROWS - 1. */
bool endpoint_stats_view(const struct endpoint_stats *e, uint32_t row, struct endpoint_view *out);
/* Of the last ${seconds} (1 to ENDPOINT_RECENT_MAX_S); *${span_ms_out} is how long that really was, 0 when not known. */
bool endpoint_stats_recent(const struct endpoint_stats *e, uint32_t row, int64_t now_ms,
    unsigned seconds, struct endpoint_view *out, int64_t *span_ms_out);
/* The same, of all endpoints of a class (-1: of all), without a name; returns the span. */
int64_t endpoint_stats_recent_class(const struct endpoint_stats *e, int class, int64_t now_ms,
    unsigned seconds, struct endpoint_view *out);
void endpoint_view_add(struct endpoint_view *sum, const struct endpoint_view *v);
/* How many of ${v} had a status of 100 * ${hundreds} to 99 more; 304 is of 2, for it is an answer as good. */
uint64_t endpoint_view_class(const struct endpoint_view *v, int hundreds);

/* A recent sampled request of a row, whose time lies under ${edge} (ENDPOINT_EDGES: above all) and over the one before. */
struct endpoint_exemplar {
	uint8_t trace_id[16];
	int64_t took_ns, wall_us;
};
bool endpoint_stats_exemplar(
    const struct endpoint_stats *e, uint32_t row, size_t edge, struct endpoint_exemplar *out);

#endif
