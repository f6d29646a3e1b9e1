#ifndef TESTS_UNIT_POLICY_FLIGHTS_H
#define TESTS_UNIT_POLICY_FLIGHTS_H

#include <stdlib.h>
#include <sys/mman.h>

#include "policy/flight.h"
#include "tests/support/unit.h"

/*
 * What the tests of single flight have in common.  All memory is shared with the children.
 */
enum { LEASE_MS = 1000, NOW_MS = 5000 };

/* Keys that differ only above: with 8 slots all share the one neighbourhood. */
#define KEY(n) ((uint64_t)(n) << 32 | 1)

static inline struct flights *
flights_of(uint32_t slots)
{
	void *mem = mmap(
	    NULL, flight_size(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		abort();
	flight_init(mem, slots);
	return mem;
}

static inline void
flights_end(struct flights *f, uint32_t slots)
{
	(void)munmap(f, flight_size(slots));
}

static inline struct flight_ticket
lead(struct flights *f, uint64_t key, unsigned member, int64_t now_ms)
{
	struct flight_ticket t;

	CU_ASSERT_EQUAL(flight_join(f, key, member, now_ms, LEASE_MS, &t), FLIGHT_LEAD);
	return t;
}

static inline struct flight_ticket
wait_on(struct flights *f, uint64_t key, unsigned member, int64_t now_ms)
{
	struct flight_ticket t;

	CU_ASSERT_EQUAL(flight_join(f, key, member, now_ms, LEASE_MS, &t), FLIGHT_WAIT);
	return t;
}

static inline bool
land(struct flights *f, uint64_t key, const struct flight_ticket *t, enum flight_state outcome)
{
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	return flight_land(f, key, t, outcome, 7, ring);
}

static inline enum flight_state
look(const struct flights *f, uint64_t key, struct flight_ticket *t)
{
	uint8_t reason;

	return flight_look(f, key, t, &reason);
}

static inline bool
rings(const uint64_t ring[FLIGHT_MEMBER_WORDS], unsigned member)
{
	return (ring[member / 64] >> member % 64 & 1) != 0;
}

static inline unsigned
ring_count(const uint64_t ring[FLIGHT_MEMBER_WORDS])
{
	unsigned n = 0;

	for (unsigned m = 0; m < FLIGHT_MEMBERS; m++)
		n += rings(ring, m);
	return n;
}

#endif
