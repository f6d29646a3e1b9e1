/*
 * The supervisor: one thread that waits for signals, ticks and admin requests.
 *
 *   +-HUP, USR2-+
 *   v           | (runtime/reload.h)
 *   RUNNING ----+---TERM, INT--> STOPPING: TERM to the workers -----+--> ended
 *      |                            ^                               |
 *      +-------QUIT----------> DRAINING: QUIT to the workers -------+
 *
 * An upgrade ends by exec of the new binary: it finds sockets, lock and children by runtime/handover.h.
 * The consumer is told to end when no worker is left, so that what they accepted last is still applied.
 * Whatever has not ended by its time is killed.
 */
#include "runtime/supervisor.h"

#include <fcntl.h>
#include <limits.h>
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
#include "runtime/handover.h"
#include "runtime/notify.h"
#include "runtime/pool.h"
#include "runtime/reactor.h"
#include "runtime/regions.h"
#include "runtime/reload.h"
#include "runtime/runtime.h"
#include "runtime/server_socket.h"
#include "runtime/signals.h"
#include "runtime/snapshot.h"
#include "runtime/state_dir.h"
#include "telemetry/endpoint_stats.h"

enum {
	TICK_MS = 1000,
	TICK_STARTING_MS = 25, /* also while workers are replaced */
	LATE_MS = 5000,	       /* we slept so long that the workers may have, too */
	FAST_STOP_MS = 5000,   /* what workers give themselves for TERM */
	KILL_AFTER_MS = 2000,  /* on top of what they give themselves */
	SOCKET_WAIT_MS = 3000,
};

enum phase { PHASE_RUNNING, PHASE_DRAINING, PHASE_STOPPING };

struct supervisor {
	const struct supervisor_options *o;
	int state_dir_fd, serve_lock;
	struct runtime rt;
	bool joined; /* rt is open */
	struct server_socket listen, admin_listen;
	int given; /* how many of them by systemd, the first ones */
	struct admin_facts facts;
	struct admin admin;
	struct source signals;
	struct pool pool;
	struct reload reload;
	char binary[PATH_MAX]; /* under which USR2 looks for a new one; "" unknown */
	bool up_said;	       /* to systemd */
	enum phase phase;
	int64_t stop_by_ms; /* not RUNNING: kill what is left */
	int64_t tick_ms;    /* when the last one was */
	int64_t alive_ms,
	    alive_every_ms; /* when systemd's watchdog was last told, and how often it is */
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
	const int64_t own_ms = graceful ? reload_config(&s->reload)->drain_ms : FAST_STOP_MS;

	if (s->phase == PHASE_STOPPING || (graceful && s->phase == PHASE_DRAINING))
		return;
	log_info("stopping", LOG_STR("how", graceful ? "graceful" : "fast"));
	s->phase = graceful ? PHASE_DRAINING : PHASE_STOPPING;
	s->stop_by_ms = now_ms + own_ms + KILL_AFTER_MS;
	s->pool.filling = false;
	notify_stopping();
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

/*
 * New settings, a new binary.
 */
static void
say_up(struct supervisor *s)
{
	char text[64];

	(void)snprintf(text, sizeof text, "%u workers", s->facts.workers_up);
	notify_ready(text);
	s->up_said = true;
}

/* ${binary} NULL: the same one. */
static void
begin_reload(struct supervisor *s, const char *binary, int64_t now_ms)
{
	if (s->phase != PHASE_RUNNING)
		return;
	if (binary != NULL && *binary == '\0') {
		log_error(
		    "upgrade_refused", LOG_STR("why", "the path of this binary is not known"));
		return;
	}
	notify_reloading();
	reload_begin(&s->reload, &s->pool, binary, now_ms);
	if (!reload_is_going_on(&s->reload))
		say_up(s);
}

static void
take_settings(struct supervisor *s)
{
	const struct config *c = reload_config(&s->reload);
	const struct log_options o = { .level = (enum log_level)c->log_level,
		.text = c->log_format == 1,
		.file = c->log_file };

	if (log_open(&o) != ERR_OK)
		log_error("log_unchanged", LOG_STR("file", c->log_file));
}

/* The workers are of the new binary by now, and this becomes it too.  Should that fail, all goes on but for us. */
static void
become_new(struct supervisor *s)
{
	struct fault_list faults;
	struct handover h;

	if (handover_of(&s->pool, &h) != ERR_OK)
		return;
	h.listen_fd = s->listen.fd;
	h.admin_fd = s->admin_listen.fd;
	h.lock_fd = s->serve_lock;
	h.given = s->given;
	fault_init(&faults);
	leave(s); /* its place on the scoreboard is for who comes */
	(void)handover_exec(&h, s->binary);
	(void)join(s, &faults);
	fault_print(&faults, STDERR_FILENO);
	fault_free(&faults);
	handover_free(&h);
}

static void
go_on_reloading(struct supervisor *s, int64_t now_ms)
{
	const struct pool_board b = board(s);
	const bool upgrades = s->reload.upgrades;
	const enum roll_result result = s->phase == PHASE_RUNNING
					    ? reload_step(&s->reload, &s->pool, &b, now_ms)
					    : ROLL_GOES_ON;

	if (result == ROLL_GOES_ON)
		return;
	if (result == ROLL_DONE)
		take_settings(s);
	say_up(s);
	if (result == ROLL_DONE && upgrades)
		become_new(s);
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
		begin_reload(s, NULL, now_ms);
		break;
	case SIGUSR2:
		begin_reload(s, s->binary, now_ms);
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
	if (!s->up_said && s->facts.workers_up > 0 && s->phase == PHASE_RUNNING)
		say_up(s);
	go_on_reloading(s, now_ms);
	if (s->facts.segment_gone && s->phase == PHASE_RUNNING)
		rejoin(s);
}

/* Faster until every worker is up, for /ready. */
static int64_t
next_tick_ms(const struct supervisor *s)
{
	size_t up;
	const size_t places =
	    pool_places(&s->pool, MEMBER_WORKER, reload_generation(&s->reload), &up);
	const bool hurry = up < places || reload_is_going_on(&s->reload);

	return s->tick_ms + (hurry ? TICK_STARTING_MS : TICK_MS);
}

/* Told from the loop that does everything else: one that hangs is seen. */
static void
tell_alive(struct supervisor *s, int64_t now_ms)
{
	if (now_ms - s->alive_ms < s->alive_every_ms)
		return;
	s->alive_ms = now_ms;
	notify_alive();
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
		tell_alive(s, now_ms);
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
	enum err rc = ERR_OK;

	if (s->o->inherited != NULL) {
		s->serve_lock = s->o->inherited->lock_fd;
		return ERR_OK;
	}
	rc = lock_file(s->state_dir_fd, "serve.lock", LOCK_EXCLUSIVE, 0, &s->serve_lock);
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
	enum err rc = ERR_OK;

	admin.setting = "WEIR_ADMIN_LISTEN";
	admin.address = c->admin_listen;
	if (s->o->inherited != NULL) {
		s->given = s->o->inherited->given;
		server_socket_adopt(&listen, s->o->inherited->listen_fd, s->given < 1, &s->listen);
		server_socket_adopt(
		    &admin, s->o->inherited->admin_fd, s->given < 2, &s->admin_listen);
		return ERR_OK;
	}
	s->given = server_socket_given();
	if (s->given >= 1)
		server_socket_adopt(&listen, SERVER_SOCKET_FIRST, false, &s->listen);
	else
		rc = server_socket_open(&listen, faults, &s->listen);
	if (s->given >= 2)
		server_socket_adopt(&admin, SERVER_SOCKET_FIRST + 1, false, &s->admin_listen);
	else if (rc == ERR_OK)
		rc = server_socket_open(&admin, faults, &s->admin_listen);
	return rc;
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

/* As many as the settings want, beside those that are there. */
static void
fill_places(struct supervisor *s)
{
	const struct generation *g = reload_generation(&s->reload);
	const bool consumer = s->o->consumer || s->o->config->kafka_brokers != NULL;
	size_t up, n = pool_places(&s->pool, MEMBER_WORKER, g, &up);

	for (; n < (size_t)s->o->config->workers; n++)
		(void)pool_add(&s->pool, MEMBER_WORKER, g);
	if (consumer && pool_any(&s->pool, MEMBER_CONSUMER, g) == NULL)
		(void)pool_add(&s->pool, MEMBER_CONSUMER, g);
}

/* Those that the binary before this one has started. */
static void
adopt_children(struct supervisor *s)
{
	const struct handover *h = s->o->inherited;

	for (size_t i = 0; i < h->child_count; i++)
		pool_adopt(
		    &s->pool, &h->children[i], reload_generation(&s->reload), clock_mono_ms());
	log_info("taken_over", LOG_INT("children", h->child_count));
}

static enum err
open_pool(struct supervisor *s)
{
	const bool inherits = s->o->inherited != NULL;
	const struct reload_options reload = {
		.config = s->o->config,
		.files_fd = s->o->files_fd,
		.load = s->o->load,
		.ctx = s->o->load_ctx,
		.program = s->o->program == NULL ? "/proc/self/exe" : s->o->program,
	};
	const struct pool_options pool = {
		.listen_fd = s->listen.fd,
		.forward_only = !s->o->consumer,
		.lifeline = inherits ? s->o->inherited->lifeline : NULL,
	};
	enum err rc = reload_open(&reload, &s->reload);

	if (rc == ERR_OK)
		rc = pool_open(&pool, &s->pool);
	if (rc == ERR_OK && inherits)
		adopt_children(s);
	if (rc == ERR_OK)
		fill_places(s);
	return rc;
}

/* What comes after this process's own exec is told by the path, for the file there is replaced by an upgrade. */
static void
find_binary(struct supervisor *s)
{
	const ssize_t n = readlink("/proc/self/exe", s->binary, sizeof s->binary - 1);

	s->binary[n < 0 ? 0 : n] = '\0';
}

/* In the order in which the next one needs the last; what has no words of its own is said here. */
static enum err
start(struct supervisor *s, struct fault_list *faults)
{
	enum err rc = state_dir_open(s->o->config->state_dir, faults, &s->state_dir_fd);

	find_binary(s);
	s->alive_every_ms = notify_alive_every_ms();
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
	reload_close(&s->reload);
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
