#ifndef SERVICE_PURGES_H
#define SERVICE_PURGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct l1;
struct positions;
struct shards;

/*
 * Purges that every host hears of, and that a host which was away cannot miss.
 *
 * On each shard stands one hash of generations: 4096 slots for tags, by hash, and `last`.  A generation is
 * Redis's clock at the purge, in microseconds, and always grows; a slot that is missing begins now, so a Redis that was
 * emptied or that evicts forgets copies and never revives them.  A purge moves the slots and `last`, and tells all
 * who listen, in one script:
 *
 *   weir:generations   { <slot>: <generation>, ..., last: <generation> }
 *   weir:positions     { <slot>: <position>, ..., all: <position> }
 *   weir:purges:<db>   "2 <last before> <last now> <position> <tags as netstrings, or !>"
 *
 * A position is how far the database was (policy/positions.h): what a replica that has not come as far answers is not kept, on
 * any host.  Positions are forgotten a day after the last purge, for a database that was restored may begin anew.
 *
 * One process of each host listens (it holds state/purges.lock); when it is stopped, the others do.  It remembers `last` in the segment: whenever it
 * connects, once a second, and with each message it compares, and when it has missed one, all of L1 goes.
 *
 * A shard that cannot be told is owed the purge: the slots are noted in the segment, this host reads no copies
 * from that shard, and the listener tells it as soon as it answers.  Purges are for one thread of a process.
 */
#define PURGES_GENERATIONS "weir:generations"
#define PURGES_POSITIONS   "weir:positions"
enum { PURGES_SLOTS = 4096 };

struct purges;
struct purges_shared; /* in the segment */

size_t purges_shared_size(void);
void purges_shared_init(void *mem); /* ${mem}: aligned to 64 bytes */

struct purges_options {
	struct shards *shards;
	struct purges_shared *shared;
	struct l1 *l1;
	struct positions *positions; /* of the database, by L1's tags */
	uint64_t seed;		     /* of L1's tags */
	int state_dir_fd;
	int64_t timeout_ms; /* of one whole operation */
};

enum err purges_open(const struct purges_options *o, struct purges **out);
void purges_close(struct purges **pp); /* ends the listener */
/* A thread that listens, or waits for the place of who does. */
enum err purges_listen(struct purges *p);

unsigned purges_slot(struct slice tag); /* the same on every host */
/* A few loads. */
bool purges_are_owed(const struct purges *p, size_t shard);

/* Notes a tag for purges_send(); NULL: everything.  Sends by itself when much has gathered. */
void purges_add(struct purges *p, const struct slice *tag, uint64_t position);
/*
 * Tells all shards what was noted, then purges it in L1 once more, for until now somebody may have copied from
 * Redis what was old.  ERR_UNAVAILABLE: a shard could not be told, and is owed.
 */
enum err purges_send(struct purges *p);

#endif
