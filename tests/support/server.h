#ifndef TESTS_SUPPORT_SERVER_H
#define TESTS_SUPPORT_SERVER_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

/*
 * Real servers for the tests of one program: a script of tests/support starts them, says in one line where they are, and
 * stops them when its standard input ends, so they end with us, however we end.
 */
struct test_server {
	pid_t pid; /* 0: was never started */
	int in;
	char said[200];
};

static inline void
test_server_stop(struct test_server *s)
{
	if (s->pid == 0)
		return;
	(void)close(s->in);
	(void)waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* What ${script} says. */
static inline const char *
test_server_start(const char *script, struct test_server *s)
{
	int to[2], from[2];
	FILE *said;

	CU_ASSERT_EQUAL_FATAL(pipe2(to, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(from, O_CLOEXEC), 0);
	s->pid = fork();
	if (s->pid == 0) {
		(void)dup2(to[0], STDIN_FILENO);
		(void)dup2(from[1], STDOUT_FILENO);
		(void)execl("/usr/bin/python3", "python3", "-B", script, NULL);
		_exit(127);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	s->in = to[1];
	said = fdopen(from[0], "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(said);
	CU_ASSERT_PTR_NOT_NULL_FATAL(fgets(s->said, sizeof s->said, said));
	(void)fclose(said);
	return s->said;
}

#endif
