#ifndef RUNTIME_MAILBOX_H
#define RUNTIME_MAILBOX_H

#include "base/err.h"

struct exchange;

/*
 * Exchanges on their way back to the reactor: any thread posts, one thread takes.  A lock-free list and
 * an eventfd, which is written only when the box was empty, so a batch of a hundred costs one system call.
 */
struct mailbox {
	struct exchange *_Atomic newest;
	int fd; /* readable: something is there */
};

enum err mailbox_open(struct mailbox *m);
void mailbox_close(struct mailbox *m);
void mailbox_post(struct mailbox *m, struct exchange *x); /* takes over ${x} */
struct exchange *mailbox_take(
    struct mailbox *m); /* all, oldest first, linked by mail_next; or NULL */

#endif
