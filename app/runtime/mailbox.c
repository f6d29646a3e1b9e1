/*
 * Many threads to one: see mailbox.h.
 */
#include "runtime/mailbox.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pipeline/exchange.h"

enum err
mailbox_open(struct mailbox *m)
{
	atomic_init(&m->newest, NULL);
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return m->fd == -1 ? ERR_IO : ERR_OK;
}

void
mailbox_close(struct mailbox *m)
{
	if (m->fd != -1)
		(void)close(m->fd);
	m->fd = -1;
}

void
mailbox_post(struct mailbox *m, struct exchange *x)
{
	struct exchange *head = atomic_load_explicit(&m->newest, memory_order_relaxed);

	do
		x->mail_next = head;
	while (!atomic_compare_exchange_weak_explicit(
	    &m->newest, &head, x, memory_order_release, memory_order_relaxed));
	if (head == NULL)
		(void)eventfd_write(m->fd, 1);
}

struct exchange *
mailbox_take(struct mailbox *m)
{
	struct exchange *x, *oldest = NULL, *next;
	eventfd_t rings;

	(void)eventfd_read(m->fd, &rings); /* before taking: a post after it rings again */
	x = atomic_exchange_explicit(&m->newest, NULL, memory_order_acquire);
	for (; x != NULL; x = next) {
		next = x->mail_next;
		x->mail_next = oldest;
		oldest = x;
	}
	return oldest;
}
