/* Goal: the committer takes what is submitted, in order and once, and nobody waits for a disk to submit it. */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "tests/unit/service/spool_house.h"

enum { ROOMY = 64 << 20, WRITERS = 4, WRITES = 200 };

static struct spool_house h;

static void
open_fresh(void)
{
	spool_house_make(&h, ROOMY);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
}

struct counted {
	struct spool_write w;
	sem_t *done, *hold; /* ${hold}: the callback waits for it */
};

static void
count_done(struct queue_item *item)
{
	struct counted *c = item->ctx;
	sem_t *hold = c->hold;

	(void)sem_post(c->done); /* ${c} may be gone now */
	if (hold != NULL)
		while (sem_wait(hold) == -1)
			;
}

static enum err
submit(struct counted *c, const char *key, sem_t *done, sem_t *hold)
{
	spool_write_make(&c->w, "create", "acme", key, SLICE("p"), 1);
	c->done = done;
	c->hold = hold;
	c->w.item.done = count_done;
	c->w.item.ctx = c;
	return queue_submit(h.q, &c->w.item);
}

static void
wait_for(sem_t *s)
{
	while (sem_wait(s) == -1)
		;
}

static void
a_submitted_write_is_withdrawn_only_before_it_is_picked_up(void)
{
	struct counted first, second, third;
	sem_t done, hold;

	(void)sem_init(&done, 0, 0);
	(void)sem_init(&hold, 0, 0);
	open_fresh();
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	CU_ASSERT_EQUAL(submit(&first, "a", &done, &hold), ERR_OK);
	wait_for(&done); /* the committer now stands in the callback */
	CU_ASSERT_EQUAL(submit(&second, "b", &done, NULL), ERR_OK);
	CU_ASSERT_EQUAL(submit(&third, "c", &done, NULL), ERR_OK);
	CU_ASSERT_FALSE(queue_withdraw(h.q, &first.w.item));
	CU_ASSERT_TRUE(queue_withdraw(h.q, &third.w.item)); /* the last one: the tail moves */
	CU_ASSERT_FALSE(queue_withdraw(h.q, &third.w.item));
	CU_ASSERT_TRUE(queue_withdraw(h.q, &second.w.item));
	arena_free(&second.w.arena);
	CU_ASSERT_EQUAL(submit(&second, "d", &done, NULL), ERR_OK);
	(void)sem_post(&hold);
	wait_for(&done);
	CU_ASSERT_EQUAL(second.w.item.outcome, QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 2);
	spool_house_free(&h);
	arena_free(&first.w.arena);
	arena_free(&second.w.arena);
	arena_free(&third.w.arena);
}

/* Somebody on this host holds the write lock, perhaps stopped for ever. */
static void
what_waits_for_the_write_lock_can_still_be_withdrawn(void)
{
	struct counted first, second;
	struct lmdb_txn *txn;
	sem_t done;

	(void)sem_init(&done, 0, 0);
	open_fresh();
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(lmdb_begin_write(h.q->db, &txn), ERR_OK);
	CU_ASSERT_EQUAL(submit(&first, "a", &done, NULL), ERR_OK);
	CU_ASSERT_EQUAL(submit(&second, "b", &done, NULL), ERR_OK);
	CU_ASSERT_TRUE(queue_withdraw(h.q, &first.w.item));
	lmdb_abort(&txn);
	wait_for(&done);
	CU_ASSERT_EQUAL(second.w.item.outcome, QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 1);
	spool_house_free(&h);
	arena_free(&first.w.arena);
	arena_free(&second.w.arena);
}

static void
closing_commits_what_was_submitted(void)
{
	enum { N = 50 };
	struct counted c[N];
	char key[20];
	sem_t done;
	int count;

	(void)sem_init(&done, 0, 0);
	open_fresh();
	CU_ASSERT_EQUAL(submit(&c[0], "early", &done, NULL), ERR_UNAVAILABLE);
	arena_free(&c[0].w.arena);
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	for (int i = 0; i < N; i++) {
		(void)snprintf(key, sizeof key, "k-%d", i);
		CU_ASSERT_EQUAL(submit(&c[i], key, &done, NULL), ERR_OK);
	}
	queue_close(&h.q);
	(void)sem_getvalue(&done, &count);
	CU_ASSERT_EQUAL(count, N);
	for (int i = 0; i < N; i++)
		arena_free(&c[i].w.arena);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, N);
	spool_house_free(&h);
}

static void
too_many_that_wait_are_refused_at_once(void)
{
	struct counted first, *many;
	sem_t done, hold;
	size_t n = 0;
	enum err rc;

	(void)sem_init(&done, 0, 0);
	(void)sem_init(&hold, 0, 0);
	open_fresh();
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	CU_ASSERT_EQUAL(submit(&first, "a", &done, &hold), ERR_OK);
	wait_for(&done);
	many = calloc(20000, sizeof *many);
	CU_ASSERT_PTR_NOT_NULL_FATAL(many);
	do
		rc = submit(&many[n++], "same", &done, NULL);
	while (rc == ERR_OK && n < 20000);
	CU_ASSERT_EQUAL(rc, ERR_OVERLOADED);
	CU_ASSERT_TRUE(n > 8000);
	(void)sem_post(&hold);
	for (size_t i = 1; i < n; i++)
		wait_for(&done);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 2);
	spool_house_free(&h);
	for (size_t i = 0; i < n; i++)
		arena_free(&many[i].w.arena);
	arena_free(&first.w.arena);
	free(many);
}

static void
names_that_no_row_could_hold_are_refused(void)
{
	static char name[2000];
	struct counted c;
	sem_t done;

	(void)sem_init(&done, 0, 0);
	open_fresh();
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	memset(name, 'k', sizeof name - 1);
	CU_ASSERT_EQUAL(submit(&c, name, &done, NULL), ERR_TOO_LARGE);
	arena_free(&c.w.arena);
	name[800] = '\0';
	CU_ASSERT_EQUAL(submit(&c, name, &done, NULL), ERR_OK);
	spool_house_free(&h);
	CU_ASSERT_EQUAL(c.w.item.outcome, QUEUE_ACCEPTED);
	arena_free(&c.w.arena);
}

static void *
write_own_keys(void *arg)
{
	struct counted c;
	char key[40];
	sem_t done;

	(void)sem_init(&done, 0, 0);
	for (int i = 0; i < WRITES; i++) {
		(void)snprintf(key, sizeof key, "%s-%d", (const char *)arg, i);
		if (submit(&c, key, &done, NULL) == ERR_OK)
			wait_for(&done);
		arena_free(&c.w.arena);
	}
	return NULL;
}

static void
many_threads_share_one_committer(void)
{
	static char names[WRITERS][2] = { "a", "b", "c", "d" };
	pthread_t t[WRITERS];

	open_fresh();
	CU_ASSERT_EQUAL_FATAL(queue_start(h.q), ERR_OK);
	for (int i = 0; i < WRITERS; i++)
		CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, write_own_keys, names[i]), 0);
	for (int i = 0; i < WRITERS; i++)
		(void)pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, WRITERS * WRITES);
	spool_house_free(&h);
}

UNIT_SUITE(queue_committer, TEST(a_submitted_write_is_withdrawn_only_before_it_is_picked_up),
    TEST(what_waits_for_the_write_lock_can_still_be_withdrawn),
    TEST(closing_commits_what_was_submitted), TEST(too_many_that_wait_are_refused_at_once),
    TEST(names_that_no_row_could_hold_are_refused), TEST(many_threads_share_one_committer));
