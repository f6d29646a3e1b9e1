/* Goal: without Redis every claim is ours and nobody waits; what was begun is ended.  With one: tests/integration. */
#include "service/idempotency.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "tests/unit/service/l2_house.h"

enum { THREADS = 4, CLAIMS = 200 };

static struct l2_house h;
static _Atomic unsigned done_count, ours_count;

static struct idempotency *
open_keys(void)
{
	const struct idempotency_options o = {
		.shards = h.shards, .host = h.l2.host, .key_ttl_ms = 1000
	};
	struct idempotency *i;

	CU_ASSERT_EQUAL_FATAL(idempotency_open(&o, &i), ERR_OK);
	return i;
}

static void
claim_is_done(struct idempotency_claim *c)
{
	ours_count += c->outcome == IDEMPOTENCY_OURS;
	done_count++;
}

static struct event
event_number(unsigned n, char key[16])
{
	struct event ev = { .tenant = n % 2 == 0 ? SLICE("") : SLICE("acme"),
		.endpoint = SLICE("notes") };

	ev.key = (struct slice){ key, (size_t)snprintf(key, 16, "key-%u", n) };
	event_id_make(ev.tenant, ev.endpoint, ev.key, ev.id);
	return ev;
}

struct claimer {
	struct idempotency *i;
	unsigned at;
	char keys[CLAIMS][16];
	struct event events[CLAIMS];
	struct idempotency_claim claims[CLAIMS];
	unsigned refused;
};

/* As the pipeline does: what cannot be asked goes on, and everything is settled. */
static void *
claim_many(void *arg)
{
	struct claimer *c = arg;

	for (unsigned n = 0; n < CLAIMS; n++) {
		c->events[n] = event_number(c->at + n, c->keys[n]);
		c->claims[n] = (struct idempotency_claim){
			.event = &c->events[n], .lease_ms = 1000, .done = claim_is_done
		};
		c->refused += !idempotency_claim(c->i, &c->claims[n]);
		idempotency_settle(c->i, &c->events[n], n % 3 == 0 ? 0 : 1764000000000000);
	}
	return NULL;
}

static void
without_redis_every_claim_is_ours(void)
{
	static struct claimer claimers[THREADS];
	pthread_t threads[THREADS];
	struct idempotency *i;
	unsigned refused = 0;

	l2_house_open(&h, "unix:/none/1,unix:/none/2", NULL);
	i = open_keys();
	done_count = ours_count = 0;
	CU_ASSERT_EQUAL_FATAL(idempotency_start(i), ERR_OK);
	for (unsigned t = 0; t < THREADS; t++) {
		claimers[t] = (struct claimer){ .i = i, .at = t * CLAIMS };
		CU_ASSERT_EQUAL_FATAL(
		    pthread_create(&threads[t], NULL, claim_many, &claimers[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		(void)pthread_join(threads[t], NULL);
		refused += claimers[t].refused;
	}
	idempotency_close(&i); /* what waits is asked first */
	CU_ASSERT_EQUAL(done_count + refused, THREADS * CLAIMS);
	CU_ASSERT_EQUAL(ours_count, done_count);
	l2_house_close(&h, false);
}

static void
a_claim_without_the_thread_is_not_taken(void)
{
	char key[16];
	struct event ev = event_number(1, key);
	struct idempotency_claim c = { .event = &ev, .done = claim_is_done };
	struct idempotency *i;

	l2_house_open(&h, "unix:/none/1", NULL);
	i = open_keys();
	CU_ASSERT_FALSE(idempotency_claim(i, &c));
	idempotency_settle(i, &ev, 1); /* lost, and freed */
	idempotency_close(&i);
	CU_ASSERT_PTR_NULL(i);
	l2_house_close(&h, false);
}

static void
who_cannot_be_asked_is_not_nobody(void)
{
	char key[16];
	struct event ev = event_number(1, key);
	struct idempotency *i;
	int64_t accepted_us;

	l2_house_open(&h, "unix:/none/1", NULL);
	i = open_keys();
	CU_ASSERT_EQUAL(
	    idempotency_find(i, ev.tenant, ev.id, clock_mono_ms(), &accepted_us), ERR_UNAVAILABLE);
	idempotency_close(&i);
	l2_house_close(&h, false);
}

UNIT_SUITE(idempotency, TEST(without_redis_every_claim_is_ours),
    TEST(a_claim_without_the_thread_is_not_taken), TEST(who_cannot_be_asked_is_not_nobody));
