#ifndef TESTS_UNIT_POLICY_STEP_H
#define TESTS_UNIT_POLICY_STEP_H

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/unit.h"

/*
 * A process that walks through a function one instruction at a time (ptrace(2)), so that a test can stop
 * or kill it at every one of them, instead of hoping that a signal comes at the right moment.
 */
struct step {
	pid_t pid;
	bool ended; /* run() has returned, or the process died */
	bool well;  /* it ended by itself, with 0 */
};

static inline void
step_wait(struct step *s)
{
	int status;

	if (waitpid(s->pid, &status, 0) != s->pid)
		abort();
	s->ended = !WIFSTOPPED(status);
	s->well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Stands before run(arg), in a child of ours. */
static inline struct step
step_start(void (*run)(void *), void *arg)
{
	struct step s = { .pid = fork() };

	if (s.pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1)
			_exit(1);
		(void)syscall(SYS_kill, getpid(), SIGSTOP); /* shorter than raise() */
		run(arg);
		_exit(0);
	}
	if (s.pid == -1)
		abort();
	step_wait(&s);
	return s;
}

/* At most ${count} instructions on; false: it has ended. */
static inline bool
step_on(struct step *s, unsigned count)
{
	for (unsigned i = 0; i < count && !s->ended; i++) {
		if (ptrace(PTRACE_SINGLESTEP, s->pid, NULL, NULL) == -1)
			abort();
		step_wait(s);
	}
	return !s->ended;
}

static inline void
step_to_end(struct step *s)
{
	if (!s->ended && ptrace(PTRACE_CONT, s->pid, NULL, NULL) == 0)
		step_wait(s);
}

static inline void
step_kill(struct step *s)
{
	if (!s->ended && kill(s->pid, SIGKILL) == 0)
		step_wait(s);
}

enum { STEP_MAX = 150000 };

/* How many instructions run(arg) takes; fails at STEP_MAX, where an emulator (valgrind) is walked and not the
 * function: `make memcheck` leaves these suites out. */
static inline unsigned
step_count(void (*run)(void *), void *arg)
{
	struct step s = step_start(run, arg);
	unsigned count = 0;

	while (count < STEP_MAX && step_on(&s, 1))
		count++;
	step_to_end(&s);
	CU_ASSERT_TRUE_FATAL(count < STEP_MAX);
	return count;
}

#endif
