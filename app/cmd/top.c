/*
 * weir top: the state of everything, live in a terminal.
 *
 * Draws by itself, with the few escape sequences that every terminal knows: each second the whole screen from its
 * upper left corner, line by line, so nothing flickers and a new size of the window needs no more than the next
 * drawing.  Where nobody watches (no terminal) it prints once, and ends.
 */
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "client/shm.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "cmd/top_screen.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"
#include "runtime/snapshot.h"

enum {
	STEP_MS = 1000,
	FRAME_BYTES_MAX = 256 * 1024,
	ROWS = 24,
	COLUMNS = 80,
	SEEN = SNAPSHOT_WINDOW_S
};

struct top {
	const struct config *config;
	struct runtime rt;
	bool joined; /* rt is open */
	struct snapshot *snapshot;
	struct history_row seen[SEEN]; /* by us, a ring: where no supervisor keeps a history */
	size_t seen_count;
	struct top_screen screen;
	bool colour;
};

static volatile sig_atomic_t told_to_stop, resized;

static void
on_signal(int signal)
{
	if (signal == SIGWINCH)
		resized = 1;
	else
		told_to_stop = 1;
}

/*
 * Looking.
 */
static enum err
join(struct top *t, struct fault_list *faults)
{
	const enum err rc = runtime_open(
	    t->config, NULL, RUNTIME_SEGMENT | RUNTIME_QUEUE | RUNTIME_JOIN, 0, faults, &t->rt);

	t->joined = rc == ERR_OK;
	return rc;
}

static void
leave(struct top *t)
{
	if (t->joined)
		runtime_close(&t->rt);
	t->joined = false;
	t->seen_count = 0; /* another segment counts anew */
}

static const struct history_row *
oldest_seen(const struct top *t)
{
	return &t->seen[t->seen_count < SEEN ? 0 : t->seen_count % SEEN];
}

/* True: somebody lives there, and the snapshot tells of it. */
static bool
look(struct top *t)
{
	if (!t->joined)
		return false;
	snapshot_gather(&t->rt, t->snapshot);
	if (t->snapshot->window.ms == 0 && t->seen_count > 0)
		t->snapshot->window = snapshot_between(oldest_seen(t), &t->snapshot->row);
	t->seen[t->seen_count++ % SEEN] = t->snapshot->row;
	return t->snapshot->member_count > 0;
}

/* The pool may end and begin anew, with another segment, while somebody watches. */
static void
look_again(struct top *t)
{
	struct fault_list faults;

	if (t->joined && !shm_check(t->rt.regions->shm))
		leave(t);
	if (!t->joined) {
		fault_init(&faults);
		(void)join(t, &faults);
		fault_free(&faults);
	}
	if (look(t)) {
		top_screen_fill(t->snapshot, &t->screen);
		return;
	}
	top_screen_clear(&t->screen);
	top_screen_say(&t->screen, TOP_BAD, "nothing is running; waiting for it");
}

/*
 * Drawing.
 */
static const char *
style_code(const struct top *t, enum top_style s)
{
	static const char *const colours[] = {
		[TOP_PLAIN] = "",
		[TOP_TITLE] = "\033[1m",
		[TOP_HEAD] = "\033[7m",
		[TOP_WARN] = "\033[33m",
		[TOP_BAD] = "\033[1;31m",
	};
	static const char *const plain[] = {
		[TOP_PLAIN] = "",
		[TOP_TITLE] = "\033[1m",
		[TOP_HEAD] = "\033[7m",
		[TOP_WARN] = "",
		[TOP_BAD] = "\033[1m",
	};

	return (t->colour ? colours : plain)[s];
}

static void
write_all(const struct strbuf *b)
{
	for (size_t done = 0; done < b->len;) {
		const ssize_t n = write(STDOUT_FILENO, b->ptr + done, b->len - done);

		if (n <= 0)
			return; /* the next drawing is the whole screen again */
		done += (size_t)n;
	}
}

static void
draw(const struct top *t)
{
	struct strbuf b = STRBUF_INIT(FRAME_BYTES_MAX);
	struct winsize size = { .ws_row = ROWS, .ws_col = COLUMNS };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == -1 || size.ws_row == 0 || size.ws_col == 0)
		size = (struct winsize){ .ws_row = ROWS, .ws_col = COLUMNS };
	strbuf_add_cstr(&b, "\033[H");
	for (size_t i = 0; i < t->screen.count && i + 1 < size.ws_row; i++) {
		strbuf_add_cstr(&b, style_code(t, t->screen.lines[i].style));
		strbuf_add_slice(&b, top_screen_line(&t->screen, i, size.ws_col));
		strbuf_add_cstr(&b, "\033[0m\033[K\r\n");
	}
	strbuf_add_cstr(&b, "\033[Jq: quit");
	write_all(&b);
	strbuf_free(&b);
}

/*
 * The terminal.
 */
static void
take_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
	(void)sigaction(SIGWINCH, &action, NULL);
}

/* Keys come one by one and are not shown; ^Z, which would leave the terminal like that, does nothing. */
static bool
take_keyboard(struct termios *before_out)
{
	struct termios now;

	if (tcgetattr(STDIN_FILENO, before_out) == -1)
		return false;
	now = *before_out;
	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	now.c_cc[VSUSP] = _POSIX_VDISABLE;
	return tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

/* Waits for the next drawing; true: a person or a signal wants the end. */
static bool
pause_or_quit(bool keyboard, int64_t until_ms)
{
	struct pollfd keys = { .fd = keyboard ? STDIN_FILENO : -1, .events = POLLIN };
	char key;

	while (!told_to_stop && !resized) {
		const int64_t left_ms = until_ms - clock_mono_ms();

		if (left_ms <= 0)
			return false;
		if (poll(&keys, 1, (int)left_ms) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
			return true;
	}
	resized = 0;
	return told_to_stop;
}

static void
watch(struct top *t)
{
	static const char begin[] = "\033[?1049h\033[?25l", end[] = "\033[?25h\033[?1049l";
	struct termios before;
	const bool keyboard = take_keyboard(&before);

	take_signals();
	(void)!write(STDOUT_FILENO, begin, sizeof begin - 1);
	do {
		look_again(t);
		draw(t);
	} while (!pause_or_quit(keyboard, clock_mono_ms() + STEP_MS));
	(void)!write(STDOUT_FILENO, end, sizeof end - 1);
	if (keyboard)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static enum exit_code
print_once(struct top *t)
{
	struct strbuf b = STRBUF_INIT(FRAME_BYTES_MAX);
	enum exit_code rc;

	top_screen_fill(t->snapshot, &t->screen);
	for (size_t i = 0; i < t->screen.count; i++) {
		strbuf_add_slice(&b, top_screen_line(&t->screen, i, SIZE_MAX));
		strbuf_add_char(&b, '\n');
	}
	rc = command_print(&b);
	strbuf_free(&b);
	return rc;
}

static enum exit_code
top(struct top *t)
{
	if (!look(t))
		return begin_nothing_runs(t->config);
	if (!isatty(STDOUT_FILENO))
		return print_once(t);
	watch(t);
	return EXIT_CODE_DONE;
}

static enum exit_code
open_and_run(const struct config *c)
{
	struct top t = { .config = c, .screen = TOP_SCREEN_INIT };
	const char *no_colour = getenv("NO_COLOR");
	struct fault_list faults;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = join(&t, &faults);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	(void)setlocale(LC_CTYPE, "");
	t.screen.blocks = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	t.colour = no_colour == NULL || *no_colour == '\0';
	t.snapshot = snapshot_new();
	code = t.snapshot == NULL ? EXIT_CODE_FAILED : top(&t);
	snapshot_free(&t.snapshot);
	top_screen_free(&t.screen);
	leave(&t);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	enum exit_code rc = begin_command(line, NULL, 0, &c);

	if (rc == EXIT_CODE_DONE)
		rc = open_and_run(c);
	config_free(&c);
	return rc;
}

const struct command command_top = {
	.name = "top",
	.operands = "",
	.summary = "Shows the state of everything that runs on this state folder, live",
	.help = "Draws once a second until `q`.  Without a terminal it prints once.  NO_COLOR is "
		"honoured.\n",
	.run = run,
};
