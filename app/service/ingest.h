#ifndef SERVICE_INGEST_H
#define SERVICE_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/writer.h"

struct cache;
struct catalog;
struct exporter; /* service/exporter.h */
struct scoreboard;
struct source;
struct topics;

/*
 * The consumer: takes runs of events from its source (the spool, or Kafka) and applies each batch in one transaction of the write
 * database; then purges the tags, also of events that had been applied before; then acknowledges them to the source.
 * Killed between any two of these, nothing is lost, doubled or left stale.  A failed batch is cut in
 * halves until the bad event stands alone.  Logs one line per batch.
 */
struct ingest;

/* What lies behind it when ${passed} is called. */
enum ingest_arrow {
	INGEST_READ,
	INGEST_BEGUN,
	INGEST_CLAIMED,
	INGEST_RAN,    /* the statements */
	INGEST_COPIED, /* dead letters, for others: those of a batch, or the one at its head */
	INGEST_COMMITTED,
	INGEST_PURGED,
	INGEST_ACKNOWLEDGED,
	INGEST_ARROW__COUNT
};

struct ingest_options {
	struct writer_options database;
	struct source *source;
	const struct catalog *catalog; /* lent for the ingest's life */
	struct cache *cache;	       /* for purges; NULL: none */
	struct exporter *exporter;     /* NULL: no traces */
	const struct topics *topics;   /* NULL: the source is the spool */
	struct scoreboard *scoreboard;
	unsigned member;
	int64_t key_ttl_ms;
	bool tables_by_others; /* weir's own tables are not made here: without them it stops */
	size_t batch_max;      /* events of one transaction */
	/* Progress for /ready and status, in the segment; NULL: none. */
	struct ingest_shared *shared;
	/* For tests, which die between two steps; else NULL. */
	void (*passed)(void *ctx, enum ingest_arrow arrow);
	void *ctx;
};

enum ingest_state {
	INGEST_IDLE,
	INGEST_APPLYING,
	INGEST_WAITING, /* for a better moment */
	INGEST_STOPPED	/* before an event that the deployment does not fit */
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

/*
 * One batch, or one step of finding the event that fails: ERR_OK, call again; after *${wait_ms_out} there is
 * more to take at once, but sooner is no mistake.  ERR_NOT_FOUND: nothing to do.  ERR_UNAVAILABLE: not before
 * *${wait_ms_out}.  Opens the database when it is not open.  Takes about 2 s at
 * most, and the time of one statement.
 */
enum err ingest_step(struct ingest *g, int64_t *wait_ms_out);

#endif
