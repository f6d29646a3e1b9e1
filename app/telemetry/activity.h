#ifndef TELEMETRY_ACTIVITY_H
#define TELEMETRY_ACTIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/*
 * What each worker does at this moment, in shared memory, for those who look: its reactor, each of its lane's
 * threads, and the oldest request in hand.
 *
 * A worker writes only its own row, and in it each thread its own words, so nothing is contended; a word is set
 * when something is handed over, the numbers a few times a second.  Nobody decides anything by them: they are read
 * from afar, of processes that may be busy, stopped or dead.
 */
enum { ACTIVITY_LANES = 32, ACTIVITY_NAME_BYTES = 48 }; /* threads shown of each worker */

/* Where a request is. */
enum activity_place {
	ACTIVITY_NOWHERE,
	ACTIVITY_RUNS,	 /* on the reactor */
	ACTIVITY_LANE,	 /* on a thread, or waiting for one */
	ACTIVITY_QUEUE,	 /* parked: the spool, or Kafka, is to take it */
	ACTIVITY_FLIGHT, /* parked: another request's query */
	ACTIVITY_TURN,	 /* parked: looks again in a moment */
	ACTIVITY_PLACE__COUNT
};
const char *activity_place_name(enum activity_place p);

enum activity_work { ACTIVITY_IDLE, ACTIVITY_STEPS, ACTIVITY_BODY }; /* of a lane's thread */

struct activity;
struct activity_row;

size_t activity_size(void);
void activity_init(void *mem); /* once, by who makes the segment; aligned to 64 bytes */

/* The row of a member of the scoreboard; who joins clears what its forerunner did. */
struct activity_row *activity_of(struct activity *a, unsigned member);
void activity_clear(struct activity_row *r);

/*
 * The worker's side.
 */
/* The reactor's thread is about to wait for events, or has some: one store. */
void activity_waits(struct activity_row *r, bool waits);
/* A lane's thread takes something in hand, and lets go of it.  Threads past ACTIVITY_LANES are not shown. */
void activity_begin(struct activity_row *r, size_t thread, enum activity_work work,
    struct slice endpoint, int64_t now_ms);
void activity_end(struct activity_row *r, size_t thread);

struct activity_counts {
	uint32_t connections;
	uint32_t at[ACTIVITY_PLACE__COUNT]; /* requests by place */
	uint32_t threads, threads_max;	    /* of the lane: started, and at most */
	uint32_t busy, waiting, waiting_max;
	uint32_t bodies, bodies_max; /* of the busy ones: those that read one */
	uint32_t refreshes, refreshes_max;
	uint32_t spans, spans_max; /* that wait to be exported */
};
struct activity_oldest {
	enum activity_place place;	    /* ACTIVITY_NOWHERE: nothing is in hand */
	int64_t since_ms;		    /* monotonic: when it came */
	char endpoint[ACTIVITY_NAME_BYTES]; /* "" before it is routed */
};
void activity_publish(struct activity_row *r, const struct activity_counts *c,
    enum activity_place place, int64_t since_ms, struct slice endpoint);

/*
 * The looker's side.
 */
struct activity_lane {
	enum activity_work work;
	int64_t since_ms;
	char endpoint[ACTIVITY_NAME_BYTES];
};
struct activity_view {
	bool waits; /* the reactor, for events */
	struct activity_counts counts;
	struct activity_oldest oldest;
	struct activity_lane lanes[ACTIVITY_LANES];
};
void activity_view(const struct activity *a, unsigned member, struct activity_view *out);

#endif
