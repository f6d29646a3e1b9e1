/*
 * Goal: of all who miss one key one leads, the others wait for it, and whoever is
 * to be woken is; what time and the death of leaders do to that.
 */
#include "policy/flight.h"

#include "tests/support/unit.h"
#include "tests/unit/policy/flights.h"

static void
a_size_that_is_no_power_of_two_is_refused(void)
{
	CU_ASSERT_EQUAL(flight_size(0), 0);
	CU_ASSERT_EQUAL(flight_size(4), 0);
	CU_ASSERT_EQUAL(flight_size(24), 0);
	CU_ASSERT_EQUAL(flight_size(1 << 21), 0);
	CU_ASSERT_TRUE(flight_size(8) >= 8 * 64);
}

static void
the_first_leads_and_the_others_wait_for_it(void)
{
	struct flights *f = flights_of(64);
	struct flight_ticket a = lead(f, KEY(1), 3, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 4, NOW_MS + 1);

	CU_ASSERT_EQUAL(b.leader, 3);
	CU_ASSERT_EQUAL(b.deadline_ms, NOW_MS + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(look(f, KEY(1), &a), FLIGHT_FLYING);
	(void)lead(f, KEY(2), 4, NOW_MS); /* another key is another flight */
	flights_end(f, 64);
}

static void
a_landing_rings_every_waiting_member_and_no_other(void)
{
	static const unsigned members[] = { 0, 1, 47, 48, 63, 64, 95, 96, 191, 192, 254, 255 };
	const size_t count = sizeof members / sizeof *members;
	struct flights *f = flights_of(64);
	struct flight_ticket t = lead(f, KEY(1), 9, NOW_MS);
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	for (size_t i = 0; i < count; i++)
		for (unsigned twice = 0; twice < 2; twice++)
			(void)wait_on(f, KEY(1), members[i], NOW_MS);
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring));
	for (size_t i = 0; i < count; i++)
		CU_ASSERT_TRUE(rings(ring, members[i]));
	CU_ASSERT_EQUAL(ring_count(ring), count);
	CU_ASSERT_FALSE(flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring)); /* only once */
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	flights_end(f, 64);
}

static void
waiters_read_how_it_ended(void)
{
	static const enum flight_state outcomes[] = { FLIGHT_STORED, FLIGHT_NOT_STORED,
		FLIGHT_FAILED, FLIGHT_GONE };
	struct flights *f = flights_of(64);

	for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
		struct flight_ticket a = lead(f, KEY(i), 1, NOW_MS);
		struct flight_ticket b = wait_on(f, KEY(i), 2, NOW_MS);
		uint8_t reason = 99;

		CU_ASSERT_TRUE(land(f, KEY(i), &a, outcomes[i]));
		CU_ASSERT_EQUAL(flight_look(f, KEY(i), &b, &reason), outcomes[i]);
		CU_ASSERT_EQUAL(reason, outcomes[i] == FLIGHT_FAILED ? 7 : 0);
	}
	flights_end(f, 64);
}

static void
after_a_landing_the_next_leads_and_old_tickets_see_it_gone(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);

	CU_ASSERT_TRUE(land(f, KEY(1), &a, FLIGHT_FAILED));
	(void)lead(f, KEY(1), 3, NOW_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_GONE);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_ticket_for_no_slot_is_gone(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket t = { .slot = 8 };

	CU_ASSERT_EQUAL(look(f, KEY(1), &t), FLIGHT_GONE);
	CU_ASSERT_FALSE(flight_take_over(f, KEY(1), &t, 1, NOW_MS, LEASE_MS));
	CU_ASSERT_FALSE(land(f, KEY(1), &t, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
when_the_lease_is_over_the_next_takes_over_and_waiters_stay(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS), c;
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	(void)wait_on(f, KEY(1), 3, NOW_MS + LEASE_MS - 1);
	c = lead(f, KEY(1), 3, NOW_MS + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(b.leader, 3);
	CU_ASSERT_EQUAL(b.deadline_ms, NOW_MS + 2 * LEASE_MS);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED)); /* it has lost the lease */
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &c, FLIGHT_STORED, 0, ring));
	CU_ASSERT_TRUE(rings(ring, 2));
	flights_end(f, 8);
}

static void
of_those_who_know_the_leader_dead_one_takes_over(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket b = wait_on(f, KEY(1), 2, NOW_MS);
	struct flight_ticket c = wait_on(f, KEY(1), 3, NOW_MS);

	CU_ASSERT_TRUE(flight_take_over(f, KEY(1), &b, 2, NOW_MS + 10, LEASE_MS));
	CU_ASSERT_FALSE(flight_take_over(f, KEY(1), &c, 3, NOW_MS + 10, LEASE_MS));
	CU_ASSERT_EQUAL(look(f, KEY(1), &c), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(c.leader, 2);
	CU_ASSERT_EQUAL(c.deadline_ms, NOW_MS + 10 + LEASE_MS);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	CU_ASSERT_TRUE(land(f, KEY(1), &b, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_member_that_takes_over_from_itself_has_one_leader_too(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket slow = lead(f, KEY(1), 1, NOW_MS);
	struct flight_ticket next = lead(f, KEY(1), 1, NOW_MS + LEASE_MS);

	CU_ASSERT_FALSE(land(f, KEY(1), &slow, FLIGHT_STORED));
	CU_ASSERT_TRUE(land(f, KEY(1), &next, FLIGHT_STORED));
	flights_end(f, 8);
}

static void
a_refresh_leads_only_where_nobody_does_and_is_never_rung(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket a, b;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	CU_ASSERT_TRUE(flight_try_lead(f, KEY(1), 1, NOW_MS, LEASE_MS, &a));
	CU_ASSERT_FALSE(flight_try_lead(f, KEY(1), 2, NOW_MS, LEASE_MS, &b));
	CU_ASSERT_TRUE(flight_land(f, KEY(1), &a, FLIGHT_STORED, 0, ring));
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	CU_ASSERT_TRUE(flight_try_lead(f, KEY(1), 2, NOW_MS, LEASE_MS, &b));
	flights_end(f, 8);
}

static void
a_full_neighbourhood_sends_the_next_alone_until_a_lease_is_over(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket t;

	for (unsigned i = 0; i < 8; i++)
		(void)lead(f, KEY(i), 1, NOW_MS);
	CU_ASSERT_EQUAL(flight_join(f, KEY(8), 1, NOW_MS, LEASE_MS, &t), FLIGHT_ALONE);
	CU_ASSERT_FALSE(flight_try_lead(f, KEY(8), 1, NOW_MS, LEASE_MS, &t));
	CU_ASSERT_FALSE(land(f, KEY(8), &t, FLIGHT_STORED));
	(void)lead(f, KEY(8), 1, NOW_MS + LEASE_MS);
	flights_end(f, 8);
}

static void
a_late_leader_takes_no_waiters_of_the_slots_next_flight(void)
{
	struct flights *f = flights_of(8);
	struct flight_ticket late, next;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	for (unsigned i = 1; i < 8; i++)
		(void)lead(f, KEY(100 + i), 1, NOW_MS + LEASE_MS);
	late = lead(f, KEY(1), 1, NOW_MS);
	(void)wait_on(f, KEY(1), 5, NOW_MS);
	next = lead(f, KEY(2), 2, NOW_MS + LEASE_MS); /* the only slot with a lease that is over */
	CU_ASSERT_EQUAL(late.slot, next.slot);
	(void)wait_on(f, KEY(2), 6, NOW_MS + LEASE_MS);
	CU_ASSERT_FALSE(flight_land(f, KEY(1), &late, FLIGHT_STORED, 0, ring));
	CU_ASSERT_EQUAL(ring_count(ring), 0);
	CU_ASSERT_TRUE(flight_land(f, KEY(2), &next, FLIGHT_STORED, 0, ring));
	CU_ASSERT_TRUE(rings(ring, 6));
	CU_ASSERT_FALSE(rings(ring, 5)); /* the flight before */
	flights_end(f, 8);
}

static void
a_newcomer_sweeps_what_its_forerunner_led(void)
{
	struct flights *f = flights_of(64);
	struct flight_ticket a = lead(f, KEY(1), 1, NOW_MS), b, other;
	uint64_t ring[FLIGHT_MEMBER_WORDS];

	b = wait_on(f, KEY(1), 2, NOW_MS);
	other = lead(f, KEY(2), 3, NOW_MS);
	flight_sweep(f, 1, ring);
	CU_ASSERT_TRUE(rings(ring, 2));
	CU_ASSERT_EQUAL(ring_count(ring), 1);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_GONE);
	CU_ASSERT_FALSE(land(f, KEY(1), &a, FLIGHT_STORED));
	(void)lead(f, KEY(1), 2, NOW_MS);
	CU_ASSERT_TRUE(land(f, KEY(2), &other, FLIGHT_STORED));
	flights_end(f, 64);
}

/* The deadline is kept modulo 2^37 ms. */
static void
a_host_that_is_up_for_years_keeps_its_leases(void)
{
	const int64_t now_ms = (INT64_C(1) << 37) - 5;
	struct flights *f = flights_of(8);
	struct flight_ticket a = lead(f, KEY(1), 1, now_ms);
	struct flight_ticket b = wait_on(f, KEY(1), 2, now_ms + 20);

	CU_ASSERT_EQUAL(b.deadline_ms, now_ms + LEASE_MS);
	CU_ASSERT_EQUAL(look(f, KEY(1), &b), FLIGHT_FLYING);
	CU_ASSERT_EQUAL(b.deadline_ms, now_ms + LEASE_MS);
	CU_ASSERT_TRUE(land(f, KEY(1), &a, FLIGHT_STORED));
	(void)lead(f, KEY(1), 1, now_ms);
	(void)lead(f, KEY(1), 2, now_ms + LEASE_MS);
	flights_end(f, 8);
}

static void
the_serial_may_go_around(void)
{
	struct flights *f = flights_of(8);
	uint64_t ring[FLIGHT_MEMBER_WORDS];
	unsigned lost = 0;

	for (unsigned i = 0; i < 70000; i++) {
		struct flight_ticket t, w;

		lost += flight_join(f, KEY(1), 1, NOW_MS, LEASE_MS, &t) != FLIGHT_LEAD;
		lost += flight_join(f, KEY(1), 2, NOW_MS, LEASE_MS, &w) != FLIGHT_WAIT;
		lost += !flight_land(f, KEY(1), &t, FLIGHT_STORED, 0, ring);
		lost += !rings(ring, 2);
	}
	CU_ASSERT_EQUAL(lost, 0);
	flights_end(f, 8);
}

static void
usage_counts_what_flies_and_not_what_has_landed(void)
{
	struct flights *f = flights_of(64);
	const struct flight_ticket a = lead(f, KEY(1), 3, NOW_MS);
	uint32_t flying = 0;

	(void)lead(f, KEY(2), 4, NOW_MS);
	CU_ASSERT_EQUAL(flight_usage(f, &flying), 64);
	CU_ASSERT_EQUAL(flying, 2);
	CU_ASSERT_TRUE(land(f, KEY(1), &a, FLIGHT_STORED));
	(void)flight_usage(f, &flying);
	CU_ASSERT_EQUAL(flying, 1);
	flights_end(f, 64);
}

UNIT_SUITE(flight, TEST(usage_counts_what_flies_and_not_what_has_landed),
    TEST(a_size_that_is_no_power_of_two_is_refused),
    TEST(the_first_leads_and_the_others_wait_for_it),
    TEST(a_landing_rings_every_waiting_member_and_no_other), TEST(waiters_read_how_it_ended),
    TEST(after_a_landing_the_next_leads_and_old_tickets_see_it_gone),
    TEST(a_ticket_for_no_slot_is_gone),
    TEST(when_the_lease_is_over_the_next_takes_over_and_waiters_stay),
    TEST(of_those_who_know_the_leader_dead_one_takes_over),
    TEST(a_member_that_takes_over_from_itself_has_one_leader_too),
    TEST(a_refresh_leads_only_where_nobody_does_and_is_never_rung),
    TEST(a_full_neighbourhood_sends_the_next_alone_until_a_lease_is_over),
    TEST(a_late_leader_takes_no_waiters_of_the_slots_next_flight),
    TEST(a_newcomer_sweeps_what_its_forerunner_led),
    TEST(a_host_that_is_up_for_years_keeps_its_leases), TEST(the_serial_may_go_around));
