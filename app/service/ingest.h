#ifndef SERVICE_INGEST_H
#define SERVICE_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cache;
struct catalog;
struct queue;
struct scoreboard;

/*
 * The consumer: takes runs of events from the spool and applies each batch in one transaction of the write
 * database; then purges the tags, also of events that had been applied before; then acknowledges the spool.
 * Killed between any two of these, nothing is lost, doubled or left stale.  A failed batch is cut in
 * halves until the bad event stands alone.  Logs one line per batch.
 */
struct ingest;

struct ingest_options {
	const char *write_url;
	struct queue *queue;
	const struct catalog *catalog; /* lent for the ingest's life */
	struct cache *cache;	       /* for purges; NULL: none */
	struct scoreboard *scoreboard;
	unsigned member;
	int64_t key_ttl_ms;
	size_t batch_max; /* events of one transaction */
	/* Progress for /ready and status, in the segment. */
	struct ingest_shared *shared;
};

enum ingest_state {
	INGEST_IDLE,
	INGEST_APPLYING,
	INGEST_WAITING /* bad moment */,
	INGEST_STOPPED /* bad deployment */
};
struct ingest_shared { /* plain words, written by the holder of consumer.lock */
	_Atomic uint32_t state;
	_Atomic uint32_t pid;
	_Atomic int64_t beat_ms, applied_us, since_ms;
	_Atomic uint64_t batches, events, duplicates, dead;
	char reason[192]; /* of WAITING and STOPPED; read with care: may be torn */
};

enum err ingest_open(const struct ingest_options *o, struct ingest **out);
void ingest_close(struct ingest **ip);

/* One batch, or nothing to do (ERR_NOT_FOUND), or waiting is due (ERR_UNAVAILABLE: *${wait_ms_out}). */
enum err ingest_step(struct ingest *g, int64_t *wait_ms_out);

#endif
