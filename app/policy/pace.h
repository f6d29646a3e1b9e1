#ifndef POLICY_PACE_H
#define POLICY_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How often something may be done: one of each kind in so long, and one of any kind in so long.
 *
 * Words in memory shared by all processes of the host; zeroed is ready.  Pure: time is an argument; safe when a process
 * dies at any instruction, which costs at most one turn.  Two kinds that share a word share their turns.
 */
enum { PACE_KINDS = 1024 };

struct pace {
	_Atomic int64_t next_ms; /* of any kind */
	_Atomic int64_t kinds[PACE_KINDS];
};

struct pace_rules {
	int64_t any_ms, kind_ms; /* the least time between two */
};

/* True: it is this caller's turn, and nobody else's until the rules say so.  ${now_ms} is monotonic. */
bool pace_take(struct pace *p, const struct pace_rules *r, uint64_t kind_hash, int64_t now_ms);

#endif
