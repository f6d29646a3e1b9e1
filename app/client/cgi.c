/*
 * CGI: the reader and the writer.
 *
 * Not here: what the parameters mean (http/request.c) and in what order things are done (runtime/errand.c).
 */
#include "client/cgi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { DROPPED_MAX = 64 << 20, PIECE_BYTES = 65536 };

static struct slice
value_of(const char *const *envp, const char *name)
{
	const size_t n = strlen(name);

	for (; *envp != NULL; envp++)
		if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
			return slice_of(*envp + n + 1);
	return (struct slice){ 0 };
}

bool
cgi_is_asked(const char *const *envp)
{
	return value_of(envp, "GATEWAY_INTERFACE").len > 0 &&
	       value_of(envp, "REQUEST_METHOD").len > 0;
}

/* A length that is none is said by http/request.c. */
void
cgi_open(struct cgi *c, const char *const *envp, int in_fd, int out_fd)
{
	const struct slice length = value_of(envp, "CONTENT_LENGTH");
	const int flags = fcntl(out_fd, F_GETFL);
	int64_t bytes = 0;

	*c = (struct cgi){ .in_fd = in_fd, .out_fd = out_fd };
	if (flags != -1)
		(void)fcntl(out_fd, F_SETFL, flags | O_NONBLOCK);
	if (length.len > 0)
		c->body_bytes =
		    slice_to_i64(length, &bytes) == ERR_OK && bytes > 0 ? (uint64_t)bytes : 0;
	else if (value_of(envp, "HTTP_TRANSFER_ENCODING").len > 0)
		c->body_bytes = UINT64_MAX; /* it came in chunks, and the front has joined them */
	c->has_body = c->body_bytes > 0;
}

static enum err
wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left;
	int n;

	do {
		left = deadline_ms - clock_mono_ms();
		n = left <= 0 ? 0 : poll(&p, 1, left > 60000 ? 60000 : (int)left);
	} while (n == -1 && errno == EINTR);
	if (n == -1)
		return ERR_IO;
	return n == 0 ? ERR_TIMEOUT : ERR_OK;
}

/* One piece of at most ${most}; *${n_out} 0: the end. */
static enum err
read_piece(const struct cgi *c, char *out, size_t most, int64_t deadline_ms, size_t *n_out)
{
	enum err rc;
	ssize_t n;

	*n_out = 0;
	do {
		rc = wait_for(c->in_fd, POLLIN, deadline_ms);
		if (rc != ERR_OK)
			return rc;
		n = read(c->in_fd, out, most);
	} while (n == -1 && (errno == EINTR || errno == EAGAIN));
	if (n == -1)
		return ERR_IO;
	*n_out = (size_t)n;
	return ERR_OK;
}

enum err
cgi_body(struct cgi *c, char *out, size_t cap, int64_t deadline_ms, size_t *total_out)
{
	char dropped[8192];
	size_t n = 1;
	enum err rc = ERR_OK;

	*total_out = 0;
	while (rc == ERR_OK && c->body_bytes > 0 && n > 0) {
		const bool keep = *total_out < cap;
		size_t most = keep ? cap - *total_out : sizeof dropped;

		if (most > PIECE_BYTES)
			most = PIECE_BYTES;
		if (most > c->body_bytes)
			most = (size_t)c->body_bytes;
		if (*total_out > cap + DROPPED_MAX)
			return ERR_TOO_LARGE;
		rc = read_piece(c, keep ? out + *total_out : dropped, most, deadline_ms, &n);
		*total_out += n;
		if (c->body_bytes != UINT64_MAX)
			c->body_bytes -= n;
	}
	if (rc == ERR_OK && c->body_bytes > 0 && c->body_bytes != UINT64_MAX)
		rc = ERR_IO;
	c->body_bytes = 0;
	return rc;
}

static enum err
write_whole(int fd, struct slice bytes, int64_t deadline_ms)
{
	enum err rc = ERR_OK;

	while (bytes.len > 0 && rc == ERR_OK) {
		const ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n >= 0) {
			bytes.ptr += n;
			bytes.len -= (size_t)n;
		} else if (errno == EAGAIN) {
			rc = wait_for(fd, POLLOUT, deadline_ms);
		} else if (errno != EINTR) {
			rc = ERR_IO;
		}
	}
	return rc;
}

enum err
cgi_reply(struct cgi *c, struct slice head, struct slice body, int64_t deadline_ms)
{
	const enum err rc = write_whole(c->out_fd, head, deadline_ms);

	return rc == ERR_OK ? write_whole(c->out_fd, body, deadline_ms) : rc;
}

void
cgi_let_go(struct cgi *c)
{
	const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nowhere == -1) {
		(void)close(c->out_fd);
		return;
	}
	(void)dup2(nowhere, c->in_fd);
	(void)dup2(nowhere, c->out_fd);
	(void)dup2(nowhere, STDERR_FILENO);
	(void)close(nowhere);
}
