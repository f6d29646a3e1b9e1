/*
 * Binding of listening sockets.
 *
 * A unix socket is made under a mask that lets nobody in, and is opened to its group only when the
 * group is set, so there is no moment at which a stranger could connect.
 */
#include "runtime/server_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "runtime/config.h"

enum { BACKLOG = 4096, POLL_MS = 50, HOST_BYTES = 256 };

static enum err
fault(const struct server_socket_options *o, struct fault_list *faults, const char *what, int error)
{
	fault_add(faults, o->setting, 0, "%s: %s (%s)", o->address, what, strerror(error));
	return error == EADDRINUSE ? ERR_CONFLICT : ERR_INVALID;
}

static struct sockaddr_un
unix_address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path); /* config has measured it */
	return a;
}

/* 0: somebody answers; else the errno of the attempt. */
static int
knock(const char *path)
{
	const struct sockaddr_un a = unix_address(path);
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd == -1)
		return errno;
	error = connect(fd, (const struct sockaddr *)&a, sizeof a) == 0 ? 0 : errno;
	(void)close(fd);
	return error == EAGAIN ? 0 : error; /* its backlog is full: it lives */
}

static enum err
clear_path(const struct server_socket_options *o, const char *path, struct fault_list *faults)
{
	const int64_t until_ms = clock_mono_ms() + o->wait_ms;
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000L };
	struct stat st;
	int error;

	if (lstat(path, &st) == -1)
		return errno == ENOENT ? ERR_OK : fault(o, faults, "cannot be looked at", errno);
	if (!S_ISSOCK(st.st_mode))
		return fault(o, faults, "is there and is not a socket", EEXIST);
	while ((error = knock(path)) == 0 && clock_mono_ms() < until_ms)
		(void)nanosleep(&step, NULL);
	if (error == 0)
		return fault(o, faults, "another server answers there", EADDRINUSE);
	if (error != ECONNREFUSED && error != ENOENT)
		return fault(o, faults, "is not ours", error);
	if (unlink(path) == -1 && errno != ENOENT)
		return fault(o, faults, "the socket of a dead server cannot be removed", errno);
	return ERR_OK;
}

static enum err
open_to_group(const struct server_socket_options *o, const char *path, struct fault_list *faults)
{
	const struct group *g = o->group == NULL ? NULL : getgrnam(o->group);

	if (g != NULL && lchown(path, (uid_t)-1, g->gr_gid) == -1)
		return fault(o, faults, "cannot be given to WEIR_LISTEN_GROUP", errno);
	if (chmod(path, (mode_t)o->mode) == -1)
		return fault(o, faults, "cannot be given its mode", errno);
	return ERR_OK;
}

static enum err
bind_unix(const struct server_socket_options *o, const char *path, struct fault_list *faults,
    struct server_socket *l)
{
	const struct sockaddr_un a = unix_address(path);
	enum err rc = clear_path(o, path, faults);
	struct stat st;
	mode_t before;
	int bound;

	if (rc != ERR_OK)
		return rc;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	before = umask(0177);
	bound = l->fd == -1 ? -1 : bind(l->fd, (const struct sockaddr *)&a, sizeof a);
	(void)umask(before);
	if (bound == -1 || lstat(path, &st) == -1)
		return fault(o, faults, "cannot be bound", errno);
	l->path = path;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return open_to_group(o, path, faults);
}

static enum err
resolve(const struct server_socket_options *o, struct fault_list *faults, struct addrinfo **out)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	const char *colon = strrchr(o->address, ':'), *at = o->address;
	size_t len = (size_t)(colon - at);
	char host[HOST_BYTES];
	int error;

	if (*at == '[') {
		at++;
		len -= 2;
	}
	(void)snprintf(host, sizeof host, "%.*s", (int)len, at);
	error = getaddrinfo(host, colon + 1, &hints, out);
	if (error == 0)
		return ERR_OK;
	fault_add(faults, o->setting, 0, "%s: %s", o->address, gai_strerror(error));
	return ERR_INVALID;
}

static enum err
bind_tcp(const struct server_socket_options *o, struct fault_list *faults, struct server_socket *l)
{
	const int on = 1;
	struct addrinfo *list;
	enum err rc = resolve(o, faults, &list);

	if (rc != ERR_OK)
		return rc;
	l->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd == -1 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
	    bind(l->fd, list->ai_addr, list->ai_addrlen) == -1)
		rc = fault(o, faults, "cannot be bound", errno);
	freeaddrinfo(list);
	return rc;
}

enum err
server_socket_open(
    const struct server_socket_options *o, struct fault_list *faults, struct server_socket *out)
{
	const char *path = address_unix_path(o->address);
	struct server_socket l = { .fd = -1 };
	enum err rc;

	*out = l;
	rc = path != NULL ? bind_unix(o, path, faults, &l) : bind_tcp(o, faults, &l);
	if (rc == ERR_OK && listen(l.fd, BACKLOG) == -1)
		rc = fault(o, faults, "cannot listen", errno);
	if (rc != ERR_OK)
		server_socket_close(&l);
	*out = l;
	return rc;
}

void
server_socket_adopt(
    const struct server_socket_options *o, int fd, bool ours, struct server_socket *out)
{
	struct stat st;

	*out =
	    (struct server_socket){ .fd = fd, .path = ours ? address_unix_path(o->address) : NULL };
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (out->path == NULL || lstat(out->path, &st) == -1)
		return;
	out->dev = st.st_dev;
	out->ino = st.st_ino;
}

int
server_socket_given(void)
{
	const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	int64_t n, whose;

	if (count == NULL || pid == NULL || slice_to_i64(slice_of(pid), &whose) != ERR_OK ||
	    whose != (int64_t)getpid() || slice_to_i64(slice_of(count), &n) != ERR_OK)
		return 0;
	return n > 0 && n <= INT16_MAX ? (int)n : 0;
}

void
server_socket_close(struct server_socket *l)
{
	struct stat st;

	if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		(void)unlink(l->path);
	if (l->fd != -1)
		(void)close(l->fd);
	*l = (struct server_socket){ .fd = -1 };
}
