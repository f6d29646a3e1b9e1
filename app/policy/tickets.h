#ifndef POLICY_TICKETS_H
#define POLICY_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * How many connections all processes of the host may hold together, over shared memory.
 *
 * A ticket is one word: 0, or its owner (process id and start time).  It is claimed by compare-and-swap and belongs to
 * a process, so it is void when that is dead, at whatever instruction it died; nothing is counted, so nothing can
 * be counted wrongly.  Pure: time, and who is alive, are arguments.
 */
struct tickets;

enum { TICKETS_MAX = 10000 };

size_t tickets_size(void);
/* Once, by who makes the segment; ${mem} begins a cache line. */
void tickets_init(void *mem);

/* Who takes: never 0. */
uint64_t tickets_owner(uint32_t pid, uint64_t start_ticks);

/* Whether the process that tickets_owner() was made of still lives. */
typedef bool tickets_alive(uint64_t owner);

/*
 * One of the first ${limit} tickets.  ERR_FULL: all are taken.  Without ${alive} (NULL) the dead are not looked for,
 * which costs nothing but a scan; with it, each owner is asked for once for each run of tickets.
 */
enum err tickets_take(
    struct tickets *t, size_t limit, uint64_t owner, tickets_alive *alive, size_t *index_out);
void tickets_give(struct tickets *t, size_t index);

/* How many of the first ${limit} are taken, also by the dead; ${owner} 0: by anybody. */
size_t tickets_held(const struct tickets *t, size_t limit, uint64_t owner);

/* Somebody waits for a ticket; holds for TICKETS_WANTED_MS, so who waits says it again. */
enum { TICKETS_WANTED_MS = 100 };
void tickets_want(struct tickets *t, int64_t now_ms);
bool tickets_wanted(const struct tickets *t, int64_t now_ms);

#endif
