#ifndef CLIENT_SHM_H
#define CLIENT_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The shared segment of the host: one file, mapped by every process that joins it by path.
 *
 * Under flock(state/lock) the first comer makes it: posix_fallocate under a temporary name (a full /dev/shm
 * says so there; a hole would be SIGBUS later), fill, rename, and its path goes to state/segment.  Everybody else joins
 * what is there, if it is a regular file of our user, mode 0600, with one link, and of our layout and boot.
 * Members hold a shared flock; who gets it alone at the end unlinks it.  A segment whose members were all killed
 * is joined as it stands.  Failures are logged here, with the path.
 */
struct shm;

enum { SHM_HEADER_BYTES = 64 };

struct shm_options {
	int state_dir_fd;
	const char *state_dir; /* its real path */
	const char *path;      /* NULL: /dev/shm/weir-UID-STATE-LAYOUT */
	uint64_t layout_hash;  /* of all that must be equal in every member */
	size_t size_bytes;     /* whole, with the header */
	int64_t wait_ms;       /* for state/lock */
	bool keep;	       /* not removed by this one, even when it leaves last */
	bool join_only;	       /* never make one, and never remove it: only look */
	/* Fills the memory behind the header of a new segment (zeroed), before anybody can see it. */
	enum err (*fill)(void *ctx, void *mem);
	void *ctx;
};

/*
 *   ERR_NOT_FOUND  join_only, and there is none
 *   ERR_DENIED     what lies under the name is not ours, or not private
 *   ERR_MISMATCH   ${path} was given and holds a living segment of another layout
 *   ERR_FULL       no room, neither at the path nor in the state folder
 *   ERR_CONFLICT   state/lock was not to be had
 *   or what ${fill} answered
 */
enum err shm_open_segment(const struct shm_options *o, struct shm **out);

/* Leaves it; the last member unlinks it. */
void shm_close(struct shm **sp);

void *shm_memory(const struct shm *s); /* behind the header; aligned to 64 bytes */
const char *shm_path(const struct shm *s);
bool shm_made(const struct shm *s); /* by this call, not joined */

/* Once a second: false when the path is no longer this segment, so that newcomers would not meet us. */
bool shm_check(const struct shm *s);

#endif
