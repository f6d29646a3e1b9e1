/*
 * weir consume: the consumer as a process of its own, as a child of `weir serve`, or once.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "runtime/consumer.h"
#include "runtime/forwarder.h"
#include "runtime/runtime.h"
#include "runtime/signals.h"
#include "telemetry/scoreboard.h"

enum { OPTION_ONCE, OPTION_CHILD, OPTION_FORWARD, OPTION_BEHIND, OPTION_NO_MIGRATE };

enum { BEAT_MS = 1000, BEHIND_MS = 1000 /* behind a CGI request */ };

enum {
	NEEDS = RUNTIME_SEGMENT | RUNTIME_MEMBER | RUNTIME_CATALOG | RUNTIME_DATABASE |
		RUNTIME_QUEUE | RUNTIME_REDIS | RUNTIME_TRACES
};

/* True: go on. */
static bool
take_signal(int signal)
{
	switch (signal) {
	case SIGTERM:
	case SIGINT:
	case SIGQUIT:
		return false;
	case SIGUSR1:
		(void)log_reopen();
		return true;
	default:
		return true;
	}
}

/* Until a signal says so, or the supervisor has died.  A consumer beats itself: its loop is what may hang. */
static void
wait_for_end(const struct runtime *rt, bool beaten, int signals_fd, int lifeline_fd)
{
	struct pollfd fds[] = { { .fd = signals_fd, .events = POLLIN }, { .fd = lifeline_fd } };
	bool go_on = true;
	int signal;

	while (go_on && fds[1].revents == 0) {
		if (!beaten)
			scoreboard_beat(rt->scoreboard, rt->member, clock_mono_ms());
		if (poll(fds, sizeof fds / sizeof *fds, beaten ? -1 : BEAT_MS) == -1 &&
		    errno != EINTR)
			return;
		while (go_on && (signal = signals_next(signals_fd)) != 0)
			go_on = take_signal(signal);
	}
}

static enum exit_code
keep_consuming(struct runtime *rt, bool apply, int signals_fd)
{
	struct forwarder *forwarder;
	struct consumer *consumer = NULL;
	enum err rc = forwarder_start(rt, &forwarder);

	if (rc == ERR_OK && apply)
		rc = consumer_start(rt, &consumer);
	if (rc == ERR_OK)
		wait_for_end(rt, apply, signals_fd, begin_lifeline());
	consumer_stop(&consumer);
	forwarder_stop(&forwarder);
	return rc == ERR_OK ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

static enum exit_code
consume_once(struct runtime *rt, int64_t most_ms)
{
	const enum err rc = consumer_drain(rt, most_ms);

	if (rc == ERR_CONFLICT) {	   /* which is what a cron job beside `weir serve` finds */
		if (isatty(STDERR_FILENO)) /* cron would mail it every minute */
			(void)fprintf(stderr, "weir consume: another consumer is at work on %s\n",
			    rt->config->state_dir);
		return EXIT_CODE_DONE;
	}
	if (rc != ERR_OK)
		(void)fprintf(
		    stderr, "weir consume: failed (%s), the rest stays queued\n", err_name(rc));
	return rc == ERR_OK ? EXIT_CODE_DONE : EXIT_CODE_FAILED;
}

static enum exit_code
consume(const struct command_line *line, const struct config *c)
{
	const bool behind = line->given[OPTION_BEHIND].count > 0;
	struct fault_list faults;
	struct runtime rt;
	enum exit_code code;
	int signals_fd = -1;
	enum err rc = ERR_OK;

	fault_init(&faults);
	if (line->given[OPTION_ONCE].count == 0 && !behind)
		rc = signals_open(&signals_fd);
	if (rc == ERR_OK)
		rc = runtime_open(c, &handlers, behind ? NEEDS | RUNTIME_KEEP : NEEDS,
		    MEMBER_CONSUMER, &faults, &rt);
	if (rc != ERR_OK)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	code = signals_fd == -1
		   ? consume_once(&rt, behind ? BEHIND_MS : INT64_MAX)
		   : keep_consuming(&rt, line->given[OPTION_FORWARD].count == 0, signals_fd);
	runtime_close(&rt);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	static const struct config_override by_others = { "WEIR_MIGRATE", "off" };
	enum exit_code rc =
	    begin_command(line, &by_others, line->given[OPTION_NO_MIGRATE].count > 0 ? 1 : 0, &c);

	if (rc == EXIT_CODE_DONE)
		rc = consume(line, c);
	config_free(&c);
	return rc;
}

const struct command command_consume = {
	.name = "consume",
	.operands = "",
	.summary = "Applies queued writes to the database",
	.help = "One consumer is at work on a host; a second one waits until the first has ended.\n",
	.options = {
		[OPTION_ONCE] = { "--once", NULL, "apply what is queued, then exit (for cron)", false },
		[OPTION_NO_MIGRATE] = { "--no-migrate", NULL,
		    "do not make weir's own tables, as WEIR_MIGRATE=off", false },
		[OPTION_CHILD] = { "--child", NULL, NULL, false },
		[OPTION_FORWARD] = { "--forward", NULL, NULL, false },
		[OPTION_BEHIND] = { "--behind", NULL, NULL, false },
	},
	.run = run,
};
