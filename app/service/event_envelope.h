#ifndef SERVICE_EVENT_ENVELOPE_H
#define SERVICE_EVENT_ENVELOPE_H

#include "base/arena.h"
#include "base/err.h"
#include "client/kafka.h"

struct endpoint;
struct event;

/*
 * One event as a message of Kafka, for our consumer and for those of others.
 *
 *   value      the parameters as one JSON object: {"type":"signup","payload":{"a":1}}
 *   key        what partitions it: the idempotency key, or the parameter that `key:` names
 *   timestamp  when it was accepted
 *   headers    weir-version      1
 *              weir-endpoint     name of the endpoint file
 *              weir-tenant       empty: nobody was authenticated
 *              weir-key          the idempotency key, as the client sent it
 *              weir-event-id     UUID: the same for all tries of one write
 *              weir-accepted-at  RFC 3339 with six decimals
 *              weir-fingerprint  of the parameters, 32 hexadecimal digits
 *              weir-types        a letter for each member of the value, in order; a capital one where it is null.
 *                                `*`: the value is a record of the spool instead (service/event.c)
 *              traceparent       W3C: the span that sent it, or the request's
 *              tracestate        W3C, when the request had one
 *
 * A value that JSON cannot carry exactly goes as a record: encoding reads back what it wrote.
 */
enum { EVENT_ENVELOPE_VERSION = 1 };

struct event_envelope {
	struct slice key, value;
	struct kafka_header headers[KAFKA_HEADERS_MAX];
	size_t header_count;
	int64_t timestamp_ms;
};

/* ${ev->record} is what the spool gave.  ${e}: its endpoint, NULL when it is gone.  Everything is in the arena
 * or points into the event.  ERR_NOMEM. */
enum err event_envelope_encode(
    const struct event *ev, const struct endpoint *e, struct arena *a, struct event_envelope *out);

/* Another traceparent than the event's own: that of the span which sends it. */
void event_envelope_trace(struct event_envelope *env, struct slice traceparent);

/* What came in: ${record} of the event is filled as well.  ERR_INVALID: not a message of weir, or damaged;
 * ERR_MISMATCH: of a version that we do not know.  Slices point into the arena and the message. */
enum err event_envelope_decode(struct slice value, const struct kafka_header *headers,
    size_t header_count, struct arena *a, struct event *out);

#endif
