#ifndef SERVICE_PURGES_ROOM_H
#define SERVICE_PURGES_ROOM_H

#include <pthread.h>
#include <stdatomic.h>

#include "service/purges.h"
#include "service/shards.h"

/*
 * What purges.c (telling) and purges_listen.c (hearing) know of each other, and nobody else.
 */
enum { PURGES_WORDS = PURGES_SLOTS / 64, PURGES_BATCH = 512, PURGES_TEXT_MAX = 64 << 10 };

/* One shard, known by the hash of its name, for REDIS_URL may be written in another order tomorrow. */
struct purges_row {
	_Atomic uint64_t name;		      /* 0: free */
	_Atomic int64_t last;		      /* the newest purge that this host knows of */
	_Atomic uint64_t owed[PURGES_WORDS];  /* slots, a bit each */
	_Atomic uint64_t taken[PURGES_WORDS]; /* being told by the listener, which may die of it */
};

enum { PURGES_ROWS = 2 * SHARDS_MAX };
struct purges_shared {
	_Atomic int64_t beat_ms; /* of who holds purges.lock */
	struct purges_row rows[PURGES_ROWS];
};

struct purges {
	struct purges_options o;
	struct purges_row *rows[SHARDS_MAX]; /* of each shard */
	char channels[SHARDS_MAX][24];

	/* What gathers: the tags as netstrings, and which are there already. */
	struct strbuf texts;
	uint64_t seen[2 * PURGES_BATCH];
	size_t count;
	bool all;
	uint64_t position; /* the newest of them */

	pthread_t listener;
	_Atomic uint32_t stop;
	bool listening;
};

/* Tells ${shard}: ${slots} (bits; NULL: all of them), and ${payload} to who listens. */
enum err purges_tell(struct purges *p, size_t shard, const uint64_t slots[PURGES_WORDS],
    uint64_t position, struct slice payload, int64_t now_ms);

/* Notes that ${shard} was not told of ${slots} (NULL: all), here and for the next life of this host. */
#define PURGES_OWED_FILE "purges.owed"
void purges_owe(struct purges *p, size_t shard, const uint64_t slots[PURGES_WORDS]);
bool purges_marked(const struct purges *p);
void purges_unmark(const struct purges *p); /* once nothing is owed any more */

/* A message from ${shard}, whatever bytes it is. */
void purges_hear(struct purges *p, size_t shard, struct slice text);

#endif
