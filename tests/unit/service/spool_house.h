#ifndef TESTS_UNIT_SERVICE_SPOOL_HOUSE_H
#define TESTS_UNIT_SERVICE_SPOOL_HOUSE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "service/queue_spool.h"
#include "tests/support/unit.h"

/*
 * A spool in a fresh state folder, and writes to put into it, for the tests of the queue and the consumer.
 * The shared part survives fork(), the queue itself must be opened after it.
 */
struct spool_house {
	char dir[4200];
	int dir_fd;
	struct queue_options o;
	struct queue *q;
};

static inline struct queue_shared *
spool_shared_make(int64_t max_bytes)
{
	void *mem = mmap(NULL, queue_shared_size(max_bytes), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	queue_shared_init(mem, max_bytes);
	return mem;
}

static inline void
spool_house_make(struct spool_house *h, int64_t max_bytes)
{
	*h = (struct spool_house){ .dir_fd = -1 };
	(void)snprintf(h->dir, sizeof h->dir, "%s/spool-XXXXXX", unit_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(h->dir));
	h->dir_fd = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	h->o = (struct queue_options){ .state_dir_fd = h->dir_fd,
		.state_dir = h->dir,
		.max_bytes = max_bytes,
		.key_ttl_ms = 1000,
		.reserve_percent = 1, /* the disk of the tests may be nearly full */
		.shared = spool_shared_make(max_bytes) };
}

static inline enum err
spool_house_open(struct spool_house *h)
{
	return queue_open(&h->o, &h->q);
}

static inline void
spool_house_free(struct spool_house *h)
{
	queue_close(&h->q);
	(void)close(h->dir_fd);
	(void)munmap(h->o.shared, queue_shared_size(h->o.max_bytes));
}

/* One write, with one text parameter `payload`. */
struct spool_write {
	struct event ev;
	struct event_param param;
	struct arena arena;
	struct queue_item item;
};

static inline void
spool_write_make(struct spool_write *w, const char *endpoint, const char *tenant, const char *key,
    struct slice payload, int64_t accepted_us)
{
	struct hash128 h = hash128(payload.ptr, payload.len);

	*w = (struct spool_write){ 0 };
	arena_init(&w->arena, 64 << 20);
	w->param =
	    (struct event_param){ SLICE("payload"), { .type = VALUE_TEXT, .text = payload } };
	w->ev = (struct event){ .endpoint = slice_of(endpoint),
		.tenant = slice_of(tenant),
		.key = arena_slice(&w->arena, slice_of(key)),
		.accepted_us = accepted_us,
		.params = &w->param,
		.param_count = 1 };
	event_id_make(w->ev.tenant, w->ev.endpoint, w->ev.key, w->ev.id);
	memcpy(w->ev.fingerprint, &h, sizeof w->ev.fingerprint);
	w->item.event = &w->ev;
	CU_ASSERT_EQUAL_FATAL(event_encode(&w->ev, &w->arena, &w->item.record), ERR_OK);
}

/* Commits a list of writes in this thread. */
static inline void
spool_claim(struct spool_house *h, struct queue_item *items)
{
	struct lmdb_txn *txn;
	const enum err rc = lmdb_begin_write(h->q->db, &txn);

	queue_claim(h->q, txn, rc, items);
}

/* Commits one write in this thread. */
static inline enum queue_outcome
spool_put(struct spool_house *h, const char *endpoint, const char *tenant, const char *key,
    struct slice payload, int64_t accepted_us, uint64_t *seq_out)
{
	struct spool_write w;

	spool_write_make(&w, endpoint, tenant, key, payload, accepted_us);
	spool_claim(h, &w.item);
	if (seq_out != NULL)
		*seq_out = w.item.seq;
	arena_free(&w.arena);
	return w.item.outcome;
}

static inline struct queue_status
spool_status(struct spool_house *h)
{
	struct queue_status s;

	CU_ASSERT_EQUAL(queue_status_read(h->q, &s), ERR_OK);
	return s;
}

#endif
