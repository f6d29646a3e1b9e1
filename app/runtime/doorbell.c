/*
 * One FIFO for each member, "bell.N" in the state folder.
 *
 * Its owner opens it for reading and writing, so that it never shows end of file when the last ringer goes.
 * A ringer keeps what it has opened; a broken pipe says that the member is another by now.  PIPE must be
 * ignored in this process (signals_open() does it).
 */
#include "runtime/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "telemetry/scoreboard.h"

enum { NAME_BYTES = 16 };

struct doorbell {
	int dir_fd;
	unsigned member;
	int fd;			       /* ours */
	pthread_mutex_t lock;	       /* of peers: held over calls that cannot block */
	int peers[SCOREBOARD_MEMBERS]; /* -1: not open */
};

static void
name_of(unsigned member, char out[NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, "bell.%u", member);
}

/* A forerunner's FIFO serves as well: who rang that one rings us. */
static int
open_own(int dir_fd, unsigned member)
{
	char name[NAME_BYTES];
	struct stat st;
	int fd;

	name_of(member, name);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISFIFO(st.st_mode))
		(void)unlinkat(dir_fd, name, 0);
	if (mkfifoat(dir_fd, name, 0600) == -1 && errno != EEXIST)
		return -1;
	fd = openat(dir_fd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	return fd;
}

enum err
doorbell_open(int state_dir_fd, unsigned member, struct doorbell **out)
{
	struct doorbell *d = calloc(1, sizeof *d);

	*out = NULL;
	if (d == NULL)
		return ERR_NOMEM;
	d->dir_fd = state_dir_fd;
	d->member = member;
	d->fd = open_own(state_dir_fd, member);
	if (d->fd == -1) {
		log_error("doorbell_failed", LOG_INT("member", member), LOG_INT("errno", errno));
		free(d);
		return ERR_IO;
	}
	(void)pthread_mutex_init(&d->lock, NULL);
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++)
		d->peers[i] = -1;
	*out = d;
	return ERR_OK;
}

void
doorbell_close(struct doorbell **dp)
{
	struct doorbell *d = *dp;
	char name[NAME_BYTES];

	if (d == NULL)
		return;
	*dp = NULL;
	name_of(d->member, name);
	(void)unlinkat(d->dir_fd, name, 0);
	(void)close(d->fd);
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++)
		if (d->peers[i] != -1)
			(void)close(d->peers[i]);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

int
doorbell_fd(const struct doorbell *d)
{
	return d->fd;
}

void
doorbell_drain(struct doorbell *d)
{
	char bytes[512];

	while (read(d->fd, bytes, sizeof bytes) > 0)
		continue;
}

/* False: nobody reads it. */
static bool
ring(int fd)
{
	return write(fd, "", 1) == 1 || errno == EAGAIN; /* full: rung already */
}

static int
open_peer(const struct doorbell *d, unsigned member)
{
	char name[NAME_BYTES];

	name_of(member, name);
	return openat(d->dir_fd, name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
}

void
doorbell_ring(struct doorbell *d, unsigned member)
{
	int *peer;

	if (member >= SCOREBOARD_MEMBERS)
		return;
	(void)pthread_mutex_lock(&d->lock);
	peer = &d->peers[member];
	if (*peer == -1 || !ring(*peer)) {
		if (*peer != -1)
			(void)close(*peer);
		*peer = open_peer(d, member);
		if (*peer != -1)
			(void)ring(*peer);
	}
	(void)pthread_mutex_unlock(&d->lock);
}
