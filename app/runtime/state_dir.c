/*
 * The state folder: what it must be before anything is kept in it.
 */
#include "runtime/state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"

struct file_system {
	uint32_t magic; /* statfs(2) */
	const char *name;
};

static const struct file_system network[] = {
	{ NFS_SUPER_MAGIC, "NFS" },
	{ SMB_SUPER_MAGIC, "SMB" },
	{ 0xff534d42, "CIFS" },
	{ 0xfe534d42, "SMB2" },
	{ 0x65735546, "FUSE" }, /* sshfs, s3fs, glusterfs */
	{ 0x01021997, "9p" },
	{ 0x00c36400, "Ceph" },
	{ AFS_SUPER_MAGIC, "AFS" },
	{ CODA_SUPER_MAGIC, "Coda" },
	{ 0x0bd00bd0, "Lustre" },
	{ 0x47504653, "GPFS" },
	{ 0x7461636f, "OCFS2" },
	{ 0x01161970, "GFS2" },
	{ 0x19830326, "BeeGFS" },
	{ 0x786f4256, "vboxsf" },
	{ 0, NULL },
};

static const struct file_system fleeting[] = {
	{ TMPFS_MAGIC, "tmpfs" },
	{ 0x858458f6, "ramfs" },
	{ OVERLAYFS_SUPER_MAGIC, "overlayfs" },
	{ 0, NULL },
};

static const char *
file_system_in(int fd, const struct file_system *list)
{
	struct statfs st;

	if (fstatfs(fd, &st) == -1)
		return NULL;
	for (; list->name != NULL; list++)
		if (list->magic == (uint32_t)st.f_type)
			return list->name;
	return NULL;
}

static bool
holds_anything(int fd)
{
	const int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again == -1 ? NULL : fdopendir(again);
	const struct dirent *e;
	bool found = d == NULL; /* who cannot look must not say that it is empty */

	while (!found && (e = readdir(d)) != NULL)
		found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	if (d != NULL)
		(void)closedir(d);
	else if (again != -1)
		(void)close(again);
	return found;
}

/* A person may make the folder and its database first; but /srv or /tmp, once closed, is closed to everybody. */
static bool
is_ours(int fd)
{
	return faccessat(fd, "lock", F_OK, 0) == 0 || faccessat(fd, "weir.db", F_OK, 0) == 0 ||
	       !holds_anything(fd);
}

static enum err
close_to_others(const char *path, struct fault_list *faults, int fd, const struct stat *st)
{
	if ((st->st_mode & 077) == 0)
		return ERR_OK;
	if (!is_ours(fd)) {
		fault_add(faults, "WEIR_STATE_DIR", 0,
		    "%s holds other things and is open to others (mode %04o), expected a folder of "
		    "weir's own",
		    path, (unsigned)st->st_mode & 07777);
		return ERR_INVALID;
	}
	log_info("state_dir_closed_to_others", LOG_STR("path", path));
	return fchmod(fd, 0700) == -1 ? ERR_IO : ERR_OK;
}

static enum err
judge(const char *path, struct fault_list *faults, int fd)
{
	const char *remote = file_system_in(fd, network);
	struct stat st;

	if (remote != NULL) {
		fault_add(faults, "WEIR_STATE_DIR", 0,
		    "%s lies on a network file system (%s), expected a local disk", path, remote);
		return ERR_INVALID;
	}
	if (fstat(fd, &st) == -1)
		return ERR_IO;
	if (st.st_uid != geteuid()) {
		fault_add(faults, "WEIR_STATE_DIR", 0,
		    "%s belongs to user %u, expected the user that runs weir (%u)", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
		return ERR_DENIED;
	}
	return close_to_others(path, faults, fd, &st);
}

/*
 * On shared hosting the folder may lie in a web root, where Apache heeds this; it is made whole or not at all.  That it cannot
 * be made is survived here: whoever finds the folder in a web root without it answers nothing (service/web_root.h).
 */
static void
deny_all(int fd)
{
	static const char text[] =
	    "# Made by weir: nothing in this folder is for anybody else.\nRequire all denied\n";
	const int file =
	    openat(fd, ".htaccess", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool whole;

	if (file == -1)
		return;
	whole = write(file, text, sizeof text - 1) == (ssize_t)sizeof text - 1;
	(void)close(file);
	if (!whole)
		(void)unlinkat(fd, ".htaccess", 0);
}

enum err
state_dir_open(const char *path, struct fault_list *faults, int *fd_out)
{
	enum err rc = ERR_IO;
	int fd = -1;

	*fd_out = -1;
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		fault_add(faults, "WEIR_STATE_DIR", 0,
		    "%s cannot be made or opened (%s), expected a folder on a local disk", path,
		    strerror(errno));
		return ERR_INVALID;
	}
	rc = judge(path, faults, fd);
	if (rc == ERR_IO)
		fault_add(faults, "WEIR_STATE_DIR", 0, "%s: %s", path, strerror(errno));
	if (rc != ERR_OK) {
		(void)close(fd);
		return rc;
	}
	deny_all(fd);
	*fd_out = fd;
	return ERR_OK;
}

const char *
state_dir_fleeting(int fd)
{
	return file_system_in(fd, fleeting);
}
