#ifndef RUNTIME_SIGNALS_H
#define RUNTIME_SIGNALS_H

#include "base/err.h"

/*
 * Signals as a readable descriptor, for a process that waits in one place.
 *
 * TERM INT QUIT HUP USR1 USR2 and CHLD are blocked, in this thread and in all that it starts afterwards, so
 * call this before the first thread; PIPE and XFSZ are ignored.  No handler ever runs.
 */
enum err signals_open(int *fd_out); /* close-on-exec, non-blocking */
int signals_next(int fd);	    /* the next signal that has come; 0: none */

/* Between fork and exec: nothing blocked or ignored, as a program expects to be started. */
void signals_restore(void);

#endif
