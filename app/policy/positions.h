#ifndef POLICY_POSITIONS_H
#define POLICY_POSITIONS_H

#include <stddef.h>
#include <stdint.h>

/*
 * How far the database was when each tag was last purged, over shared memory: what a replica answers that has not
 * come as far is older than the purge, and is not to be kept.
 *
 * A position only grows, and counts in what the database counts in (PostgreSQL: bytes of WAL).  Tags share a fixed
 * table of words by their hash; who shares one with a newer tag keeps too little, never too much.  Pure; any thread
 * may call; one swap to raise, a load a tag to look.
 *
 * Who purges raises first and purges then; who queries notes the tags' generations first and looks then.  So who
 * missed the position has missed the generation too, and does not keep its copy for that.
 */
struct positions;

size_t positions_size(void);
/* Once, by who makes the segment; ${mem} begins a cache line. */
void positions_init(void *mem);

void positions_raise(struct positions *p, uint64_t tag, uint64_t position);
void positions_raise_all(struct positions *p, uint64_t position);

/* The newest of ${tags}; 0: none of them was ever purged. */
uint64_t positions_of(const struct positions *p, const uint64_t *tags, size_t count);
/* The newest of all tags: a scan. */
uint64_t positions_newest(const struct positions *p);

#endif
