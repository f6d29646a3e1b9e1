#ifndef RUNTIME_POOL_H
#define RUNTIME_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/child.h"

struct ingest_shared;
struct scoreboard;

/*
 * The supervisor's children: workers and, perhaps, the consumer.  Each place in the pool is one struct child, kept
 * filled until it is told to leave; what happens to it is decided there and done here.  Who leaves goes on in its place until
 * it has ended, beside its successor.
 */
enum {
	POOL_PLACES = 1024
}; /* twice the workers that there may be, and some that take their time to leave */

struct pool {
	struct child *children; /* POOL_PLACES */
	int listen_fd, null_fd;
	int lifeline_read, lifeline_write; /* our end closes when we die, however we die */
	bool forward_only;
	bool filling; /* false: who ends is not replaced */
};

#define POOL_CLOSED                                                                                \
	((struct pool){ .listen_fd = -1, .null_fd = -1, .lifeline_read = -1, .lifeline_write = -1 })

struct pool_options {
	int listen_fd;	     /* duplicated */
	bool forward_only;   /* the consumer applies nothing */
	const int *lifeline; /* both ends of another life, taken over; NULL: a new one */
};

enum err pool_open(const struct pool_options *o, struct pool *out);
void pool_close(
    struct pool *p); /* also of POOL_CLOSED; children that still run lose their lifeline */

/* What the pool looks at, and counts in: may be another one after the segment was made anew. */
struct pool_board {
	struct scoreboard *scoreboard;
	const struct ingest_shared *ingest;
	unsigned member; /* the supervisor's own slot */
};

/* A place for one more, to be filled from ${g}, which is lent; NULL: there is none. */
struct child *pool_add(struct pool *p, enum member_kind kind, const struct generation *g);
/* A child that runs already: ${like}'s pid, kind and whether it leaves. */
void pool_adopt(
    struct pool *p, const struct child *like, const struct generation *g, int64_t now_ms);
/* Tells it to go, by ${signal}; its place is free once it has ended. */
void pool_leave(struct child *c, int signal);
/* A place of that kind and generation which is not to leave, NULL when there is none. */
struct child *pool_any(struct pool *p, enum member_kind kind, const struct generation *g);

/* Starts who is due. */
void pool_fill(struct pool *p, const struct pool_board *b, int64_t now_ms);
/* Notices who has joined and who has worked; kills who is silent, when ${strict}. */
void pool_look(struct pool *p, const struct pool_board *b, int64_t now_ms, bool strict);
/* Takes note of those that have ended. */
void pool_reap(struct pool *p, const struct pool_board *b, int64_t now_ms);

void pool_signal(const struct pool *p, enum member_kind kind, int signal);
size_t pool_running(const struct pool *p, enum member_kind kind);
size_t pool_up(const struct pool *p, enum member_kind kind); /* running, and in the scoreboard */
/* Of those that are not to leave: the places of a generation, and how many are up. */
size_t pool_places(
    const struct pool *p, enum member_kind kind, const struct generation *g, size_t *up_out);

/* When pool_fill() has something to do, INT64_MAX never. */
int64_t pool_due_ms(const struct pool *p);

#endif
