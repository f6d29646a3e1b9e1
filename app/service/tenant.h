#ifndef SERVICE_TENANT_H
#define SERVICE_TENANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/*
 * Whose request it is, by its API key: from the host's memory (policy/key_cache.h), else from the database.
 *
 *   a good key      is trusted for a second; half-way one request asks about it again, behind its reply
 *   a refused key   is remembered for ten seconds
 *   a database that cannot be asked: a key that was good stays good for 15 minutes, others cannot be judged;
 *                   one request a second of the whole host tries again.  Both changes are one line in the log.
 *
 * So a revoked key stops working on every host within a second, unless that host cannot ask.
 *
 * Keys that are not good are limited by address (10/s, burst 20); then no more are looked up, beyond those that are
 * being looked up already.  A key that is known to be good passes all the same: who guesses behind the same address does
 * not lock it out.
 */
struct ledger;
struct limiter;
struct tenant_shared; /* the region in the segment */

size_t tenant_shared_size(void);
void tenant_shared_init(void *mem, uint64_t seed); /* ${mem} begins a cache line */

/* Plain, for the process; any thread may use it. */
struct tenants {
	struct tenant_shared *shared;
	struct limiter *limiter; /* the host's */
	uint64_t seed;		 /* of its keys */
	struct ledger *ledger;	 /* of the write database */
};

enum tenant_verdict {
	TENANT_NO_KEY,	/* none was sent */
	TENANT_KNOWN,	/* *${tenant} */
	TENANT_ASK,	/* tenant_ask(), from a thread that may block */
	TENANT_REFUSED, /* *${why}, for the client */
	TENANT_LIMITED, /* too many refused keys from this address: *${retry_after_s} */
	TENANT_UNASKED	/* the database cannot be asked: come again */
};

/* One request's key, between the two calls; the slices of the request must live on. */
struct tenant_check {
	struct slice tenant; /* in ${bytes} */
	const char *why;
	int64_t retry_after_s;

	struct slice id;
	uint8_t digest[DIGEST_BYTES];
	uint64_t address; /* the limiter's key of the caller's address */
	bool again;	  /* TENANT_KNOWN: tenant_ask() is due too, when nobody waits for it */
	bool stranger;	  /* it was never good, as far as is known */
	bool looked_up;	  /* the database was asked */
	char bytes[255];
};

/* Never blocks.  ${ip}: as address_client() gives it; ${now_ns} is monotonic. */
enum tenant_verdict tenant_look(struct tenants *t, struct slice authorization,
    struct slice x_api_key, struct slice ip, int64_t now_ns, struct tenant_check *out);

/* After TENANT_ASK.  Asks the database, at most until ${deadline_ms} and no longer than a second; never
 * TENANT_ASK or TENANT_NO_KEY. */
enum tenant_verdict tenant_ask(
    struct tenants *t, int64_t now_ns, int64_t deadline_ms, struct tenant_check *c);

/* How many API keys the host remembers; returns how many it may. */
uint32_t tenant_usage(const struct tenant_shared *s, uint32_t *used_out);

#endif
