#ifndef SERVICE_CONSISTENCY_H
#define SERVICE_CONSISTENCY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

/*
 * Read your writes.
 *
 * A 202 carries a token, the id of its event; a read that sends tokens back wants an answer that shows those
 * writes.  Where an answer comes from shows a write when the write's key is in the key table there, for both are
 * of one transaction: so a replica needs no position in a log to be asked, and it is the same on every database.
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
};

/*
 * ${header}: X-Weir-Consistency, tokens separated by commas.  ${cookies}: Cookie, in which the last
 * token may be; what is no token there is ignored, for a cookie comes back unasked.  Absent: not sent.
 * ERR_INVALID: the header holds something else, or too many.
 */
enum err consistency_parse(struct slice header, struct slice cookies, struct consistency *out);

#endif
