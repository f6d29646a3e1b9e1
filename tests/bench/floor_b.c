/*
 * Floor (b) of the bench: the least that a reactor around libfcgi can do, and so the most that any FastCGI
 * program reaches on this machine.  An epoll loop in each process; libfcgi, which blocks, is called only
 * when a whole request lies in the socket.  No routes, no limits, no cache, no log.
 *
 *   floor_b SOCKET PROCESSES
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/floor.h"

enum { BACKLOG = 4096, EVENTS = 64, PROCESSES_MAX = 64, PEEK_BYTES = 65536 };
enum { RECORD_HEADER = 8, RECORD_STDIN = 5 };

enum look { LOOK_WAIT, LOOK_WHOLE, LOOK_GONE };

static int listen_fd;

/* Peeks at what has come and walks the records to the empty STDIN record, the end of a request. */
static enum look
look(int fd)
{
	static uint8_t bytes[PEEK_BYTES];
	const ssize_t n = recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
	size_t at = 0;

	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		return LOOK_GONE;
	while (n > 0 && at + RECORD_HEADER <= (size_t)n) {
		const uint8_t *h = bytes + at;
		const size_t content = (size_t)h[4] << 8 | h[5];

		if (h[1] == RECORD_STDIN && content == 0)
			return LOOK_WHOLE;
		at += RECORD_HEADER + content + h[6];
	}
	return n == PEEK_BYTES ? LOOK_GONE : LOOK_WAIT; /* the bench sends no larger request */
}

static void
connection_free(FCGX_Request *r)
{
	if (r->ipcFd >= 0)
		(void)close(r->ipcFd);
	free(r);
}

/* Edge-triggered: answers until nothing whole is left. */
static void
connection_serve(FCGX_Request *r)
{
	for (;;) {
		const enum look seen = look(r->ipcFd);

		if (seen == LOOK_WAIT)
			return;
		if (seen == LOOK_GONE || FCGX_Accept_r(r) != 0)
			break;
		floor_answer(r);
		FCGX_Detach(r); /* else closing waits for the peer */
		FCGX_Finish_r(r);
		if (r->ipcFd < 0)
			break; /* the front did not ask to keep it */
	}
	connection_free(r);
}

static void
connections_open(int epoll_fd)
{
	for (int i = 0; i < EVENTS; i++) {
		const int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		FCGX_Request *r = fd == -1 ? NULL : malloc(sizeof *r);
		struct epoll_event want = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET,
			.data.ptr = r };

		if (r == NULL) {
			if (fd != -1)
				(void)close(fd);
			return;
		}
		(void)FCGX_InitRequest(r, -1, 0); /* it must never accept by itself */
		r->ipcFd = fd;
		r->keepConnection =
		    1; /* FCGX_Accept_r begins with FCGX_Finish_r, which would close it */
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &want) == -1)
			connection_free(r);
	}
}

static void
run(void)
{
	struct epoll_event events[EVENTS], want = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &want) == -1)
		return;
	for (;;) {
		const int n = epoll_wait(epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				connections_open(epoll_fd);
			else
				connection_serve(events[i].data.ptr);
		}
	}
}

int
main(int argc, char *argv[])
{
	const int processes = argc == 3 ? atoi(argv[2]) : 0;

	if (processes < 1 || processes > PROCESSES_MAX) {
		(void)fprintf(stderr, "usage: floor_b SOCKET PROCESSES\n");
		return 2;
	}
	if (FCGX_Init() != 0)
		return 1;
	(void)signal(SIGTERM, SIG_DFL); /* libfcgi's own handler only sets a flag */
	listen_fd = FCGX_OpenSocket(argv[1], BACKLOG);
	if (listen_fd < 0 || fcntl(listen_fd, F_SETFL, O_NONBLOCK) == -1)
		return 1;
	for (int i = 0; i < processes; i++)
		if (fork() == 0) {
			run();
			_exit(1);
		}
	while (wait(NULL) > 0 || errno == EINTR)
		continue;
	return 1;
}
