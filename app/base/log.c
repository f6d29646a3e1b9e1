/*
 * One event a line, and one write(2) a line.
 *
 * A line is built on the stack, within a bound, and never breaks in the
 * middle of an escape: what does not fit is left out and the line says so.
 * The file keeps one descriptor for life; reopening moves another file onto
 * it, so no thread ever writes to a closed one.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	LINE_BYTES = 8192,
	HOLD_BYTES = 64 * 1024,
	GATE_MS = 1000,
};

/* Ends of a line that was cut; the room for them is never given to a field. */
#define CUT_JSON ",\"truncated\":true"
#define CUT_TEXT " truncated=true"
enum { TAIL_BYTES = sizeof "\"" CUT_JSON "}\n" };

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_ERROR] = "error",
};
static const char *const level_shouts[] = {
	[LOG_LEVEL_DEBUG] = "DEBUG",
	[LOG_LEVEL_INFO] = "INFO",
	[LOG_LEVEL_WARN] = "WARN",
	[LOG_LEVEL_ERROR] = "ERROR",
};

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic bool as_text;
static _Atomic int out_fd = STDERR_FILENO;
static char *out_path; /* of open and reopen only, which one thread calls */

static _Thread_local struct {
	char *bytes;
	size_t len;
	bool on;
} hold;
static pthread_once_t hold_once = PTHREAD_ONCE_INIT;
static pthread_key_t hold_key; /* frees a thread's buffer when the thread ends */

/* A line in the making. */
struct line {
	size_t len;
	bool text, cut;
	char bytes[LINE_BYTES];
};

static int
open_file(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
}

static enum err
move_output(const char *path)
{
	const int fd = path == NULL ? STDERR_FILENO : open_file(path);
	const int old = atomic_load(&out_fd);
	bool moved;

	if (fd == -1)
		return ERR_IO;
	if (fd == old)
		return ERR_OK;
	if (old == STDERR_FILENO) {
		atomic_store(&out_fd, fd);
		return ERR_OK;
	}
	moved = dup3(fd, old, O_CLOEXEC) != -1;
	if (fd != STDERR_FILENO)
		(void)close(fd);
	return moved ? ERR_OK : ERR_IO;
}

enum err
log_open(const struct log_options *o)
{
	char *path = o->file == NULL ? NULL : strdup(o->file);
	enum err rc;

	if (o->file != NULL && path == NULL)
		return ERR_NOMEM;
	rc = move_output(path);
	if (rc != ERR_OK) {
		free(path);
		return rc;
	}
	free(out_path);
	out_path = path;
	atomic_store(&threshold, (int)o->level);
	atomic_store(&as_text, o->text);
	return ERR_OK;
}

enum err
log_reopen(void)
{
	return out_path == NULL ? ERR_OK : move_output(out_path);
}

bool
log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static void
write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		const ssize_t n = write(fd, bytes, len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* a full disk: there is no one left to tell */
		bytes += n;
		len -= (size_t)n;
	}
}

/* Bytes that a field may still take. */
static size_t
room(const struct line *l)
{
	return l->cut ? 0 : sizeof l->bytes - TAIL_BYTES - l->len;
}

/* All of ${bytes} or nothing, so that no escape is halved; false once the line is cut. */
static bool
add(struct line *l, const char *bytes, size_t len)
{
	if (len > room(l)) {
		l->cut = true;
		return false;
	}
	memcpy(l->bytes + l->len, bytes, len);
	l->len += len;
	return true;
}

static bool
add_cstr(struct line *l, const char *s)
{
	return add(l, s, strlen(s));
}

static bool
add_int(struct line *l, int64_t n)
{
	char digits[I64_BYTES];

	return add(l, digits, i64_write(n, digits));
}

static void
add_control(struct line *l, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	(void)add(l, (const char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
}

/* Adds the character that ${s} begins with, escaped, and returns how many bytes it had. */
static size_t
add_char(struct line *l, struct slice s)
{
	static const char from[] = "\"\\\n\r\t", to[] = "\"\\nrt";
	const unsigned char c = (unsigned char)*s.ptr;
	const char *escape = c == '\0' ? NULL : strchr(from, c);
	const size_t n = utf8_first(s);

	if (escape != NULL)
		(void)add(l, (const char[]){ '\\', to[escape - from] }, 2);
	else if (c < 0x20 || c == 0x7f)
		add_control(l, c);
	else if (c == 0xc2 && n == 2 && (unsigned char)s.ptr[1] < 0xa0)
		add_control(l, (unsigned char)s.ptr[1]); /* C1: commands to a terminal */
	else if (n == 0)
		(void)add_cstr(l, "\\ufffd");
	else
		(void)add(l, s.ptr, n);
	return n == 0 ? 1 : n;
}

/* How many of the first bytes stand for themselves: most values are nothing else. */
static size_t
plain_bytes(struct slice s, size_t most)
{
	size_t n = 0;

	while (n < s.len && n < most && s.ptr[n] >= ' ' && s.ptr[n] <= '~' && s.ptr[n] != '"' &&
	       s.ptr[n] != '\\')
		n++;
	return n;
}

/* A string that is cut still ends with its quote: the tail has room for it. */
static bool
add_quoted(struct line *l, struct slice s)
{
	if (!add(l, "\"", 1))
		return false;
	for (size_t at = 0, n; at < s.len && !l->cut; at += n) {
		const struct slice rest = { s.ptr + at, s.len - at };

		n = plain_bytes(rest, room(l));
		if (n > 0)
			(void)add(l, rest.ptr, n);
		else
			n = add_char(l, rest);
	}
	l->bytes[l->len++] = '"';
	return true;
}

/* Text values that a reader takes for one word go without quotes. */
static bool
is_word(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || strchr("\"\\=", s.ptr[i]) != NULL)
			return false;
	return s.len > 0 && s.len < LINE_BYTES / 2;
}

static bool
add_string(struct line *l, struct slice s)
{
	if (s.ptr == NULL)
		return add_cstr(l, "null");
	if (l->text && is_word(s))
		return add(l, s.ptr, s.len);
	return add_quoted(l, s);
}

static bool
add_value(struct line *l, const struct log_field *f)
{
	switch (f->kind) {
	case LOG_FIELD_STR:
		return add_string(l, slice_of(f->as.str));
	case LOG_FIELD_INT:
		return add_int(l, f->as.num);
	case LOG_FIELD_SLICE:
		return add_string(l, f->as.slice);
	}
	return false;
}

/* A field that does not fit leaves no trace, but a string may be shortened. */
static void
add_field(struct line *l, const struct log_field *f)
{
	const size_t start = l->len;
	bool ok = add_cstr(l, l->text ? " " : ",\"") && add_cstr(l, f->name) &&
		  add_cstr(l, l->text ? "=" : "\":") && add_value(l, f);

	if (!ok)
		l->len = start;
}

static _Atomic pid_t pid_seen;

static void
forget_pid(void)
{
	atomic_store_explicit(&pid_seen, 0, memory_order_relaxed);
}

static void
watch_forks(void)
{
	(void)pthread_atfork(NULL, NULL, forget_pid);
}

/* getpid() is a system call, and this runs for every request. */
static pid_t
own_pid(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pid_t pid = atomic_load_explicit(&pid_seen, memory_order_relaxed);

	if (pid == 0) {
		(void)pthread_once(&once, watch_forks);
		pid = getpid();
		atomic_store_explicit(&pid_seen, pid, memory_order_relaxed);
	}
	return pid;
}

static void
begin_line(struct line *l, enum log_level level, const char *event)
{
	char ts[CLOCK_RFC3339_BYTES];

	(void)clock_rfc3339(clock_wall_us(), ts);
	l->len = 0;
	l->cut = false;
	l->text = atomic_load_explicit(&as_text, memory_order_relaxed);
	(void)add_cstr(l, l->text ? "" : "{\"ts\":\"");
	(void)add_cstr(l, ts);
	(void)add_cstr(l, l->text ? " " : "\",\"level\":\"");
	(void)add_cstr(l, (l->text ? level_shouts : level_names)[level]);
	(void)add_cstr(l, l->text ? " " : "\",\"event\":");
	(void)add_string(l, slice_of(event));
	add_field(l, &LOG_INT("pid", own_pid()));
}

static void
end_line(struct line *l)
{
	const char *cut = l->text ? CUT_TEXT : CUT_JSON;
	const char *end = l->text ? "\n" : "}\n";

	if (l->cut) {
		memcpy(l->bytes + l->len, cut, strlen(cut));
		l->len += strlen(cut);
	}
	memcpy(l->bytes + l->len, end, strlen(end));
	l->len += strlen(end);
}

static void
flush(void)
{
	write_all(atomic_load(&out_fd), hold.bytes, hold.len);
	hold.len = 0;
}

static void
emit(const struct line *l)
{
	if (!hold.on) {
		write_all(atomic_load(&out_fd), l->bytes, l->len);
		return;
	}
	if (l->len > HOLD_BYTES - hold.len)
		flush();
	memcpy(hold.bytes + hold.len, l->bytes, l->len);
	hold.len += l->len;
}

static void
make_line(struct line *l, enum log_level level, const char *event, const struct log_field *fields,
    size_t n)
{
	begin_line(l, level, event);
	for (size_t i = 0; i < n; i++)
		add_field(l, &fields[i]);
	end_line(l);
}

void
log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
	const int saved = errno; /* callers log between a failure and looking at errno */
	struct line l;		 /* not zeroed: 8 KiB a line would cost more than the line */

	if (!log_enabled(level))
		return;
	make_line(&l, level, event, fields, n);
	emit(&l);
	errno = saved;
}

/*
 * A second file.
 */
struct log_file {
	int fd; /* for life, as that of the log */
	char *path;
};

enum err
log_file_open(const char *path, struct log_file **out)
{
	struct log_file *f = calloc(1, sizeof *f);

	if (f != NULL)
		f->path = strdup(path);
	if (f == NULL || f->path == NULL) {
		free(f);
		return ERR_NOMEM;
	}
	f->fd = open_file(path);
	if (f->fd == -1) {
		free(f->path);
		free(f);
		return ERR_IO;
	}
	*out = f;
	return ERR_OK;
}

enum err
log_file_reopen(struct log_file *f)
{
	const int fd = open_file(f->path);
	bool moved;

	if (fd == -1)
		return ERR_IO;
	moved = dup3(fd, f->fd, O_CLOEXEC) != -1;
	(void)close(fd);
	return moved ? ERR_OK : ERR_IO;
}

void
log_file_close(struct log_file **fp)
{
	struct log_file *f = *fp;

	if (f == NULL)
		return;
	*fp = NULL;
	(void)close(f->fd);
	free(f->path);
	free(f);
}

void
log_file_write(struct log_file *f, enum log_level level, const char *event,
    const struct log_field *fields, size_t n)
{
	const int saved = errno;
	struct line l;

	make_line(&l, level, event, fields, n);
	write_all(f->fd, l.bytes, l.len);
	errno = saved;
}

static void
make_key(void)
{
	if (pthread_key_create(&hold_key, free) != 0)
		abort(); /* at start, before anything is served */
}

void
log_hold(void)
{
	if (hold.bytes == NULL) {
		(void)pthread_once(&hold_once, make_key);
		hold.bytes = malloc(HOLD_BYTES);
		if (hold.bytes == NULL)
			return; /* every line is then written at once */
		(void)pthread_setspecific(hold_key, hold.bytes);
	}
	hold.on = true;
}

void
log_release(void)
{
	const int saved = errno;

	flush();
	hold.on = false;
	errno = saved;
}

bool
log_gate_open(struct log_gate *gate, int64_t now_ms, uint64_t *suppressed_out)
{
	int64_t next = atomic_load(&gate->next_ms);

	if (now_ms < next ||
	    !atomic_compare_exchange_strong(&gate->next_ms, &next, now_ms + GATE_MS)) {
		atomic_fetch_add(&gate->held, 1);
		return false;
	}
	*suppressed_out = atomic_exchange(&gate->held, 0);
	return true;
}
