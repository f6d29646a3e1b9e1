/*
 * The shared segment: how it is made, found, trusted and left.
 *
 * Everything that decides (look, make, record, unlink) happens under state/lock, so none of it races
 * with another process of this state folder.  What lies in the segment is not known here.
 */
#include "client/shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/lock.h"
#include "base/log.h"

#define SHM_FOLDER	"/dev/shm"
#define RECORD_NAME	"segment"
#define RECORD_TEMP	"segment.new"
#define BOOT_ID_PATH	"/proc/sys/kernel/random/boot_id"
#define TEMP_SUFFIX	".new"
#define FALLBACK_PREFIX "weir-"
#define FALLBACK_NAME	FALLBACK_PREFIX "%016" PRIx64 ".shm"

enum {
	SHM_MAGIC = 0x72696577, /* "weir" */
	SHM_ABI = 1,
	BOOT_ID_BYTES = 36,
	CLOSE_WAIT_MS = 1000,
};

struct shm_header {
	uint32_t magic;
	uint32_t abi;		/* layout of this struct */
	uint64_t layout_hash;	/* of the region table and the options behind it */
	uint64_t size;		/* bytes, whole segment */
	uint64_t boot;		/* hash of the boot id: monotonic time starts again with it */
	_Atomic uint32_t ready; /* 1 once the maker has filled every region */
	uint32_t reserved[7];	/* zero; room to grow without moving regions */
};
_Static_assert(sizeof(struct shm_header) == SHM_HEADER_BYTES, "one cache line");

struct shm {
	struct shm_header *header;
	size_t size;
	int fd; /* holds the member's shared lock */
	int state_dir_fd;
	dev_t dev;
	ino_t ino;
	bool made, looks; /* looks: joined only */
	char path[PATH_MAX];
};

/* The places of one opening. */
struct places {
	char real[PATH_MAX];	 /* the state folder */
	char wanted[PATH_MAX];	 /* configured, or the default */
	char fallback[PATH_MAX]; /* in the state folder */
	char recorded[PATH_MAX]; /* what state/segment says, or empty */
	char family[64]; /* how names of this state folder begin in /dev/shm; empty: configured */
	uint64_t boot;
};

static enum err
read_small(int dir_fd, const char *name, char *out, size_t cap)
{
	const int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd == -1)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	n = read(fd, out, cap - 1);
	(void)close(fd);
	if (n <= 0)
		return ERR_IO;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return ERR_OK;
}

static enum err
find_places(const struct shm_options *o, struct places *p)
{
	char boot[BOOT_ID_BYTES + 2];
	int n, m;

	if (realpath(o->state_dir, p->real) == NULL ||
	    read_small(AT_FDCWD, BOOT_ID_PATH, boot, sizeof boot) != ERR_OK)
		return ERR_IO;
	p->boot = hash64(0, boot, strlen(boot));
	p->family[0] = p->recorded[0] = '\0';
	if (o->path != NULL) {
		n = snprintf(p->wanted, sizeof p->wanted, "%s", o->path);
	} else {
		(void)snprintf(p->family, sizeof p->family, "weir-%u-%016" PRIx64 "-",
		    (unsigned)geteuid(), hash64(0, p->real, strlen(p->real)));
		n = snprintf(p->wanted, sizeof p->wanted, SHM_FOLDER "/%s%016" PRIx64, p->family,
		    o->layout_hash);
	}
	m = snprintf(p->fallback, sizeof p->fallback, "%s/" FALLBACK_NAME, p->real, o->layout_hash);
	if (n >= (int)(sizeof p->wanted - sizeof TEMP_SUFFIX) ||
	    m >= (int)(sizeof p->fallback - sizeof TEMP_SUFFIX))
		return ERR_TOO_LARGE;
	if (read_small(o->state_dir_fd, RECORD_NAME, p->recorded, sizeof p->recorded) != ERR_OK ||
	    p->recorded[0] != '/')
		p->recorded[0] = '\0';
	return ERR_OK;
}

static enum err
refuse(const char *path, const char *why)
{
	log_error("segment_refused", LOG_STR("path", path), LOG_STR("why", why),
	    LOG_STR("hint", "remove it, or set WEIR_SHM to another path"));
	return ERR_DENIED;
}

static enum err
failed(const char *path, const char *what)
{
	log_error("segment_failed", LOG_STR("path", path), LOG_STR("what", what),
	    LOG_STR("reason", strerror(errno)));
	return ERR_IO;
}

/* Only what nobody else can have made or can change is trusted. */
static const char *
distrust(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is not a regular file";
	if (st->st_uid != geteuid())
		return "it belongs to another user";
	if ((st->st_mode & 07777) != 0600)
		return "its mode is not 0600";
	if (st->st_nlink != 1)
		return "it has another name as well";
	return NULL;
}

static enum err
open_trusted(const char *path, int *fd_out, struct stat *st)
{
	const int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why;

	*fd_out = -1;
	if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
		return ERR_NOT_FOUND;
	if (fd == -1)
		return errno == EACCES || errno == EPERM
			   ? refuse(path, "it belongs to another user")
		       : errno == ELOOP ? refuse(path, "it is a symbolic link")
		       : errno == EISDIR || errno == ENXIO
			   ? refuse(path, "it is not a regular file")
			   : failed(path, "open");
	if (fstat(fd, st) == -1) {
		(void)close(fd);
		return failed(path, "stat");
	}
	why = distrust(st);
	if (why != NULL) {
		(void)close(fd);
		return refuse(path, why);
	}
	*fd_out = fd;
	return ERR_OK;
}

static bool
is_ours(int fd, const struct stat *st, const struct shm_options *o, uint64_t boot)
{
	struct shm_header h;

	return pread(fd, &h, sizeof h, 0) == (ssize_t)sizeof h && h.magic == SHM_MAGIC &&
	       h.abi == SHM_ABI && h.layout_hash == o->layout_hash && h.boot == boot &&
	       h.size == o->size_bytes && (uint64_t)st->st_size == h.size &&
	       atomic_load(&h.ready) == 1;
}

/* Maps ${fd}, which the new segment takes over on success only. */
static enum err
map(int fd, const struct stat *st, const char *path, const struct shm_options *o, struct shm **out)
{
	struct shm *s = calloc(1, sizeof *s);
	void *mem;

	if (s == NULL)
		return ERR_NOMEM;
	mem = mmap(NULL, o->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		free(s);
		return failed(path, "mmap");
	}
	s->header = mem;
	s->size = o->size_bytes;
	s->fd = fd;
	s->state_dir_fd = o->state_dir_fd;
	s->dev = st->st_dev;
	s->ino = st->st_ino;
	s->looks = o->join_only || o->keep;
	(void)snprintf(s->path, sizeof s->path, "%s", path);
	*out = s;
	return ERR_OK;
}

/* Of another layout or boot: goes when nobody lives in it. */
static enum err
supersede(int fd, const char *path, bool join_only)
{
	if (join_only)
		return ERR_NOT_FOUND;
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		log_error("segment_in_use", LOG_STR("path", path),
		    LOG_STR("why", "processes with other settings or of another version use it"));
		return ERR_MISMATCH;
	}
	log_info("segment_outdated", LOG_STR("path", path));
	return unlink(path) == -1 ? failed(path, "unlink") : ERR_NOT_FOUND;
}

/* ERR_NOT_FOUND: nothing there (any more).  ${foreign}: recorded by somebody else, leave it when it differs. */
static enum err
join(const struct shm_options *o, const struct places *p, const char *path, bool foreign,
    struct shm **out)
{
	struct stat st;
	enum err rc;
	int fd;

	rc = open_trusted(path, &fd, &st);
	if (rc != ERR_OK)
		return rc;
	if (!is_ours(fd, &st, o, p->boot))
		rc = foreign ? ERR_NOT_FOUND : supersede(fd, path, o->join_only);
	else if (flock(fd, LOCK_SH | LOCK_NB) == -1)
		rc = ERR_CONFLICT; /* only without state/lock could somebody hold it alone */
	else
		rc = map(fd, &st, path, o, out);
	if (rc != ERR_OK)
		(void)close(fd);
	return rc;
}

/* Removes what no process lives in any more: segments of other layouts, and half-made ones. */
static void
sweep(const char *folder, const char *prefix)
{
	DIR *dir = *prefix == '\0' ? NULL : opendir(folder);
	const struct dirent *entry;
	int fd;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		fd = openat(dirfd(dir), entry->d_name,
		    O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		if (fd != -1)
			(void)close(fd);
	}
	(void)closedir(dir);
}

static bool
is_no_room(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG || error == EROFS ||
	       error == ENOENT || error == EACCES;
}

static enum err
allocate(int fd, size_t bytes)
{
	int error;

	do
		error = posix_fallocate(fd, 0, (off_t)bytes);
	while (error == EINTR);
	errno = error;
	return error == 0 ? ERR_OK : is_no_room(error) ? ERR_FULL : ERR_IO;
}

/* Fills the mapped new segment and shows it under its name. */
static enum err
publish(struct shm *s, const struct shm_options *o, uint64_t boot, const char *temp)
{
	enum err rc;

	s->header->magic = SHM_MAGIC;
	s->header->abi = SHM_ABI;
	s->header->layout_hash = o->layout_hash;
	s->header->size = o->size_bytes;
	s->header->boot = boot;
	rc = o->fill(o->ctx, shm_memory(s));
	if (rc != ERR_OK)
		return rc;
	atomic_store(&s->header->ready, 1);
	s->made = true;
	return rename(temp, s->path) == -1 ? failed(s->path, "rename") : ERR_OK;
}

static void
unmap(struct shm **sp)
{
	struct shm *s = *sp;

	*sp = NULL;
	(void)munmap(s->header, s->size);
	free(s);
}

static enum err
build(const struct shm_options *o, const struct places *p, const char *path, int fd,
    const char *temp, struct shm **out)
{
	struct stat st;
	enum err rc = allocate(fd, o->size_bytes);

	if (rc == ERR_IO)
		return failed(path, "allocate");
	if (rc != ERR_OK)
		return rc;
	if (fstat(fd, &st) == -1 || flock(fd, LOCK_SH | LOCK_NB) == -1)
		return failed(path, "lock");
	rc = map(fd, &st, path, o, out);
	if (rc != ERR_OK)
		return rc;
	rc = publish(*out, o, p->boot, temp);
	if (rc != ERR_OK)
		unmap(out);
	return rc;
}

static enum err
make(const struct shm_options *o, const struct places *p, const char *path, struct shm **out)
{
	char temp[PATH_MAX];
	enum err rc;
	int fd;

	(void)snprintf(
	    temp, sizeof temp, "%.*s" TEMP_SUFFIX, (int)(sizeof temp - sizeof TEMP_SUFFIX), path);
	(void)unlink(temp); /* a maker was killed: nobody else makes one now */
	fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return errno == EEXIST	   ? refuse(temp, "it belongs to another user")
		       : is_no_room(errno) ? ERR_FULL
					   : failed(path, "open");
	rc = fchmod(fd, 0600) == -1 ? failed(path, "chmod") : build(o, p, path, fd, temp, out);
	if (rc != ERR_OK) {
		(void)unlink(temp);
		(void)close(fd);
	}
	return rc;
}

/* A failure is said and survived: the names are found without the record too. */
static void
record(const struct shm *s)
{
	const int fd = openat(s->state_dir_fd, RECORD_TEMP,
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool ok = fd != -1 && dprintf(fd, "%s\n", s->path) > 0;

	if (fd != -1)
		(void)close(fd);
	ok = ok && renameat(s->state_dir_fd, RECORD_TEMP, s->state_dir_fd, RECORD_NAME) == 0;
	if (!ok)
		log_warn("segment_not_recorded", LOG_STR("path", s->path),
		    LOG_STR("reason", strerror(errno)));
}

static enum err
join_any(const struct shm_options *o, const struct places *p, struct shm **out)
{
	const char *const paths[] = { p->recorded, p->wanted, p->fallback };
	enum err rc = ERR_NOT_FOUND;

	for (size_t i = 0; i < sizeof paths / sizeof *paths && rc == ERR_NOT_FOUND; i++)
		if (*paths[i] != '\0')
			rc = join(o, p, paths[i], i == 0, out);
	return rc;
}

static enum err
make_any(const struct shm_options *o, const struct places *p, struct shm **out)
{
	enum err rc;

	sweep(SHM_FOLDER, p->family);
	sweep(p->real, FALLBACK_PREFIX);
	rc = make(o, p, p->wanted, out);
	if (rc == ERR_FULL) {
		log_warn("segment_in_state_folder", LOG_STR("path", p->fallback),
		    LOG_STR("no_room_at", p->wanted), LOG_INT("bytes", o->size_bytes));
		rc = make(o, p, p->fallback, out);
	}
	if (rc == ERR_FULL)
		log_error("segment_no_room", LOG_STR("path", p->fallback),
		    LOG_INT("bytes", o->size_bytes),
		    LOG_STR("hint", "make room, or lower WEIR_CACHE_BYTES"));
	if (rc == ERR_OK)
		record(*out);
	return rc;
}

enum err
shm_open_segment(const struct shm_options *o, struct shm **out)
{
	struct places p;
	enum err rc;
	int lock;

	*out = NULL;
	rc = lock_file(o->state_dir_fd, "lock", LOCK_EXCLUSIVE, o->wait_ms, &lock);
	if (rc != ERR_OK) {
		log_error("segment_lock_failed", LOG_STR("state_dir", o->state_dir),
		    LOG_ERR("error", rc));
		return rc;
	}
	rc = find_places(o, &p);
	if (rc != ERR_OK)
		rc = failed(o->state_dir, "find a name for the segment");
	else
		rc = join_any(o, &p, out);
	if (rc == ERR_NOT_FOUND && !o->join_only)
		rc = make_any(o, &p, out);
	lock_file_release(&lock);
	return rc;
}

static void
unlink_if_alone(const struct shm *s)
{
	char recorded[PATH_MAX];

	if (flock(s->fd, LOCK_EX | LOCK_NB) == -1 || !shm_check(s))
		return;
	(void)unlink(s->path);
	if (read_small(s->state_dir_fd, RECORD_NAME, recorded, sizeof recorded) == ERR_OK &&
	    strcmp(recorded, s->path) == 0)
		(void)unlinkat(s->state_dir_fd, RECORD_NAME, 0);
}

void
shm_close(struct shm **sp)
{
	struct shm *s = *sp;
	int lock;

	if (s == NULL)
		return;
	/* Without state/lock a newcomer could be between opening and locking it: leave it to that one. */
	if (!s->looks &&
	    lock_file(s->state_dir_fd, "lock", LOCK_EXCLUSIVE, CLOSE_WAIT_MS, &lock) == ERR_OK) {
		unlink_if_alone(s);
		lock_file_release(&lock);
	}
	(void)close(s->fd);
	unmap(sp);
}

void *
shm_memory(const struct shm *s)
{
	return s->header + 1;
}

const char *
shm_path(const struct shm *s)
{
	return s->path;
}

bool
shm_made(const struct shm *s)
{
	return s->made;
}

bool
shm_check(const struct shm *s)
{
	struct stat st;

	return lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
}
