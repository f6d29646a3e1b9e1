#ifndef TELEMETRY_SCOREBOARD_H
#define TELEMETRY_SCOREBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "telemetry/metrics.h"

/*
 * Who is there: one slot in shared memory for each process of the host, with its heartbeat and its
 * counters.
 *
 * A slot is owned by (pid, start time), so a reused pid is not mistaken for its forerunner.  The counters
 * belong to the slot, not to its owner: whoever takes over the slot of a dead member counts on from
 * where that one stopped, so totals never go back and nothing has to be moved when somebody dies.
 * All processes must see each other in /proc.
 */
enum member_kind { MEMBER_NONE, MEMBER_SUPERVISOR, MEMBER_WORKER, MEMBER_CONSUMER };

enum { SCOREBOARD_MEMBERS = 256 };

struct scoreboard;

size_t scoreboard_size(void);
void scoreboard_init(void *mem); /* once, by who makes the segment; aligned to 64 bytes */

/* Takes a free or dead slot for the calling process.  ERR_FULL: all 256 are alive; ERR_IO: /proc does
 * not tell our own start time.  Reads /proc once for each slot in use before the one it takes. */
enum err scoreboard_join(
    struct scoreboard *s, enum member_kind kind, int64_t now_ms, unsigned *member_out);
void scoreboard_leave(struct scoreboard *s, unsigned member);
void scoreboard_beat(struct scoreboard *s, unsigned member, int64_t now_ms);

struct member_view {
	enum member_kind kind; /* MEMBER_NONE: free, or its owner is just arriving */
	pid_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat */
	int64_t joined_ms, beat_ms;
	uint32_t in_hand; /* exchanges */
	bool
	    alive; /* the process exists with that start time; of a dead one the rest still tells */
};

/* Reads /proc when the slot is taken. */
void scoreboard_view(const struct scoreboard *s, unsigned member, struct member_view *out);
/* False once that very process is known to be dead or gone from its slot.  Reads /proc. */
bool scoreboard_alive(const struct scoreboard *s, unsigned member, uint64_t start_ticks);
void scoreboard_in_hand(struct scoreboard *s, unsigned member, uint32_t exchanges);

/* Counters: relaxed adds in the caller's own slot.  A total is over all who were ever there, and never
 * goes back. */
void scoreboard_count(struct scoreboard *s, unsigned member, enum metric m, uint64_t n);
uint64_t scoreboard_total(const struct scoreboard *s, enum metric m);
/* What the slot's present (or last) owner counted since it joined. */
uint64_t scoreboard_of(const struct scoreboard *s, unsigned member, enum metric m);

/* The start time of ${pid}, 0 when there is no such process (or it is a zombie). */
uint64_t process_start_ticks(pid_t pid);

#endif
