/* Goal: systemd hears what it asked to hear, and nobody else is troubled. */
#include "runtime/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/unit.h"

static char heard[512];

static int
listen_as_systemd(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(a.sun_path, name, strlen(name));
	if (*name == '@')
		a.sun_path[0] = '\0';
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	CU_ASSERT_EQUAL_FATAL(
	    bind(fd, (const struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
	    0);
	CU_ASSERT_EQUAL(setenv("NOTIFY_SOCKET", name, 1), 0);
	return fd;
}

static const char *
hear(int fd)
{
	const ssize_t n = recv(fd, heard, sizeof heard - 1, 0);

	heard[n < 0 ? 0 : n] = '\0';
	return heard;
}

static void
what_happens_is_told(void)
{
	char name[200], want[64];
	int fd;

	(void)snprintf(name, sizeof name, "%s/notify.sock", unit_dir());
	fd = listen_as_systemd(name);
	(void)snprintf(want, sizeof want, "READY=1\nMAINPID=%d\nSTATUS=2 workers", (int)getpid());
	notify_ready("2 workers");
	CU_ASSERT_STRING_EQUAL(hear(fd), want);
	notify_reloading();
	CU_ASSERT_EQUAL(strncmp(hear(fd), "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
	notify_alive();
	CU_ASSERT_STRING_EQUAL(hear(fd), "WATCHDOG=1");
	notify_stopping();
	CU_ASSERT_STRING_EQUAL(hear(fd), "STOPPING=1");
	(void)close(fd);
	notify_alive(); /* nobody is there: nothing happens */
	(void)unlink(name);
}

static void
an_abstract_name_is_one_too(void)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof name, "@weir-test-%d", (int)getpid());
	fd = listen_as_systemd(name);
	notify_alive();
	CU_ASSERT_STRING_EQUAL(hear(fd), "WATCHDOG=1");
	(void)close(fd);
}

static void
names_that_are_none_are_not_told(void)
{
	char longer[300];

	memset(longer, '/', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(setenv("NOTIFY_SOCKET",
				    i == 0   ? ""
				    : i == 1 ? "relative"
					     : longer,
				    1),
		    0);
		notify_alive();
	}
	CU_ASSERT_EQUAL(unsetenv("NOTIFY_SOCKET"), 0);
	notify_alive();
}

static void
the_watchdog_is_told_twice_in_its_time(void)
{
	char pid[16];

	CU_ASSERT_EQUAL(notify_alive_every_ms(), INT64_MAX);
	CU_ASSERT_EQUAL(setenv("WATCHDOG_USEC", "30000000", 1), 0);
	CU_ASSERT_EQUAL(notify_alive_every_ms(), 15000);
	CU_ASSERT_EQUAL(setenv("WATCHDOG_PID", "1", 1), 0);
	CU_ASSERT_EQUAL(notify_alive_every_ms(), INT64_MAX);
	(void)snprintf(pid, sizeof pid, "%d", (int)getpid());
	CU_ASSERT_EQUAL(setenv("WATCHDOG_PID", pid, 1), 0);
	CU_ASSERT_EQUAL(notify_alive_every_ms(), 15000);
	CU_ASSERT_EQUAL(setenv("WATCHDOG_USEC", "x", 1), 0);
	CU_ASSERT_EQUAL(notify_alive_every_ms(), INT64_MAX);
	CU_ASSERT_EQUAL(setenv("WATCHDOG_USEC", "1", 1), 0);
	CU_ASSERT_EQUAL(notify_alive_every_ms(), 1);
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
}

UNIT_SUITE(notify, TEST(what_happens_is_told), TEST(an_abstract_name_is_one_too),
    TEST(names_that_are_none_are_not_told), TEST(the_watchdog_is_told_twice_in_its_time));
