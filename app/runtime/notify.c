/*
 * systemd's notifications: lines of NAME=value to a unix socket, whose name may be an abstract one (@).
 */
#include "runtime/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static void
tell(const char *text)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const size_t len = name == NULL ? 0 : strlen(name);
	int fd;

	if (len < 2 || len >= sizeof a.sun_path || (*name != '/' && *name != '@'))
		return;
	memcpy(a.sun_path, name, len);
	if (*name == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&a,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	(void)close(fd);
}

void
notify_ready(const char *status)
{
	char text[256];

	(void)snprintf(text, sizeof text, "READY=1\nMAINPID=%d\nSTATUS=%s", (int)getpid(), status);
	tell(text);
}

void
notify_reloading(void)
{
	char text[128];

	(void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)(clock_mono_ns() / 1000));
	tell(text);
}

void
notify_stopping(void)
{
	tell("STOPPING=1");
}

void
notify_alive(void)
{
	tell("WATCHDOG=1");
}

int64_t
notify_alive_every_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t n, whose;

	if (us == NULL || slice_to_i64(slice_of(us), &n) != ERR_OK || n <= 0)
		return INT64_MAX;
	if (pid != NULL &&
	    (slice_to_i64(slice_of(pid), &whose) != ERR_OK || whose != (int64_t)getpid()))
		return INT64_MAX;
	return n / 2000 > 0 ? n / 2000 : 1;
}
