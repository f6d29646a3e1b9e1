/*
 * The supervisor: one thread that waits for signals, ticks and admin requests.
 *
 *   RUNNING --TERM, INT--> STOPPING: TERM to the workers -----+--> ended
 *      |                      ^                               |
 *      +-------QUIT-----> DRAINING: QUIT to the workers ------+
 *
 * The consumer is told to end when no worker is left, so that what they accepted last is still applied.
 * Whatever has not ended by its time is killed.
 */
#include "runtime/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "runtime/admin.h"
#include "runtime/config.h"
#include "runtime/exit_code.h"
#include "runtime/pool.h"
#include "runtime/reactor.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/server_socket.h"
#include "runtime/signals.h"
#include "runtime/snapshot.h"
#include "runtime/state_dir.h"
#include "telemetry/endpoint_stats.h"

enum {
	TICK_MS = 1000,
	TICK_STARTING_MS = 100,
	LATE_MS = 5000,	      /* we slept so long that the workers may have, too */
	FAST_STOP_MS = 5000,  /* what workers give themselves for TERM */
	KILL_AFTER_MS = 2000, /* on top of what they give themselves */
	SOCKET_WAIT_MS = 3000,
};

enum phase { PHASE_RUNNING, PHASE_DRAINING, PHASE_STOPPING };

struct supervisor {
	const struct supervisor_options *o;
	int state_dir_fd, serve_lock;
	struct runtime rt;
	bool joined; /* rt is open */
	struct server_socket listen, admin_listen;
	struct admin_facts facts;
	struct admin admin;
	struct source signals;
	struct pool pool;
	enum phase phase;
	int64_t stop_by_ms; /* not RUNNING: kill what is left */
	int64_t tick_ms;    /* when the last one was */
	int64_t lenient_until_ms;
};

static struct pool_board
board(const struct supervisor *s)
{
	return (struct pool_board){ s->rt.scoreboard, s->rt.ingest, s->rt.member };
}

static void
look_around(struct supervisor *s)
{
	s->facts.workers_up = (unsigned)pool_up(&s->pool, MEMBER_WORKER);
	s->facts.stopping = s->phase != PHASE_RUNNING;
	admin_look(&s->rt, &s->facts);
}

/*
 * Stopping.
 */
static void
begin_stop(struct supervisor *s, bool graceful, int64_t now_ms)
{
	const int64_t own_ms = graceful ? s->o->config->drain_ms : FAST_STOP_MS;

	if (s->phase == PHASE_STOPPING || (graceful && s->phase == PHASE_DRAINING))
		return;
	log_info("stopping", LOG_STR("how", graceful ? "graceful" : "fast"));
	s->phase = graceful ? PHASE_DRAINING : PHASE_STOPPING;
	s->stop_by_ms = now_ms + own_ms + KILL_AFTER_MS;
	s->pool.filling = false;
	server_socket_close(&s->listen); /* the front must not queue for nobody */
	pool_signal(&s->pool, MEMBER_WORKER, graceful ? SIGQUIT : SIGTERM);
	look_around(s);
}

static bool
is_over(const struct supervisor *s)
{
	return s->phase != PHASE_RUNNING && pool_running(&s->pool, MEMBER_WORKER) == 0 &&
	       pool_running(&s->pool, MEMBER_CONSUMER) == 0;
}

static void
press_on(const struct supervisor *s, int64_t now_ms)
{
	if (s->phase == PHASE_RUNNING)
		return;
	if (pool_running(&s->pool, MEMBER_WORKER) == 0)
		pool_signal(&s->pool, MEMBER_CONSUMER, SIGTERM);
	if (now_ms < s->stop_by_ms)
		return;
	pool_signal(&s->pool, MEMBER_WORKER, SIGKILL);
	pool_signal(&s->pool, MEMBER_CONSUMER, SIGKILL);
}

/*
 * The segment.
 */
static enum err
join(struct supervisor *s, struct fault_list *faults)
{
	const enum err rc = runtime_open(s->o->config, NULL,
	    RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_QUEUE, MEMBER_SUPERVISOR, faults, &s->rt);

	s->joined = rc == ERR_OK;
	return rc;
}

static void
leave(struct supervisor *s)
{
	if (s->joined)
		runtime_close(&s->rt);
	s->joined = false;
}

/* Somebody has removed the segment's file: newcomers would make another one, so everybody moves.  A
 * supervisor that cannot make it ends, and its children with it. */
static void
rejoin(struct supervisor *s)
{
	struct fault_list faults;

	log_error("segment_gone", LOG_STR("state_dir", s->o->config->state_dir),
	    LOG_STR("then", "a new one is made and every child is replaced"));
	fault_init(&faults);
	leave(s);
	(void)join(s, &faults);
	fault_print(&faults, STDERR_FILENO);
	fault_free(&faults);
	pool_signal(&s->pool, MEMBER_WORKER, SIGTERM);
	pool_signal(&s->pool, MEMBER_CONSUMER, SIGTERM);
}

/*
 * The loop.
 */
static void
reap(struct supervisor *s, int64_t now_ms)
{
	const struct pool_board b = board(s);

	pool_reap(&s->pool, &b, now_ms);
	look_around(s);
}

static void
take_signal(struct supervisor *s, int signal, int64_t now_ms)
{
	switch (signal) {
	case SIGTERM:
	case SIGINT:
		begin_stop(s, false, now_ms);
		break;
	case SIGQUIT:
		begin_stop(s, true, now_ms);
		break;
	case SIGUSR1:
		(void)log_reopen();
		pool_signal(&s->pool, MEMBER_WORKER, SIGUSR1);
		pool_signal(&s->pool, MEMBER_CONSUMER, SIGUSR1);
		break;
	case SIGHUP:
		log_warn("signal_ignored", LOG_STR("why", "reload comes with a later version"));
		break;
	case SIGUSR2:
		log_warn("signal_ignored",
		    LOG_STR("why", "replacing the binary comes with a later version"));
		break;
	case SIGCHLD:
		reap(s, now_ms);
		break;
	default:
		break;
	}
}

static void
signals_ready(struct source *source, uint32_t events)
{
	struct supervisor *s = CONTAINER_OF(source, struct supervisor, signals);
	int signal;

	(void)events;
	while ((signal = signals_next(source->fd)) != 0)
		take_signal(s, signal, clock_mono_ms());
}

/* After a freeze of the whole machine the heartbeats are as old as we are late. */
static bool
may_judge(struct supervisor *s, int64_t now_ms)
{
	if (now_ms - s->tick_ms > LATE_MS)
		s->lenient_until_ms = now_ms + 2 * LATE_MS;
	return now_ms >= s->lenient_until_ms;
}

/* A row a second: a newcomer at /status has a curve at once. */
static void
keep_history(struct supervisor *s)
{
	snapshot_gather(&s->rt, s->admin.snapshot);
	history_add(s->rt.regions->history, &s->admin.snapshot->row);
}

static void
tick(struct supervisor *s, int64_t now_ms)
{
	const struct pool_board b = board(s);

	scoreboard_beat(s->rt.scoreboard, s->rt.member, now_ms);
	endpoint_stats_tick(s->rt.regions->endpoints, now_ms, 1);
	pool_look(&s->pool, &b, now_ms, may_judge(s, now_ms));
	look_around(s);
	keep_history(s);
	s->tick_ms = now_ms;
	if (s->facts.segment_gone && s->phase == PHASE_RUNNING)
		rejoin(s);
}

/* Faster until every worker is up, for /ready. */
static int64_t
next_tick_ms(const struct supervisor *s)
{
	const bool starting = pool_up(&s->pool, MEMBER_WORKER) < (size_t)s->o->config->workers;

	return s->tick_ms + (starting ? TICK_STARTING_MS : TICK_MS);
}

static int64_t
until_next(const struct supervisor *s, int64_t now_ms)
{
	const int64_t tick = next_tick_ms(s), due = pool_due_ms(&s->pool);
	const int64_t next = due < tick ? due : tick;

	return next > now_ms ? next - now_ms : 0;
}

static void
loop(struct supervisor *s)
{
	int64_t now_ms = clock_mono_ms();

	s->tick_ms = now_ms;
	while (s->joined && !is_over(s)) {
		const struct pool_board b = board(s);

		pool_fill(&s->pool, &b, now_ms);
		reactor_turn(s->admin.reactor, until_next(s, now_ms));
		now_ms = clock_mono_ms();
		press_on(s, now_ms);
		if (now_ms >= next_tick_ms(s))
			tick(s, now_ms);
	}
}

/*
 * Start and end.
 */
static void
say_who_runs(const struct supervisor *s, struct fault_list *faults)
{
	const int fd = openat(s->state_dir_fd, "serve.lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char pid[16] = "unknown";
	ssize_t n = -1;

	if (fd != -1) {
		n = read(fd, pid, sizeof pid - 1);
		(void)close(fd);
	}
	if (n > 0)
		pid[n] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	fault_add(faults, "weir serve", 0, "running, pid %s, on the state folder %s", pid,
	    s->o->config->state_dir);
}

static enum err
take_serve_lock(struct supervisor *s, struct fault_list *faults)
{
	const enum err rc =
	    lock_file(s->state_dir_fd, "serve.lock", LOCK_EXCLUSIVE, 0, &s->serve_lock);

	if (rc == ERR_CONFLICT)
		say_who_runs(s, faults);
	else if (rc != ERR_OK)
		fault_add(faults, "weir serve", 0, "serve.lock cannot be taken in %s (%s)",
		    s->o->config->state_dir, err_name(rc));
	else if (ftruncate(s->serve_lock, 0) == -1 ||
		 dprintf(s->serve_lock, "%d\n", (int)getpid()) < 0)
		log_warn("serve_lock_without_pid", LOG_STR("state_dir", s->o->config->state_dir));
	return rc;
}

static enum err
open_sockets(struct supervisor *s, struct fault_list *faults)
{
	const struct config *c = s->o->config;
	const struct server_socket_options listen = {
		.setting = "WEIR_LISTEN",
		.address = c->listen,
		.mode = c->listen_mode,
		.group = c->listen_group,
		.wait_ms = SOCKET_WAIT_MS,
	};
	struct server_socket_options admin = listen;
	enum err rc;

	admin.setting = "WEIR_ADMIN_LISTEN";
	admin.address = c->admin_listen;
	rc = server_socket_open(&listen, faults, &s->listen);
	return rc == ERR_OK ? server_socket_open(&admin, faults, &s->admin_listen) : rc;
}

static enum err
open_loop(struct supervisor *s)
{
	const struct cidr_set allow = s->o->config->listen_allow;
	enum err rc = signals_open(&s->signals.fd);

	if (rc == ERR_OK)
		rc = admin_open(&s->facts, &s->rt, &s->admin);
	if (rc == ERR_OK)
		rc = reactor_listen(s->admin.reactor, s->admin_listen.fd, allow.list, allow.count);
	if (rc == ERR_OK)
		rc = reactor_watch(s->admin.reactor, &s->signals);
	return rc;
}

static enum err
open_pool(struct supervisor *s)
{
	const struct config *c = s->o->config;
	const struct pool_options o = {
		.program = s->o->program == NULL ? "/proc/self/exe" : s->o->program,
		.listen_fd = s->listen.fd,
		.workers = (size_t)c->workers,
		.consumer = s->o->consumer || s->o->config->kafka_brokers != NULL,
		.forward_only = !s->o->consumer,
	};
	const enum err rc = config_export(c);

	return rc == ERR_OK ? pool_open(&o, &s->pool) : rc;
}

/* In the order in which the next one needs the last; what has no words of its own is said here. */
static enum err
start(struct supervisor *s, struct fault_list *faults)
{
	enum err rc = state_dir_open(s->o->config->state_dir, faults, &s->state_dir_fd);

	if (rc == ERR_OK)
		rc = take_serve_lock(s, faults);
	if (rc == ERR_OK)
		rc = open_sockets(s, faults);
	if (rc == ERR_OK)
		rc = join(s, faults);
	if (rc == ERR_OK)
		rc = open_loop(s);
	if (rc == ERR_OK)
		rc = open_pool(s);
	if (rc != ERR_OK && faults->errors == 0)
		fault_add(faults, "weir serve", 0, "cannot start (%s)", err_name(rc));
	return rc;
}

static void
finish(struct supervisor *s)
{
	pool_close(&s->pool);
	admin_close(&s->admin);
	if (s->signals.fd != -1)
		(void)close(s->signals.fd);
	leave(s);
	server_socket_close(&s->admin_listen);
	server_socket_close(&s->listen);
	lock_file_release(&s->serve_lock);
	if (s->state_dir_fd != -1)
		(void)close(s->state_dir_fd);
}

static int
exit_code(const struct supervisor *s, enum err started)
{
	if (started == ERR_INVALID || started == ERR_DENIED)
		return EXIT_CODE_CONFIG;
	return started == ERR_OK && s->joined ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

int
supervisor_run(const struct supervisor_options *o)
{
	struct supervisor s = {
		.o = o,
		.state_dir_fd = -1,
		.serve_lock = -1,
		.listen.fd = -1,
		.admin_listen.fd = -1,
		.signals = { .ready = signals_ready, .fd = -1 },
		.pool = POOL_CLOSED,
	};
	struct fault_list faults;
	enum err rc;
	int code;

	fault_init(&faults);
	rc = start(&s, &faults);
	fault_print(&faults, STDERR_FILENO);
	fault_free(&faults);
	if (rc == ERR_OK) {
		log_info("serving", LOG_STR("listen", o->config->listen),
		    LOG_STR("admin", o->config->admin_listen),
		    LOG_INT("workers", o->config->workers));
		loop(&s);
		log_info("stopped", LOG_STR("state_dir", o->config->state_dir));
	}
	code = exit_code(&s, rc);
	finish(&s);
	return code;
}
