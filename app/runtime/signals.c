/*
 * Signals as a readable descriptor (signalfd).
 *
 * The other room for signals is exec: a blocked set and an ignored PIPE are inherited, so whoever
 * starts a child undoes both.
 */
#include "runtime/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int taken[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };

/* What they would tell, a failing write tells as well: the peer is gone, the file may not grow. */
static const int ignored[] = { SIGPIPE, SIGXFSZ };

enum err
signals_open(int *fd_out)
{
	sigset_t set;

	*fd_out = -1;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		(void)sigaddset(&set, taken[i]);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return ERR_IO;
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		if (signal(ignored[i], SIG_IGN) == SIG_ERR)
			return ERR_IO;
	*fd_out = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd_out == -1 ? ERR_IO : ERR_OK;
}

int
signals_next(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
		return 0;
	return (int)info.ssi_signo;
}

void
signals_restore(void)
{
	sigset_t none;

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		(void)signal(ignored[i], SIG_DFL);
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}
