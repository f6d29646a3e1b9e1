/*
 * Floor (a) of the bench: how almost every FastCGI program is written.  One thread for each connection, which
 * blocks in FCGX_Accept_r().
 *
 *   floor_a SOCKET THREADS
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/floor.h"

enum { BACKLOG = 4096, THREADS_MAX = 1024 };

static int listen_fd;

static void *
serve(void *unused)
{
	FCGX_Request r;

	(void)FCGX_InitRequest(&r, listen_fd, 0);
	while (FCGX_Accept_r(&r) == 0) {
		floor_answer(&r);
		FCGX_Finish_r(&r);
	}
	return unused;
}

int
main(int argc, char *argv[])
{
	const int threads = argc == 3 ? atoi(argv[2]) : 0;
	pthread_t thread;

	if (threads < 1 || threads > THREADS_MAX) {
		(void)fprintf(stderr, "usage: floor_a SOCKET THREADS\n");
		return 2;
	}
	if (FCGX_Init() != 0 || (listen_fd = FCGX_OpenSocket(argv[1], BACKLOG)) < 0)
		return 1;
	for (int i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, serve, NULL) != 0)
			return 1;
	(void)serve(NULL);
	return 1; /* accepting has failed */
}
