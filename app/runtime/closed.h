#ifndef RUNTIME_CLOSED_H
#define RUNTIME_CLOSED_H

#include <stdbool.h>
#include <stdint.h>

/* What a client hears; nothing internal. */
#define CLOSED_WORDS "weir cannot work as it is set up; its log says why"

/*
 * A worker that cannot work: answers 503 to everything on the FastCGI socket at ${listen_fd} for ${ms}.
 *
 * True: the time is over, and it may be worth another try.  False: TERM, INT or QUIT came.  Knows no settings, for these may be
 * what is wrong: over TCP it hears loopback only.
 */
bool closed_for(int listen_fd, int64_t ms);

#endif
