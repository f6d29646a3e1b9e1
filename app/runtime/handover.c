/*
 * A supervisor becomes another binary.
 *
 * Descriptors are told by their numbers and lose close-on-exec for the moment of the exec alone; who takes them sets it
 * again, for no child may keep them.
 */
#include "runtime/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

enum {
	DESCRIPTORS = 5,
	TEXT_BYTES_MAX = 64 << 10,
	ARGUMENTS_BYTES_MAX = 2 << 20,
};

extern char **environ;

/* Their places in the text. */
static void
list_descriptors(struct handover *h, int *fds[DESCRIPTORS])
{
	fds[0] = &h->listen_fd;
	fds[1] = &h->admin_fd;
	fds[2] = &h->lock_fd;
	fds[3] = &h->lifeline[0];
	fds[4] = &h->lifeline[1];
}

enum err
handover_of(const struct pool *p, struct handover *out)
{
	*out = (struct handover){ .lifeline = { p->lifeline_read, p->lifeline_write },
		.children = calloc(POOL_PLACES, sizeof *out->children) };
	if (out->children == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < POOL_PLACES; i++)
		if (p->children[i].pid != 0)
			out->children[out->child_count++] = p->children[i];
	return ERR_OK;
}

void
handover_free(struct handover *h)
{
	free(h->children);
	h->children = NULL;
}

/*
 * Giving.
 */
static void
write_text(struct handover *h, struct strbuf *b)
{
	int *fds[DESCRIPTORS];

	list_descriptors(h, fds);
	strbuf_add_cstr(b, HANDOVER_NAME "=1");
	for (size_t i = 0; i < DESCRIPTORS; i++)
		strbuf_addf(b, " %d", *fds[i]);
	strbuf_addf(b, " %d", h->given);
	for (size_t i = 0; i < h->child_count; i++)
		strbuf_addf(b, " %d:%c:%d", (int)h->children[i].pid,
		    h->children[i].kind == MEMBER_WORKER ? 'w' : 'c', h->children[i].leaving);
	strbuf_add_char(b, '\0');
}

static enum err
read_arguments(struct strbuf *b)
{
	const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	char bytes[4096];
	ssize_t n;

	if (fd == -1)
		return ERR_IO;
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		strbuf_add(b, bytes, (size_t)n);
	(void)close(fd);
	return n == -1 || b->failed || b->len == 0 ? ERR_IO : ERR_OK;
}

/* Texts one after the other as a list; freed by free(). */
static char **
split(struct strbuf *texts)
{
	char **list;
	size_t n = 0;

	for (size_t i = 0; i < texts->len; i++)
		n += texts->ptr[i] == '\0';
	list = calloc(n + 1, sizeof *list);
	for (size_t i = 0, at = 0; list != NULL && i < n; i++) {
		list[i] = texts->ptr + at;
		at += strlen(list[i]) + 1;
	}
	return list;
}

/* Ours, and what is to be told; sockets that systemd gave are among the descriptors by now. */
static char **
environment_with(char *text)
{
	size_t n = 0, kept = 0;
	char **list;

	while (environ[n] != NULL)
		n++;
	list = calloc(n + 2, sizeof *list);
	for (size_t i = 0; list != NULL && i < n; i++)
		if (strncmp(environ[i], "LISTEN_", 7) != 0)
			list[kept++] = environ[i];
	if (list != NULL)
		list[kept] = text;
	return list;
}

static void
survive_exec(struct handover *h, bool on)
{
	int *fds[DESCRIPTORS];

	list_descriptors(h, fds);
	for (size_t i = 0; i < DESCRIPTORS; i++)
		(void)fcntl(*fds[i], F_SETFD, on ? 0 : FD_CLOEXEC);
}

enum err
handover_exec(const struct handover *h, const char *program)
{
	struct strbuf text = STRBUF_INIT(TEXT_BYTES_MAX),
		      arguments = STRBUF_INIT(ARGUMENTS_BYTES_MAX);
	struct handover told = *h;
	char **argv = NULL, **envp = NULL;

	write_text(&told, &text);
	if (!text.failed && read_arguments(&arguments) == ERR_OK) {
		argv = split(&arguments);
		envp = environment_with(text.ptr);
	}
	if (argv != NULL && envp != NULL) {
		survive_exec(&told, true);
		(void)execve(program, argv, envp);
		log_error(
		    "exec_failed", LOG_STR("program", program), LOG_STR("reason", strerror(errno)));
		survive_exec(&told, false);
	}
	free(argv);
	free(envp);
	strbuf_free(&text);
	strbuf_free(&arguments);
	return ERR_IO;
}

/*
 * Taking.
 */
static enum err
read_number(struct slice text, int *out)
{
	int64_t n;

	if (slice_to_i64(text, &n) != ERR_OK || n < 0 || n > INT32_MAX)
		return ERR_INVALID;
	*out = (int)n;
	return ERR_OK;
}

static enum err
read_child(struct slice text, struct child *out)
{
	const struct slice pid = slice_cut(&text, ':'), kind = slice_cut(&text, ':');
	int64_t n;

	if (slice_to_i64(pid, &n) != ERR_OK || n <= 1 || n > INT32_MAX)
		return ERR_INVALID;
	*out = (struct child){ .pid = (pid_t)n };
	if (!slice_eq_cstr(kind, "w") && !slice_eq_cstr(kind, "c"))
		return ERR_INVALID;
	out->kind = *kind.ptr == 'w' ? MEMBER_WORKER : MEMBER_CONSUMER;
	out->leaving = slice_eq_cstr(text, "1");
	return out->leaving || slice_eq_cstr(text, "0") ? ERR_OK : ERR_INVALID;
}

static enum err
parse_into(struct slice rest, struct handover *out)
{
	int *fds[DESCRIPTORS];
	enum err rc = slice_eq_cstr(slice_cut(&rest, ' '), "1") ? ERR_OK : ERR_INVALID;

	list_descriptors(out, fds);
	for (size_t i = 0; i < DESCRIPTORS && rc == ERR_OK; i++)
		rc = read_number(slice_cut(&rest, ' '), fds[i]);
	if (rc == ERR_OK)
		rc = read_number(slice_cut(&rest, ' '), &out->given);
	while (rc == ERR_OK && rest.ptr != NULL) {
		if (out->child_count == POOL_PLACES)
			return ERR_INVALID;
		rc = read_child(slice_cut(&rest, ' '), &out->children[out->child_count++]);
	}
	return rc;
}

enum err
handover_parse(const char *text, struct handover *out)
{
	enum err rc;

	*out = (struct handover){ .children = calloc(POOL_PLACES, sizeof *out->children) };
	if (out->children == NULL)
		return ERR_NOMEM;
	rc = parse_into(slice_of(text), out);
	if (rc != ERR_OK)
		handover_free(out);
	return rc;
}

enum err
handover_take(struct handover *out)
{
	const char *text = getenv(HANDOVER_NAME);
	int *fds[DESCRIPTORS];
	enum err rc;

	if (text == NULL)
		return ERR_NOT_FOUND;
	rc = handover_parse(text, out);
	(void)unsetenv(HANDOVER_NAME);
	if (rc != ERR_OK)
		return rc;
	list_descriptors(out, fds);
	for (size_t i = 0; i < DESCRIPTORS && rc == ERR_OK; i++)
		rc = fcntl(*fds[i], F_GETFD) == -1 ? ERR_INVALID : ERR_OK;
	survive_exec(out, false);
	if (rc != ERR_OK)
		handover_free(out);
	return rc;
}
