#ifndef RUNTIME_SERVER_SOCKET_H
#define RUNTIME_SERVER_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct fault_list;

/*
 * A listening socket that this process has bound: unix or TCP.
 *
 * A unix socket that a dead server left behind is replaced; one that answers is somebody's, and refused.
 */
struct server_socket {
	int fd;		  /* close-on-exec, backlog 4096 */
	const char *path; /* lent from the address; NULL for TCP */
	dev_t dev;	  /* of the path, so that only our own socket is unlinked */
	ino_t ino;
};

struct server_socket_options {
	const char *setting; /* whose fault it is: "WEIR_LISTEN" */
	const char *address; /* unix:/PATH or HOST:PORT; lent for the socket's life */
	int64_t mode;	     /* of a unix socket */
	const char *group;   /* NULL: the process's own */
	int64_t wait_ms;     /* for the workers of a killed supervisor to let go of it */
};

/* ERR_CONFLICT: in use; anything else is a fault of the settings.  Both are in the list. */
enum err server_socket_open(
    const struct server_socket_options *o, struct fault_list *faults, struct server_socket *out);

/* ${fd} listens already: given by systemd, or by the binary before this one; owned from now on.  Its path is removed at
 * the end when ${ours}. */
void server_socket_adopt(
    const struct server_socket_options *o, int fd, bool ours, struct server_socket *out);

/* How many sockets systemd has given this process (sd_listen_fds(3)), on SERVER_SOCKET_FIRST and what follows. */
enum { SERVER_SOCKET_FIRST = 3 };
int server_socket_given(void);

/* Closes it and removes its path.  Fine on a closed one (fd -1). */
void server_socket_close(struct server_socket *l);

#endif
