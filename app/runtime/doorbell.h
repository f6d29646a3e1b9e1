#ifndef RUNTIME_DOORBELL_H
#define RUNTIME_DOORBELL_H

#include <stdint.h>

#include "base/err.h"

/*
 * Waking another process's reactor: one FIFO for each member in the state folder, in its reader's epoll
 * set.  A full pipe means that it is rung already; a FIFO without a reader belongs to a dead member.
 * After waking, look at the segment, never at the bytes.  (FIFOs, not datagram sockets:
 * opened relative to the state folder, so no limit on the length of its path.)
 */
struct doorbell;

enum err doorbell_open(int state_dir_fd, unsigned member, struct doorbell **out);
void doorbell_close(struct doorbell **dp); /* removes our FIFO */
int doorbell_fd(const struct doorbell *d); /* readable: rung */
void doorbell_drain(struct doorbell *d);
void doorbell_ring(struct doorbell *d,
    unsigned member); /* any thread; never blocks; keeps the other's descriptor open */

#endif
