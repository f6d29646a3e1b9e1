#ifndef RUNTIME_FORWARDER_H
#define RUNTIME_FORWARDER_H

#include "base/err.h"

struct runtime;

/*
 * Whoever holds flock(state/forwarder.lock) forwards this host's spool to Kafka: a thread of the consumer's process, or of
 * one worker where no supervisor lives.  All others wait for it, for its holder may be killed.
 */
struct forwarder;

/* Without KAFKA_BROKERS: does nothing, and *${out} is NULL.  ${rt} is lent until forwarder_stop() and has
 * a segment, a catalog and a queue. */
enum err forwarder_start(struct runtime *rt, struct forwarder **out);
void forwarder_stop(
    struct forwarder **fp); /* a turn is finished; what is out is sent again later */

#endif
