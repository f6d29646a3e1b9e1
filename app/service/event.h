#ifndef SERVICE_EVENT_H
#define SERVICE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/value.h"

struct endpoint;

/*
 * One accepted write: what the spool, the queue and the dead letters carry.  The record is versioned and
 * names its parameters, so that an event outlives the endpoint file that made it.
 */
enum { EVENT_ID_BYTES = 16, EVENT_ID_TEXT = 37 /* with NUL */, EVENT_FINGERPRINT_BYTES = 16 };

struct event_param {
	struct slice name;
	struct value value;
};

struct event {
	uint64_t seq;	     /* place in the spool; 0 before it has one */
	struct slice record; /* as the spool gave it; absent before */
	struct slice endpoint, tenant, key;
	uint8_t id[EVENT_ID_BYTES];
	uint8_t fingerprint[EVENT_FINGERPRINT_BYTES];
	int64_t accepted_us; /* wall */
	struct slice traceparent, tracestate;
	struct event_param *params;
	size_t param_count;
};

/* UUID version 8 (RFC 9562) of tenant, endpoint and key: every host makes the same one. */
void event_id_make(
    struct slice tenant, struct slice endpoint, struct slice key, uint8_t out[EVENT_ID_BYTES]);
void event_id_text(const uint8_t id[EVENT_ID_BYTES], char out[EVENT_ID_TEXT]);
enum err event_id_parse(
    struct slice text, uint8_t out[EVENT_ID_BYTES]); /* strict lower-case UUID */

/* Of the parameters in canonical form and order of names: equal requests have equal fingerprints. */
enum err event_fingerprint(const struct endpoint *e, const struct value *values, struct arena *a,
    uint8_t out[EVENT_FINGERPRINT_BYTES]);

/* ERR_TOO_LARGE: more than 65535 parameters, or 4 GiB of one. */
enum err event_encode(const struct event *ev, struct arena *a, struct slice *record_out);
/* ERR_INVALID: not a record of a version that we know.  Slices point into ${record}, the parameters lie in the
 * arena; an empty slice is never absent.  ${seq} is 0. */
enum err event_decode(struct slice record, struct arena *a, struct event *out);

/* The letter of a type, for records and envelopes: it never changes. */
char event_letter_of(enum value_type type);
bool event_type_of(char letter, enum value_type *out);

/*
 * The event's values in the order of ${e->params}, one for each; the file may have changed since the
 * event was made.  What it lacks is the default, or null where optional; else ERR_NOT_FOUND.
 */
enum err event_values(const struct endpoint *e, const struct event *ev, struct value *values_out);

#endif
