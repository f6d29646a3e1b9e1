/* Goal: with WEIR_ACK=kafka a write is done when Kafka has it, and not before; and can be taken back until then. */
#include <semaphore.h>

#include "tests/unit/service/spool_house.h"

enum { ROOMY = 64 << 20 };

static struct spool_house h;
static sem_t done;

struct one {
	struct spool_write w;
	_Atomic bool is_done;
};

static void
count_done(struct queue_item *item)
{
	struct one *o = item->ctx;

	atomic_store(&o->is_done, true);
	(void)sem_post(&done);
}

static void
open_fresh(void)
{
	spool_house_make(&h, ROOMY);
	h.o.ack_forwarded = true;
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	(void)sem_init(&done, 0, 0);
}

static void
submit(struct one *o, const char *key, struct slice payload)
{
	spool_write_make(&o->w, "create", "acme", key, payload, 1);
	atomic_store(&o->is_done, false);
	o->w.item.done = count_done;
	o->w.item.ctx = o;
	CU_ASSERT_EQUAL(queue_submit(h.q, &o->w.item), ERR_OK);
}

static void
wait_done(void)
{
	while (sem_wait(&done) == -1)
		;
}

/* Until ${n} events are durable, and so wait for Kafka. */
static void
wait_stored(uint64_t n)
{
	while (spool_status(&h).waiting < n)
		(void)usleep(1000);
}

static void
a_write_is_done_when_it_was_forwarded(void)
{
	struct one a, b;

	open_fresh();
	submit(&a, "a", SLICE("p"));
	wait_stored(1);
	submit(&b, "b", SLICE("p"));
	wait_stored(2);
	CU_ASSERT_FALSE(atomic_load(&a.is_done));
	queue_tell_forwarded(h.q, 1);
	wait_done();
	CU_ASSERT_TRUE(atomic_load(&a.is_done));
	CU_ASSERT_FALSE(atomic_load(&b.is_done));
	CU_ASSERT_EQUAL(a.w.item.outcome, QUEUE_ACCEPTED);
	queue_tell_forwarded(h.q, 2);
	wait_done();
	CU_ASSERT_TRUE(atomic_load(&b.is_done));
	spool_house_free(&h);
	arena_free(&a.w.arena);
	arena_free(&b.w.arena);
}

static void
a_replay_waits_as_well_and_a_clash_does_not(void)
{
	struct one a, again, clash;

	open_fresh();
	submit(&a, "a", SLICE("p"));
	wait_stored(1);
	submit(&clash, "a", SLICE("other"));
	wait_done();
	CU_ASSERT_EQUAL(clash.w.item.outcome, QUEUE_MISMATCH);
	submit(&again, "a", SLICE("p"));
	queue_tell_forwarded(h.q, 1);
	wait_done();
	wait_done();
	CU_ASSERT_EQUAL(again.w.item.outcome, QUEUE_REPLAYED);
	arena_free(&again.w.arena);
	submit(&again, "a", SLICE("p")); /* Kafka has it already */
	wait_done();
	CU_ASSERT_EQUAL(again.w.item.outcome, QUEUE_REPLAYED);
	spool_house_free(&h);
	arena_free(&a.w.arena);
	arena_free(&again.w.arena);
	arena_free(&clash.w.arena);
}

static void
a_write_that_waits_for_kafka_can_be_withdrawn_and_stays_stored(void)
{
	struct one items[3];
	static const char *const keys[] = { "a", "b", "c" };

	open_fresh();
	for (int i = 0; i < 3; i++) {
		submit(&items[i], keys[i], SLICE("p"));
		wait_stored((uint64_t)i + 1);
	}
	/* Stored is not yet given to who waits for Kafka, so the first try may come too early. */
	for (int i = 2; i >= 0; i--) {
		while (!queue_withdraw(h.q, &items[i].w.item))
			(void)usleep(1000);
		CU_ASSERT_EQUAL(items[i].w.item.seq, (uint64_t)i + 1);
		if (i == 2)
			CU_ASSERT_FALSE(queue_withdraw(h.q, &items[i].w.item));
	}
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 3);
	queue_tell_forwarded(h.q, 3);
	queue_close(&h.q); /* nobody is told after this */
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_FALSE(atomic_load(&items[i].is_done));
		arena_free(&items[i].w.arena);
	}
	spool_house_free(&h);
}

UNIT_SUITE(queue_ack, TEST(a_write_is_done_when_it_was_forwarded),
    TEST(a_replay_waits_as_well_and_a_clash_does_not),
    TEST(a_write_that_waits_for_kafka_can_be_withdrawn_and_stays_stored));
