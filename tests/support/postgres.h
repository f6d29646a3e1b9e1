#ifndef TESTS_SUPPORT_POSTGRES_H
#define TESTS_SUPPORT_POSTGRES_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

/*
 * A real PostgreSQL and a PgBouncer for the tests of one program, started when first asked for: user weir, password
 * weir-secret, database weir, on 127.0.0.1.  They end with us, however we end.
 */
struct postgres_ports {
	uint16_t direct, bouncer; /* 0: they could not be started */
};

/* One for all files of the program that include this. */
__attribute__((weak)) int postgres_stdin = -1;
__attribute__((weak)) pid_t postgres_pid;
__attribute__((weak)) struct postgres_ports postgres_ports;

static inline void
postgres_stop(void)
{
	if (postgres_pid == 0 || getpid() == postgres_pid)
		return;
	(void)close(postgres_stdin);
	(void)waitpid(postgres_pid, NULL, 0);
	postgres_pid = 0;
}

static inline struct postgres_ports
postgres_servers(void)
{
	unsigned direct = 0, bouncer = 0;
	int to[2], from[2];
	FILE *said;

	if (postgres_ports.direct != 0)
		return postgres_ports;
	CU_ASSERT_EQUAL_FATAL(pipe2(to, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(from, O_CLOEXEC), 0);
	postgres_pid = fork();
	if (postgres_pid == 0) {
		(void)dup2(to[0], STDIN_FILENO);
		(void)dup2(from[1], STDOUT_FILENO);
		(void)execl("/usr/bin/python3", "python3", "-B", "tests/support/postgres.py", NULL);
		_exit(127);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	postgres_stdin = to[1];
	(void)atexit(postgres_stop);
	said = fdopen(from[0], "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(said);
	CU_ASSERT_EQUAL_FATAL(fscanf(said, "%u %u", &direct, &bouncer), 2);
	(void)fclose(said);
	postgres_ports = (struct postgres_ports){ (uint16_t)direct, (uint16_t)bouncer };
	return postgres_ports;
}

#endif
