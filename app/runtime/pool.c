/*
 * The supervisor's children: started, watched, reaped.
 *
 * A child is known by its pid, which cannot be reused before it is reaped here; its slot in the
 * scoreboard is looked for anew each time, so that nothing is remembered that a kill could make wrong.
 */
#include "runtime/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "service/ingest.h"
#include "telemetry/scoreboard.h"

enum { DESCRIPTORS_ABOVE = 10 }; /* out of the way of those that a child finds */

static enum err
keep_above(int fd, int *out)
{
	*out = fcntl(fd, F_DUPFD_CLOEXEC, DESCRIPTORS_ABOVE);
	return *out == -1 ? ERR_IO : ERR_OK;
}

static enum err
open_lifeline(struct pool *p)
{
	int ends[2];
	enum err rc;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return ERR_IO;
	rc = keep_above(ends[0], &p->lifeline_read);
	if (rc == ERR_OK)
		rc = keep_above(ends[1], &p->lifeline_write);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return rc;
}

static enum err
open_null(struct pool *p)
{
	const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	enum err rc;

	if (fd == -1)
		return ERR_IO;
	rc = keep_above(fd, &p->null_fd);
	(void)close(fd);
	return rc;
}

enum err
pool_open(const struct pool_options *o, struct pool *out)
{
	struct pool p = POOL_CLOSED;
	enum err rc = ERR_NOMEM;

	p.filling = true;
	p.forward_only = o->forward_only;
	p.children = calloc(POOL_PLACES, sizeof *p.children);
	if (p.children != NULL)
		rc = keep_above(o->listen_fd, &p.listen_fd);
	if (rc == ERR_OK)
		rc = open_null(&p);
	if (rc == ERR_OK && o->lifeline != NULL) {
		p.lifeline_read = o->lifeline[0];
		p.lifeline_write = o->lifeline[1];
	} else if (rc == ERR_OK) {
		rc = open_lifeline(&p);
	}
	if (rc != ERR_OK) {
		pool_close(&p);
		return rc;
	}
	*out = p;
	return ERR_OK;
}

void
pool_close(struct pool *p)
{
	const int fds[] = { p->listen_fd, p->null_fd, p->lifeline_read, p->lifeline_write };

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] != -1)
			(void)close(fds[i]);
	free(p->children);
	*p = POOL_CLOSED;
}

static const char *
kind_name(enum member_kind kind)
{
	return kind == MEMBER_WORKER ? "worker" : "consumer";
}

static void
start(struct pool *p, struct child *c, const struct pool_board *b, int64_t now_ms)
{
	static char weir[] = "weir", worker[] = "worker", consume[] = "consume",
		    child[] = "--child", forward[] = "--forward";
	static char *const worker_argv[] = { weir, worker, NULL };
	static char *const consumer_argv[] = { weir, consume, child, NULL };
	static char *const forward_argv[] = { weir, consume, child, forward, NULL };
	const bool is_worker = c->kind == MEMBER_WORKER;
	const struct child_program program = {
		.generation = c->generation,
		.argv = is_worker	  ? worker_argv
			: p->forward_only ? forward_argv
					  : consumer_argv,
		.stdin_fd = is_worker ? p->listen_fd : p->null_fd,
		.lifeline_fd = p->lifeline_read,
	};
	const pid_t pid = child_spawn(&program);

	if (pid == -1) {
		log_error("spawn_failed", LOG_STR("kind", kind_name(c->kind)),
		    LOG_STR("reason", strerror(errno)));
		child_ended(c, now_ms);
		return;
	}
	child_started(c, pid, now_ms);
	if (is_worker)
		scoreboard_count(b->scoreboard, b->member, METRIC_SPAWNS, 1);
	log_info("child_started", LOG_STR("kind", kind_name(c->kind)), LOG_INT("child", pid));
}

static bool
stays(const struct child *c, enum member_kind kind, const struct generation *g)
{
	return c->kind == kind && c->generation == g && !c->leaving;
}

struct child *
pool_add(struct pool *p, enum member_kind kind, const struct generation *g)
{
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (p->children[i].kind == MEMBER_NONE) {
			p->children[i] = (struct child){ .kind = kind, .generation = g };
			return &p->children[i];
		}
	return NULL;
}

void
pool_adopt(struct pool *p, const struct child *like, const struct generation *g, int64_t now_ms)
{
	struct child *c = pool_add(p, like->kind, g);

	if (c == NULL)
		return;
	child_started(c, like->pid, now_ms);
	c->adopted = c->proven = true;
	c->leaving = like->leaving;
}

void
pool_leave(struct child *c, int signal)
{
	c->leaving = true;
	if (c->pid != 0)
		(void)kill(c->pid, signal);
	else
		*c = (struct child){ .kind = MEMBER_NONE };
}

struct child *
pool_any(struct pool *p, enum member_kind kind, const struct generation *g)
{
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (stays(&p->children[i], kind, g))
			return &p->children[i];
	return NULL;
}

static bool
is_due(const struct child *c, int64_t now_ms)
{
	return c->kind != MEMBER_NONE && !c->leaving && child_is_due(c, now_ms);
}

void
pool_fill(struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	for (size_t i = 0; i < POOL_PLACES && p->filling; i++)
		if (is_due(&p->children[i], now_ms))
			start(p, &p->children[i], b, now_ms);
}

static struct child *
child_of(struct pool *p, pid_t pid)
{
	for (size_t i = 0; i < POOL_PLACES && pid > 0; i++)
		if (p->children[i].pid == pid)
			return &p->children[i];
	return NULL;
}

static bool
has_worked(const struct child *c, const struct pool_board *b, unsigned member)
{
	if (c->kind == MEMBER_CONSUMER)
		return atomic_load(&b->ingest->pid) == (uint32_t)c->pid;
	return scoreboard_of(b->scoreboard, member, METRIC_REQUESTS) > 0;
}

static void
kill_if_at_fault(struct child *c, const struct member_view *m, int64_t now_ms)
{
	const enum child_fault fault = child_judge(c, m, now_ms);

	if (fault == CHILD_WELL || c->killed)
		return;
	log_error("child_killed", LOG_STR("kind", kind_name(c->kind)), LOG_INT("child", c->pid),
	    LOG_STR("why", fault == CHILD_SILENT ? "no heartbeat" : "did not start in time"));
	(void)kill(c->pid, SIGKILL);
	c->killed = true;
}

void
pool_look(struct pool *p, const struct pool_board *b, int64_t now_ms, bool strict)
{
	struct member_view m;

	for (size_t i = 0; i < POOL_PLACES; i++)
		p->children[i].up = false;
	for (unsigned member = 0; member < SCOREBOARD_MEMBERS; member++) {
		struct child *c;

		scoreboard_view(b->scoreboard, member, &m);
		c = m.kind == MEMBER_NONE ? NULL : child_of(p, m.pid);
		if (c == NULL ||
		    (m.joined_ms < c->started_ms && !c->adopted)) /* a forerunner with that pid */
			continue;
		c->up = true;
		c->member = member;
		if (!c->proven && has_worked(c, b, member))
			child_has_worked(c);
		if (strict)
			kill_if_at_fault(c, &m, now_ms);
	}
	for (size_t i = 0; i < POOL_PLACES && strict; i++)
		if (p->children[i].pid != 0 && !p->children[i].up)
			kill_if_at_fault(&p->children[i], NULL, now_ms);
}

static void
ended(struct pool *p, struct child *c, int status, int64_t now_ms)
{
	const pid_t pid = c->pid;

	child_ended(c, now_ms);
	log_info("child_ended", LOG_STR("kind", kind_name(c->kind)), LOG_INT("child", pid),
	    WIFSIGNALED(status) ? LOG_INT("signal", WTERMSIG(status))
				: LOG_INT("code", WEXITSTATUS(status)),
	    LOG_INT("next_ms", p->filling && !c->leaving ? c->due_ms - now_ms : -1));
	if (c->leaving)
		*c = (struct child){ .kind = MEMBER_NONE };
}

void
pool_reap(struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	struct child *c;
	pid_t pid;
	int status;

	pool_look(p, b, now_ms, false); /* the slot of a dead one still shows what it did */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		c = child_of(p, pid);
		if (c != NULL)
			ended(p, c, status, now_ms);
	}
}

void
pool_signal(const struct pool *p, enum member_kind kind, int signal)
{
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (p->children[i].pid != 0 && p->children[i].kind == kind)
			(void)kill(p->children[i].pid, signal);
}

size_t
pool_running(const struct pool *p, enum member_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < POOL_PLACES; i++)
		n += p->children[i].pid != 0 && p->children[i].kind == kind;
	return n;
}

size_t
pool_up(const struct pool *p, enum member_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < POOL_PLACES; i++)
		n += p->children[i].pid != 0 && p->children[i].kind == kind && p->children[i].up;
	return n;
}

size_t
pool_places(const struct pool *p, enum member_kind kind, const struct generation *g, size_t *up_out)
{
	size_t n = 0;

	*up_out = 0;
	for (size_t i = 0; i < POOL_PLACES; i++) {
		if (!stays(&p->children[i], kind, g))
			continue;
		n++;
		*up_out += p->children[i].pid != 0 && p->children[i].up;
	}
	return n;
}

int64_t
pool_due_ms(const struct pool *p)
{
	int64_t due = INT64_MAX;

	for (size_t i = 0; i < POOL_PLACES && p->filling; i++)
		if (is_due(&p->children[i], INT64_MAX) && p->children[i].due_ms < due)
			due = p->children[i].due_ms;
	return due;
}
