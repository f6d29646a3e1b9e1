/*
 * One child of the supervisor: the decisions, and the fork.
 *
 * A worker is exec'd, not merely forked, so that it is the same program under `weir serve`, spawn-fcgi and
 * mod_fcgid, and so that no open environment or thread crosses a fork.
 */
#include "runtime/child.h"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "policy/backoff.h"
#include "runtime/signals.h"
#include "runtime/worker_env.h"

enum {
	WORKER_SILENT_MS = 10000,
	CONSUMER_SILENT_MS = 60000, /* one batch may wait long for its database */
	MISSING_MS = 60000,	    /* stopped before it joined, perhaps holding a lock */
	EXEC_FAILED = 127,
};

void
child_started(struct child *c, pid_t pid, int64_t now_ms)
{
	c->pid = pid;
	c->started_ms = now_ms;
	c->proven = c->up = c->killed = false;
}

void
child_has_worked(struct child *c)
{
	c->proven = true;
	c->failures = 0;
}

/* The first death is forgiven, for anything may be killed once. */
void
child_ended(struct child *c, int64_t now_ms)
{
	c->pid = 0;
	c->deaths++;
	c->due_ms = now_ms + backoff_respawn_ms(c->failures);
	if (!c->proven)
		c->failures++;
}

bool
child_is_due(const struct child *c, int64_t now_ms)
{
	return c->pid == 0 && now_ms >= c->due_ms;
}

enum child_fault
child_judge(const struct child *c, const struct member_view *m, int64_t now_ms)
{
	const int64_t most = c->kind == MEMBER_WORKER ? WORKER_SILENT_MS : CONSUMER_SILENT_MS;

	if (m == NULL)
		return now_ms - c->started_ms > MISSING_MS ? CHILD_MISSING : CHILD_WELL;
	return now_ms - m->beat_ms > most ? CHILD_SILENT : CHILD_WELL;
}

/* Only what is allowed between fork and exec; the supervisor has one thread. */
static void
become(const struct child_program *p, pid_t parent)
{
	/* KILL, which also ends one that is stopped: nothing may keep the socket or a lock. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent)
		_exit(EXEC_FAILED);
	if (dup2(p->stdin_fd, WORKER_LISTEN_FD) == -1 ||
	    dup2(p->lifeline_fd, WORKER_LIFELINE_FD) == -1)
		_exit(EXEC_FAILED);
	if (p->generation->files_fd != -1 && dup2(p->generation->files_fd, WORKER_FILES_FD) == -1)
		_exit(EXEC_FAILED);
	signals_restore();
	(void)execve(p->generation->program, p->argv, p->generation->environment);
	_exit(EXEC_FAILED);
}

pid_t
child_spawn(const struct child_program *p)
{
	const pid_t parent = getpid();
	const pid_t pid = fork();

	if (pid == 0)
		become(p, parent);
	return pid;
}
