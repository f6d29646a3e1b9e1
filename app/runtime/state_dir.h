#ifndef RUNTIME_STATE_DIR_H
#define RUNTIME_STATE_DIR_H

#include "base/err.h"

struct fault_list;

/*
 * The state folder: made when it is not there (mode 0700), and refused when it cannot be trusted: another
 * owner, or a network file system, where locks and mapped files do not do what weir needs of them.
 * A folder of ours that others can read is closed to them; one that holds other things is refused instead.
 * A .htaccess in it denies everything, should it lie in a web root.
 *
 * ERR_INVALID, ERR_DENIED: it is not what it must be; ERR_IO.  The fault is in the list.
 */
enum err state_dir_open(const char *path, struct fault_list *faults, int *fd_out);

/* "tmpfs" or "overlayfs" when what is kept in ${fd} lives no longer than that does; NULL on a disk. */
const char *state_dir_fleeting(int fd);

#endif
