#ifndef RUNTIME_ROLL_H
#define RUNTIME_ROLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/pool.h"

/*
 * Replacing the workers of one generation by those of the next, one after another, while requests come.
 *
 *   IDLE --roll_begin--> STARTING --it is up--> WATCHED --as good as the others--> REPLACING --all are--> IDLE (done)
 *                           |                      |                                   |
 *                           +--- it ended, or is late, or errs more than the others ---+--> IDLE (back)
 *
 * The first new worker is the canary: for it the old ones step back now and then, until it has got some requests, and it is
 * watched for some seconds.  On the way back all new ones leave and the old are as many as before; who
 * leaves finishes what it has, and its kept connections with it.  The consumer is replaced last.
 */
enum roll_state { ROLL_IDLE, ROLL_STARTING, ROLL_WATCHED, ROLL_REPLACING };

/* Answers of some workers since they are watched. */
struct roll_counts {
	uint64_t requests, failed; /* with a status of 500 and above */
};

struct roll {
	enum roll_state state;
	const struct generation *from, *to;
	size_t from_workers, to_workers;
	bool consumer;
	struct child *canary;
	int64_t since_ms;	   /* in this state */
	int64_t stepped_ms;	   /* when the old ones were told to step back */
	struct roll_counts before; /* of all but the canary, when that came up */
	char why[128];		   /* it went back */
};

enum roll_result { ROLL_GOES_ON, ROLL_DONE, ROLL_BACK };

/* From IDLE.  Generations are lent until the next roll has ended, for who leaves still belongs to one. */
void roll_begin(struct roll *r, struct pool *p, const struct generation *from,
    const struct generation *to, size_t to_workers, int64_t now_ms);

/* Looks at the pool, as of the last pool_look(), and does what is next: called often.  IDLE: it goes on, and does nothing. */
enum roll_result roll_step(
    struct roll *r, struct pool *p, const struct pool_board *b, int64_t now_ms);

/* Pure: whether ${canary} errs clearly more often than ${others}: over a few per cent, and over twice their rate; of ten
 * requests at least. */
bool roll_errs_more(const struct roll_counts *canary, const struct roll_counts *others);

#endif
