#ifndef POLICY_FLIGHT_H
#define POLICY_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Single flight over shared memory: of all requests of the host that miss the same key, one leads
 * and the others wait.
 *
 * A slot is { key, control } changed by one 16-byte compare-and-swap; control holds state, leader
 * (its member slot), serial number and deadline.  A flight is a lease: it ends by landing, by its
 * deadline, or because its leader died (the waiter's pidfd tells) and another takes over.  Waiters
 * are a bit for each member process, never a count.  Order for a waiter: join (its bit is set),
 * flight_look(), only then park; after waking, flight_look().
 *
 *   FREE --join--> FLYING --land--> STORED | NOT_STORED | FAILED   (each reusable as FREE)
 *                    |  ^
 *                    +--+ take over: the leader is dead or the lease is over
 */
struct flights;

enum flight_role {
	FLIGHT_LEAD, /* do the work, then flight_land() */
	FLIGHT_WAIT,
	FLIGHT_ALONE /* no slot free: do the work, tell nobody */
};

enum flight_state {
	FLIGHT_FLYING,
	FLIGHT_STORED,	   /* look in the cache */
	FLIGHT_NOT_STORED, /* it worked, but nothing was kept: do your own work */
	FLIGHT_FAILED,	   /* with a reason byte */
	FLIGHT_GONE	   /* look in the cache, else join again */
};

struct flight_ticket {
	uint32_t slot;
	uint32_t serial;
	uint32_t leader;     /* member slot */
	int64_t deadline_ms; /* of the lease, monotonic */
};

enum { FLIGHT_MEMBERS = 256, FLIGHT_MEMBER_WORDS = FLIGHT_MEMBERS / 64 };

size_t flight_size(uint32_t slots); /* a power of two, 8..2^20; 0 otherwise */
/* Once, by who makes the segment; ${mem} begins a cache line. */
void flight_init(void *mem, uint32_t slots);

/* Frees every flight that a forerunner of ${member} left behind.  Once after a process has got its
 * member slot and before it leads: else a waiter takes the living newcomer for the dead leader and
 * waits for the lease.  Fills the members to ring. */
void flight_sweep(struct flights *f, unsigned member, uint64_t ring_out[FLIGHT_MEMBER_WORDS]);

/* ${key} is a 64-bit hash under the segment's seed.  Takes over at once when the lease is over. */
enum flight_role flight_join(struct flights *f, uint64_t key, unsigned member, int64_t now_ms,
    int64_t lease_ms, struct flight_ticket *out);

/* The same, only to lead: for a refresh in the background.  False: somebody does it already. */
bool flight_try_lead(struct flights *f, uint64_t key, unsigned member, int64_t now_ms,
    int64_t lease_ms, struct flight_ticket *out);

/* Refreshes leader and deadline of ${t} while FLYING; *${reason_out} for FAILED. */
enum flight_state flight_look(
    const struct flights *f, uint64_t key, struct flight_ticket *t, uint8_t *reason_out);

/* ${t}'s leader is known to be dead, or its lease over: true when ${member} leads now.  False: another was
 * faster; flight_look() tells whom to watch now. */
bool flight_take_over(struct flights *f, uint64_t key, struct flight_ticket *t, unsigned member,
    int64_t now_ms, int64_t lease_ms);

/* Only by the leader.  ${outcome}: STORED, NOT_STORED, FAILED, or GONE: nothing came of it that the
 * waiters could use, so one of them shall lead.  Fills the members to ring (bits).  False: the lease
 * was lost, nobody to ring. */
bool flight_land(struct flights *f, uint64_t key, const struct flight_ticket *t,
    enum flight_state outcome, uint8_t reason, uint64_t ring_out[FLIGHT_MEMBER_WORDS]);

/* How many fly now; returns how many may.  Looks at all slots. */
uint32_t flight_usage(const struct flights *f, uint32_t *flying_out);

#endif
