#ifndef RUNTIME_CHILD_H
#define RUNTIME_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "telemetry/scoreboard.h"

/* What children are started from: a binary, an environment that holds every setting (config_environment()), and the endpoint
 * files (service/handler_files.h; -1: none). */
struct generation {
	const char *program;
	char *const *environment;
	int files_fd;
};

/*
 * One child of the supervisor: whether to start it, and whether it must go.
 *
 *            child_started()            the first answer
 *   WAITING ----------------> YOUNG ---------------------> PROVEN
 *      ^                        |                             |
 *      +---- after a delay -----+----------- at once ---------+   child_ended()
 *
 * Pure: the time and what the scoreboard shows are arguments.
 */
struct child {
	enum member_kind
	    kind; /* MEMBER_WORKER or MEMBER_CONSUMER; MEMBER_NONE: the place is free */
	const struct generation *generation; /* lent */
	pid_t pid;			     /* 0: not running */
	int64_t started_ms;
	int64_t due_ms;	   /* not running: when to start it (policy/backoff.h) */
	uint32_t failures; /* deaths in a row before a first answer */
	uint32_t deaths;   /* of all that were in this place */
	unsigned member;   /* its slot in the scoreboard, when up */
	bool proven;	   /* this one has done work */
	bool up;	   /* in the scoreboard when last looked */
	bool killed;	   /* told so already */
	bool leaving;	   /* told to go; nobody takes its place */
	bool adopted;	   /* started by the binary that this one has replaced */
};

enum child_fault {
	CHILD_WELL,
	CHILD_SILENT, /* no heartbeat for too long */
	CHILD_MISSING /* has never joined the scoreboard */
};

void child_started(struct child *c, pid_t pid, int64_t now_ms);
/* It has answered its first request, or, a consumer, taken its place. */
void child_has_worked(struct child *c);
void child_ended(struct child *c, int64_t now_ms);
bool child_is_due(const struct child *c, int64_t now_ms);

/* ${m}: its slot, NULL while it has none. */
enum child_fault child_judge(const struct child *c, const struct member_view *m, int64_t now_ms);

/*
 * Starts `weir ${argv}` with ${stdin_fd} on descriptor 0, the lifeline on WORKER_LIFELINE_FD and the endpoint files on
 * WORKER_FILES_FD; all are above those numbers.  -1: errno says why.  Failure in the child is exit code 127, for a child must not share our log.
 */
struct child_program {
	const struct generation *generation;
	char *const *argv;
	int stdin_fd, lifeline_fd;
};
pid_t child_spawn(const struct child_program *p);

#endif
