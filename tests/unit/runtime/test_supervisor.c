/* Goal: children are replaced as fast as is wise, sockets are never stolen, and nobody outlives the supervisor. */
#include "runtime/supervisor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "http/response.h"
#include "runtime/admin.h"
#include "runtime/child.h"
#include "runtime/config.h"
#include "runtime/exit_code.h"
#include "runtime/server_socket.h"
#include "tests/support/unit.h"

enum { PATH_BYTES = 4300, PATIENCE_MS = 60000 };

static char dir[PATH_BYTES];

static void
fresh_dir(void)
{
	static unsigned n;

	(void)snprintf(dir, sizeof dir, "%s/s%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
}

static const char *
path_of(const char *name)
{
	static char path[PATH_BYTES + 64];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

/*
 * Decisions.
 */
static struct child
worker_at(int64_t now_ms)
{
	struct child c = { .kind = MEMBER_WORKER };

	child_started(&c, 100, now_ms);
	return c;
}

static void
a_child_that_has_worked_is_replaced_at_once_for_ever(void)
{
	struct child c = worker_at(0);

	for (int64_t now_ms = 0; now_ms < 100; now_ms++) {
		child_has_worked(&c);
		child_ended(&c, now_ms);
		CU_ASSERT_TRUE(child_is_due(&c, now_ms));
		child_started(&c, 101, now_ms);
		CU_ASSERT_FALSE(child_is_due(&c, now_ms));
	}
}

static void
one_that_dies_before_its_first_answer_comes_back_slower_each_time(void)
{
	struct child c = worker_at(0);

	child_ended(&c, 10); /* anything may be killed once */
	CU_ASSERT_TRUE(child_is_due(&c, 10));
	child_started(&c, 101, 10);
	child_ended(&c, 20);
	CU_ASSERT_FALSE(child_is_due(&c, 2019));
	CU_ASSERT_TRUE(child_is_due(&c, 2020));
	child_started(&c, 102, 2020);
	child_ended(&c, 2030);
	CU_ASSERT_FALSE(child_is_due(&c, 6029));
	CU_ASSERT_TRUE(child_is_due(&c, 6030));
	child_started(&c, 103, 6030);
	child_has_worked(&c); /* all is forgiven */
	child_ended(&c, 6040);
	CU_ASSERT_TRUE(child_is_due(&c, 6040));
}

static void
a_worker_without_a_heartbeat_for_ten_seconds_is_at_fault(void)
{
	const struct child c = worker_at(0);
	const struct member_view m = { .kind = MEMBER_WORKER, .pid = 100, .beat_ms = 5000 };

	CU_ASSERT_EQUAL(child_judge(&c, &m, 15000), CHILD_WELL);
	CU_ASSERT_EQUAL(child_judge(&c, &m, 15001), CHILD_SILENT);
}

static void
a_consumer_may_be_silent_for_as_long_as_a_batch_may_take(void)
{
	const struct member_view m = { .kind = MEMBER_CONSUMER, .pid = 100, .beat_ms = 0 };
	struct child c = { .kind = MEMBER_CONSUMER };

	child_started(&c, 100, 0);
	CU_ASSERT_EQUAL(child_judge(&c, &m, 60000), CHILD_WELL);
	CU_ASSERT_EQUAL(child_judge(&c, &m, 60001), CHILD_SILENT);
}

static void
one_that_never_joins_is_at_fault_after_a_minute(void)
{
	const struct child c = worker_at(1000);

	CU_ASSERT_EQUAL(child_judge(&c, NULL, 61000), CHILD_WELL);
	CU_ASSERT_EQUAL(child_judge(&c, NULL, 61001), CHILD_MISSING);
}

/*
 * Sockets.
 */
static enum err
bind_at(const char *address, struct server_socket *out, struct fault_list *faults)
{
	const struct server_socket_options o = {
		.setting = "WEIR_LISTEN", .address = address, .mode = 0640, .group = NULL
	};

	fault_init(faults);
	return server_socket_open(&o, faults, out);
}

static const char *
unix_address(const char *name)
{
	static char address[PATH_BYTES + 80];

	(void)snprintf(address, sizeof address, "unix:%s", path_of(name));
	return address;
}

static int
connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, path, strnlen(path, sizeof a.sun_path - 1));
	if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static void
a_socket_has_its_mode_and_goes_with_its_owner(void)
{
	struct server_socket s;
	struct fault_list faults;
	struct stat st;
	int fd;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(bind_at(unix_address("a.sock"), &s, &faults), ERR_OK);
	CU_ASSERT_EQUAL(stat(path_of("a.sock"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0640);
	fd = connect_to(path_of("a.sock"));
	CU_ASSERT_NOT_EQUAL(fd, -1);
	(void)close(fd);
	server_socket_close(&s);
	CU_ASSERT_EQUAL(access(path_of("a.sock"), F_OK), -1);
	server_socket_close(&s);
	fault_free(&faults);
}

static void
a_dead_servers_socket_is_replaced(void)
{
	struct server_socket dead, s;
	struct fault_list faults;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(bind_at(unix_address("a.sock"), &dead, &faults), ERR_OK);
	(void)close(dead.fd); /* as kill -9 does: the path stays */
	fault_free(&faults);
	CU_ASSERT_EQUAL(bind_at(unix_address("a.sock"), &s, &faults), ERR_OK);
	CU_ASSERT_NOT_EQUAL(connect_to(path_of("a.sock")), -1);
	server_socket_close(&s);
	fault_free(&faults);
}

static void
a_living_servers_socket_is_refused_and_left_alone(void)
{
	struct server_socket alive, s;
	struct fault_list faults;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(bind_at(unix_address("a.sock"), &alive, &faults), ERR_OK);
	fault_free(&faults);
	CU_ASSERT_EQUAL(bind_at(unix_address("a.sock"), &s, &faults), ERR_CONFLICT);
	CU_ASSERT_EQUAL(faults.errors, 1);
	CU_ASSERT_EQUAL(s.fd, -1);
	CU_ASSERT_NOT_EQUAL(connect_to(path_of("a.sock")), -1);
	server_socket_close(&alive);
	fault_free(&faults);
}

static void
something_else_under_the_sockets_name_is_refused(void)
{
	struct server_socket s;
	struct fault_list faults;
	int fd;

	fresh_dir();
	fd = open(path_of("a.sock"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
	CU_ASSERT_EQUAL(bind_at(unix_address("a.sock"), &s, &faults), ERR_INVALID);
	CU_ASSERT_EQUAL(access(path_of("a.sock"), F_OK), 0);
	fault_free(&faults);
}

static void
a_socket_that_another_has_put_in_our_place_is_not_removed(void)
{
	struct server_socket ours, theirs;
	struct fault_list faults;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(bind_at(unix_address("a.sock"), &ours, &faults), ERR_OK);
	fault_free(&faults);
	CU_ASSERT_EQUAL(unlink(path_of("a.sock")), 0);
	CU_ASSERT_EQUAL_FATAL(bind_at(unix_address("a.sock"), &theirs, &faults), ERR_OK);
	server_socket_close(&ours);
	CU_ASSERT_EQUAL(access(path_of("a.sock"), F_OK), 0);
	server_socket_close(&theirs);
	fault_free(&faults);
}

static void
a_tcp_port_is_bound_or_said_to_be_in_use(void)
{
	struct server_socket a, b;
	struct fault_list faults;
	struct sockaddr_in at = { 0 };
	socklen_t len = sizeof at;
	char address[64];

	CU_ASSERT_EQUAL_FATAL(bind_at("127.0.0.1:0", &a, &faults), ERR_OK);
	fault_free(&faults);
	CU_ASSERT_EQUAL_FATAL(getsockname(a.fd, (struct sockaddr *)&at, &len), 0);
	(void)snprintf(address, sizeof address, "127.0.0.1:%d", (int)ntohs(at.sin_port));
	CU_ASSERT_EQUAL(bind_at(address, &b, &faults), ERR_CONFLICT);
	fault_free(&faults);
	server_socket_close(&a);
	CU_ASSERT_EQUAL(bind_at("[::1]:0", &b, &faults), ERR_OK);
	server_socket_close(&b);
	fault_free(&faults);
}

/*
 * The admin socket's answers.
 */
static int
status_of(const struct admin_facts *f, const char *path, const char *word)
{
	struct response r = { 0 };
	struct arena a;
	int status;

	arena_init(&a, 64 * 1024);
	CU_ASSERT_NOT_EQUAL(admin_answer(f, slice_of(path), &a, &r), ERR_NOMEM);
	CU_ASSERT_TRUE(
	    r.body.len > 0 && memmem(r.body.ptr, r.body.len, word, strlen(word)) != NULL);
	status = r.status;
	arena_free(&a);
	return status;
}

static void
ready_says_every_reason_why_not(void)
{
	struct admin_facts f = { .workers_up = 1 };

	CU_ASSERT_EQUAL(status_of(&f, "/ready", "ready"), 200);
	f.oldest_waiting_s = 60;
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "ready"), 200);
	f.oldest_waiting_s = 61;
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "61 s"), 503);
	f.workers_up = 0;
	f.segment_gone = f.stopping = f.spool_unknown = f.consumer_stopped = true;
	(void)snprintf(f.consumer_reason, sizeof f.consumer_reason, "no such table: \"x\"");
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "no worker is up"), 503);
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "61 s"), 503);
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "segment is gone"), 503);
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "no such table: \\\"x\\\""), 503);
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "stopping"), 503);
	CU_ASSERT_EQUAL(status_of(&f, "/ready", "spool cannot be read"), 503);
}

static void
live_is_live_whatever_is_wrong_and_nothing_else_is_there(void)
{
	const struct admin_facts f = { .segment_gone = true };

	CU_ASSERT_EQUAL(status_of(&f, "/live", "live"), 200);
	CU_ASSERT_EQUAL(status_of(&f, "/", "/ready"), 404);
	CU_ASSERT_EQUAL(status_of(&f, "/live/", "/ready"), 404);
	CU_ASSERT_EQUAL(status_of(&f, "", "/ready"), 404);
}

/*
 * The whole: a supervisor in a process of its own, with a shell script for a child.
 *
 * Each child says "worker PID" or "consume PID" into a FIFO and then waits on its lifeline, as the
 * real ones do; what a test waits for is always such a line, or the end of a process.
 */
static const char script[] =
    "#!/bin/sh\n"
    "test -p /proc/self/fd/3 || exit 9\n"
    "echo \"$1 $$ $WEIR_LIFELINE_FD $WEIR_THREADS\" > \"$WEIR_STATE_DIR/../said\"\n"
    "exec cat <&3 >/dev/null\n";

struct stage {
	pid_t supervisor;
	FILE *said;
};

static void
write_script(void)
{
	FILE *f = fopen(path_of("child"), "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_TRUE(fputs(script, f) >= 0);
	CU_ASSERT_EQUAL(fclose(f), 0);
	CU_ASSERT_EQUAL(chmod(path_of("child"), 0700), 0);
}

static int
run_supervisor(void)
{
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };
	char state_env[PATH_BYTES + 96], program[PATH_BYTES + 64];
	const char *const env[] = { state_env, "WEIR_WORKERS=2", "WEIR_THREADS=5",
		"WEIR_CACHE_BYTES=1m", "WEIR_SPOOL_BYTES=16m", NULL };
	const struct config_input in = { .environment = env };
	struct supervisor_options o = { .consumer = true, .files_fd = -1 };
	struct fault_list faults;
	struct config *c;
	int code;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (freopen("/dev/null", "w", stderr) == NULL)
		return 98;
	(void)snprintf(state_env, sizeof state_env, "WEIR_STATE_DIR=%s", path_of("state"));
	fault_init(&faults);
	if (log_open(&quiet) != ERR_OK || config_load(&in, &faults, &c) != ERR_OK)
		return 99;
	o.config = c;
	(void)snprintf(program, sizeof program, "%s", path_of("child"));
	o.program = program;
	code = supervisor_run(&o);
	config_free(&c);
	fault_free(&faults);
	return code;
}

static pid_t
start_supervisor(void)
{
	const pid_t pid = fork();

	if (pid == 0)
		_exit(run_supervisor());
	return pid;
}

static struct stage
stage_open(void)
{
	struct stage s;
	int fd;

	fresh_dir();
	write_script();
	CU_ASSERT_EQUAL_FATAL(mkfifo(path_of("said"), 0600), 0);
	fd = open(path_of("said"), O_RDWR | O_CLOEXEC);
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	s.said = fdopen(fd, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(s.said);
	(void)setvbuf(s.said, NULL, _IONBF, 0); /* poll() must see what is left */
	s.supervisor = start_supervisor();
	return s;
}

/* The next child that has come up, and its kind. */
static pid_t
next_child(const struct stage *s, char kind[16])
{
	struct pollfd p = { .fd = fileno(s->said), .events = POLLIN };
	char line[128] = "";
	int pid = 0, lifeline = 0, threads = 0;

	CU_ASSERT_EQUAL_FATAL(poll(&p, 1, PATIENCE_MS), 1);
	CU_ASSERT_PTR_NOT_NULL(fgets(line, sizeof line, s->said));
	CU_ASSERT_EQUAL(sscanf(line, "%15s %d %d %d", kind, &pid, &lifeline, &threads), 4);
	CU_ASSERT_EQUAL(lifeline, 3);
	CU_ASSERT_EQUAL(threads, 5);
	return pid;
}

/* Two workers and a consumer, in any order; the workers' pids. */
static void
whole_pool(const struct stage *s, pid_t workers[2], pid_t *consumer)
{
	size_t n = 0;
	char kind[16];

	*consumer = 0;
	for (int i = 0; i < 3; i++) {
		const pid_t pid = next_child(s, kind);

		if (strcmp(kind, "worker") == 0 && n < 2)
			workers[n++] = pid;
		else if (strcmp(kind, "consume") == 0)
			*consumer = pid;
	}
	CU_ASSERT_EQUAL_FATAL(n, 2);
	CU_ASSERT_NOT_EQUAL_FATAL(*consumer, 0);
}

static int
end_of(pid_t pid)
{
	int status = -1;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void
stage_close(struct stage *s, int signal, int code)
{
	(void)kill(s->supervisor, signal);
	CU_ASSERT_EQUAL(end_of(s->supervisor), code);
	(void)fclose(s->said);
}

static void
it_starts_the_pool_and_stops_it_when_told_to(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer;
	int fd;

	whole_pool(&s, workers, &consumer);
	fd = connect_to(path_of("state/weir.sock"));
	CU_ASSERT_NOT_EQUAL(fd, -1);
	(void)close(fd);
	CU_ASSERT_EQUAL(access(path_of("state/segment"), F_OK), 0);
	stage_close(&s, SIGTERM, EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(kill(workers[0], 0), -1);
	CU_ASSERT_EQUAL(kill(workers[1], 0), -1);
	CU_ASSERT_EQUAL(kill(consumer, 0), -1);
	CU_ASSERT_EQUAL(access(path_of("state/weir.sock"), F_OK), -1);
	CU_ASSERT_EQUAL(access(path_of("state/admin.sock"), F_OK), -1);
	CU_ASSERT_EQUAL(access(path_of("state/segment"), F_OK), -1);
}

static void
a_graceful_stop_ends_it_too(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer;

	whole_pool(&s, workers, &consumer);
	stage_close(&s, SIGQUIT, EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(kill(consumer, 0), -1);
}

static void
a_killed_child_is_replaced(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer, heir;
	char kind[16];

	whole_pool(&s, workers, &consumer);
	CU_ASSERT_EQUAL(kill(workers[0], SIGKILL), 0);
	heir = next_child(&s, kind);
	CU_ASSERT_STRING_EQUAL(kind, "worker");
	CU_ASSERT_NOT_EQUAL(heir, workers[0]);
	CU_ASSERT_EQUAL(kill(consumer, SIGKILL), 0);
	(void)next_child(&s, kind);
	CU_ASSERT_STRING_EQUAL(kind, "consume");
	stage_close(&s, SIGTERM, EXIT_CODE_DONE);
}

static void
a_reload_that_cannot_be_is_refused_not_deadly(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer;
	char kind[16];

	whole_pool(&s, workers, &consumer);
	CU_ASSERT_EQUAL(kill(s.supervisor, SIGHUP), 0);
	CU_ASSERT_EQUAL(kill(s.supervisor, SIGUSR2), 0);
	CU_ASSERT_EQUAL(kill(workers[1], SIGKILL), 0);
	(void)next_child(&s, kind); /* it is still there to do that */
	CU_ASSERT_STRING_EQUAL(kind, "worker");
	stage_close(&s, SIGINT, EXIT_CODE_DONE);
}

static void
nobody_outlives_a_killed_supervisor_and_the_next_one_takes_over(void)
{
	struct stage s;
	pid_t workers[2], consumer;

	CU_ASSERT_EQUAL_FATAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	s = stage_open();
	whole_pool(&s, workers, &consumer);
	CU_ASSERT_EQUAL(kill(workers[0], SIGSTOP), 0); /* not even a stopped one */
	CU_ASSERT_EQUAL(kill(s.supervisor, SIGKILL), 0);
	CU_ASSERT_EQUAL(end_of(s.supervisor), 1000 + SIGKILL);
	CU_ASSERT_EQUAL(end_of(workers[0]), 1000 + SIGKILL);
	(void)end_of(workers[1]); /* by the signal or by its lifeline */
	(void)end_of(consumer);
	CU_ASSERT_EQUAL(access(path_of("state/weir.sock"), F_OK), 0);
	s.supervisor = start_supervisor();
	whole_pool(&s, workers, &consumer);
	stage_close(&s, SIGTERM, EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void
a_second_one_on_the_same_state_folder_is_refused(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer;

	whole_pool(&s, workers, &consumer);
	CU_ASSERT_EQUAL(end_of(start_supervisor()), EXIT_CODE_FAILED);
	CU_ASSERT_NOT_EQUAL(connect_to(path_of("state/weir.sock")), -1);
	stage_close(&s, SIGTERM, EXIT_CODE_DONE);
}

static void
sockets_that_cannot_be_bound_are_a_fault_of_the_configuration(void)
{
	struct stage s;

	fresh_dir();
	write_script();
	CU_ASSERT_EQUAL(mkdir(path_of("state"), 0700), 0);
	CU_ASSERT_EQUAL(mkdir(path_of("state/weir.sock"), 0700), 0);
	s.supervisor = start_supervisor();
	CU_ASSERT_EQUAL(end_of(s.supervisor), EXIT_CODE_CONFIG);
}

static void
everybody_moves_when_the_segment_is_removed(void)
{
	struct stage s = stage_open();
	pid_t workers[2], consumer;
	char segment[PATH_BYTES] = "", again[PATH_BYTES] = "";
	FILE *f;

	whole_pool(&s, workers, &consumer);
	f = fopen(path_of("state/segment"), "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL(fgets(segment, sizeof segment, f));
	(void)fclose(f);
	segment[strcspn(segment, "\n")] = '\0';
	CU_ASSERT_EQUAL_FATAL(unlink(segment), 0);
	whole_pool(&s, workers, &consumer); /* all three come up again */
	f = fopen(path_of("state/segment"), "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL(fgets(again, sizeof again, f));
	(void)fclose(f);
	again[strcspn(again, "\n")] = '\0';
	CU_ASSERT_EQUAL(access(again, F_OK), 0);
	stage_close(&s, SIGTERM, EXIT_CODE_DONE);
	CU_ASSERT_EQUAL(access(again, F_OK), -1);
}

UNIT_SUITE(supervisor, TEST(a_child_that_has_worked_is_replaced_at_once_for_ever),
    TEST(one_that_dies_before_its_first_answer_comes_back_slower_each_time),
    TEST(a_worker_without_a_heartbeat_for_ten_seconds_is_at_fault),
    TEST(a_consumer_may_be_silent_for_as_long_as_a_batch_may_take),
    TEST(one_that_never_joins_is_at_fault_after_a_minute),
    TEST(a_socket_has_its_mode_and_goes_with_its_owner), TEST(a_dead_servers_socket_is_replaced),
    TEST(a_living_servers_socket_is_refused_and_left_alone),
    TEST(something_else_under_the_sockets_name_is_refused),
    TEST(a_socket_that_another_has_put_in_our_place_is_not_removed),
    TEST(a_tcp_port_is_bound_or_said_to_be_in_use), TEST(ready_says_every_reason_why_not),
    TEST(live_is_live_whatever_is_wrong_and_nothing_else_is_there),
    TEST(it_starts_the_pool_and_stops_it_when_told_to), TEST(a_graceful_stop_ends_it_too),
    TEST(a_killed_child_is_replaced), TEST(a_reload_that_cannot_be_is_refused_not_deadly),
    TEST(nobody_outlives_a_killed_supervisor_and_the_next_one_takes_over),
    TEST(a_second_one_on_the_same_state_folder_is_refused),
    TEST(sockets_that_cannot_be_bound_are_a_fault_of_the_configuration),
    TEST(everybody_moves_when_the_segment_is_removed));
