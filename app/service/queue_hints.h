#ifndef SERVICE_QUEUE_HINTS_H
#define SERVICE_QUEUE_HINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/event.h"

/*
 * The queue's part of the segment: progress words, and the hints that say where in `keys` an event id may
 * stand.  Private to the queue.
 *
 * A word is the low 40 bits of a sequence number and a tag of 24 bits; an id lies in the emptier of two
 * buckets of 16 words, so that none is dropped before the table is nearly full.  A hint is never believed: the
 * record at its number must show the same key.  So whatever a killed or stopped process leaves behind
 * costs a look-up, and at worst a key is not found here, and the write database's key table drops
 * the duplicate.
 *
 * Only holders of LMDB's write lock store words.  Anyone may read them at any time.
 */
enum { HINT_BUCKET_WORDS = 16, HINT_TAG_BITS = 24, HINT_SEQ_BITS = 40 };

struct queue_shared {
	uint64_t seed;
	uint64_t bucket_count;
	_Atomic uint32_t wake;		/* changes after each commit: the consumer sleeps on it */
	_Atomic uint32_t full;		/* the last commit refused something for want of room */
	_Atomic uint64_t hinted_seq;	/* everything durable up to here has its hint */
	_Atomic uint64_t dropped;	/* hints that found both buckets full */
	_Atomic uint64_t forwarded_seq; /* Kafka has everything up to here */
	_Atomic uint32_t forwarded;	/* changes with it */
	_Alignas(64) _Atomic uint64_t words[];
};

/* Numbers that are in use: what lies outside is an expired key, or of a transaction that never was. */
struct hint_range {
	uint64_t first, last;
};

/* Walks the numbers that ${id} is hinted at. */
struct hint_walk {
	const struct queue_shared *shared;
	uint64_t hash;
	struct hint_range range;
	unsigned bucket, at;
};
struct hint_walk hint_walk(
    const struct queue_shared *s, const uint8_t id[EVENT_ID_BYTES], struct hint_range range);
bool hint_next(struct hint_walk *w, uint64_t *seq_out);

/* Without effect when the word is there already. */
void hint_insert(struct queue_shared *s, const uint8_t id[EVENT_ID_BYTES], uint64_t seq,
    struct hint_range range);

#endif
