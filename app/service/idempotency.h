#ifndef SERVICE_IDEMPOTENCY_H
#define SERVICE_IDEMPOTENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

struct shards;

/*
 * Idempotency keys in Redis, so that a replay works on any host.
 *
 *   none --claim--> in hand of a host --settled: accepted--> accepted, for IDEMPOTENCY_TTL
 *                         |------------settled: not--------> none
 *                         +--------its lease is over-------> none
 *
 * A claim excludes other hosts only: among the processes of one host the spool decides, and behind all stands the key
 * table of the write database.  So whatever fails here costs at most a duplicate that is dropped later: without Redis,
 * writes are accepted all the same.
 *
 * One thread of the process asks: what comes while it waits for an answer gathers and goes with the next call, as
 * with the committer of the queue, so a write costs no thread and no round trip of its own.
 */
struct idempotency;

struct idempotency_options {
	struct shards *shards;
	const char *host; /* lent: this segment's name, see struct l2 */
	int64_t key_ttl_ms;
};

enum err idempotency_open(const struct idempotency_options *o, struct idempotency **out);
enum err idempotency_start(struct idempotency *i); /* the thread */
void idempotency_close(
    struct idempotency **ip); /* what waits is asked first; no claim may come any more */

enum idempotency_outcome {
	IDEMPOTENCY_OURS,     /* go on to the spool; also when Redis could not say */
	IDEMPOTENCY_ACCEPTED, /* with the same parameters, at accepted_us */
	IDEMPOTENCY_MISMATCH, /* accepted with other parameters */
	IDEMPOTENCY_HELD      /* another host has it in hand, for longer than one waits */
};

/* Lives in the exchange's arena until ${done} was called; the event is lent for as long. */
struct idempotency_claim {
	const struct event *event;
	int64_t lease_ms;			   /* longer than it may take to be settled */
	void (*done)(struct idempotency_claim *c); /* on the thread; hand over and return */
	void *ctx;
	enum idempotency_outcome outcome;
	int64_t accepted_us;
	/* private */
	struct idempotency_claim *next;
	size_t shard;
	int64_t again_ms, until_ms;
};

/* Never waits.  False: Redis cannot be asked now, go on; ${done} will not be called. */
bool idempotency_claim(struct idempotency *i, struct idempotency_claim *c);

/* Notes what became of ${ev}; copied, sent later, dropped when too many wait.  ${accepted_us} 0: it was not
 * accepted, the claim goes.  Any thread. */
void idempotency_settle(struct idempotency *i, const struct event *ev, int64_t accepted_us);

/* For the operations endpoint: was ${id} of ${tenant} accepted by any host?  One round trip.  ERR_NOT_FOUND;
 * ERR_UNAVAILABLE: Redis cannot be asked. */
enum err idempotency_find(struct idempotency *i, struct slice tenant,
    const uint8_t id[EVENT_ID_BYTES], int64_t now_ms, int64_t *accepted_us_out);

#endif
