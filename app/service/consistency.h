#ifndef SERVICE_CONSISTENCY_H
#define SERVICE_CONSISTENCY_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

struct ledger;

/*
 * Read your writes.
 *
 * A 202 carries a token, the id of its event; a read that sends tokens back wants an answer that shows those
 * writes.  The write database shows a write when its key is in the key table there, for both are of one transaction.
 */
enum { CONSISTENCY_MAX_EVENTS = 8 };

#define CONSISTENCY_COOKIE "weir-consistency"

struct consistency {
	uint8_t ids[CONSISTENCY_MAX_EVENTS][EVENT_ID_BYTES];
	size_t count; /* 0: the read wants nothing */

	/* Filled by who has looked. */
	size_t missing; /* of them, not applied yet */
	int64_t
	    applied_us; /* wall, as the key table says; when the last of the others was applied */
	uint64_t position; /* who has come as far shows those (service/store.h) */
};

/*
 * ${header}: X-Weir-Consistency, tokens separated by commas.  ${cookies}: Cookie, in which the last
 * token may be; what is no token there is ignored, for a cookie comes back unasked.  Absent: not sent.
 * ERR_INVALID: the header holds something else, or too many.
 */
enum err consistency_parse(struct slice header, struct slice cookies, struct consistency *out);

/* Looks them up in the key table; ${a} is for what comes on the way.  A table that cannot be read shows nothing. */
void consistency_look(
    struct consistency *c, struct ledger *l, int64_t deadline_ms, struct arena *a);
/* The same, until all are there or a fifth of a second is over: the consumer needs a few milliseconds.  Blocks. */
void consistency_wait(
    struct consistency *c, struct ledger *l, int64_t deadline_ms, struct arena *a);

#endif
